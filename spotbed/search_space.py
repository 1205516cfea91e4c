"""What a search tries, as overrides of the scenario; and whether what it may try can be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spotbed.design import override
from spotbed.errors import InputError, Problem
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_search import Range, Search
from spotbed.scenario.search_keys import path_of


def overrides_of(scenario: Scenario, search: Search, values: Mapping[str, Any], given: Sequence[str] = ()) -> list[str]:
    """What --set would be given for these parameters, after what it was `given`."""
    policies, own = _policies(scenario), list[str]()
    for key, value in values.items():
        first, path = path_of(policies, search.policy, key)
        own += [text for text in first if text not in own]
        own.append(override(path, value))
    # what writes a name as a mapping comes before what is set in it
    return [*given, *sorted(own, key=lambda text: text.partition("=")[0].count("."))]


def check_space(scenario: Scenario, search: Search, file: Path, given: Sequence[str] = ()) -> None:
    """Raise InputError unless a policy can be made of both ends of every parameter."""
    from spotbed.api import ready
    from spotbed.scenario.load import load_scenario

    for place in (0, -1):
        ends = {key: [*_ends(values)][place] for key, values in search.space.items()}
        try:
            ready(load_scenario(file, overrides_of(scenario, search, ends, given)))
        except InputError as error:
            raise InputError([_in_the_space(scenario, search, problem) for problem in error.problems]) from error


def _ends(values: Any) -> Sequence[Any]:
    return (values.from_, values.to) if isinstance(values, Range) else values


def _in_the_space(scenario: Scenario, search: Search, problem: Problem) -> Problem:
    """A problem with an override that nobody has written, told of the parameter that it is made of."""
    for key in search.space:
        _, path = path_of(_policies(scenario), search.policy, key)
        if scenario.positions and (problem.path == path or (problem.path or "").startswith(f"{path}.")):
            keys = ("search", "space", key)
            return scenario.positions.problem(problem.message, keys, hint=problem.hint, value=problem.value)
    return problem


def _policies(scenario: Scenario) -> Sequence[Any]:
    policies: Sequence[Any] = scenario.positions.data["policies"] if scenario.positions else []
    return policies
