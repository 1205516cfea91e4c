"""Who is cheapest, said only as far as the intervals carry it, and only among policies that did comparable work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spotbed.report.data import ComparisonData
from spotbed.report.estimates import Difference, difference, estimate, policies

ENOUGH_WORK = 0.995  # of the jobs that the most diligent policy got done: below it, a bill pays for less work


@dataclass(slots=True)
class Standing:
    """Who is cheapest of those that did the whole work, who cannot be told apart from it, and who did less."""

    best: str | None
    tied: list[str] = field(default_factory=list)
    less_work: list[str] = field(default_factory=list)
    undefined: list[str] = field(default_factory=list)  # without a mean cost
    next_best: str | None = None
    others: list[str] = field(default_factory=list)  # all that the best was compared with, the cheapest first


def standing(data: ComparisonData) -> Standing:
    """Rank the policies of a comparison by mean cost, fairly."""
    cost = {str(policy["label"]): estimate(policy, "cost_usd").mean for policy in policies(data.results)}
    undefined = [label for label, mean in cost.items() if mean is None]
    less = [label for label in cost if label not in undefined and did_less(data.results, label)]
    ranked = sorted((mean, label) for label, mean in cost.items() if mean is not None and label not in less)
    if not ranked:
        return Standing(None, less_work=less, undefined=undefined)
    best, others = ranked[0][1], [label for _, label in ranked[1:]]
    tied = [label for label in others if _not_told_apart(difference(data.worlds, best, label, "cost_usd", others))]
    apart = [label for label in others if label not in tied]
    return Standing(best, tied, less, undefined, apart[0] if apart else None, others)


def _not_told_apart(found: Difference | None) -> bool:
    return found is None or found.answer != "lower"


def is_billed(results: Mapping[str, Any]) -> bool:
    """Whether anything costs: on a fixed cluster nothing does, and policies are compared by time alone."""
    return any(estimate(policy, "cost_usd").mean != 0 for policy in policies(results))


def did_less(results: Mapping[str, Any], label: str) -> bool:
    """Whether a policy lost jobs, or got clearly fewer done than the most diligent one."""
    own = {str(policy["label"]): policy for policy in policies(results)}
    done = {name: estimate(policy, "jobs_done").mean or 0.0 for name, policy in own.items()}
    if (estimate(own[label], "jobs_lost").mean or 0.0) > 0:
        return True
    most = max(done.values())
    return most == 0 or done[label] < ENOUGH_WORK * most


def policy_of(data: ComparisonData, label: str) -> Mapping[str, Any]:
    """The results of one policy."""
    return next(policy for policy in policies(data.results) if str(policy.get("label")) == label)
