"""The models of `workload`: distributions, arrivals, classes, and the sources that jobs come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Tag, model_validator
from typing_extensions import TypeAliasType

from spotbed.quantities import DURATION_PATTERN
from spotbed.scenario.models_base import (
    Amount,
    Count,
    InputPath,
    Name,
    OneOrMore,
    Positive,
    Probability,
    Section,
    Several,
    Shape,
    Shorthand,
    WholeNumber,
    as_written,
    refuse,
    told_by,
)
from spotbed.scenario.units import Duration, Rate, Size, Span, Timestamp, UsdPerHour


class Distribution(Section):
    """A distribution of durations."""

    def params(self) -> dict[str, float]:
        """Its parameters in seconds, as `sim.inputs.Dist` takes them (without the values of `empirical`)."""
        return {name: value for name, value in self if isinstance(value, float)}


class Constant(Distribution):
    """Always the same duration."""

    dist: Literal["constant"]
    value: Duration = Field(description="the duration")


class Exponential(Distribution):
    """Without memory."""

    dist: Literal["exponential"]
    mean: Span = Field(description="the mean")


class Lognormal(Distribution):
    """The usual shape of runtimes: many short, few very long."""

    dist: Literal["lognormal"]
    median: Span = Field(description="half are shorter")
    p95: Span = Field(description="95 % are shorter; above the median")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p95 <= self.median:
            raise refuse("must be above the median", "95 % of the draws are shorter than p95.", "p95")
        return self


class Weibull(Distribution):
    """With shape < 1 what has lasted long lasts longer; shape 1 is exponential."""

    dist: Literal["weibull"]
    shape: Shape = Field(description="below 1: a decreasing hazard")
    scale: Span = Field(description="63 % are shorter")


class Uniform(Distribution):
    """Between two bounds, all equally likely."""

    dist: Literal["uniform"]
    low: Duration = Field(description="the lower bound")
    high: Duration = Field(description="the upper bound")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise refuse("must not be below low", "Swap the two.", "high")
        return self


class Empirical(Distribution):
    """Drawn from a file of durations."""

    dist: Literal["empirical"]
    path: InputPath = Field(description="durations in seconds, one a line")


_Dist = Annotated[
    Annotated[Constant, Tag("constant")]
    | Annotated[Exponential, Tag("exponential")]
    | Annotated[Lognormal, Tag("lognormal")]
    | Annotated[Weibull, Tag("weibull")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Empirical, Tag("empirical")],
    told_by("dist"),
    Shorthand(
        lambda value: {"dist": "constant", "value": value},
        {"type": "string", "pattern": DURATION_PATTERN, "description": "a duration: always the same"},
        str,
        int,
        float,
    ),
]
Dist = TypeAliasType("Dist", _Dist)  # one definition in the JSON Schema, to which others refer


class Poisson(Section):
    """Arrivals without memory at a constant rate."""

    dist: Literal["poisson"]
    rate: Rate = Field(description="jobs per time")


class Periodic(Section):
    """One job each period, the first at once."""

    dist: Literal["periodic"]
    every: Span = Field(description="the period")


class Burst(Section):
    """Several jobs at once each period."""

    dist: Literal["burst"]
    size: Count = Field(description="jobs of one burst")
    every: Span = Field(description="the period")


class Daily(Section):
    """Arrivals without memory at a rate that follows a cosine over the day."""

    dist: Literal["daily"]
    rate: Rate = Field(description="the mean rate")
    peak_hour: float = Field(14.0, ge=0, lt=24, description="the hour of the day with most arrivals")
    ratio: float = Field(4.0, ge=1, le=1e6, description="the highest rate divided by the lowest")


class AtOnce(Section):
    """All jobs at the start."""

    dist: Literal["at-once"] = "at-once"


Arrivals = Annotated[
    Annotated[Poisson, Tag("poisson")]
    | Annotated[Periodic, Tag("periodic")]
    | Annotated[Burst, Tag("burst")]
    | Annotated[Daily, Tag("daily")]
    | Annotated[AtOnce, Tag("at-once")],
    told_by("dist"),
    Shorthand(lambda name: {"dist": name}, {"const": "at-once"}),
]

Factors = Annotated[dict[Name, Positive], Field(max_length=1000)]
Licences = Annotated[dict[Name, Count], Field(max_length=100)]


class JobTraits(Section):
    """What a job needs and how it behaves."""

    vcpus: Positive = Field(1.0, description="vCPUs that the job needs")
    memory: Size = Field(as_written("0 GiB"), description="memory that the job needs")
    gpus: WholeNumber = Field(0, description="GPUs that the job needs")
    priority: int = Field(0, ge=-1_000_000, le=1_000_000, description="higher runs earlier, under an order that looks")
    tenant: Name = Field("default", description="who is charged, and shares fairly")
    deadline: Span | None = Field(None, description="to be done by, counted from the submission")
    timeout: Span | None = Field(None, description="after which an attempt is ended; it then counts as failed")
    retries: int = Field(3, ge=0, le=1000, description="further attempts after the application failed")
    checkpointable: bool = Field(False, description="whether progress can be kept")
    fail_probability: Probability = Field(0.0, description="that an attempt of the application fails")
    exit_code: int = Field(0, ge=0, le=255, description="of an attempt that fails; 0 is read as 1")
    success_string_missing: Probability = Field(0.0, description="that the output lacks the success string")
    input: Size = Field(as_written("0 GiB"), description="data read before each attempt")
    output: Size = Field(as_written("0 GiB"), description="data written after a success")
    gang: Count = Field(1, description="instances that the job needs at the same time")
    licences: Licences = Field({}, description="licences held while the job runs, by name")
    late_penalty: UsdPerHour = Field(as_written("0 USD/h"), description="charged for each hour after the deadline")
    runtime_on: Factors = Field({}, description="factor on the runtime, by instance type or family")


class JobClass(JobTraits):
    """A class of jobs of synthetic work."""

    name: Name = Field("", validate_default=False, description="by default class-1, class-2, ...")
    share: Amount = Field(1.0, description="share of the jobs, relative to the other classes")
    runtime: Dist = Field(description="the work itself on the reference type, as a distribution or a duration")
    estimate: Dist | None = Field(None, description="what users would ask for; by default the p95 of the runtime")
    after: Annotated[Several[Name], OneOrMore] = Field((), description="classes, or ids of jobs, that must end first")
    array: Count = Field(1, description="jobs of one submission")
    stop_on_first_success: bool = Field(False, description="the first of an array that ends well cancels the others")

    @model_validator(mode="after")
    def _stops_an_array(self) -> Self:
        if self.stop_on_first_success and (self.array == 1 or self.gang > 1):
            raise refuse("needs an array of jobs without gangs", "Such as array: 100.", "stop_on_first_success")
        return self


class InlineJob(JobTraits):
    """A job written in the scenario itself."""

    id: Name = Field(description="unique")
    submit: Duration = Field(as_written("0s"), description="when it is submitted, from the start")
    runtime: Span = Field(description="the work itself on the reference type")
    estimate: Span | None = Field(None, description="what its user asked for; by default nothing")
    slots: Count = Field(1, description="processors on a fixed cluster")
    after: Annotated[Several[Name], OneOrMore] = Field((), description="ids of jobs that must end first")


class Source(Section):
    """Where jobs come from."""

    starts: Timestamp | None = Field(None, description="the calendar's moment at the start of the world")


class Synthetic(Source):
    """Jobs drawn from classes."""

    source: Literal["synthetic"]
    jobs: Count | None = Field(None, description="how many; by default as many as come until `horizon`")
    arrivals: Arrivals = Field(as_written("at-once"), description="when they come")
    classes: Several[JobClass] = Field(min_length=1, max_length=10_000, description="what they are")

    @model_validator(mode="after")
    def _named(self) -> Self:
        named = [
            item if item.name else item.model_copy(update={"name": f"class-{number}"})
            for number, item in enumerate(self.classes, 1)
        ]
        if not sum(item.share for item in named) > 0:
            raise refuse("no class has a share above 0", "Give one a share, or remove them all.", "classes")
        return self.model_copy(update={"classes": tuple(named)})


class Log(Source):
    """Jobs read from a file."""

    path: InputPath = Field(description="the file, plain or .gz")
    defaults: JobTraits = Field(as_written({}), description="what holds for every job where the file says nothing")
    lenient: bool = Field(False, description="skip lines that cannot be read, and say how many")


class History(Log):
    """Jobs of which the file says when they had ended, so that later ones can be predicted from earlier ones."""

    first: WholeNumber = Field(0, description="index of the first job that is taken")
    count: Count | None = Field(None, description="how many jobs are taken; by default all")
    runtime_estimate: Literal["requested", "actual", "last-two", "boosted"] = Field(
        "requested",
        description="what policies are told; last-two and boosted are predictions from the jobs that had ended before",
    )


class Swf(History):
    """A log in the Standard Workload Format."""

    source: Literal["swf"]
    time_scale: Positive = Field(1.0, description="factor on the times between submissions")
    runtime_cap: Literal["none", "request"] = Field("none", description="request: a job ends at its requested time")
    slots: Literal["require", "as-one"] | None = Field(
        None, description="a job of n processors needs n slots, or one; by default n on a cluster, one on pools"
    )
    slots_field: Literal["allocated", "requested"] = Field(
        "allocated", description="which of the log's numbers of processors counts, where both are known"
    )


class Csv(Log):
    """A table with a header line."""

    source: Literal["csv"]


class Parquet(Log):
    """The same table as Parquet."""

    source: Literal["parquet"]


class Slurm(Log):
    """Job accounting of Slurm (`sacct --parsable2`, or CSV)."""

    source: Literal["slurm"]


class Lsf(Log):
    """Job accounting of LSF (`bacct -l` or `bhist`, as CSV or JSON)."""

    source: Literal["lsf"]


class AwsBatch(Log):
    """Jobs of AWS Batch (`describe-jobs`, as JSON or CSV)."""

    source: Literal["aws-batch"]


class Journal(History):
    """The jobs of an earlier run, simulated or real."""

    source: Literal["journal"]


class Lublin(Source):
    """Jobs of the model of Lublin and Feitelson, 2003."""

    source: Literal["lublin"]
    slots: Annotated[int, Field(ge=2, le=1_000_000)] = Field(description="processors of the modelled machine")
    jobs: Count = Field(description="how many")
    defaults: JobTraits = Field(as_written({}), description="what holds for every job")


class Inline(Source):
    """Jobs written in the scenario itself."""

    source: Literal["jobs_list"] = "jobs_list"
    jobs_list: Several[InlineJob] = Field(min_length=1, description="the jobs")


def _inline(data: Mapping[str, Any]) -> str | None:
    return "jobs_list" if "jobs_list" in data else None


Workload = Annotated[
    Annotated[Synthetic, Tag("synthetic")]
    | Annotated[Swf, Tag("swf")]
    | Annotated[Csv, Tag("csv")]
    | Annotated[Parquet, Tag("parquet")]
    | Annotated[Slurm, Tag("slurm")]
    | Annotated[Lsf, Tag("lsf")]
    | Annotated[AwsBatch, Tag("aws-batch")]
    | Annotated[Lublin, Tag("lublin")]
    | Annotated[Journal, Tag("journal")]
    | Annotated[Inline, Tag("jobs_list")],
    told_by("source", otherwise=_inline),
]
