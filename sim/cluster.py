"""A fixed cluster: jobs of many slots on one machine that is always there, under the central scheduler.

For logs of an archive and results of papers. There are no instances, so nothing boots, nothing is interrupted, and
there is no bill but that of the head node. Startup and staging are part of an attempt. Of a policy, `order` and
`retry` count.
"""

from __future__ import annotations

from scheduler.central_record import Dispatch, JobEnded, QueueClass, Running, SlotsChanged, Waiting
from scheduler.commands import Queue, SetTimer
from scheduler.events import DONE, TIMEOUT, AttemptEnded, Claimed
from scheduler.job_record import Job
from scheduler.policy import Policy
from sim.clock import REPORT
from sim.head import Head, HeadedWorld, first_state
from sim.inputs import WorldInputs
from sim.running import _TIMED_OUT as TIMED_OUT
from spotbed import metering
from spotbed.journal import AttemptFact, Journal

SITE = "cluster"


class ClusterWorld(HeadedWorld):
    """One world on a fixed cluster under one policy. `run()` returns its tally."""

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        slots = inputs.work.slots
        assert not len(slots) or int(slots.max()) <= inputs.cluster_slots, "a job is larger than the cluster"
        self.operations = {"submit": 0, "dead_letter": 0}
        self.users = inputs.work.user if hasattr(policy.order, "predict") else None
        self.badges: dict[tuple[tuple[str, int], ...], QueueClass] = {}
        self.busy_slots = 0
        state = first_state(inputs.head_node, inputs.licences, picks=not hasattr(policy.order, "rank"))
        self.head = Head(inputs.head_node, state, self.clock, policy, journal, self._dispatch, self._sample)
        self.last_sample_ms = -policy.settings.tick_ms

    def run(self) -> metering.Tally:
        """Run the world until nothing is left, or to the end of the drain."""
        limit_ms = self.submissions.last_ms + self.inputs.drain_ms
        self.clock.stop_at(limit_ms)
        self.head.tell(SlotsChanged(0, SITE, self.inputs.cluster_slots))
        self.clock.run_all(self._arrivals, lambda: False)
        tally = self.tally
        tally.end_ms = limit_ms if self.records else max(tally.jobs.end_ms, default=0)
        if self.inputs.head_node.usd_per_hour and len(self.work):
            tally.head_node_ms = tally.end_ms - int(self.work.submit_ms[0])
        return tally

    # jobs -------------------------------------------------------------------------------------------------------
    def _queue(self, number: int, before: Job, command: Queue) -> None:
        ticket = self.records[number].ticket
        licences = ticket.spec.licences
        badge = self.badges.get(licences) or self.badges.setdefault(licences, _badge(licences))
        user = "" if self.users is None else str(self.users[number])
        place = (command.key, number)
        self.head.queue(badge, Waiting(place, ticket.id, ticket.slots, ticket.estimate_ms, ticket.submit_ms, user))

    def _leave_index(self, record: Job) -> None:
        self.head.withdraw(record.ticket.id)

    def _job_timer(self, number: int, before: Job, command: SetTimer) -> None:
        """To reconsider the purchase option: there is none on a cluster."""

    # attempts ---------------------------------------------------------------------------------------------------
    def _dispatch(self, command: Dispatch) -> None:
        """Claim the job, and plan its attempt."""
        now, running = self.clock.now_ms, command.running
        number = running.place[1]
        self._job(number, Claimed(now, SITE))
        columns = self.tally.jobs
        columns.attempts[number] += 1
        if columns.first_start_ms[number] < 0:
            columns.first_start_ms[number] = now
        self.busy_slots += running.slots
        fact, exit_code = self._planned(number, self.records[number])
        self.clock.at(fact.end_ms, REPORT, self._ended, (fact, exit_code, running))

    def _planned(self, number: int, record: Job) -> tuple[AttemptFact, int]:
        """The attempt that starts now, as it will be when it has ended, and its exit code."""
        work_ms = self.submissions.runtime_ms[number] + self.submissions.staging_ms(number)
        total_ms = self.policy.settings.startup_ms + work_ms
        cause, exit_code = self.submissions.outcome(number, record.epoch)
        timeout_ms = record.ticket.spec.timeout_ms
        if 0 <= timeout_ms < total_ms:
            total_ms, cause, exit_code = timeout_ms, TIMEOUT, TIMED_OUT
        useful_ms = work_ms if cause == DONE else 0
        now = self.clock.now_ms
        fact = AttemptFact(
            job=record.ticket.id,
            number=number,
            attempt=record.epoch,
            worker=SITE,
            pool=SITE,
            start_ms=now,
            end_ms=now + total_ms,
            cause=cause,
            useful_ms=useful_ms,
            lost_ms=0,
            checkpoint_ms=total_ms - useful_ms if cause == DONE else 0,
            failed_ms=0 if cause == DONE else total_ms,
            usd=0.0,
        )
        return fact, exit_code

    def _ended(self, ended: tuple[AttemptFact, int, Running]) -> None:
        fact, exit_code, running = ended
        now, number = self.clock.now_ms, fact.number
        self.busy_slots -= running.slots
        self.tally.attempts += 1
        self.tally.jobs.useful_ms[number] += fact.useful_ms
        if self.journal is not None:
            self.journal.attempt(fact)
        self.head.tell(JobEnded(now, running))
        progress_ms = self.submissions.runtime_ms[number] if fact.cause == DONE else 0
        self._job(number, AttemptEnded(now, fact.job, fact.attempt, fact.cause, exit_code, progress_ms))

    def _sample(self) -> None:
        """At most one a tick, after a pass: (at_ms, jobs that wait, 0, slots that are busy, slots that are idle)."""
        now = self.clock.now_ms
        if now - self.last_sample_ms >= self.policy.settings.tick_ms:
            idle = self.inputs.cluster_slots - self.busy_slots
            self.tally.samples.append((now, len(self.head.waiting), 0, self.busy_slots, idle))
            self.last_sample_ms = now


def _badge(licences: tuple[tuple[str, int], ...]) -> QueueClass:
    name = "+".join(f"{name}:{count}" for name, count in licences) or "all"
    return QueueClass(name, (SITE,), 0, licences)
