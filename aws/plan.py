"""A plan: one file that says exactly what would be deployed, on the strength of which comparison, and what it will be
held to. `make_plan` makes it, `read_plan` refuses one that has expired, was altered, or no longer fits the code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from aws.change_set import Change, changes
from aws.evidence import Check, Record, checks_of, read_record
from aws.idle import IdleCost, idle_cost
from aws.package import Package, PackagedFile, build_package, stack_files, user_module
from aws.policy_json import policy_document
from aws.prediction import Prediction, predict
from aws.refusals import refuse_undeployable
from aws.render import MIXED, group_name
from aws.target import Target, load_target, misfits
from scheduler.policy import Policy
from spotbed.build import Blueprint
from spotbed.errors import InputError, OutsideError, Problem
from spotbed.files import write_text
from spotbed.policies.compose import Composed
from spotbed.policies.load import source_of
from spotbed.provenance import relative, scheduler_sha256
from spotbed.quantities import format_timestamp, parse_timestamp
from spotbed.scenario.load import load_scenario
from spotbed.scenario.models_base import Reading, Section, Several
from spotbed.scenario.problems import suggestion
from spotbed.scenario.schema import schema_of
from spotbed.sources import source_file

SCHEMA = "spotbed/plan/v1"
EXPIRES_AFTER = timedelta(days=7)
NO_STACK = "local"  # without a target there is no account: only a local fleet can take the plan
AWS_FAILED, GATE_FAILED = 4, 3  # exit codes
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_AGAIN = "make the plan again: spotbed plan."


class FileHash(Section):
    """A file that is deployed."""

    path: str
    sha256: Sha256


class PlannedPackage(Section):
    """The zip of the functions; the same inputs give the same bytes."""

    sha256: Sha256
    bytes: int
    files: Several[FileHash]


class PlannedPool(Section):
    """A pool of the scenario; sizes are those of a slot. `group` is its Auto Scaling group."""

    id: str
    instance_type: str
    az: str
    purchase: Literal["spot", "on-demand"]
    max: int
    vcpus: float
    memory_gib: float
    gpus: int
    on_demand_usd_per_hour: float
    group: str
    os: Literal["linux", "windows"]
    arch: str

    def spec(self) -> dict[str, Any]:
        """What the functions are told of it: the fields of aws.control.PoolSpec."""
        return self.model_dump(exclude={"arch"})


class Hashes(Section):
    """Of all that was compared, and that is deployed."""

    scheduler: Sha256
    policy: Sha256
    scenario: Sha256
    price_book: Sha256
    catalogue: Sha256
    services: Sha256
    results: Sha256 = Field(description="of results.json of the record")


class Evidence(Section):
    """One thing that held when the plan was made."""

    check: str
    passed: bool
    value: str | float | None
    limit: str | float | None
    detail: str


class Plan(Section):
    """What would be deployed, and what it is held to."""

    schema_: Literal["spotbed/plan/v1"] = Field(alias="schema", description="the version of this format")
    schema_version: Literal[1]
    sha256: Sha256 = Field(description="of all other keys, as canonical JSON")
    created_at: str
    expires_at: str
    label: str = Field(description="of the policy, in the scenario")
    scenario: str
    scenario_file: str
    overrides: Several[str] = Field(description="what had been changed in the scenario by --set and its like")
    record: str = Field(description="the folder of the comparison")
    baseline: str
    hashes: Hashes
    region: str
    target: dict[str, Any] | None = Field(description="the account's inputs; null: for a local fleet only")
    pools: Several[PlannedPool]
    policy: dict[str, Any] = Field(description="its classes, parameters and settings, as the functions read them")
    policy_sources: dict[str, str] = Field(description="the user's own files, by their path in the package")
    package: PlannedPackage
    stack_files: Several[FileHash] = Field(description="templates, documents and programs beside the package")
    change_set: Several[Change]
    idle: IdleCost
    delegated: str = Field(
        description="the strategy by which AWS chooses the pool of each instance; empty: our code does"
    )
    prediction: Prediction
    evidence: Several[Evidence]

    @property
    def account(self) -> Target | None:
        """The account's inputs as a target; None for a local fleet."""
        return None if self.target is None else Target.model_validate(self.target, context=Reading())

    def document(self) -> dict[str, Any]:
        """As it is written."""
        found: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return found

    def text(self) -> str:
        """As it stands in a file."""
        return json.dumps(self.document(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def own_sha256(self) -> str:
        """What `sha256` must be."""
        return _sha256(self.document())


@dataclass(frozen=True, slots=True)
class Planned:
    """What was looked at, and the plan; None if something did not hold."""

    checks: Sequence[Check]
    plan: Plan | None
    notes: Sequence[str] = ()


def plan_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a plan."""
    return schema_of(Plan, "spotbed plan")


# making -------------------------------------------------------------------------------------------------------------
def make_plan(file: Path, label: str, record_folder: Path, target_file: Path | None, now: datetime) -> Planned:
    """The plan for a policy of a scenario, from the record of a comparison; `now` is aware.

    Raises InputError for bad input: no record, a policy that cannot be deployed, a target that does not fit.
    """
    record = read_record(record_folder)
    made = _blueprint(file, record)
    composed = _composed(made, label)
    record.policy(label)
    refuse_undeployable(made, composed)
    pools = _pools(made, NO_STACK, composed)
    target = None if target_file is None else load_target(target_file)
    if target is not None and target_file is not None:
        problems = misfits(target, made.scenario.capacity.region, pools, str(target_file))
        if problems:
            raise InputError(problems)
        pools = _pools(made, target.stack, composed)
    checks = checks_of(record, label, made, composed)
    if not all(check.passed for check in checks):
        return Planned(checks, None)
    return Planned(checks, _plan(made, composed, record, target, pools, checks, now), _notes(made, composed, target))


def _notes(made: Blueprint, composed: Composed, target: Target | None) -> list[str]:
    """What a user should know who deploys this here."""
    gangs = [klass.name for klass in made.world(0, composed)[0].work.classes if klass.gang > 1]
    if not gangs or target is None or target.network.peers:
        return []
    names = ", ".join(dict.fromkeys(gangs))
    return [
        f"Members of a gang ({names}) do not reach each other: `network: {{peers: true}}` in TARGET.yaml lets them."
    ]


def _blueprint(file: Path, record: Record) -> Blueprint:
    from spotbed.api import ready

    return ready(load_scenario(file, record.overrides), worlds=1)


def _composed(made: Blueprint, label: str) -> Composed:
    if label not in made.composed:
        hint = suggestion(label, list(made.composed))
        raise InputError(Problem(f"{label!r} is not the label of a policy.", value=label, hint=hint))
    return made.composed[label]


def _plan(
    made: Blueprint,
    composed: Composed,
    record: Record,
    target: Target | None,
    pools: Sequence[Mapping[str, Any]],
    checks: Sequence[Check],
    now: datetime,
) -> Plan:
    policy, sources = _policy(made, composed)
    planned = tuple(PlannedPool(**pool) for pool in pools)
    package = build_package(policy, specs_of(planned), sources)
    beside = stack_files()
    zones = len({pool.az for pool in planned})
    delegated = _delegated(composed)
    change_set = [] if target is None else changes(target, pools, policy, delegated)
    moment = now.replace(microsecond=0)
    content = {
        "schema": SCHEMA,
        "schema_version": 1,
        "created_at": format_timestamp(moment),
        "expires_at": format_timestamp(moment + EXPIRES_AFTER),
        "label": composed.label,
        "scenario": made.scenario.name,
        "scenario_file": relative(made.scenario.source_path or Path()),
        "overrides": record.overrides,
        "record": relative(record.folder),
        "baseline": record.baseline,
        "hashes": _hashes(made, composed, record).model_dump(),
        "region": made.scenario.capacity.region,
        "target": None if target is None else target.model_dump(mode="json", by_alias=True, exclude_none=True),
        "pools": [pool.model_dump() for pool in planned],
        "policy": policy,
        "policy_sources": sources,
        "package": _manifest(package).model_dump(mode="json"),
        "stack_files": [_hashed(file).model_dump() for file in beside],
        "change_set": [change.model_dump() for change in change_set],
        "idle": idle_cost(made.book, made.preset_of(composed), zones).model_dump(mode="json"),
        "delegated": delegated,
        "prediction": predict(record, composed.label).model_dump(mode="json"),
        "evidence": [dataclasses.asdict(check) for check in checks],
    }
    plan = _validated({**content, "sha256": "0" * 64})
    return plan.model_copy(update={"sha256": plan.own_sha256()})


def _hashes(made: Blueprint, composed: Composed, record: Record) -> Hashes:
    return Hashes(
        scheduler=scheduler_sha256(),
        policy=composed.sha256,
        scenario=made.scenario.sha256,
        price_book=made.book.sha256,
        catalogue=made.catalogue.sha256,
        services=made.preset.sha256,
        results=hashlib.sha256((record.folder / "results.json").read_bytes()).hexdigest(),
    )


def _pools(made: Blueprint, stack: str, composed: Composed) -> list[dict[str, Any]]:
    """The pools that are deployed: all, or where the choice among them is AWS's those that it is among."""
    delegated = bool(_delegated(composed))
    slots = made.scenario.capacity.slots_per_instance
    return [
        {
            "id": pool.id,
            "instance_type": pool.instance_type,
            "az": pool.az,
            "purchase": pool.purchase,
            "max": pool.max,
            "vcpus": pool.vcpus / slots,
            "memory_gib": pool.memory_gib / slots,
            "gpus": pool.gpus // slots,
            "on_demand_usd_per_hour": pool.on_demand_usd_per_hour,
            "group": group_name(stack, pool.id, delegated=delegated),
            "os": pool.os,
            "arch": made.catalogue.find(pool.instance_type).arch,
        }
        for pool in made.pools
        if not delegated or pool.purchase == composed.parts["place"].purchase
    ]


def _policy(made: Blueprint, composed: Composed) -> tuple[dict[str, Any], dict[str, str]]:
    """The policy as JSON, and the user's files that it needs by their path in the package."""
    sources: dict[str, str] = {}

    def module_of(kind: type) -> str:
        if kind.__module__.startswith("scheduler."):
            return kind.__module__
        source = source_of(kind)
        module, path = user_module(str(source_file(kind)), source)
        sources[path] = source.decode()
        return module

    settings = made.settings(made.preset_of(composed))
    policy = Policy(**composed.parts, settings=settings, architecture=composed.architecture)
    return policy_document(policy, composed.label, module_of), sources


def _delegated(composed: Composed) -> str:
    """The allocation strategy to which `place` leaves the choice of pools; it says so by `delegates`."""
    return str(getattr(composed.parts["place"], "delegates", ""))


def specs_of(pools: Sequence[PlannedPool]) -> list[dict[str, Any]]:
    """The pools as the functions know them. Pools that share a group are one: AWS chooses among them, and what the
    group's instances have in common is what a job may count on."""
    groups: dict[str, list[PlannedPool]] = {}
    for pool in pools:
        groups.setdefault(pool.group, []).append(pool)
    return [members[0].spec() if len(members) == 1 else _common(members) for members in groups.values()]


def _common(members: Sequence[PlannedPool]) -> dict[str, Any]:
    cheapest = min(members, key=lambda pool: (pool.on_demand_usd_per_hour, pool.id))
    least = {name: min(getattr(pool, name) for pool in members) for name in ("vcpus", "memory_gib", "gpus")}
    return {**cheapest.spec(), **least, "id": MIXED, "max": sum(pool.max for pool in members)}


# writing and reading ------------------------------------------------------------------------------------------------
def write_plan(plan: Plan, path: Path) -> None:
    """Write the plan. Raises InputError rather than replace a file that is no plan."""
    if path.exists() and not _is_plan(path):
        raise InputError(
            Problem("is there, and is no plan: not replaced.", str(path), hint="Give another one with -o.")
        )
    write_text(path, plan.text())


def _is_plan(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and str(found.get("schema", "")).startswith("spotbed/plan/")


def read_plan(path: Path, now: datetime) -> Plan:
    """The plan in a file, fit to be applied. Raises InputError for a file that is no plan or was altered, and
    OutsideError for one that has expired (exit code 4) or that the code here no longer fits (3)."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(Problem(f"cannot be read ({error.strerror}).", str(path))) from None
    except ValueError as error:
        raise InputError(Problem(f"is no plan: {error}.", str(path), hint="`spotbed plan` writes one.")) from None
    plan = _checked(content, path)
    if now >= parse_timestamp(plan.expires_at):
        what = f"{path} expired at {plan.expires_at}: a plan is good for {EXPIRES_AFTER.days} days."
        raise OutsideError(what, "the plan, unchanged; nothing was deployed", _AGAIN, exit_code=AWS_FAILED)
    package_of(plan)
    return plan


def _checked(content: Any, path: Path) -> Plan:
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(
            Problem(f"is no plan of this version ({SCHEMA}).", str(path), hint="`spotbed plan` writes one.")
        )
    if content.get("sha256") != _sha256(content):
        message = "was altered after it was made: its hash is not that of its content."
        raise InputError(Problem(message, str(path), hint=f"Nobody may edit a plan: {_AGAIN}"))
    try:
        return _validated(content)
    except ValidationError as error:
        raise InputError(Problem(f"is not as `spotbed plan` writes it: {error}.", str(path))) from None


def package_of(plan: Plan) -> Package:
    """The package that the plan describes, made again. Raises OutsideError if the code here is another by now."""
    package = build_package(plan.policy, specs_of(plan.pools), plan.policy_sources)
    planned = {file.path: file.sha256 for file in (*plan.package.files, *plan.stack_files)}
    here = {file.path: file.sha256 for file in (*package.files, *stack_files())}
    if planned == here and package.sha256 == plan.package.sha256:
        return package
    changed = sorted(path for path in planned.keys() | here.keys() if planned.get(path) != here.get(path))
    what = f"The code here is not what was planned: {', '.join(changed[:5])}{' and more' * (len(changed) > 5)}."
    how = f"take the code of the plan again, or compare and {_AGAIN}"
    raise OutsideError(what, "the plan, unchanged; nothing was deployed", how, exit_code=GATE_FAILED)


def _validated(content: Mapping[str, Any]) -> Plan:
    return Plan.model_validate(dict(content))


def _manifest(package: Package) -> PlannedPackage:
    files = tuple(_hashed(file) for file in package.files)
    return PlannedPackage(sha256=package.sha256, bytes=len(package.content), files=files)


def _hashed(file: PackagedFile) -> FileHash:
    return FileHash(path=file.path, sha256=file.sha256)


def _sha256(content: Mapping[str, Any]) -> str:
    """Over canonical JSON of everything but the hash itself."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
