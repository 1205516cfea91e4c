"""The head node of the `central` architecture in virtual time: the machine's timer, its failures, what it misses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from scheduler import central
from scheduler.central_record import (
    Central,
    CentralEvent,
    Dispatch,
    DispatchReady,
    HeadFailed,
    HeadRecovered,
    JobQueued,
    JobWithdrawn,
    QueueClass,
    Waiting,
)
from scheduler.commands import SetTimer
from scheduler.events import Submitted
from scheduler.job_record import Job
from scheduler.policy import Policy
from sim.clock import MARKET, TIMER, Clock
from sim.inputs import HeadNode
from sim.jobs import JobWorld
from spotbed.journal import Journal

_US_PER_S = 1_000_000


class Head:
    """Steps the machine and performs its commands: `dispatch(command)` starts a job, `after_pass()` follows each pass.

    `waiting` are the jobs that it has been told of and has not dispatched, by id.
    """

    def __init__(
        self,
        node: HeadNode,
        state: Central,
        clock: Clock,
        policy: Policy,
        journal: Journal | None,
        dispatch: Callable[[Dispatch], None],
        after_pass: Callable[[], None] | None = None,
    ) -> None:
        self.state, self.clock, self.policy, self.journal = state, clock, policy, journal
        self.dispatch, self.after_pass = dispatch, after_pass
        self.waiting: dict[str, JobQueued] = {}
        self.each_event = getattr(policy.order, "each_event", False)  # no pass is put off to the end of the moment
        self.up_ms = 0  # when it is up again
        self._missed: list[tuple[Callable[[Any], None], Any]] = []
        for at_ms, for_ms in node.fails:
            clock.at(at_ms, MARKET, self._fail, at_ms + for_ms)

    @property
    def is_down(self) -> bool:
        return self.state.phase == "down"

    def queue(self, badge: QueueClass, job: Waiting) -> None:
        """A job waits."""
        queued = self.waiting[job.job] = JobQueued(self.clock.now_ms, badge, job)
        self.tell(queued)

    def withdraw(self, job: str) -> None:
        """The job does not wait any more, and was not dispatched."""
        queued = self.waiting.pop(job)
        self.tell(JobWithdrawn(self.clock.now_ms, queued.badge, queued.job))

    def tell(self, event: CentralEvent) -> None:
        """The machine hears an event, or misses it: then it hears it after its recovery."""
        if self.is_down:
            self.miss(self._hear, event)
        else:
            self._hear(event)

    def miss(self, callback: Callable[[Any], None], event: Any) -> None:
        """Keep what nobody hears while the head node is down; the callback gets it with the time of the recovery."""
        self._missed.append((callback, event))

    def _hear(self, event: CentralEvent) -> None:
        self.state, commands = central.step(self.state, event, self.policy)
        if self.journal is not None:
            self.journal.step("central", "head", event, commands)
        for command in commands:
            if isinstance(command, SetTimer) and command.after_ms == 0 and self.each_event:
                self._pass(None)
            elif isinstance(command, SetTimer):
                self.clock.at(self.clock.now_ms + command.after_ms, TIMER, self._pass, None)
            else:
                del self.waiting[command.running.job]
                self.dispatch(command)

    def _pass(self, _: None) -> None:
        if not self.is_down:
            self._hear(DispatchReady(self.clock.now_ms))
            if self.after_pass is not None:
                self.after_pass()

    def _fail(self, until_ms: int) -> None:
        self.up_ms = max(self.up_ms, until_ms)
        self.clock.at(until_ms, MARKET, self._recover, None)
        if not self.is_down:
            self._hear(HeadFailed(self.clock.now_ms))

    def _recover(self, _: None) -> None:
        """Failures may overlap: it is up again after the last of them."""
        now = self.clock.now_ms
        if now < self.up_ms or not self.is_down:
            return
        self._hear(HeadRecovered(now))
        missed, self._missed = self._missed, []
        for callback, event in missed:
            callback(replace(event, at_ms=now))


class HeadedWorld(JobWorld):
    """A world whose jobs are in the hands of a head node: while it is down, they hear nothing, and none is taken in."""

    head: Head

    def _arrivals(self, now_ms: int) -> int:
        if not self.head.is_down:
            return super()._arrivals(now_ms)
        self.head.miss(self._late_arrivals, Submitted(now_ms))
        return self.head.up_ms + 1

    def _late_arrivals(self, late: Submitted) -> None:
        """Who submitted while it was down has waited at its door."""
        super()._arrivals(late.at_ms)

    def _hears(self, index: int, record: Job, event: Any) -> None:
        if self.head.is_down:
            self.head.miss(partial(self._job, index), event)
        else:
            super()._hears(index, record, event)


def first_state(node: HeadNode, licences: Mapping[str, int], *, picks: bool) -> Central:
    """The machine as it starts: nothing waits, there are no slots yet."""
    gap_us = round(_US_PER_S / node.dispatch_per_s) if node.dispatch_per_s else 0
    return Central(gap_us=gap_us, picks=picks, licences=tuple(sorted(licences.items())))
