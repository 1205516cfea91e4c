"""A target and pools for the tests of the templates, and how to look into a rendered one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from aws.render import Template, resources_stack, scheduler_stack

TEAMS = (
    {"name": "cpu-team", "bucket": "eda-jobs-cpu", "prefix": "in/", "suffix": "job.sh"},
    {"name": "gpu-team", "bucket": "eda-jobs-gpu", "prefix": "", "suffix": ".run"},
)
TARGET: dict[str, Any] = {
    "stack": "eda-prod",
    "region": "us-east-1",
    "network": {"out": "nat"},
    "images": {"x86_64": "ami-0123456789abcdef0", "arm64": "ami-0123456789abcdef1", "windows": "ami-0123456789abcdef2"},
    "teams": TEAMS,
    "instances": {
        "root_gib": 20,
        "mounts": [{"kind": "efs", "id": "fs-0123456789abcdef0", "at": "/efs", "share": None}],
        "instance_store": "/scratch",
        "user_data": "echo 'it is $HOME'\n",
        "profile": {"policies": ["arn:aws:iam::123456789012:policy/licences"], "boundary": None},
    },
    "spend_cap": 500.0,
    "tags": {"cost-center": "eda"},
    "alarms": {"email": "ops@example.com"},
    "retention": {"logs": 30 * 86_400.0},
}
OWN_NETWORK: dict[str, Any] = {
    "vpc": "vpc-0123456789abcdef0",
    "subnets": {"us-east-1a": "subnet-0123456789abcdef0", "us-east-1b": "subnet-0123456789abcdef1"},
    "out": "endpoints",
}


def pool(name: str, kind: str, az: str, purchase: str, arch: str = "x86_64", os: str = "linux") -> dict[str, Any]:
    """A pool as in a plan."""
    size = {"vcpus": 4.0, "memory_gib": 8.0, "gpus": 0, "on_demand_usd_per_hour": 0.17}
    place = {"id": name, "instance_type": kind, "az": az, "purchase": purchase, "group": f"eda-prod-{name}"}
    return {**place, **size, "max": 6, "arch": arch, "os": os}


POOLS = (
    pool("c6i-1a", "c6i.xlarge", "us-east-1a", "spot"),
    pool("c6i.1b", "c6i.xlarge", "us-east-1b", "spot"),
    pool("c7g_1b", "c7g.xlarge", "us-east-1b", "spot", arch="arm64"),
    pool("od", "c6i.xlarge", "us-east-1a", "on-demand"),
    pool("win", "m5.xlarge", "us-east-1a", "on-demand", os="windows"),
)


@cache
def rendered(kind: str) -> Template:
    """One of the stacks; do not change it."""
    match kind:
        case "scheduler":
            return scheduler_stack(TARGET)
        case "local":
            return scheduler_stack(TARGET, local=True)
        case "resources":
            return resources_stack(TARGET, POOLS, TEAMS[0])
        case "endpoints":
            return resources_stack({**TARGET, "network": {"out": "endpoints"}}, POOLS, TEAMS[0])
        case "own network":
            return resources_stack({**TARGET, "network": OWN_NETWORK}, POOLS, TEAMS[0])
        case "delegated":
            return resources_stack(TARGET, POOLS, TEAMS[0], delegated="price-capacity-optimized")
        case "bucket":
            return resources_stack(TARGET, (), TEAMS[1])
    raise KeyError(kind)


KINDS = ("scheduler", "local", "resources", "endpoints", "own network", "delegated", "bucket")


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Properties by logical name."""
    return {name: body.get("Properties", {}) for name, body in template["Resources"].items() if body["Type"] == kind}


def statements(template: Template) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(resource, statement) of every policy, trust and resource policies included."""
    for name, body in template["Resources"].items():
        for statement in _statements(body.get("Properties", {})):
            yield name, statement


def _statements(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        if "Effect" in value and "Action" in value:
            yield value
        else:
            for each in value.values():
                yield from _statements(each)
    elif isinstance(value, list):
        for each in value:
            yield from _statements(each)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
