"""What applying a plan would make: the resources of its stacks as they are rendered, counted where SAM does not hide
them (the role of a function, its alias and the rules of its events are made by SAM)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws.render import Code, Limits, Template, resources_stack, scheduler_stack
from aws.target import Target
from spotbed.errors import InputError, Problem
from spotbed.scenario.models_base import Section


class Change(Section):
    """A resource that would be made."""

    stack: str
    resource: str
    type: str


Pools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Rendered:
    """A stack as it is deployed; `team` is "" for the scheduler's."""

    name: str
    team: str
    template: Template


def rendered(
    target: Target,
    pools: Pools,
    policy: Mapping[str, Any],
    delegated: str = "",
    *,
    code: Code | None = None,
    limits: Limits | None = None,
    gradual: bool = True,
) -> list[Rendered]:
    """The scheduler's stack, then each team's. The first team's holds the groups of the pools.

    `pools`, `policy` and `delegated` are as in a plan. Without `gradual` versions and aliases are left out, which
    emulators do not know. Raises InputError for what does not fit in.
    """
    plain = target.model_dump(by_alias=True, exclude_none=True)
    code, limits = code or Code(), limits or Limits()
    scheduler = scheduler_stack(plain, code=code, limits=limits, local=not gradual)
    found = [Rendered(target.stack, "", scheduler)]
    lease_ms = int(policy["settings"]["lease_ms"])
    for number, team in enumerate(plain["teams"]):
        mine = () if number else pools
        template = resources_stack(plain, mine, team, delegated=delegated, lease_ms=lease_ms, code=code)
        found.append(Rendered(team_stack(target.stack, team["name"]), team["name"], template))
    _refuse_twice(found)
    return found


def team_stack(stack: str, team: str) -> str:
    """The name of a team's stack: CloudFormation takes letters, digits and dashes."""
    return f"{stack}-{re.sub('[^A-Za-z0-9]+', '-', team).strip('-')}"


def _refuse_twice(stacks: Sequence[Rendered]) -> None:
    teams: dict[str, str] = {}
    for each in stacks:
        other = teams.setdefault(each.name, each.team)
        if other != each.team:
            message = f"the teams {other!r} and {each.team!r} would have one stack, {each.name}."
            raise InputError(Problem(message, path="teams", hint="Give one another name."))


def changes(target: Target, pools: Pools, policy: Mapping[str, Any], delegated: str = "") -> list[Change]:
    """Every resource that would be made."""
    stacks = rendered(target, pools, policy, delegated)
    return [change for each in stacks for change in _made(each.name, each.template)]


def _made(stack: str, template: Mapping[str, Any]) -> Iterator[Change]:
    for name, body in template["Resources"].items():
        if "Condition" not in body or _holds(template, template["Conditions"][body["Condition"]]):
            yield Change(stack=stack, resource=name, type=body["Type"])


def _holds(template: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Whether a condition holds with the parameters' defaults, which are what a rendered template is deployed with."""
    ((function, given),) = condition.items()
    if function == "Fn::Not":
        return not _holds(template, given[0])
    assert function == "Fn::Equals", function
    one, other = (template["Parameters"][each["Ref"]]["Default"] if isinstance(each, dict) else each for each in given)
    return bool(one == other)
