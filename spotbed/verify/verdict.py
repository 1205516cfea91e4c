"""The verdict on a run: each metric and each line of the bill beside its replay and the prediction."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler.settings import Settings
from spotbed.ledger import Bill
from spotbed.metric_names import METRICS
from spotbed.services_preset import ServicesPreset
from spotbed.verify.latencies import measured, tail_s
from spotbed.verify.limits import Limit, Limits, Scale, load_limits
from spotbed.verify.replay import Deployed, Measured, Run, measure, replay

_PER_JOB = {
    "miss_rate": "deadline_missed",
    "failed_rate": "jobs_failed",
    "attempts": "attempts",
    "interruptions": "interruptions",
}
_COST_PER_JOB = "cost_usd_per_1000_jobs"
_EXACT = 1e-9
_S = 1000.0


@dataclass(frozen=True)
class Row:
    """One number of the run beside the same number of the replay. `error` is relative; None where that has no sense."""

    what: str  # "metric" or "bill"
    name: str
    unit: str
    live: float
    replayed: float
    error: float | None
    limit: float
    passed: bool
    why: str


@dataclass(frozen=True)
class Held:
    """One number of the run beside what was predicted. `binding`: the run fails if it lies outside."""

    name: str
    live: float
    low: float
    high: float
    inside: bool
    binding: bool


@dataclass(frozen=True)
class Check:
    """Something in which a journal must agree with itself."""

    check: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """All of it. `passed` is what the exit code says."""

    rows: Sequence[Row]
    held: Sequence[Held]
    checks: Sequence[Check]
    live: Measured
    replayed: Measured
    notes: Sequence[str] = field(default=())

    @property
    def passed(self) -> bool:
        held = all(each.inside for each in self.held if each.binding)
        return held and all(row.passed for row in self.rows) and all(check.passed for check in self.checks)


def verdict(
    run: Run,
    deployed: Deployed,
    prediction: Mapping[str, Any] | None = None,
    *,
    services: ServicesPreset | None = None,
    binding: bool = True,
) -> Verdict:
    """Price and measure a run, play it again with these services (else the scenario's), and hold it to the limits, and
    to the prediction of its plan (`binding`: a run outside fails; else it is only said)."""
    limits = load_limits()
    live, played = measure(run, deployed), replay(run, deployed, services)
    scale = Scale(
        deployed.policy.settings.tick_ms / _S,
        len(run.seen.instances),
        max(live.bill.total_usd, played.bill.total_usd),
        tail_s(services or deployed.preset),
    )
    rows = [*_metric_rows(live, played, limits, scale), *_bill_rows(live.bill, played.bill, limits.bill, scale)]
    held = () if prediction is None else tuple(_held(live, prediction, binding=binding))
    return Verdict(rows, held, checks_of(run, deployed.policy.settings, limits), live, played, tuple(_notes(run)))


def _notes(run: Run) -> Iterator[str]:
    if run.left_out:
        yield f"{run.left_out} jobs were cancelled before they ran, and are left out."


# against the replay -------------------------------------------------------------------------------------------------
def _metric_rows(live: Measured, played: Measured, limits: Limits, scale: Scale) -> Iterator[Row]:
    for metric in METRICS:
        limit, values = limits.metrics[metric.name], (live.metrics[metric.name], played.metrics[metric.name])
        yield _row("metric", metric.name, metric.unit, *values, limit, scale)


def _bill_rows(live: Bill, played: Bill, limit: Limit, scale: Scale) -> Iterator[Row]:
    """Lines of both bills, in USD."""
    ours, theirs = ({(line.item, line.cause): line.usd for line in bill.lines} for bill in (live, played))
    for item, cause in dict.fromkeys([*ours, *theirs]):
        values = ours.get((item, cause), 0.0), theirs.get((item, cause), 0.0)
        yield _row("bill", f"{item} {cause}", "USD", *values, limit, scale)


def _row(what: str, name: str, unit: str, live: float, played: float, limit: Limit, scale: Scale) -> Row:
    if math.isnan(live) and math.isnan(played):  # no job ended well in either
        return Row(what, name, unit, live, played, None, 0.0, True, limit.why)
    allowed = limit.allowance(played, scale)
    passed = abs(live - played) <= allowed + _EXACT * max(1.0, abs(played))
    error = 0.0 if live == played else (live - played) / played if played else None
    return Row(what, name, unit, live, played, error, allowed, passed, limit.why)


# against the prediction ---------------------------------------------------------------------------------------------
def _held(run: Measured, prediction: Mapping[str, Any], *, binding: bool) -> Iterator[Held]:
    """A run of as many jobs as were predicted is held to all metrics and lines of the bill, any other to what comes per
    job."""
    live, submitted = run.metrics, prediction["metrics"]["jobs_submitted"]
    if submitted["low"] is not None and submitted["low"] <= live["jobs_submitted"] <= submitted["high"]:
        for name, value in live.items():
            yield from _one(name, value, prediction["metrics"][name], binding=binding)
        usd = {(line.item, line.cause): line.usd for line in run.bill.lines}
        for line in prediction["bill"]:
            key = (line["item"], line["cause"])
            yield from _one(" ".join(key), usd.get(key, 0.0), line["usd"], binding=binding)
    for name, value in _per_job(live).items():
        shown = f"{name} per job" if name in _PER_JOB else name
        yield from _one(shown, value, prediction["per_job"][name], binding=binding)


def _per_job(live: Mapping[str, float]) -> dict[str, float]:
    done, submitted = live["jobs_done"], live["jobs_submitted"]
    found = {name: live[metric] / submitted for name, metric in _PER_JOB.items()} if submitted else {}
    return {_COST_PER_JOB: live["cost_usd"] / done * 1000, **found} if done else found


def _one(name: str, value: float, estimate: Mapping[str, Any], *, binding: bool) -> Iterator[Held]:
    """Nothing where nothing was predicted. The worlds' spread includes its ends, to the last bits of a float."""
    low, high = estimate["low"], estimate["high"]
    if low is None or math.isnan(value):
        return
    slack = _EXACT * max(1.0, abs(low), abs(high))
    yield Held(name, value, low, high, low - slack <= value <= high + slack, binding)


# a journal and itself -----------------------------------------------------------------------------------------------
def checks_of(run: Run, settings: Settings, limits: Limits) -> list[Check]:
    """Whether the journal contradicts itself: jobs that nobody submitted, a clock that its timers did not keep."""
    problems = run.seen.problems
    whole = Check("the journal is whole", not problems, "; ".join(problems[:3]) or "each thing once, and in order")
    timers = [(after_ms / _S, took_ms / _S) for after_ms, took_ms in run.seen.timers]
    ticks = [(settings.tick_ms / _S, period_s) for period_s in measured(run.seen, settings.tick_ms)["tick"]]
    return [
        whole,
        *_seen(run, limits.jobs),
        *_kept("timers", timers, limits.timers),
        *_kept("ticks", ticks, limits.ticks),
    ]


def _seen(run: Run, limit: Limit) -> Iterator[Check]:
    """The fleet's counters are of another hand than the jobs' own lines: jobs that are missing here were seen there."""
    looks = run.seen.looks
    if looks:
        wrong = sum(abs(seen - known) > limit.allowance(seen, Scale(0.0, 0, 0.0)) for seen, known in looks)
        seen, known = max(looks)
        detail = f"at {len(looks) - wrong} of {len(looks)} ticks; at most {seen} jobs at a time, {known} by the journal"
        yield Check("the fleet saw these jobs", wrong * 2 <= len(looks), detail)


def _kept(name: str, waits: Sequence[tuple[float, float]], limit: Limit) -> Iterator[Check]:
    """So long is a second of this journal: (wanted, taken) seconds of each wait."""
    if waits:
        wanted_s = statistics.median(wanted for wanted, _ in waits)
        late_s = statistics.median(taken - wanted for wanted, taken in waits)
        allowed_s = limit.allowance(wanted_s, Scale(0.0, 0, 0.0))
        detail = f"{len(waits)} {name} of {wanted_s:g} s, {late_s:+.2f} s in the middle (at most {allowed_s:.2f} s)"
        yield Check(f"{name} kept their time", abs(late_s) <= allowed_s, detail)
