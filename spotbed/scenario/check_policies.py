"""Checks of policies, baseline and gates."""

from __future__ import annotations

from spotbed.scenario.check_work import Pools, tell_duplicates, traits_of
from spotbed.scenario.models import Scenario
from spotbed.scenario.problems import shown, suggestion
from spotbed.scenario.tell import Teller


def rule_complaint(rule: str) -> tuple[str, str] | None:
    """What is wrong with a gate's rule."""
    from spotbed.gates import parse_rule

    try:
        parse_rule(rule)
    except ValueError as error:
        message, _, hint = str(error).partition(". ")
        return message.removesuffix("."), hint
    return None


def check_labels(scenario: Scenario, teller: Teller) -> None:
    """Policies are called differently."""
    labels = [policy.label for policy in scenario.policies]
    tell_duplicates(labels, teller, ("policies",), "label")


def check_references(scenario: Scenario, teller: Teller) -> None:
    """Baseline and gates name policies that are there."""
    labels = [policy.label for policy in scenario.policies]
    if scenario.baseline not in labels:
        message = f"{shown(scenario.baseline)} is not the label of a policy."
        teller.error(message, ("baseline",), suggestion(scenario.baseline, labels))
    for number, gate in enumerate(scenario.gates):
        for position, label in enumerate(gate.for_):
            if label not in labels:
                keys = ("gates", number, "for", position)
                teller.error(f"{shown(label)} is not the label of a policy.", keys, suggestion(label, labels))


def check_policies(scenario: Scenario, teller: Teller) -> None:
    """Every policy, part and parameter exists."""


def check_purchase(scenario: Scenario, teller: Teller) -> None:
    """A policy that buys one way only finds a pool of that kind for every job."""
    pools = Pools(scenario.capacity)
    for number, policy in enumerate(scenario.policies):
        purchase = _ONLY.get(policy.use or "") if policy.place is None else None
        if purchase is None or scenario.capacity.cluster is not None:
            continue
        for _, name, traits in traits_of(scenario):
            if pools.that_fit(traits) and not pools.that_fit(traits, purchase):
                message = f"{name} fits no {purchase} pool, and {shown(policy.label)} uses no other."
                teller.error(message, ("policies", number), f"Add a pool with `purchase: {purchase}`.")


_ONLY = {
    "on-demand-only": "on-demand",
    "spot-only": "spot",
    "spot-diversified": "spot",
    "legacy-2019": "spot",
}
