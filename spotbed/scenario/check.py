"""What a scenario must be beyond its form: names that exist, references that lead somewhere, jobs that fit.

Single names are looked up while the form is read (`lookups`), so that all of a file's errors are told at once. The
checks across sections run on the sections that are sound: a broken pool hides no mistake among the gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spotbed.errors import InputError, Problem
from spotbed.scenario import check_policies, check_work, check_world
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_base import Lookup, Reading
from spotbed.scenario.problems import is_error
from spotbed.scenario.tell import Teller
from spotbed.scenario.yaml_positions import Document, Keys

Check = Callable[[Scenario, Teller], None]

# the sections that a check reads, and the check
CHECKS: tuple[tuple[tuple[str, ...], Check], ...] = (
    (("workload", "horizon"), check_work.check_end),
    (("workload",), check_work.check_names),
    (("workload",), check_work.check_dependencies),
    (("workload",), check_work.check_deadlines),
    (("workload", "capacity"), check_work.check_fit),
    (("capacity",), check_world.check_pools),
    (("capacity", "market"), check_world.check_prices),
    (("capacity", "market"), check_world.check_references),
    (("costs",), check_world.check_costs),
    (("services",), check_world.check_services),
    (("policies",), check_policies.check_labels),
    (("policies", "baseline"), check_policies.check_baseline),
    (("policies", "gates"), check_policies.check_gates),
    (("policies",), check_policies.check_policies),
    (("policies", "capacity"), check_policies.check_cluster),
    (("policies", "capacity", "workload"), check_policies.check_purchase),
)

_STUBS: Mapping[str, Any] = {
    "workload": {"source": "synthetic", "jobs": 1, "classes": [{"runtime": "1h"}]},
    "capacity": {"cluster": {"slots": 1}},
    "policies": ["stub"],
}


def lookups() -> dict[str, Lookup]:
    """What knows the names in a scenario, by kind."""
    return {
        "instance_type": _refused_by(check_world.find_type),
        "az": _refused_by(check_world.find_zone),
        "region": _refused_by(check_world.find_region),
        "rule": check_policies.rule_complaint,
    }


def _refused_by(find: Callable[[str], object]) -> Lookup:
    @cache
    def complaint(name: str) -> tuple[str, str] | None:
        try:
            find(name)
        except InputError as error:
            problem = error.problems[0]
            return problem.message.removesuffix("."), problem.hint or ""
        return None

    return complaint


def check_data(
    document: Document, scenario: Scenario | None, problems: Iterable[Problem], base_dir: Path
) -> list[Problem]:
    """Problems across the sections of what was read. `scenario` is None if its form has errors: `problems`."""
    bad = {(problem.path or "").split(".")[0] for problem in problems if is_error(problem)}
    if scenario is None:
        scenario = _sound_part(document, bad, base_dir)
    teller = Teller(document)
    if scenario is None:
        return []
    scenario.attach(base_dir / Path(document.file).name, document, ())
    for sections, check in CHECKS:
        if bad.isdisjoint(sections):
            check(scenario, teller)
    check_paths(scenario, teller)
    if not bad:
        check_sweep(scenario, teller)
        check_search(scenario, teller)
    return teller.problems


def _sound_part(document: Document, bad: set[str], base_dir: Path) -> Scenario | None:
    """The scenario with its bad sections left out, or replaced where one is required."""
    data = {key: value for key, value in document.data.items() if key not in bad}
    try:
        return Scenario.model_validate({**_STUBS, **data}, context=Reading(base_dir))
    except ValidationError:
        return None


def check_paths(scenario: Scenario, teller: Teller) -> None:
    """Every file that the sound sections name exists."""
    for keys, path in scenario.placed_paths():
        try:
            path.locate()
        except InputError as error:
            teller.pass_on(error, keys)


def check_sweep(scenario: Scenario, teller: Teller) -> None:
    """Every key that is swept can be set, and to every value."""
    for key, values in scenario.sweep.items():
        _check_tried(scenario, teller, [], key, values, ("sweep", key))


def check_search(scenario: Scenario, teller: Teller) -> None:
    """The policy and the metrics exist, and every parameter can be set, and to every value."""
    from spotbed.metric_names import METRIC_BY_NAME
    from spotbed.scenario.problems import suggestion
    from spotbed.scenario.search_keys import path_of

    search = scenario.search
    if search is None:
        return
    good = [name for name, metric in METRIC_BY_NAME.items() if metric.lower_is_better is not None]
    for number, name in enumerate(search.objectives):
        if name not in good:
            hint = suggestion(name, good)
            teller.error(f"{name!r} is no metric that is good or bad.", ("search", "objectives", number), hint)
    labels = [policy.label for policy in scenario.policies]
    if search.policy not in labels:
        message = f"{search.policy!r} is not the label of a policy."
        teller.error(message, ("search", "policy"), suggestion(search.policy, labels))
        return
    for key, values in search.space.items():
        first, path = path_of(teller.document.data["policies"], search.policy, key)
        _check_tried(scenario, teller, first, path, values, ("search", "space", key))


def _check_tried(scenario: Scenario, teller: Teller, first: Sequence[str], key: str, values: Any, where: Keys) -> None:
    """The key at the dotted path `key` can be set to each of the values, once the overrides `first` are applied."""
    from spotbed.scenario.models_search import tried
    from spotbed.scenario.overrides import apply_overrides, changed_data
    from spotbed.scenario.translate import Translator

    data = apply_overrides(teller.document, first).data
    for place, value in tried(values):
        try:
            changed, path = changed_data(data, key.split("."), value)
        except InputError as error:
            teller.error(error.problems[0].message, where, error.problems[0].hint)
            return
        reading = Reading(scenario.base_dir, lookups())
        try:
            Scenario.model_validate(changed, context=reading)
        except ValidationError as error:
            swept = Document(teller.document.file, teller.document.root, changed, [], [(path, key)])
            problem = Translator(swept, reading).problems(error)[0]
            teller.error(f"{problem.path}: {problem.message}", (*where, place), problem.hint)
