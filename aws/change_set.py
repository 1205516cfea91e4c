"""What applying a plan would make, read from the templates: the scheduler once, and the resources for each team."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from pydantic import Field

from aws.package import PackagedFile
from aws.target import Target
from spotbed.scenario.models_base import Section

SCHEDULER, RESOURCES = "aws/templates/scheduler.yaml", "aws/templates/resources.yaml"
_OTHERWISE = {"nat": "UseEndpoints", "endpoints": "UseNat"}  # the condition of what is not made
_DELEGATING = ("Mixed",)  # the group of pools that AWS chooses among; no policy of ours delegates
_IN_ANY_NETWORK = ("AWS::EC2::LaunchTemplate", "AWS::EC2::SecurityGroup")


class Change(Section):
    """A resource of a template that would be made, `count` times."""

    stack: str
    resource: str
    type: str
    count: int = Field(ge=1)


def changes(files: Sequence[PackagedFile], target: Target, pools: int, zones: int) -> list[Change]:
    """The resources of the templates among `files` for a target with so many pools and zones; none for a template that
    is not there.

    SAM makes more of some of them: the role of a function, its alias, the rules of its events.
    """
    content = {file.path: file.content for file in files}
    images = sum(image is not None for _, image in target.images)
    copies = {"Machine": images, "Pool": pools, "Subnet": zones, "SubnetRoutes": zones}
    copies |= dict.fromkeys(_DELEGATING, 0)
    if target.network.vpc is not None:
        copies |= dict.fromkeys(_network(content.get(RESOURCES, b"{}")), 0)
    stacks = [(target.stack, SCHEDULER), *((f"{target.stack}-{team.name}", RESOURCES) for team in target.teams)]
    return [
        Change(stack=name, resource=each.name, type=each.type, count=copies.get(each.name, 1))
        for name, path in stacks
        for each in resources(content.get(path, b"{}"))
        if each.condition != _OTHERWISE[target.network.out] and copies.get(each.name, 1)
    ]


class Resource(NamedTuple):
    """A resource of a template; `condition` is empty where it is made in any case."""

    name: str
    type: str
    condition: str
    body: Mapping[str, Any]


def resources(template: bytes) -> list[Resource]:
    """The resources of a template, in its order."""
    found = yaml.load(template, Loader=_Loader)  # noqa: S506 a safe loader that knows CloudFormation's tags
    return [
        Resource(str(name), str(body["Type"]), str(body.get("Condition", "")), body)
        for name, body in found.get("Resources", {}).items()
    ]


def _network(template: bytes) -> list[str]:
    """What is made only where the team has no network of its own."""
    found = resources(template)
    return [each.name for each in found if each.type.startswith("AWS::EC2::") and each.type not in _IN_ANY_NETWORK]


class _Loader(yaml.SafeLoader):
    """Reads !Ref and its like as what stands behind them."""


def _behind(loader: yaml.Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _behind)
