"""A plan without its comparison, for the tests of what applies it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from aws.change_set import changes
from aws.package import build_package, stack_files
from aws.plan import EXPIRES_AFTER, NO_STACK, SCHEMA, Plan, PlannedPool
from aws.policy_json import policy_document
from aws.prediction import estimate
from aws.target import Target
from scheduler.policies.move import Stay
from scheduler.policies.order import Fifo
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import OnNotice
from scheduler.policies.retry import Immediate
from scheduler.policies.scale import BacklogAndBusy
from scheduler.policy import Policy
from spotbed.metric_names import METRIC_NAMES
from spotbed.quantities import format_timestamp
from spotbed.scenario.models_base import Reading

TARGET: dict[str, Any] = {
    "schema": "spotbed/target/v1",
    "stack": "eda",
    "region": "us-east-1",
    "network": {"out": "endpoints"},
    "images": {"x86_64": "ami-0123456789abcdef0"},
    "teams": [{"name": "cpu", "bucket": "eda-cpu-jobs"}, {"name": "gpu_team", "bucket": "eda-gpu-jobs"}],
    "spend_cap": "500 USD",
    "tags": {"cost-center": "eda"},
    "alarms": {"email": "ops@example.com"},
}
_POLICY = Policy(Fifo(), LowestPrice(), BacklogAndBusy(), Immediate(), OnNotice(), Stay())
_NONE = "0" * 64


def planned(target: dict[str, Any] | None = TARGET, *, pools: int = 1, age: timedelta = timedelta()) -> Plan:
    """A plan that fits the code here. `pools` are of c6i.xlarge, at most six instances each."""
    return _planned(json.dumps(target), pools, age)


@cache
def _planned(text: str, pools: int, age: timedelta) -> Plan:
    target = json.loads(text)
    made = None if target is None else Target.model_validate(target, context=Reading())
    stack = NO_STACK if made is None else made.stack
    policy = policy_document(_POLICY, "spot-only")
    described = [_pool(stack, f"c6i-1{letter}") for letter in "abc"[:pools]]
    package = build_package(policy, [PlannedPool(**pool).spec() for pool in described], {})
    moment = datetime.now(UTC).replace(microsecond=0) - age
    content = {
        "schema": SCHEMA,
        "schema_version": 1,
        "sha256": _NONE,
        "created_at": format_timestamp(moment),
        "expires_at": format_timestamp(moment + EXPIRES_AFTER),
        "label": "spot-only",
        "scenario": "made.up",
        "scenario_file": "made-up.yaml",
        "overrides": (),
        "record": "reports/made-up",
        "baseline": "on-demand",
        "hashes": dict.fromkeys(
            ("scheduler", "policy", "scenario", "price_book", "catalogue", "services", "results"), _NONE
        ),
        "region": "us-east-1",
        "target": None if made is None else made.model_dump(mode="json", by_alias=True, exclude_none=True),
        "pools": described,
        "policy": policy,
        "policy_sources": {},
        "package": {
            "sha256": package.sha256,
            "bytes": len(package.content),
            "files": [{"path": file.path, "sha256": file.sha256} for file in package.files],
        },
        "stack_files": [{"path": file.path, "sha256": file.sha256} for file in stack_files()],
        "change_set": [] if made is None else [each.model_dump() for each in changes(made, described, policy)],
        "idle": {"usd_per_month": {"nat": 0.0, "endpoints": 0.0}, "common": (), "nat": (), "endpoints": ()},
        "delegated": "",
        "prediction": _prediction(),
        "evidence": (),
    }
    plan = Plan.model_validate(content)
    return plan.model_copy(update={"sha256": plan.own_sha256()})


def _pool(stack: str, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "instance_type": "c6i.xlarge",
        "az": f"us-east-{name[-2:]}",
        "purchase": "spot",
        "max": 6,
        "vcpus": 4.0,
        "memory_gib": 8.0,
        "gpus": 0,
        "on_demand_usd_per_hour": 0.17,
        "group": f"{stack}-{name}",
        "os": "linux",
        "arch": "x86_64",
    }


def _prediction() -> dict[str, Any]:
    worlds = {
        **{name: [0.0, 0.0] for name in METRIC_NAMES},
        "makespan_s": [3_000.0, 3_600.0],
        "jobs_failed": [10.0, 20.0],
    }
    per_job = {"cost_usd_per_1000_jobs": [40.0, 50.0]}
    return {
        "worlds": 2,
        "metrics": {name: estimate(values).model_dump() for name, values in worlds.items()},
        "bill": (),
        "per_job": {name: estimate(values).model_dump() for name, values in per_job.items()},
    }
