"""Which quotas of the services held a policy back, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spotbed.build import Blueprint
from spotbed.comparison import Finished
from spotbed.report.words import count, number, plural

if TYPE_CHECKING:
    from spotbed.services_preset import ServicesPreset

_REFUSED = "instances were refused and asked for again"
_MEANS = {  # limit: what became of what it held back
    "ec2.run_instances": _REFUSED,
    "ec2.vcpu_quota": _REFUSED,
    "stepfunctions.history_limit": "executions ended at their last event",
}
_WAITED = "calls waited in line"
_TRANSITIONS_A_POLL = 3  # of legacy-2019: wait, check, choice


def limits_told(made: Blueprint, finished: Finished, labels: Sequence[str]) -> list[str]:
    """A line for each limit that bit a policy, with its size and how often it bit, the mean over worlds."""
    return [line for label in labels for line in (*_bitten(made, finished, label), *_polling(made, finished, label))]


def _bitten(made: Blueprint, finished: Finished, label: str) -> Iterator[str]:
    results = finished.results[label]
    preset = made.preset_of(made.composed[label])
    for name in dict.fromkeys(name for result in results for name in result.limits):
        mean = sum(result.limits.get(name, 0) for result in results) / len(results)
        what = _MEANS.get(name, _WAITED)
        yield f"{label}: held back by {name}{_size(preset, name)}: {count(mean)} {what}, per world"


def _size(preset: ServicesPreset, name: str) -> str:
    """The quota in brackets, as far as the services have it under this name."""
    known = preset.settings
    if f"{name}.bucket" in known:
        return f" ({number(preset.value(f'{name}.bucket'))} at once, then {number(preset.value(f'{name}.refill'))}/s)"
    return f" ({number(preset.value(name))})" if name in known else ""


def _polling(made: Blueprint, finished: Finished, label: str) -> Iterator[str]:
    """Whether the polls of the 2019 scheduler ask for more transitions than the quota refills, which is reported and
    not simulated: its polls would come later, and its waits be longer than shown."""
    preset = made.preset_of(made.composed[label])
    name = "stepfunctions.transition.refill"
    if made.composed[label].architecture != "legacy-2019" or name not in preset.settings:
        return
    peak = _most_at_once(finished, label)
    asked = peak * _TRANSITIONS_A_POLL / (preset.value("legacy.poll") + preset.value("legacy.hop.median"))
    if asked > preset.value(name):
        yield (
            f"{label}: at their peak {plural(peak, 'worker')} that poll ask for {number(round(asked))} transitions a "
            f"second, and {name} is {number(preset.value(name))}/s: on AWS the polls would come later than simulated"
        )


def _most_at_once(finished: Finished, label: str) -> int:
    """The most instances of the first world that ran at once."""
    workers = finished.runs[label].workers
    begun, ended = workers["launched_s"].dropna().to_numpy(), workers["ended_s"].dropna().to_numpy()
    times = np.concatenate([begun, ended])
    changes = np.concatenate([np.ones(len(begun)), -np.ones(len(ended))])
    return int(changes[np.lexsort((changes, times))].cumsum().max(initial=0))
