"""What applying a plan would make: the resources of its stacks as they are rendered, counted where SAM does not hide
them (the role of a function, its alias and the rules of its events are made by SAM)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aws.render import resources_stack, scheduler_stack
from aws.target import Target
from spotbed.scenario.models_base import Section

_NOT_MADE = {"nat": "UseEndpoints", "endpoints": "UseNat"}  # way out -> the condition that does not hold


class Change(Section):
    """A resource that would be made."""

    stack: str
    resource: str
    type: str


Pools = Sequence[Mapping[str, Any]]


def changes(target: Target, pools: Pools, specs: Pools, policy: Mapping[str, Any]) -> list[Change]:
    """Every resource of the scheduler's stack and of each team's. The first team's holds the groups of the pools.

    `pools` are as in a plan, `specs` the same as the functions read them. Raises InputError for what does not fit in.
    """
    plain = target.model_dump(by_alias=True, exclude_none=True)
    found = list(_made(target.stack, scheduler_stack(plain), target.network.out))
    for number, team in enumerate(plain["teams"]):
        stack = resources_stack(plain, () if number else pools, team)
        found += _made(f"{target.stack}-{team['name']}", stack, target.network.out)
    return found


def _made(stack: str, template: Mapping[str, Any], out: str) -> Iterator[Change]:
    for name, body in template["Resources"].items():
        if body.get("Condition") != _NOT_MADE[out]:
            yield Change(stack=stack, resource=name, type=body["Type"])
