"""What goes wrong with the calls of an attempt, and the quotas before which they wait."""

# The parts of the driver know its inside.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.commands import Claim, Start
from sim.clock import REPORT, TIMER
from sim.instances import LivePool, LiveWorker
from sim.services import Chances, narrow, row

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld

OF_ATTEMPTS = ("lambda.error", "lambda.twice", "lease.false_expiry", "ssm.error", "dynamodb.unknown_outcome")
FAULTS = (
    *OF_ATTEMPTS,
    "autoscaling.miscount",
    "eventbridge.delay",
    "eventbridge.drop",
    "eventbridge.duplicate",
    "ec2.rebalance_alone",
    "ssm.agent_never_registers",
)


class Troubles:
    """Puts itself before a world's starts and claims, if there is anything that can go wrong there."""

    def __init__(self, world: DecoupledWorld) -> None:
        self.world = world
        self._of_events = narrow(world.throttles.of_cycles())
        of_starts = (*self._of_events, *world.throttles.of("ssm.send_command"))
        self.of_starts = narrow(of_starts, margin=2.0)  # the other half is for events that start nothing
        table = world.latencies.table
        self._retried_ms, self._delayed_ms = table("retried"), table("delayed")
        self._start_retried_ms = table("start_retried")
        self.chances = Chances(world.faults, OF_ATTEMPTS)
        commands = world._perform_worker
        self._start: Callable[..., None] = commands[Start]
        self._claim: Callable[[LiveWorker, Any], None] = commands[Claim]
        if self.of_starts or self.chances:
            commands[Start] = self.start
        self._unseen_until_ms = 0

    # starts -----------------------------------------------------------------------------------------------------
    def start(self, worker: LiveWorker, command: Start) -> None:
        """Start when the quotas allow it. A cycle of a worker (its event, step and claim) is charged here too."""
        now, late_ms = self.world.clock.now_ms, 0
        for throttle in self.of_starts:
            full_ms = throttle.full_ms  # `throttle.wait_ms`, without a call where none waits
            if full_ms < now:
                full_ms = now
            full_ms += throttle.gap_ms
            if late_ms == 0 and full_ms <= now + throttle.burst_ms:
                throttle.full_ms = full_ms
            else:
                late_ms += throttle.wait_ms(now + late_ms)
        chances = self.chances
        chances.passed += 1
        if chances.passed >= chances.next:
            self._start_with_trouble(worker, command, late_ms)
        elif late_ms:
            self._start(worker, command, late_ms)
        else:
            self._start(worker, command)

    def _start_with_trouble(self, worker: LiveWorker, command: Start, late_ms: int) -> None:
        world, found = self.world, self.chances.found()
        if "ssm.error" in found:
            world.operations["start"] += 1
            late_ms += self._start_retried_ms[row(worker.job, command.epoch)]
        usual = world._report
        if "lambda.error" in found or "lambda.twice" in found:
            world._report = self._report_with_error if "lambda.error" in found else self._report_twice
        number = worker.job
        self._start(worker, command, late_ms)
        world._report = usual
        if "lease.false_expiry" in found and worker.job >= 0:
            begins_ms = max(worker.at_ms, world.clock.now_ms)  # a member of a gang may still wait for the others
            at_ms = begins_ms + world.policy.settings.lease_ms
            world.clock.at(at_ms, TIMER, self._expire_falsely, (worker, number, command.epoch))
        if "dynamodb.unknown_outcome" in found:
            world._perform_worker[Claim] = self._claim_unknown

    def _expire_falsely(self, lease: tuple[LiveWorker, int, int]) -> None:
        """The renewals have not reached the table: the lease expires although the attempt lives, or has ended with what
        its checkpoints keep and its worker does not know it yet."""
        worker, number, epoch = lease
        over = worker.job < 0 and (worker.claimed, worker.epoch) == (number, epoch)
        self.world._expire((number, epoch, worker.safe_ms if over else -1))

    def _report_with_error(self, planned: tuple[LiveWorker, int]) -> None:
        """The function that hears the report fails before it does anything, and is called again."""
        worker, run = planned
        if worker.run == run:
            world = self.world
            world.operations["retry"] += 1
            at_ms = world.clock.now_ms + self._retried_ms[row(worker.claimed, worker.run)]
            world.clock.at(at_ms, REPORT, world._report, planned)

    def _report_twice(self, planned: tuple[LiveWorker, int]) -> None:
        """The function that hears the report fails after it has done all, and is called again."""
        worker, run = planned
        if worker.run != run:
            return
        world = self.world
        world._report(planned)
        world.operations["retry"] += 1
        at_ms = world.clock.now_ms + self._retried_ms[row(worker.claimed, worker.run)]
        world.clock.at(at_ms, REPORT, self._again, (worker, worker.ended))

    def _again(self, worker_and_event: tuple[LiveWorker, Any]) -> None:
        worker, event = worker_and_event
        if event is not None:
            self.world._worker(worker, replace(event, at_ms=self.world.clock.now_ms))

    # claims -----------------------------------------------------------------------------------------------------
    def hide(self, until_ms: int) -> None:
        """A worker is woken for a job that the index shows from `until_ms` on."""
        self._unseen_until_ms = max(self._unseen_until_ms, until_ms)
        self.world._perform_worker[Claim] = self.claim

    def claim(self, worker: LiveWorker, command: Claim) -> None:
        """Where the index does not show a new job yet, the claim is made again when it does: the counters of the class,
        which are transactional, say that one waits."""
        world = self.world
        if self._unseen_until_ms > world.clock.now_ms:
            world.operations["claim_empty"] += 1
            worker.timer += 1
            world.clock.at(self._unseen_until_ms, REPORT, self._claims_again, (worker, worker.timer, command))
        else:
            world._perform_worker[Claim] = self._claim
            self._claim(worker, command)

    def _claims_again(self, claim: tuple[LiveWorker, int, Claim]) -> None:
        worker, timer, command = claim
        if worker.timer == timer and worker.state.phase in ("claiming", "leaving"):
            self._claim(worker, command)

    def _claim_unknown(self, worker: LiveWorker, command: Claim) -> None:
        """The new epoch is written, and the answer does not come: the worker takes another job, and nobody renews the
        lease of the first."""
        world = self.world
        claim = world._perform_worker[Claim] = self._claim
        queue = world._candidate(worker.pool)
        if queue is not None and queue.seats == 1 and not queue.licences:
            number, record = queue.pop(world.records)
            now = world.clock.now_ms
            leased = world._lease(number, record, worker)
            world.operations["claim_hit"] += 1
            world.clock.at(now + world.policy.settings.lease_ms, TIMER, world._expire, (number, leased.epoch, -1))
        claim(worker, command)

    # events and launches ----------------------------------------------------------------------------------------
    def event_wait_ms(self, position: int) -> int:
        """How much later than usual an event of EC2 reaches its worker's next step."""
        world, wait_ms = self.world, 0
        for throttle in self._of_events:
            wait_ms += throttle.wait_ms(world.clock.now_ms + wait_ms)
        if world.faults.occurs("eventbridge.delay"):
            wait_ms += self._delayed_ms[position]
        return wait_ms

    def miscounted(self, pool: LivePool, count: int) -> int:
        """How many instances the group launches when it should launch `count`: at times one more or one less."""
        faults = self.world.faults
        if not faults.occurs("autoscaling.miscount"):
            return count
        more = faults.seen["autoscaling.miscount"] % 2 == 1 and pool.live + count < pool.spec.max
        return count + 1 if more else max(0, count - 1)
