"""TARGET.yaml: the inputs of an account. What a scenario says about the work stands in no target, and the other way
round, so that one target serves many plans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, model_validator

from spotbed.errors import InputError, Problem
from spotbed.scenario.check import lookups
from spotbed.scenario.models_base import Name, Reading, Section, Several, as_written, known, refuse
from spotbed.scenario.problems import is_error
from spotbed.scenario.schema import schema_of
from spotbed.scenario.translate import Translator
from spotbed.scenario.units import Money, Span
from spotbed.scenario.yaml_positions import Document, read_document

SCHEMA = "spotbed/target/v1"
_DAY_S = 86_400
_LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 180, 365)  # AWS::Logs::LogGroup, RetentionInDays; those up to a year
QUANTITIES = ("duration", "money")  # those of the scenario's that a target has
_STARTS = f"A target starts with `schema: {SCHEMA}`; deploy/TARGET.example.yaml is one."


def _like(pattern: str, what: str, example: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Text of the form that AWS gives to such a thing, for the reader and for editors."""
    form = re.compile(pattern)

    def check(value: str) -> str:
        if not form.fullmatch(value):
            raise refuse(f"{value[:80]!r} is no {what}", f"Such as {example}.")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$"})


def _absolute(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/") or not re.fullmatch(r"/[A-Za-z0-9._/-]*", value):
        raise refuse(f"{value[:80]!r} is no absolute path of plain letters", "Such as /work.")
    return value


def _no_way_up(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/") or not re.fullmatch(r"[A-Za-z0-9!_.'()/-]*", value):
        raise refuse(f"{value[:80]!r} is no prefix of keys", "Such as jobs/, without a / in front.")
    return value if not value or value.endswith("/") else f"{value}/"


StackName = Annotated[str, *_like(r"[a-z][a-z0-9-]{1,30}[a-z0-9]", "name of a stack", "spotbed or eda-prod")]
Bucket = Annotated[
    str, *_like(r"(?!xn--)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "name of a bucket", "eda-jobs-111122223333")
]
Account = Annotated[str, *_like(r"[0-9]{12}", "number of an account", '"111122223333", in quotes')]
Vpc = Annotated[str, *_like(r"vpc-[0-9a-f]{8,17}", "id of a VPC", "vpc-0123456789abcdef0")]
Subnet = Annotated[str, *_like(r"subnet-[0-9a-f]{8,17}", "id of a subnet", "subnet-0123456789abcdef0")]
Image = Annotated[
    str,
    *_like(
        r"ami-[0-9a-f]{8,17}|resolve:ssm:/[A-Za-z0-9._/-]+",
        "image",
        "ami-0123456789abcdef0, or resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
    ),
]
FileSystem = Annotated[str, *_like(r"fs-[0-9a-f]{8,17}", "id of a file system", "fs-0123456789abcdef0")]
Arn = Annotated[
    str,
    *_like(r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+", "ARN of a policy", "arn:aws:iam::aws:policy/NAME"),
]
Function = Annotated[
    str,
    *_like(
        r"(arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:)?[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?",
        "Lambda function",
        "licences, or arn:aws:lambda:us-east-1:111122223333:function:licences:live",
    ),
]
Email = Annotated[str, *_like(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]+", "e-mail address", "ops@example.com")]
Directory = Annotated[str, AfterValidator(_absolute)]
Prefix = Annotated[str, AfterValidator(_no_way_up)]
Suffix = Annotated[str, *_like(r"[A-Za-z0-9_.-]{1,64}", "suffix of a key", "job.sh or .run")]
TagKey = Annotated[str, *_like(r"(?![aA][wW][sS]:)[\w .:/=+@-]{1,128}", "key of a tag", "cost-center (not aws:...)")]
TagValue = Annotated[str, *_like(r"[\w .:/=+@-]{0,256}", "value of a tag", "eda")]
Zone = Annotated[str, known("az")]
Region = Annotated[str, known("region")]


class Team(Section):
    """A team: a bucket to drop jobs into. All teams' jobs wait in the stack's one queue."""

    name: Name = Field(description="what it is called")
    bucket: Bucket = Field(description="where its jobs are dropped, and their results returned")
    prefix: Prefix = Field("", description="only keys below it are jobs")
    suffix: Suffix = Field(
        "job.sh", validate_default=False, description="a key that ends so starts a job: its folder is the job"
    )


class Network(Section):
    """Where instances run: subnets of your own, or a network that is made in the zones of the pools.

    Instances have no public address: a NAT gateway or endpoints lead to the AWS services.
    """

    vpc: Vpc | None = Field(None, description="your own; without it a network is made")
    subnets: Annotated[dict[Zone, Subnet], Field(max_length=30)] = Field(
        {}, description="of your VPC, private, one for each zone of a pool"
    )
    out: Literal["endpoints", "nat"] = Field(
        "endpoints", description="how instances reach AWS services: `plan` compares the cost"
    )
    peers: bool = Field(False, description="whether workers reach each other, on any port: members of gangs must")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if self.vpc is not None and not self.subnets:
            raise refuse("has no subnets", "Give one for each zone: `subnets: {us-east-1a: subnet-...}`.")
        if self.vpc is None and self.subnets:
            raise refuse("are of no VPC", "Add `vpc: vpc-...`, or remove them: then a network is made.", "subnets")
        return self


class Images(Section):
    """Machine images with the SSM agent, by what they run on."""

    x86_64: Image | None = None
    arm64: Image | None = None
    windows: Image | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.x86_64 or self.arm64 or self.windows):
            raise refuse("names no image", "Give one to each architecture of the pools: x86_64, arm64 or windows.")
        return self


class Mount(Section):
    """A shared file system on every instance."""

    kind: Literal["efs", "fsx-lustre", "fsx-openzfs", "fsx-windows"]
    id: FileSystem
    at: Directory = Field(description="where it is mounted")
    share: Annotated[str, *_like(r"[A-Za-z0-9._/$-]{1,128}", "share", "/fsx or a Lustre mount name")] | None = Field(
        None, description="the mount name (Lustre), the volume's path (OpenZFS) or the share (Windows)"
    )

    @model_validator(mode="after")
    def _with_share(self) -> Self:
        if self.kind == "fsx-lustre" and self.share is None:
            raise refuse(
                "has no mount name", "A Lustre file system has one: `share: NAME` (describe-file-systems tells it)."
            )
        return self


class Profile(Section):
    """What the instances' role has beyond what our wrapper needs."""

    policies: Annotated[Several[Arn], Field(max_length=8)] = Field((), description="managed policies of your own")
    boundary: Arn | None = Field(None, description="permissions boundary of all roles that are made")


class Instances(Section):
    """What all instances have."""

    profile: Profile = Field(as_written({}), description="their role")
    mounts: Annotated[Several[Mount], Field(max_length=8)] = Field((), description="EFS and FSx")
    work_directory: Directory = Field("/work", validate_default=False, description="where jobs run on an instance")
    instance_store: Directory | None = Field(None, description="where local disks are mounted, on types that have them")
    root_gib: Annotated[int, Field(ge=8, le=16_384)] = Field(20, description="size of the root volume")
    user_data: Annotated[str, Field(max_length=12_000)] | None = Field(
        None, description="shell lines that run as root at the first boot, before any job; no secrets"
    )


class Alarms(Section):
    """Who is told."""

    email: Email


class Checkout(Section):
    """A function of yours that is asked before a job starts, such as for licences."""

    function: Function = Field(description="its name, where it is in this account and region, or its ARN")


def _kept_by_cloudwatch(seconds: float) -> float:
    if seconds / _DAY_S not in _LOG_DAYS:
        days = ", ".join(str(days) for days in _LOG_DAYS)
        raise refuse("is no time that CloudWatch keeps logs for", f"It is one of {days} days, such as 30d.")
    return seconds


def _of_days(seconds: float) -> float:
    if seconds < _DAY_S:
        raise refuse("is less than a day", "Such as 365d.")
    return seconds


class Retention(Section):
    """How long things are kept."""

    logs: Annotated[Span, AfterValidator(_kept_by_cloudwatch)] = Field(
        as_written("30d"), description="of the functions, in CloudWatch; the journal is in them"
    )
    jobs: Annotated[Span, AfterValidator(_of_days)] = Field(
        as_written("365d"),
        description="ended jobs in the table, and their logs, outputs and checkpoints in the buckets",
    )


class Target(Section):
    """An account's inputs for spotbed."""

    schema_: Literal["spotbed/target/v1"] = Field(alias="schema", description="the version of this format")
    stack: StackName = Field(description="what the stack is called; the tag that workers carry is named after it")
    region: Region
    account: Account | None = Field(None, description="where alone it may be deployed; by default where you log in")
    code_bucket: Bucket | None = Field(None, description="your own for the code; by default one is made")
    network: Network = Field(as_written({}), description="where instances run")
    images: Images
    teams: Annotated[Several[Team], Field(min_length=1, max_length=100)]
    instances: Instances = Field(as_written({}), description="what all instances have")
    spend_cap: Money = Field(description="launches stop when instances have cost this much")
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=40)] = Field(
        {}, description="of everything that is made, for cost allocation"
    )
    alarms: Alarms
    checkout: Checkout | None = Field(None, description="who is asked before a job starts; by default nobody")
    transitions: Literal["ends", "all"] = Field(
        "ends", description="which transitions of jobs are published on the stack's event bus"
    )
    launch_stop_after: Annotated[int, Field(ge=0, le=1_000)] = Field(
        3, description="launches of a pool stop after so many workers in a row that never got ready; 0 is never"
    )
    retention: Retention = Field(as_written({}), description="how long things are kept")


# reading ------------------------------------------------------------------------------------------------------------
def target_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a target file."""
    return schema_of(Target, "spotbed target", QUANTITIES)


def is_target(path: Path) -> bool:
    """Whether a file says that it is a target, or has what only a target has."""
    try:
        data = read_document(path).data
    except InputError:
        return False
    if not isinstance(data, Mapping):
        return False
    return str(data.get("schema", "")).startswith("spotbed/target") or {"stack", "teams"} <= set(data)


def load_target(path: Path) -> Target:
    """The target in a file. Raises InputError with every error there is."""
    target, problems = _read(path)
    if problems or target is None:
        raise InputError(problems)
    return target


def validate_target(path: Path) -> list[Problem]:
    """All that is wrong with a file, in the order of its lines."""
    try:
        return _read(path)[1]
    except InputError as error:
        return error.problems


def _read(path: Path) -> tuple[Target | None, list[Problem]]:
    document = read_document(path)
    if not isinstance(document.data, dict):
        raise InputError([*document.problems, document.problem("must be a mapping.", (), hint=_STARTS)])
    reading = Reading(path.parent, lookups())
    problems = list(document.problems)
    target = None
    try:
        target = Target.model_validate(document.data, context=reading)
    except ValidationError as error:
        problems += Translator(document, reading).problems(error)
    else:
        problems += _across(document, target)
    errors = [problem for problem in problems if is_error(problem)]
    return target, sorted(errors, key=lambda problem: (problem.line or 0, problem.column or 0))


def _across(document: Document, target: Target) -> Iterator[Problem]:
    """What only shows when parts are seen together."""
    from spotbed.catalogue import Catalogue

    for az in target.network.subnets:
        if Catalogue.load().region_of(az) != target.region:
            yield document.problem(f"{az!r} is not in {target.region}.", ("network", "subnets", az), of_key=True)
    yield from _twice(document, target)
    yield from _overlapping(document, target.teams)
    places = [mount.at for mount in target.instances.mounts]
    places += [target.instances.instance_store] if target.instances.instance_store else []
    for number, place in enumerate(places):
        if place in places[:number]:
            last = number == len(target.instances.mounts)
            keys = ("instances", "instance_store") if last else ("instances", "mounts", number, "at")
            yield document.problem(f"{place!r} is taken already.", keys)


def _twice(document: Document, target: Target) -> Iterator[Problem]:
    """Teams are called differently."""
    names = [team.name for team in target.teams]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield document.problem(f"two teams have the name {name!r}.", ("teams", number, "name"))


def _overlapping(document: Document, teams: Iterable[Team]) -> Iterator[Problem]:
    """A key that would be a job of two teams: S3 refuses such notifications."""
    seen: list[Team] = []
    for number, team in enumerate(teams):
        for other in seen:
            below = team.prefix.startswith(other.prefix) or other.prefix.startswith(team.prefix)
            ends = team.suffix.endswith(other.suffix) or other.suffix.endswith(team.suffix)
            if team.bucket == other.bucket and below and ends:
                hint = "Give it another bucket, prefix or suffix."
                message = f"a key could be a job of {other.name!r} as well."
                yield document.problem(message, ("teams", number, "prefix"), hint=hint)
        seen.append(team)


# against a scenario -------------------------------------------------------------------------------------------------
def misfits(target: Target, region: str, pools: Iterable[Mapping[str, Any]], file: str) -> list[Problem]:
    """What the pools of a plan need and the target does not give. `pools` have id, az, os and arch."""
    problems = []
    if target.region != region:
        message = f"is {target.region!r}, and the scenario was compared in {region!r}."
        problems.append(Problem(message, file, path="region", value=target.region))
    for pool in pools:
        if target.network.vpc is not None and pool["az"] not in target.network.subnets:
            message = f"has no subnet in {pool['az']}, where pool {pool['id']!r} is."
            problems.append(Problem(message, file, path="network.subnets"))
        kind = "windows" if pool["os"] == "windows" else str(pool["arch"])
        if getattr(target.images, kind) is None:
            problems.append(Problem(f"has no image for {kind}, which pool {pool['id']!r} needs.", file, path="images"))
    return list(dict.fromkeys(problems))
