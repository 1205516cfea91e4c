"""The models of `capacity`, `market`, `checkpoint`, `services` and `costs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, WithJsonSchema, model_validator

from spotbed.scenario.models_base import (
    Amount,
    Count,
    InputPath,
    Name,
    Positive,
    Probability,
    Section,
    Several,
    Shape,
    Shorthand,
    as_written,
    default,
    known,
    one_or_each,
    refuse,
    told_by,
)
from spotbed.scenario.models_work import Dist, Licences
from spotbed.scenario.units import Duration, Money, Span, UsdPerHour

Purchase = Literal["spot", "on-demand"]
Paths = Annotated[
    Annotated[InputPath, Tag("one")] | Annotated[dict[Name, InputPath], Field(min_length=1), Tag("each")],
    one_or_each("one", "each"),
]
MaxPrice = Annotated[
    Annotated[UsdPerHour, Tag("one")] | Annotated[dict[Name, UsdPerHour], Field(min_length=1), Tag("each")],
    one_or_each("one", "each"),
]


class Pool(Section):
    """Instance type x availability zone x purchase option."""

    id: Name = Field(
        "", validate_default=False, description="unique; by default made of type, zone and purchase option"
    )
    instance_type: Annotated[Name, known("instance_type")] = Field(description="such as c6i.xlarge")
    az: Annotated[Name, known("az")] = Field(
        "", validate_default=False, description="availability zone; by default the first of capacity.region"
    )
    purchase: Purchase = Field("spot", description="how its instances are bought")
    max: Annotated[int, Field(ge=0, le=1_000_000)] = Field(default("pool.max"), description="most instances at a time")
    price: UsdPerHour | None = Field(None, description="of one instance; by default as market.prices says")
    os: Literal["linux", "windows"] = Field("linux", description="operating system")
    boot: Dist | None = Field(None, description="from running to ready for a job; by default services' ec2.boot")


class Cluster(Section):
    """A fixed machine, for logs of an archive."""

    slots: Count = Field(description="processors")


class Capacity(Section):
    """What work may run on."""

    region: Annotated[Name, known("region")] = Field(default("capacity.region"), description="of pools without `az`")
    pools: Several[Pool] = Field((), max_length=10_000, description="instances that may be launched")
    cluster: Cluster | None = Field(None, description="a fixed machine instead of pools")
    licences: Licences = Field({}, description="how many of each licence there are")
    budget: Money | None = Field(None, description="at which launches stop, and say so")
    slots_per_instance: Annotated[int, Field(ge=1, le=10_000)] = Field(1, description="attempts at a time per instance")

    @model_validator(mode="after")
    def _completed(self) -> Self:
        if bool(self.pools) == bool(self.cluster):
            hint = "List pools of instances, or state the slots of a fixed cluster."
            raise refuse("needs either pools or a cluster" if not self.pools else "has both pools and a cluster", hint)
        return self.model_copy(update={"pools": tuple(self._complete(pool) for pool in self.pools)})

    def _complete(self, pool: Pool) -> Pool:
        az = pool.az or f"{self.region}a"
        return pool.model_copy(update={"az": az, "id": pool.id or f"{pool.instance_type}-{az}-{pool.purchase}"})


class CataloguePrices(Section):
    """List prices for on-demand, and the typical saving for Spot."""

    source: Literal["catalogue"]


class ConstantPrices(Section):
    """One price that never changes."""

    source: Literal["constant"]
    price: UsdPerHour | None = Field(None, description="of every Spot pool without a price of its own")


def _kind_of_start(value: Any) -> str:
    if isinstance(value, Mapping | Every):
        return "stepped"
    return "random" if value == "random" else "fixed"


class Every(Section):
    """World i starts i times this far into the trace."""

    every: Span = Field(description="the step")


Start = Annotated[
    Annotated[Duration, Tag("fixed")] | Annotated[Literal["random"], Tag("random")] | Annotated[Every, Tag("stepped")],
    Discriminator(_kind_of_start),
]


class TracePrices(Section):
    """Price history, as `describe-spot-price-history` gives it."""

    source: Literal["trace"]
    path: Paths = Field(description="CSV or JSON, plain or .gz; one file, or one for each pool")
    start: Start | None = Field(
        None, description="where a world starts in it; interruptions from a trace have their `start` for both"
    )
    lenient: bool = Field(False, description="skip lines that cannot be read, and say how many")


Prices = Annotated[
    Annotated[CataloguePrices, Tag("catalogue")]
    | Annotated[ConstantPrices, Tag("constant")]
    | Annotated[TracePrices, Tag("trace")],
    told_by("source"),
    Shorthand(lambda name: {"source": name}, {"enum": ["catalogue", "constant"]}),
]


class Spells(Section):
    """How long a pool stays up, or down: Weibull."""

    shape: Shape = Field(description="below 1: a decreasing hazard")
    scale: Span = Field(description="63 % are shorter")


class NoInterruptions(Section):
    """EC2 takes nothing back."""

    source: Literal["none"]


class ExponentialInterruptions(Section):
    """Each instance lives an exponential time, independently."""

    source: Literal["exponential"]
    mean: Span = Field(description="mean lifetime of an instance")


class WeibullInterruptions(Section):
    """A pool's capacity goes and comes in spells; all instances of a pool are lost within a burst."""

    source: Literal["weibull"]
    up: Spells = Field(description="how long a pool has capacity")
    down: Spells = Field(description="how long it then has none")
    burst: Duration = Field(default("market.burst"), description="within which the instances of a pool are lost")


class TraceInterruptions(Section):
    """Capacity as recorded: availability or preemptions as JSON, or logs of added and removed instances."""

    source: Literal["trace"]
    path: Paths = Field(description="one file, or one for each pool")
    start: Start = Field(
        as_written("0s"),
        description="where a world starts in the trace, prices included: a duration, random, or {every: 24h}",
    )
    scale: Positive = Field(1.0, description="factor on the trace's time axis")


class LifetimeInterruptions(Section):
    """Each instance lives as long as one of a recorded set, censoring respected."""

    source: Literal["lifetimes"]
    path: InputPath = Field(description="CSV of lifetimes")


class PriceInterruptions(Section):
    """A pool is lost when its price exceeds a maximum (as before November 2017)."""

    source: Literal["price"]
    max_price: MaxPrice | None = Field(None, description="one, or one for each pool; by default the on-demand price")


Interruptions = Annotated[
    Annotated[NoInterruptions, Tag("none")]
    | Annotated[ExponentialInterruptions, Tag("exponential")]
    | Annotated[WeibullInterruptions, Tag("weibull")]
    | Annotated[TraceInterruptions, Tag("trace")]
    | Annotated[LifetimeInterruptions, Tag("lifetimes")]
    | Annotated[PriceInterruptions, Tag("price")],
    told_by("source"),
    Shorthand(lambda name: {"source": name}, {"enum": ["none", "price"]}),
]


class Notice(Section):
    """The interruption notice."""

    probability: Probability = Field(default("market.notice.probability"), description="that it is sent")
    lead: Duration = Field(default("market.notice.lead"), description="how long before the interruption")


class Rebalance(Section):
    """The rebalance recommendation."""

    probability: Probability = Field(0.0, description="that it is sent")
    lead: Duration = Field(default("market.rebalance.lead"), description="how long before the interruption")


class Outage(Section):
    """A zone that is out for a while: all its Spot and on-demand instances are lost."""

    az: Annotated[Name, known("az")] = Field(description="the zone")
    from_: Duration = Field(alias="from", description="when it starts")
    until: Span = Field(description="when it ends")
    launches_fail: bool = Field(True, description="whether launches in the zone fail meanwhile")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.until <= self.from_:
            raise refuse("must be after from", "Both are counted from the start of the world.", "until")
        return self


class Market(Section):
    """What EC2 does."""

    prices: Prices = Field(as_written("catalogue"), description="what instances cost")
    interruptions: Interruptions = Field(default("market.interruptions"), description="how Spot capacity is lost")
    notice: Notice = Field(as_written({}), description="the two-minute warning")
    rebalance: Rebalance = Field(as_written({}), description="the earlier hint")
    launch: Dist | None = Field(
        None, description="from the request of an instance to running; by default services' ec2.pending"
    )
    outages: Several[Outage] = Field((), description="zones that are out for a while")


class Checkpoint(Section):
    """What keeping progress costs."""

    write: Duration = Field(default("checkpoint.write"), description="to write a checkpoint; no progress meanwhile")
    restore: Duration = Field(default("checkpoint.restore"), description="when an attempt resumes from one")
    startup: Duration = Field(as_written("0s"), description="at every start of an attempt, without progress")


_FILES = (".yaml", ".yml")
Preset = Annotated[
    Annotated[Literal["aws-us-east-1", "ideal"], Tag("name")]
    | Annotated[InputPath, WithJsonSchema({"type": "string", "pattern": r"\.ya?ml$"}), Tag("file")],
    Discriminator(lambda value: "file" if isinstance(value, str) and value.endswith(_FILES) else "name"),
]


class Services(Section):
    """Latencies, limits and charges of the AWS services: a preset, and any of its values replaced."""

    model_config = ConfigDict(extra="allow")

    preset: Preset = Field(
        "aws-us-east-1", description="ideal: no latency, no limit, no charge; or a file that `spotbed verify` wrote"
    )

    @property
    def source(self) -> str:
        """The preset as `ServicesPreset.load` takes it. Raises InputError for a file that is not there."""
        return str(self.preset.locate()) if isinstance(self.preset, InputPath) else self.preset

    def overrides(self) -> dict[str, Any]:
        """The replaced values as written, by dotted name, whether `sqs.visibility: 5s` or `sqs: {visibility: 5s}`."""
        flat: dict[str, Any] = {}
        for key, value in (self.model_extra or {}).items():
            _flatten(key, value, flat)
        return flat


def _flatten(key: str, value: Any, into: dict[str, Any]) -> None:
    if not isinstance(value, Mapping):
        into[key] = value
        return
    for name, inner in value.items():
        _flatten(f"{key}.{name}", inner, into)


class FixedCost(Section):
    """A line of the bill that does not depend on the work."""

    item: Name = Field(description="its name on the bill, as fixed.NAME")
    usd_per_hour: Amount = Field(description="USD per hour, a plain number")


class Commitment(Section):
    """A savings plan: paid in any case, and instances up to it cost less."""

    usd_per_hour: Annotated[float, Field(gt=0, le=1e9)] = Field(description="committed USD per hour, a plain number")
    discount: Annotated[float, Field(ge=0, lt=1)] = Field(description="on the on-demand price, 0.28 for 28 %")


class Costs(Section):
    """What the bill has beyond instances and service calls."""

    ebs_gib: Annotated[float, Field(ge=0, le=65_536)] | None = Field(
        None, description="gp3 storage per instance in GiB, a plain number; by default services' ebs.gib"
    )
    fixed: Several[FixedCost] = Field((), description="FSx, EFS, licence servers, ...")
    commitments: Several[Commitment] = Field((), description="savings plans")
    first_hour_free: bool | None = Field(
        None, description="no charge for Spot that EC2 interrupts in its first hour; by default as AWS bills the system"
    )
