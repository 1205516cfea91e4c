"""How often a run's functions did what, by the names of the services data, from the lines of its journal.

The worker's machine is stepped again, since what a step writes depends on the phase that it leads to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from scheduler import commands as orders
from scheduler import events
from scheduler.fleet import MACHINE as FLEET
from scheduler.fleet import Fleet
from scheduler.policy import Policy
from scheduler.table import UnknownTransition
from scheduler.worker import MACHINE, Badge, Worker
from spotbed.verify.lines import Line

LONGEST_DELAY_MS = 900_000  # SQS: DelaySeconds (SendMessage, API reference)
_GONE = "gone"
# In which counter a worker is, by its phase; None: it stays where it was. All others are busy.
_COUNTED = {"booting": "booting", "idle": "idle", "stopping": "", _GONE: "", "claiming": None, "leaving": None}
_HEARD: dict[type, str] = {
    events.Ready: "event",
    events.Notice: "event",
    events.Rebalance: "event",
    events.Lost: "event",
    events.AttemptEnded: "report",
    events.Woken: "wake",
    events.StopOrdered: "told",
    events.MoveOrdered: "told",
    events.TimerFired: "timer",
    events.JobClaimed: "claim_hit",
    events.NothingToClaim: "claim_empty",
}
_ORDERED: dict[type, str] = {
    orders.Start: "start",
    orders.Complete: "complete",
    orders.Fail: "fail",
    orders.Release: "release",
    orders.Checkpoint: "order",
    orders.Stop: "stop",
    orders.RollOver: "roll_over",
    orders.GiveUp: "dead_letter",
    orders.Launch: "launch",
    orders.Route: "route",
}


def operations_of(lines: Iterable[Line], policy: Policy) -> dict[str, int]:
    """The operations that the lines tell of; renewals and ticks, of which nobody writes, are not among them."""
    meter = _Meter(policy)
    for line in lines:
        meter.hear(line)
    return meter.close()


class _Meter:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._counts: Counter[str] = Counter()
        self._workers: dict[str, tuple[Worker, str]] = {}  # the record, and the counter that it is in
        self._hinted: set[str] = set()  # idle workers that have had a hint
        self._fleet = Fleet()

    def hear(self, line: Line) -> None:
        counts = self._counts
        if line.fact == "worker":
            counts["worker_start"] += 1
        for command in line.commands:
            if type(command) in _ORDERED:
                counts[_ORDERED[type(command)]] += 1
        match line.role:
            case "worker":
                self._worker(line)
            case "fleet":
                self._of_fleet(line)
                counts["fleet_order"] += len(line.commands)
                counts["launched"] += isinstance(line.event, events.LaunchSucceeded)
                counts["interruption"] += isinstance(line.event, events.InterruptionSeen)
            case "job":
                self._job(line)

    def _of_fleet(self, line: Line) -> None:
        before = self._fleet
        self._fleet, _ = FLEET.step(before, line.event, self._policy)
        self._counts["fleet"] += bool(line.commands) or self._fleet != before

    def _job(self, line: Line) -> None:
        counts = self._counts
        counts["requeue"] += isinstance(line.event, events.LeaseExpired) and bool(line.commands)
        counts["job_timer_fires"] += isinstance(line.event, events.TimerFired) and bool(line.commands)
        for command in line.commands:
            if isinstance(command, orders.Delay | orders.SetTimer):
                counts["job_timer"] += max(1, -(-command.after_ms // LONGEST_DELAY_MS))

    def _worker(self, line: Line) -> None:
        counts, event = self._counts, line.event
        counts[_HEARD[type(event)]] += 1
        counts["hear"] += 1
        counts["perform"] += bool(line.commands)
        state, counted = self._workers.get(line.subject, (Worker(Badge(line.subject, "", "")), "booting"))
        after = self._stepped(state, event)
        counts["gone"] += after.phase == _GONE != state.phase
        new = _COUNTED.get(after.phase, "busy")
        if isinstance(event, events.Woken):
            self._hinted.add(line.subject)
        if new is not None and new != counted:
            self._recount(line.subject, counted, new)
            counted = new
        elif after.phase == _GONE != state.phase:
            counts["recount"] += 1  # the pool's instance time
        elif new == "idle" and line.subject in self._hinted and not isinstance(event, events.Woken):
            counts["recount_idle"] += 1  # it has looked in vain, and may have another hint
            self._hinted.discard(line.subject)
        self._workers[line.subject] = (after, counted)

    def _recount(self, worker: str, old: str, new: str) -> None:
        self._counts["recount"] += 1
        self._counts["recount_class"] += new != "" or old != "busy"
        self._counts["recount_idle"] += new == "idle" or (old == "idle" and worker not in self._hinted)
        self._hinted.discard(worker)

    def _stepped(self, state: Worker, event: Any) -> Worker:
        """The record after the event; one that a whole journal would not have here changes nothing."""
        try:
            after, _ = MACHINE.step(state, event, self._policy)
        except UnknownTransition:
            return state
        return after

    def close(self) -> dict[str, int]:
        """Each event for a worker is one Deliver and one Step, a timer a Step alone; a Step after which the execution
        goes on is followed by a Park."""
        counts = dict(self._counts)
        delivered = sum(counts.get(name, 0) for name in ("report", "event", "wake"))
        others = sum(counts.get(name, 0) for name in ("told", "timer", "worker_start", "roll_over"))
        ended = counts.get(_GONE, 0) + counts.get("roll_over", 0)
        counts.update(deliver=delivered, step=delivered + others, park=delivered + others - ended, ended=ended)
        return {name: count for name, count in counts.items() if count}
