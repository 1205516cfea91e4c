"""Checks of policies, baseline and gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spotbed.errors import InputError, Problem
from spotbed.scenario.check_work import Pools, Shape, tell_duplicates, traits_of
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_policies import PolicyEntry
from spotbed.scenario.problems import shown, suggestion
from spotbed.scenario.tell import Teller
from spotbed.scenario.yaml_positions import Keys


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


def check_baseline(scenario: Scenario, teller: Teller) -> None:
    """The baseline is a policy."""
    labels = [policy.label for policy in scenario.policies]
    if scenario.baseline not in labels:
        message = f"{shown(scenario.baseline)} is not the label of a policy."
        teller.error(message, ("baseline",), suggestion(scenario.baseline, labels))


def check_gates(scenario: Scenario, teller: Teller) -> None:
    """The candidates of gates are policies."""
    labels = [policy.label for policy in scenario.policies]
    for number, gate in enumerate(scenario.gates):
        for position, label in enumerate(gate.for_):
            if label not in labels:
                keys = ("gates", number, "for", position)
                teller.error(f"{shown(label)} is not the label of a policy.", keys, suggestion(label, labels))


def check_policies(scenario: Scenario, teller: Teller) -> None:
    """Every policy, part and parameter exists, and has an effect."""
    for number, policy in enumerate(scenario.policies):
        for problem in _problems(scenario, number, policy):
            _tell(problem, number, teller)


def check_cluster(scenario: Scenario, teller: Teller) -> None:
    """On a fixed cluster: policies for one head node, without what has no effect there."""
    if scenario.capacity.cluster is None:
        return
    for number, policy in enumerate(scenario.policies):
        told = _problems(scenario, number, policy)
        for problem in _problems(scenario, number, policy, on_cluster=True):
            if problem not in told:
                _tell(problem, number, teller)


def _problems(scenario: Scenario, number: int, policy: PolicyEntry, *, on_cluster: bool = False) -> list[Problem]:
    from spotbed.policies import compose  # imports the files of users' policies

    try:
        compose(policy, scenario.base_dir, f"policies.{number}", on_cluster=on_cluster)
    except InputError as error:
        return error.problems
    return []


def _tell(problem: Problem, number: int, teller: Teller) -> None:
    """At its place in the scenario; what lies in a policy's own file there, with the place that names the file."""
    keys = _keys(problem.path or f"policies.{number}.use")
    if problem.file is None:
        teller.error(problem.message, keys, problem.hint, of_key=keys[-2:-1] == ("with",) and problem.value == keys[-1])
        return
    named = teller.document.problem("", keys)
    where = ":".join(str(part) for part in (named.file, named.line, named.column) if part is not None)
    hint = f"{problem.hint} " if problem.hint else ""
    teller.problems.append(replace(problem, path=None, hint=f"{hint}It is named at {where}."))


def _keys(path: str) -> Keys:
    """policies.1.with.avoid as the keys that lead there; the name of a parameter may have dots."""
    before, within, name = path.partition(".with.")
    steps: list[str | int] = [int(step) if step.isdecimal() else step for step in before.split(".")]
    return (*steps, *(("with", name) if within else ()))


def check_purchase(scenario: Scenario, teller: Teller) -> None:
    """For every job and every purchase option that a policy may send it to, there is a pool in which it fits."""
    tell_unplaced(scenario, [(name, traits) for _, name, traits in traits_of(scenario)], teller)


def tell_unplaced(scenario: Scenario, jobs: Sequence[tuple[str, Shape]], teller: Teller) -> None:
    """An error at each policy that sends jobs (by name) where there is no pool for them."""
    from spotbed.policies import compose

    if scenario.capacity.cluster is not None:
        return
    pools = Pools(scenario.capacity)
    for number, policy in enumerate(scenario.policies):
        try:
            place = compose(policy, scenario.base_dir).parts["place"]
        except InputError:
            continue  # told by check_policies
        for purchase in _purchases(place):
            names = [name for name, shape in jobs if pools.that_fit(shape) and not pools.that_fit(shape, purchase)]
            if names:
                message = f"{_subject(names)} no {purchase} pool, and {shown(policy.label)} needs one."
                teller.error(message, ("policies", number), f"Add a pool with `purchase: {purchase}`.")


def _subject(names: list[str]) -> str:
    """The subject and the verb of a sentence on what fits somewhere."""
    return f"{names[0]} fits" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more fit"


def _purchases(place: object) -> tuple[str, ...]:
    """The purchase options without which a built-in policy cannot place work; of a user's, nothing is known."""
    from scheduler.policies.place import Diversified, LowestPrice, OnDemandFallback, PriceCapacityOptimized

    if not type(place).__module__.startswith("scheduler."):
        return ()
    match place:
        case LowestPrice() | PriceCapacityOptimized():
            return (place.purchase,) if place.purchase != "any" else ()
        case Diversified():
            return ("spot", "on-demand") if place.on_demand_floor else ("spot",)
        case OnDemandFallback():
            return ("spot", "on-demand")
        case _:
            return ()
