"""The decoupled driver with rarer faults of AWS, each under the name by which `ServiceInputs.probability` has it.

They stand here and not in the driver because nobody has a price or a rate for them: they only ask whether anything is
lost. Each is put before or after a command of a worker, or before the delivery of an event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scheduler.commands import Claim, Complete, Fail, Release, Start
from scheduler.events import AttemptEnded, LeaseExpired
from scheduler.job_record import Job
from scheduler.policy import Policy
from sim.clock import MARKET, TIMER
from sim.decoupled import DecoupledWorld
from sim.inputs import WorldInputs
from sim.instances import LiveWorker
from spotbed.journal import Journal

RARE = (
    "dynamodb.stale_index",  # a claim finds nothing although jobs wait
    "dynamodb.throttle",  # the step of an event is retried later, and so out of order
    "dynamodb.written_twice",  # a report was written, its answer was lost, and it is written again
    "s3.upload_again",  # the output is uploaded twice, because the first time broke off
    "ssm.report_lost",  # the wrapper's report of the end never comes
    "ssm.undeliverable",  # the start never reaches the instance
)
LATER_MS = 30_000
LEASE_LOST = "lease-lost"


class FaultyWorld(DecoupledWorld):
    """A decoupled world in which all of the above may happen."""

    usual = False  # what may happen here happens in the general case

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        commands = self._perform_worker
        for kind in (Complete, Fail, Release):
            commands[kind] = self._twice(commands[kind])
        if self.gangs is None:  # whose members would leave one by one, each time that one of them finds nothing
            self.troubles._claim = commands[Claim] = self._or_nothing(commands[Claim])
        commands[Start] = self._or_never(commands[Start])
        self._report = self._or_lost(self._report)

    def _some_ms(self, name: str, most_ms: int) -> int:
        """How late: uniform, a draw of its own for each occurrence."""
        return int(self.streams.one(f"lateness/{name}", self.faults.seen[name]) * most_ms)

    # commands -----------------------------------------------------------------------------------------------------
    def _twice(self, perform: Callable[..., None]) -> Callable[..., None]:
        def performed(worker: LiveWorker, command: Any) -> None:
            perform(worker, command)
            if worker.gang is None and self.faults.occurs("dynamodb.written_twice"):
                perform(worker, command)

        return performed

    def _or_nothing(self, claim: Callable[..., None]) -> Callable[..., None]:
        def performed(worker: LiveWorker, command: Claim) -> None:
            if self.index.waiting and self.faults.occurs("dynamodb.stale_index"):
                worker.timer += 1
                self._nothing_to_claim(worker, gathers=False)
            else:
                claim(worker, command)

        return performed

    def _or_never(self, start: Callable[..., None]) -> Callable[..., None]:
        def performed(worker: LiveWorker, command: Start) -> None:
            start(worker, command)
            if worker.gang is None and worker.job >= 0 and self.faults.occurs("ssm.undeliverable"):
                lease_ms = self.policy.settings.lease_ms
                worker.overhead_ms = worker.total_ms = lease_ms  # nothing runs until somebody notices
                self._nobody_hears(worker, worker.at_ms + lease_ms)

        return performed

    def _or_lost(self, report: Callable[..., None]) -> Callable[..., None]:
        def reported(planned: tuple[LiveWorker, int]) -> None:
            worker, run = planned
            if worker.run == run and worker.gang is None and self.faults.occurs("ssm.report_lost"):
                self._nobody_hears(worker, self.clock.now_ms + self.policy.settings.lease_ms)
            else:
                report(planned)

        return reported

    def _nobody_hears(self, worker: LiveWorker, until_ms: int) -> None:
        worker.run += 1
        self.clock.at(until_ms, TIMER, self._found_silent, (worker, worker.run))

    def _found_silent(self, silent: tuple[LiveWorker, int]) -> None:
        """The reaper finds a lease without a sign of life on an instance that lives: job and worker hear of it."""
        worker, run = silent
        if worker.run != run or worker.job < 0:
            return
        number, now, state = worker.job, self.clock.now_ms, worker.state
        safe_ms = self._account(worker, LEASE_LOST)
        if number in self.records:
            self._job(number, LeaseExpired(now, state.epoch, safe_ms))
        worker.ended = AttemptEnded(now, state.job, state.epoch, LEASE_LOST, 0, safe_ms)
        self._worker(worker, worker.ended)

    # attempts and events ------------------------------------------------------------------------------------------
    def _plan(self, worker: LiveWorker, record: Job, number: int, command: Start) -> None:
        super()._plan(worker, record, number, command)
        staging_ms = self.submissions.staging_out_ms[self.submissions.klass[number]]
        if staging_ms and worker.cause == "done" and self.faults.occurs("s3.upload_again"):
            worker.overhead_ms += staging_ms  # metered as startup: it is no work
            worker.total_ms += staging_ms

    def _deliver(self, worker_and_make: Any) -> None:
        if self.faults.occurs("dynamodb.throttle"):
            at_ms = self.clock.now_ms + self._some_ms("dynamodb.throttle", LATER_MS)
            self.clock.at(at_ms, MARKET, self._deliver, worker_and_make)
        else:
            super()._deliver(worker_and_make)
