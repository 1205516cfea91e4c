"""The services as a run had them: what took how long, how that differs from the preset, and a preset that says so.

A journal tells how long chains of calls took, not single calls. The calls of a chain that no earlier chain has settled
are scaled together, so that their sum is what was measured.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from spotbed.services_preset import ServicesPreset
from spotbed.verify.observed import NEVER, Seen
from spotbed.verify.replay import Deployed, Run

# What is measured -> the paths of the services data that follow one another in it; in this order they are settled.
CHAINS: Mapping[str, tuple[str, ...]] = {
    "report": ("event", "step", "complete"),
    "start": ("claim", "start"),
    "worker_start": ("worker_start", "step"),
    "wake": ("submit", "step"),
    "launch": ("launch",),
}
_BOOT, _TICK = "boot", "tick"
_WHAT = {
    "report": "from the end of an attempt until its job has heard",
    "start": "from the claim (or the end before it) until the wrapper runs",
    "worker_start": "from the registered agent to its first claim",
    "wake": "from a job that waits to the claim of an idle worker",
    "launch": "from the request to a running instance",
    _BOOT: "from running to a registered agent",
    _TICK: "between two looks of the fleet",
}
_FEWEST_FOR_A_TAIL = 5  # samples; below, the tail of the preset is kept, which is another machine's
_WIDEST = 50.0  # p95 over median
_NEAR_TICKS = 8  # over more of them a period that drifts could be one more or less
_S = 1000.0


@dataclass(frozen=True)
class Latency:
    """One thing that was measured, beside what the preset has for it. Seconds."""

    what: str
    n: int
    median_s: float
    p95_s: float
    preset_s: float
    ratio: float | None
    means: str


@dataclass(frozen=True)
class Fitted:
    """The measurements, and the values of the preset that follow from them, by key."""

    rows: Sequence[Latency]
    values: Mapping[str, float]
    base: ServicesPreset

    @property
    def preset(self) -> ServicesPreset:
        """The preset with these values."""
        return self.base.with_overrides(self.values)

    def document(self, today: dt.date | None = None) -> str:
        """A file that a scenario can name: services: {preset: FILE}."""
        date = (today or dt.datetime.now(dt.UTC).date()).isoformat()
        samples = ", ".join(f"{row.what} {row.n}" for row in self.rows)
        content = {
            "name": "as-measured",
            "based_on": self.base.name,
            "source": {"text": f"spotbed verify, from the journal of a deployed run ({samples} samples)", "date": date},
            "values": {key: float(f"{value:.6g}") for key, value in sorted(self.values.items())},
        }
        return "# Services as a deployed run had them; `spotbed verify --write` made this file.\n" + yaml.safe_dump(
            content, sort_keys=False, width=120
        )


def recalibrated(run: Run, deployed: Deployed) -> Fitted:
    """The services of this run."""
    base = deployed.preset
    samples = {name: values for name, values in measured(run.seen, deployed.policy.settings.tick_ms).items() if values}
    values: dict[str, float] = {}
    for chain, paths in CHAINS.items():
        if chain in samples:
            _settle(_calls(base, paths), samples[chain], base, values)
    if _BOOT in samples:
        for key in {"ec2.boot_windows" if pool.os == "windows" else "ec2.boot" for pool in run.pools}:
            _settle([key], samples[_BOOT], base, values)
    settings = deployed.policy.settings
    values |= {
        "tick": statistics.median(samples[_TICK]) if _TICK in samples else settings.tick_ms / _S,
        "lease": settings.lease_ms / _S,
        "keep_alive": settings.keep_alive_ms / _S,
        "boot_timeout": settings.boot_timeout_ms / _S,
        "lambda.cold_start.probability": 0.0,  # cold starts are in what was measured
        "dynamodb.count_staleness": 0.0,  # the fleet reads its counters consistently, at the time that its tick has
    }
    return Fitted([_row(name, seconds, base) for name, seconds in samples.items()], values, base)


def tail_s(preset: ServicesPreset) -> float:
    """By how much a slow start of a worker and of an attempt (p95) exceed usual ones (median)."""
    calls = [call for chain in ("worker_start", "start") for call in _calls(preset, CHAINS[chain])]
    return sum(preset.latency(call).p95_s - preset.latency(call).median_s for call in calls)


def measured(seen: Seen, tick_ms: int) -> dict[str, list[float]]:
    """What took how long, in seconds, by name."""
    found = {
        name: [max(0, ms) / _S for ms in seen.delays.get(name, ())] for name in ("report", "start", "worker_start")
    }
    found["wake"] = [max(0, ms) / _S for ms in seen.delays.get("wake", ())]
    instances = seen.instances.values()
    found["launch"] = [(each.launched_ms - each.requested_ms) / _S for each in instances]
    found[_BOOT] = [(each.ready_ms - each.launched_ms) / _S for each in instances if each.ready_ms != NEVER]
    found[_TICK] = list(_periods(seen.ticks, tick_ms))
    return found


def _periods(ticks: Sequence[int], tick_ms: int) -> list[float]:
    """Of ticks of which only some are known: the time between two, over how many it must have been."""
    found = []
    for before, after in itertools.pairwise(ticks):
        count = round((after - before) / tick_ms)
        if 1 <= count <= _NEAR_TICKS:
            found.append((after - before) / count / _S)
    return found


def _calls(preset: ServicesPreset, paths: Sequence[str]) -> list[str]:
    return [call for path in paths for call in preset.paths["decoupled"][path]]


def _settle(calls: Sequence[str], samples: Sequence[float], base: ServicesPreset, values: dict[str, float]) -> None:
    """Give those calls that have no value yet, together, what is left of the measured median."""
    open_calls = [call for call in calls if f"{call}.median" not in values]
    settled_s = sum(values[f"{call}.median"] for call in calls if f"{call}.median" in values)
    usual_s = sum(base.latency(call).median_s for call in open_calls)
    left_s = max(0.0, statistics.median(samples) - settled_s)
    for call in dict.fromkeys(open_calls):
        usual = base.latency(call)
        share = usual.median_s / usual_s if usual_s else 1.0 / len(open_calls)
        values[f"{call}.median"] = left_s * share
        values[f"{call}.p95"] = left_s * share * _tail(samples, usual.p95_s / usual.median_s if usual.median_s else 1.0)


def _tail(samples: Sequence[float], usual: float) -> float:
    """The 95th percentile over the median."""
    median = statistics.median(samples)
    if len(samples) < _FEWEST_FOR_A_TAIL or not median:
        return usual
    return min(_WIDEST, max(1.0, _p95(samples) / median))


def _p95(samples: Sequence[float]) -> float:
    return sorted(samples)[math.ceil(0.95 * len(samples)) - 1]


def _row(name: str, seconds: Sequence[float], base: ServicesPreset) -> Latency:
    calls = _calls(base, CHAINS[name]) if name in CHAINS else []
    usual_s = sum(base.latency(call).median_s for call in calls)
    if name == _BOOT:
        usual_s = base.latency("ec2.boot").median_s
    elif name == _TICK:
        usual_s = base.value("tick")
    median = statistics.median(seconds)
    return Latency(
        name, len(seconds), median, _p95(seconds), usual_s, median / usual_s if usual_s else None, _WHAT[name]
    )
