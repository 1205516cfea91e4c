"""A run as a scenario: its jobs as they came or as distributions, its pools, and interruptions if there were enough.

What a scenario has no word for (which attempt failed, when a pool had no room) is told in comments.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from scheduler.events import DONE
from spotbed import metering
from spotbed.errors import InputError, Problem
from spotbed.quantities import format_duration, format_price
from spotbed.scenario.models_base import NAME_PATTERN
from spotbed.verify.observed import NEVER, Seen, SeenAttempt, SeenJob
from spotbed.verify.work import APPLICATION, runtime_ms

Form = Literal["list", "classes"]
MOST_LISTED = 200  # jobs; beyond, distributions are fitted unless a list is asked for
FEWEST_INTERRUPTIONS = 5  # of which a mean time is taken; its relative error is then still 45 %
_LONGEST_NAME = 128  # of a scenario
_FEWEST_RUNTIMES = 5  # for a lognormal
_BASELINE, _SPOT = "on-demand-only", "spot-only"
_S = 1000.0
_Shape = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class FittedScenario:
    """A scenario's keys, and what is to be said of it."""

    document: Mapping[str, Any]
    notes: Sequence[str]

    def to_yaml(self) -> str:
        """The file; what is to be said stands at its head."""
        head = "".join(f"# {note}\n" for note in self.notes)
        return head + yaml.safe_dump(dict(self.document), sort_keys=False, width=120, allow_unicode=True)


def scenario_of(seen: Seen, name: str, form: Form | None = None) -> FittedScenario:
    """The scenario of a run. Raises InputError for one that has no jobs, or no pools that anything tells of."""
    jobs = {job: each for job, each in seen.jobs.items() if _has_run(job, seen)}
    if not jobs:
        raise InputError(Problem("no job of this run has ended.", hint="Wait for one: spotbed status --watch."))
    if not seen.pools:
        raise InputError(Problem("the journal does not tell of any pool: the fleet has ordered nothing."))
    form = form or ("list" if len(jobs) <= MOST_LISTED else "classes")
    attempts = _attempts_of(seen)
    workload = _listed(seen, jobs, attempts) if form == "list" else _classes(seen, jobs, attempts)
    document = {
        "name": name,
        "workload": workload,
        "capacity": {"region": _region(seen), "pools": list(_pools(seen))},
        "market": {"launch": _duration(_launches(seen)), "interruptions": _interruptions(seen)},
        **_services(seen),
        "policies": _policies(seen),
    }
    return FittedScenario(document, tuple(_notes(seen, jobs, form)))


def _has_run(job: str, seen: Seen) -> bool:
    return any(each.job == job and each.started for each in seen.attempts)


def _attempts_of(seen: Seen) -> dict[str, list[SeenAttempt]]:
    found: dict[str, list[SeenAttempt]] = {}
    for attempt in seen.attempts:
        if attempt.started:
            found.setdefault(attempt.job, []).append(attempt)
    return found


# work ---------------------------------------------------------------------------------------------------------------
def _traits(job: SeenJob) -> dict[str, Any]:
    """What a job needs, as a scenario has it; nothing of what is the default."""
    spec, ticket = job.ticket.spec, job.ticket
    deadline_ms = ticket.deadline_ms - ticket.submit_ms if ticket.deadline_ms != NEVER else NEVER
    found: dict[str, Any] = {
        "vcpus": spec.vcpus,
        "memory": f"{spec.memory_gib:g} GiB" if spec.memory_gib else None,
        "gpus": spec.gpus or None,
        "priority": spec.priority or None,
        "tenant": spec.tenant if spec.tenant != "default" else None,
        "retries": spec.retries,
        "checkpointable": spec.checkpointable or None,
        "timeout": _written(spec.timeout_ms) if spec.timeout_ms != NEVER else None,
        "deadline": _written(deadline_ms) if deadline_ms != NEVER else None,
        "late_penalty": format_price(job.late_penalty_usd_per_hour) if job.late_penalty_usd_per_hour else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _written(ms: float) -> str:
    """A time above zero, to the millisecond."""
    return format_duration(max(1, round(ms)) / _S)


def _took_ms(job: SeenJob, attempts: Sequence[SeenAttempt], seen: Seen) -> int:
    """The work of a job; of one that has not ended, what was seen of it."""
    longest_ms = max(each.base_ms + each.end_ms - each.start_ms for each in attempts)
    ended = any(each.cause in (*APPLICATION, DONE) for each in attempts)
    return min(runtime_ms(job, attempts, seen), longest_ms) if ended else longest_ms


def _named(jobs: Iterable[str]) -> dict[str, str]:
    """A name that a scenario takes for each job: its id, where that is one; ID:3 for ID[3] of an array."""
    named: dict[str, str] = {}
    taken: set[str] = set()
    for job in jobs:
        plain = re.sub(r"[^A-Za-z0-9._+@:-]", "-", re.sub(r"\[(\d+)\]$", r":\1", job))
        name = (plain if re.match(NAME_PATTERN, plain) else f"job{plain}")[:_LONGEST_NAME]
        if name in taken:
            name = f"{name[: _LONGEST_NAME - 10]}-{len(named)}"
        taken.add(name)
        named[job] = name
    return named


def _listed(seen: Seen, jobs: Mapping[str, SeenJob], attempts: Mapping[str, Sequence[SeenAttempt]]) -> dict[str, Any]:
    first_ms = min(job.ticket.submit_ms for job in jobs.values())
    listed, named = [], _named(jobs)
    for name, job in sorted(jobs.items(), key=lambda each: each[1].ticket.submit_ms):
        entry = {
            "id": named[name],
            "submit": format_duration((job.ticket.submit_ms - first_ms) / _S),
            "runtime": _written(_took_ms(job, attempts[name], seen)),
            **_traits(job),
        }
        if job.ticket.estimate_ms > 0:
            entry["estimate"] = _written(job.ticket.estimate_ms)
        if after := [named[each] for each in job.after if each in jobs]:
            entry["after"] = after
        listed.append(entry | _failing(job))
    return {"jobs_list": listed}


def _failing(job: SeenJob) -> dict[str, Any]:
    return {"fail_probability": 1.0} if job.status == metering.GAVE_UP else {}


def _classes(seen: Seen, jobs: Mapping[str, SeenJob], attempts: Mapping[str, Sequence[SeenAttempt]]) -> dict[str, Any]:
    groups: dict[str, list[str]] = {}
    for name, job in jobs.items():
        groups.setdefault(json.dumps(_traits(job), sort_keys=True), []).append(name)
    classes = []
    for number, (traits, names) in enumerate(sorted(groups.items(), key=lambda each: -len(each[1])), 1):
        took = [_took_ms(jobs[name], attempts[name], seen) for name in names]
        entry: dict[str, Any] = {"name": f"class-{number}", "share": len(names), "runtime": _duration(took)}
        failed = sum(any(each.cause in APPLICATION for each in attempts[name]) for name in names)
        if failed:
            entry["fail_probability"] = round(failed / sum(len(attempts[name]) for name in names), 4)
        classes.append(entry | json.loads(traits))
    return {"source": "synthetic", "jobs": len(jobs), "arrivals": _arrivals(jobs), "classes": classes}


def _arrivals(jobs: Mapping[str, SeenJob]) -> Any:
    times = sorted(job.ticket.submit_ms for job in jobs.values())
    span_h = (times[-1] - times[0]) / _S / 3600
    return {"dist": "poisson", "rate": f"{(len(times) - 1) / span_h:.6g}/h"} if span_h else "at-once"


def _duration(values_ms: Sequence[float]) -> Any:
    """A duration, or a lognormal where there are enough that differ."""
    if not values_ms:
        return "0s"
    median, p95 = statistics.median(values_ms), sorted(values_ms)[math.ceil(0.95 * len(values_ms)) - 1]
    if len(values_ms) < _FEWEST_RUNTIMES or round(p95) <= round(median) or median < 1:
        return format_duration(round(median) / _S)
    return {"dist": "lognormal", "median": _written(median), "p95": _written(p95)}


# capacity and market ------------------------------------------------------------------------------------------------
def _region(seen: Seen) -> str:
    return next(iter(seen.pools.values())).az.rstrip("abcdefghijklmnopqrstuvwxyz")


def _pools(seen: Seen) -> Iterator[dict[str, Any]]:
    for pool in seen.pools.values():
        boots = [
            each.ready_ms - each.launched_ms
            for each in seen.instances.values()
            if each.pool == pool.id and each.ready_ms != NEVER
        ]
        yield {
            "id": pool.id,
            "instance_type": pool.instance_type,
            "az": pool.az,
            "purchase": pool.purchase,
            "max": pool.max,
            "price": f"{pool.price_usd_per_hour:.6g} USD/h",
            **({"boot": _duration(boots)} if boots else {}),
        }


def _launches(seen: Seen) -> list[int]:
    return [each.launched_ms - each.requested_ms for each in seen.instances.values()]


def _spot(seen: Seen) -> tuple[int, int]:
    """(time of Spot instances in ms, how many of them EC2 took)."""
    spot = [each for each in seen.instances.values() if seen.pools[each.pool].purchase == "spot"]
    return sum(each.ended_ms - each.launched_ms for each in spot), sum(each.taken_ms != NEVER for each in spot)


def _interruptions(seen: Seen) -> dict[str, Any]:
    time_ms, taken = _spot(seen)
    if taken < FEWEST_INTERRUPTIONS:
        return {"source": "none"}
    return {"source": "exponential", "mean": _written(time_ms / taken)}


def _services(seen: Seen) -> dict[str, Any]:
    """The stack's settings, where the journal says them."""
    names = {"lease": "lease_ms", "tick": "tick_ms", "keep_alive": "keep_alive_ms", "boot_timeout": "boot_timeout_ms"}
    found = {key: format_duration(seen.settings[name] / _S) for key, name in names.items() if name in seen.settings}
    return {"services": found} if found else {}


def _policies(seen: Seen) -> list[dict[str, str]]:
    """One that the pools admit; the user knows which policies are to be compared."""
    purchases = {pool.purchase for pool in seen.pools.values()}
    return [{"use": use} for use, purchase in ((_BASELINE, "on-demand"), (_SPOT, "spot")) if purchase in purchases]


def _notes(seen: Seen, jobs: Mapping[str, SeenJob], form: Form) -> Iterator[str]:
    time_ms, taken = _spot(seen)
    yield f"From the journal of a deployed run: {len(jobs)} jobs, {len(seen.instances)} instances."
    if len(jobs) < len(seen.jobs):
        yield f"{len(seen.jobs) - len(jobs)} jobs had not started, and are left out."
    if form == "classes":
        yield "Runtimes and arrivals are fitted: lognormal by median and p95, arrivals without memory."
    enough = "" if taken >= FEWEST_INTERRUPTIONS else f" (fewer than {FEWEST_INTERRUPTIONS}: none is modelled)"
    yield f"EC2 took {taken} instances in {time_ms / _S / 3600:.3g} Spot hours{enough}."
    yield "Put the policies that you want to compare."
