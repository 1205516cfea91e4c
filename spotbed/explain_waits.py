"""Why a job waited before each of its attempts: what the journal and the tables say of that time.

Reasons are looked for in this order: dependencies, a retry's delay, a policy that holds the job back, launches that
failed, a spent budget, a head node; and then where the worker was that took the job in the end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spotbed.report.words import duration, listed, plural

if TYPE_CHECKING:
    from spotbed.explain import Reader

_SOON_S = 0.0005  # times of the tables are whole milliseconds


@dataclass(frozen=True, slots=True)
class Wait:
    """From the submission, or the end of an attempt, to the next attempt or the end of the run."""

    from_s: float
    to_s: float
    because: list[str]

    @property
    def length_s(self) -> float:
        return self.to_s - self.from_s


def waits_of(
    read: Reader, job: dict[str, Any], attempts: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]
) -> list[Wait]:
    """The wait before each attempt; and one more if the job was left waiting."""
    troubles = read.journal("kind IN ('LaunchFailed', 'BudgetReached', 'HeadFailed')")
    named = json.dumps(job["job_id"], ensure_ascii=False)
    dispatches = read.journal("kind = 'Dispatch' AND contains(fields, ?)", f'"job":{named}')
    waits, from_s = [], float(job["submitted_s"])
    for attempt in attempts:
        why = Why(read, job, entries, troubles, dispatches, from_s, attempt["start_s"])
        waits.append(Wait(from_s, attempt["start_s"], [*why.held_back(), *why.worker(attempt)]))
        from_s = float(attempt["end_s"])
    if job["status"] in ("unfinished", "lost") and (not attempts or attempts[-1]["cause"] != "done"):
        end_s = max((entry["at_s"] for entry in read.journal("true ORDER BY at_ms DESC LIMIT 1")), default=from_s)
        why = Why(read, job, entries, troubles, dispatches, from_s, end_s)
        waits.append(Wait(from_s, end_s, list(why.held_back())))
    return waits


@dataclass(frozen=True, slots=True)
class Why:
    """One wait and all that may explain it."""

    read: Reader
    job: dict[str, Any]
    entries: Sequence[dict[str, Any]]
    troubles: Sequence[dict[str, Any]]
    dispatches: Sequence[dict[str, Any]]
    from_s: float
    to_s: float

    def _within(self, entry: dict[str, Any]) -> bool:
        return bool(self.from_s - _SOON_S <= entry["at_s"] <= self.to_s)

    @property
    def _queued_s(self) -> float:
        """When the job could first be taken: dependencies met, delay over."""
        return float(next((entry["at_s"] for entry in self._of_kind("Queue")), self.from_s))

    def _while_queued(self, entry: dict[str, Any]) -> bool:
        return bool(self._queued_s - _SOON_S <= entry["at_s"] <= self.to_s)

    def _of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["kind"] in kinds and self._within(entry)]

    def held_back(self) -> Iterator[str]:
        """What kept the job from being taken at all."""
        met = self._of_kind("DependencyMet")
        if met:
            yield f"the jobs that it depends on had ended after {self._after(met[-1]['at_s'])}"
        for delay in self._of_kind("Delay"):
            yield f"the retry was delayed by {duration(delay['fields']['after_ms'] / 1000)}"
        yield from self._routes()
        yield from self._failed_launches()
        if any(entry["kind"] == "BudgetReached" and entry["at_s"] <= self.to_s for entry in self.troubles):
            yield "the budget was spent: nothing was launched any more"
        if any(entry["kind"] == "HeadFailed" and self._while_queued(entry) for entry in self.troubles):
            yield "the head node was down"
        for order in self.dispatches:
            if self._within(order):
                yield f"the head node dispatched it after {self._after(order['at_s'])}"

    def _after(self, at_s: float) -> str:
        return duration(max(0.0, at_s - self.from_s))

    def _routes(self) -> Iterator[str]:
        """On which purchase option the job might run, where that changed."""
        purchase = ""
        for entry in self.entries:
            if entry["kind"] not in ("Queue", "Routed") or entry["at_s"] > self.to_s:
                continue
            wanted = entry["fields"]["purchase"]
            if purchase and wanted != purchase and self._within(entry):
                held = "the policy let it wait for Spot" if wanted == "none" else f"it was sent to {wanted}"
                yield f"after {self._after(entry['at_s'])} {held}"
            purchase = wanted

    def _failed_launches(self) -> Iterator[str]:
        failed: dict[tuple[str, str], int] = {}
        for entry in self.troubles:
            if entry["kind"] == "LaunchFailed" and self._while_queued(entry):
                key = (entry["fields"]["pool"], entry["fields"]["reason"])
                failed[key] = failed.get(key, 0) + entry["fields"]["count"]
        if failed:
            launches = plural(sum(failed.values()), "launch", "launches")
            counts = [f"{count:,} " if len(failed) > 1 else "" for count in failed.values()]
            where = [f"{count}in {pool} ({reason})" for count, (pool, reason) in zip(counts, failed, strict=True)]
            yield f"{launches} failed{':' if len(failed) > 1 else ''} {listed(where)}"

    def worker(self, attempt: dict[str, Any]) -> Iterator[str]:
        """Where the worker was that took the job; of a gang's workers, the one that came last."""
        name = self._last_of(attempt["worker"].split(", "))
        rows = self.read.rows("workers", "worker = ?", name.split(".")[0])
        requested_s, ready_s = (
            float(rows[0][key] or "nan") if rows else math.nan for key in ("requested_s", "ready_s")
        )
        ready = "" if math.isnan(ready_s) else f" and was ready {self._after(ready_s)} into the wait"
        if requested_s >= self._queued_s - _SOON_S:
            yield f"no worker was free: {name} was requested after {self._after(requested_s)}{ready}"
        elif ready_s > self._queued_s:
            yield f"{name} had been requested {duration(self._queued_s - requested_s)} before{ready}"
        busy = list(self._busy(name))
        yield from busy
        if not busy and ready_s <= self._queued_s:
            yield f"{name} was idle"
        yield from self._taken(attempt)

    def _last_of(self, names: list[str]) -> str:
        """The worker that was ready last, or free last of those that ran something while the job waited."""
        if len(names) == 1:
            return names[0]
        free_s: dict[str, float] = {}
        for name in names:
            rows = self.read.rows("workers", "worker = ?", name.split(".")[0])
            ends = self.read.rows("attempts", "worker = ? AND CAST(end_s AS DOUBLE) <= ?", name, self.to_s)
            times = [float(row["ready_s"] or 0.0) for row in rows] + [float(row["end_s"]) for row in ends]
            free_s[name] = max(times, default=0.0)
        return max(names, key=lambda name: free_s[name])

    def _busy(self, name: str) -> Iterator[str]:
        """What the worker ran while the job waited, and how many waited already."""
        ended = "worker = ? AND CAST(end_s AS DOUBLE) >= ? AND CAST(end_s AS DOUBLE) <= ? AND job_id <> ?"
        job, queued_s = self.job["job_id"], self._queued_s
        others = self.read.rows("attempts", ended, name, queued_s - _SOON_S, self.to_s, job)
        if not others:
            return
        last = max(others, key=lambda row: float(row["end_s"]))
        yield f"{name} was busy: it ran {last['job_id']} until {self._after(float(last['end_s']))} into the wait"
        waiting = "CAST(submission_time AS DOUBLE) < ? AND CAST(starting_time AS DOUBLE) > ? AND job_id <> ?"
        ahead = self.read.rows("jobs", waiting, float(self.job["submitted_s"]), queued_s, job)
        if ahead:
            yield f"{plural(len(ahead), 'job')} that came before waited too"

    def _taken(self, attempt: dict[str, Any]) -> Iterator[str]:
        claims = self._of_kind("Claimed")
        if claims and attempt["start_s"] - claims[-1]["at_s"] > _SOON_S:
            yield f"its start took {duration(attempt['start_s'] - claims[-1]['at_s'])} after it was claimed"
