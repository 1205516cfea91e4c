"""The usual case in one piece: an attempt ends as planned, its job is done, and its worker claims and starts the next.

Nineteen reports of twenty are such. What happens here is what `DecoupledWorld._reported`, `_account`, `_complete`,
`_claim`, `_plan` and `_start` do one after the other, without the calls between them and the questions whose answer is
known; the core's steps are the same. At the first sign of anything else the general methods take over, from there on.
`tests/test_usual.py` runs worlds with it and without: the journals and tallies are equal.
"""

# A part of the driver, which knows its inside.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import TYPE_CHECKING, TypeAlias

from scheduler.commands import Claim, Complete, Queue, Start
from scheduler.events import DONE, AttemptEnded, Claimed, JobClaimed, Submitted
from scheduler.job_record import Job
from sim.clock import REPORT
from sim.instances import FIRST_HOUR_MS, LiveWorker
from sim.services import MASK, SPREAD_EPOCH, SPREAD_JOB
from spotbed import metering

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld

Planned: TypeAlias = tuple[LiveWorker, int]


def has_usual_case(world: DecoupledWorld) -> bool:
    """Whether a world's work is plain enough: no gangs, licences, staging, startup, dependants or shared instances."""
    work = world.inputs.work
    return (
        world.gangs is None
        and world.slots == 1
        and not world.licences
        and not world._stages
        and not world._startup_ms
        and not world._has_dependants
        and not work.groups
        and not any(klass.licences for klass in world.present.values())
        and len(world.troubles.of_starts) <= 1
        and not hasattr(world.policy.protect, "at_age")
    )


class Usual:
    """The usual case of one world: `reported` and `submitted` for the driver, and what they have counted."""

    def __init__(self, world: DecoupledWorld) -> None:
        self.cycles = self.claims = self.renewals = 0
        self.reported = self._reported(world, world._report)
        self.submitted = self._submitted(world)

    def operations(self) -> dict[str, int]:
        """How often it has done what the driver counts."""
        heard = self.cycles + self.claims
        return {"report": self.cycles, "complete": self.cycles, "claim_hit": self.claims, "renewal": self.renewals,
                "hear": heard, "perform": heard}  # fmt: skip

    def _submitted(self, world: DecoupledWorld) -> Callable[[int, Job, int], None]:
        """What `_hears` and `_queue` do with a submission."""
        records, policy, queues, classes = world.records, world.policy, world._queues, world.submissions.klass
        hears, perform = world._job_handlers["new"][Submitted], world._perform_job

        def submitted(number: int, job: Job, now_ms: int) -> None:
            record, commands = hears(job, Submitted(now_ms), policy)
            records[number] = record
            command = commands[0]
            queue = queues[record.purchase][classes[number]]
            if queue is None or len(commands) > 1 or command.__class__ is not Queue or world.idle_workers:
                for command in commands:
                    perform[command.__class__](number, job, command)
                return
            queue.push(command.key, number, record.ticket.estimate_ms)

        return submitted

    def _reported(self, world: DecoupledWorld, general: Callable[[Planned], None]) -> Callable[[Planned], None]:
        """`general`, with the usual case before it."""
        begins = self._begins(world)
        clock, records, columns = world.clock, world.records, world.columns
        policy, kept, renewal_ms = world.policy, world.kept, world.renewal_ms
        journal_attempt = None if world.journal is None else world._write
        keeps_refunds = world._keeps_refunds
        worker_hears = {phase: rows[AttemptEnded] for phase, rows in world._worker_handlers.items()}
        job_hears = {phase: rows[AttemptEnded] for phase, rows in world._job_handlers.items()}
        perform = world._perform_worker
        complete, claim = perform[Complete], perform[Claim]

        def reported(planned: Planned) -> None:
            worker, run = planned
            number, state, pool = worker.job, worker.state, worker.pool
            record = records.get(number)
            if (
                worker.run != run
                or record is not worker.lease
                or worker.cause != DONE
                or worker.every_ms > 0
                or worker.overhead_ms
                or pool.meter is not None
                or state.phase != "running"
            ):
                general(planned)
                return
            # what `_account` does
            total_ms = worker.total_ms
            end_ms = worker.idle_since_ms = worker.at_ms + total_ms
            worker.useful_ms += total_ms
            usd = total_ms * pool.usd_per_ms
            if keeps_refunds and end_ms - worker.instance.launched_ms < FIRST_HOUR_MS:
                worker.job_usd.append((number, usd))
            columns.useful_ms[number] += total_ms
            columns.usd[number] += usd
            columns.pool[number] = pool.number
            self.renewals += total_ms // renewal_ms
            if journal_attempt is not None:
                journal_attempt(worker, number, end_ms, DONE, (total_ms, 0, 0, 0), usd)
            safe_ms = worker.safe_ms = worker.base_ms + worker.work_ms
            worker.job = -1
            worker.job_demand.busy -= 1
            # what `_worker` and `_complete` do
            now = clock.now_ms
            event = worker.ended = AttemptEnded(now, state.job, state.epoch, DONE, 0, safe_ms)
            worker.state, commands = worker_hears["running"](state, event, policy)
            if len(commands) != 2 or perform[Complete] is not complete:
                world.operations["report"] += 1
                world.operations["hear"] += 1
                world.operations["perform"] += bool(commands)
                for command in commands:
                    perform[command.__class__](worker, command)
                return
            self.cycles += 1
            job_hears["leased"](record, event, policy)
            columns.status[number] = metering.DONE
            columns.end_ms[number] = now
            del records[number]
            world.ended += 1
            if number in kept:
                world._settle(number, None)
            if perform[Claim] is claim:
                begins(worker)
            else:
                perform[Claim](worker, commands[1])

        return reported

    def _begins(self, world: DecoupledWorld) -> Callable[[LiveWorker], None]:
        """What `_claim`, `_plan` and `_start` do for a worker that has just completed a job."""
        clock, records, columns = world.clock, world.records, world.columns
        policy, submissions, troubles = world.policy, world.submissions, world.troubles
        runtimes_ms, classes, plain = submissions.runtime_ms, submissions.klass, submissions.plain
        start_latency, report_latency = world.start_latency, world.report_latency
        worker_hears = {phase: rows[JobClaimed] for phase, rows in world._worker_handlers.items()}
        job_hears = {phase: rows[Claimed] for phase, rows in world._job_handlers.items()}
        perform, general = world._perform_worker, world._claim
        throttle, chances = next(iter(troubles.of_starts), None), troubles.chances
        all_plain = all(plain)
        start, heap = perform[Start], clock.heap
        claim = Claim()

        def begins(worker: LiveWorker) -> None:
            pool = worker.pool
            queue = pool.only_class
            if queue is None or queue.voids or not queue.run:
                general(worker, claim)
                return
            # what `_claim` does
            now = clock.now_ms
            number, record = queue.pop(records)
            ticket = record.ticket
            spec = ticket.spec
            leased = job_hears["queued"](record, Claimed(now, worker.state.badge.id), policy)[0]
            worker.lease = records[number] = leased
            worker.job = worker.claimed = number
            demand = worker.job_demand = queue.demand
            demand.busy += 1
            self.claims += 1
            epoch = leased.epoch
            event = JobClaimed(now, ticket.id, epoch, record.progress_ms, ticket.estimate_ms, spec.timeout_ms,
                               spec.checkpointable, pool.mtbf_ms)  # fmt: skip
            worker.state, commands = worker_hears["claiming"](worker.state, event, policy)
            (command,) = commands
            if throttle is not None:
                full_ms = throttle.full_ms
                if full_ms < now:
                    full_ms = now
                full_ms += throttle.gap_ms
            if (
                chances.passed + 1 >= chances.next
                or (throttle is not None and full_ms > now + throttle.burst_ms)
                or perform[Start] is not start
                or pool.factor
                or not (all_plain or plain[classes[number]])
                or command.checkpoint_every_ms > 0
                or command.timeout_ms >= 0
                or epoch > 1
            ):
                perform[Start](worker, command)
                return
            chances.passed += 1
            if throttle is not None:
                throttle.full_ms = full_ms
            # what `_start` and `_plan` do
            run = worker.run = worker.run + 1
            position = ((number * SPREAD_JOB + SPREAD_EPOCH) >> 4) & MASK
            start_ms = now + start_latency[position]
            work_ms = runtimes_ms[number]
            worker.base_ms, worker.overhead_ms, worker.every_ms = 0, 0, command.checkpoint_every_ms
            worker.cause, worker.exit_code, worker.work_ms, worker.total_ms = DONE, 0, work_ms, work_ms
            worker.idle_ms += start_ms - worker.idle_since_ms
            worker.idle_since_ms = worker.at_ms = start_ms
            worker.epoch = 1
            columns.attempts[number], columns.first_start_ms[number] = 1, start_ms
            clock.sequence += 1
            report_ms = start_ms + work_ms + report_latency[position]
            heappush(heap, (report_ms, REPORT, clock.sequence, world._report, (worker, run)))

        return begins
