"""Instance types, their prices and the zones of AWS: the shipped tables, overlaid by what `data prices` refreshed.

Shipped are specifications, Linux on-demand list prices of us-east-1 and the Spot Advisor's savings there, each with
source and date in the header of its file. Everything else (other regions, Windows, newer prices, Spot prices by zone)
comes from price files that `spotbed data prices` writes into the cache folder.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from os import environ
from pathlib import Path

from spotbed.csv_table import Row, read_table
from spotbed.errors import InputError, Problem

HOME_REGION = "us-east-1"  # the region of the shipped prices
OPERATING_SYSTEMS = ("linux", "windows")
PRICE_COLUMNS = ("region", "os", "purchase", "az", "instance_type", "usd_per_hour", "source", "date")

_DATA = Path(__file__).with_name("data")
_TYPE_COLUMNS = (
    "instance_type", "vcpus", "memory_gib", "arch", "gpu_model", "gpus", "gpu_memory_gib", "instance_storage_gb",
    "network", "bare_metal", "burstable", "current", "spot_supported", "specs", "usd_per_hour", "price",
)  # fmt: skip
_ADVISOR_COLUMNS = ("region", "os", "instance_type", "savings_percent", "interruption_bucket", "date")
_BUCKETS = ((0.0, 0.05), (0.05, 0.10), (0.10, 0.15), (0.15, 0.20), (0.20, 1.0))


@dataclass(frozen=True, slots=True)
class InstanceType:
    """What one EC2 instance type has. GPU memory is the sum over its GPUs; instance storage is in 10^9 bytes."""

    name: str
    vcpus: int
    memory_gib: float
    arch: str  # "x86_64" | "arm64"
    gpus: int
    gpu_model: str  # "" without GPUs
    gpu_memory_gib: float
    instance_storage_gb: float
    network: str  # as AWS words it, such as "Up to 12.5 Gigabit"
    bare_metal: bool
    burstable: bool
    current: bool  # AWS still counts it to the current generation
    spot_supported: bool
    source: str

    @property
    def family(self) -> str:
        """The part before the dot: `c6i` of `c6i.xlarge`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Price:
    """USD per hour, and where the number comes from (a source of a data file) and of which day."""

    usd_per_hour: float
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Advice:
    """One row of the AWS Spot Advisor: the mean saving, and the share of capacity reclaimed in a month.

    `bucket` 0 to 4 stands for a share in [monthly_low, monthly_high). It is a prior and no hazard of one instance.
    """

    savings_percent: float  # 60: Spot costs 40 % of on-demand
    bucket: int
    monthly_low: float
    monthly_high: float
    date: str


def cache_folder() -> Path:
    """Where `data` commands keep what they fetch: `$SPOTBED_CACHE`, or the user's cache folder of this platform."""
    chosen = environ.get("SPOTBED_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "spotbed"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spotbed"


def prices_path(region: str, os: str) -> Path:
    """The file that `data prices` writes for a region and an operating system, and `Catalogue.load` reads."""
    return cache_folder() / "prices" / f"{region}-{os}.csv"


def refresh_command(region: str, os: str) -> str:
    """The command that fetches the prices of a region, for hints."""
    suffix = "" if os == "linux" else f" --os {os}"
    return f"spotbed data prices --region {region}{suffix}"


class Catalogue:
    """Answers by instance type, region and operating system; every failure is an InputError with a hint."""

    def __init__(self, extra: Sequence[Path] = ()) -> None:
        """Read the shipped tables, then the price files `extra`, of which a later one replaces an earlier one."""
        self.files = (_DATA / "catalogue.csv", _DATA / "prices_other_regions.csv", *extra)
        self._types = {row.cells["instance_type"]: row for row in read_table(self.files[0], _TYPE_COLUMNS)}
        self._prices: dict[tuple[str, str, str, str], dict[str, Row]] = {}
        for path in self.files[1:]:
            self._overlay(read_table(path, PRICE_COLUMNS))
        self._advice: dict[tuple[str, str, str], Row] | None = None

    @classmethod
    def load(cls, extra: Path | None = None) -> Catalogue:
        """The catalogue with the price file or folder `extra`; without it, with what `data prices` has cached."""
        folder = cache_folder() / "prices" if extra is None else extra
        paths = sorted(folder.glob("*.csv")) if folder.is_dir() or extra is None else [folder]
        return _load(tuple((path, path.stat().st_mtime_ns if path.exists() else 0) for path in paths))

    @property
    def sha256(self) -> str:
        """The hash of every file that answers come from, for a run's provenance."""
        digest = hashlib.sha256()
        for path in (*self.files, _DATA / "spot_advisor.csv", _DATA / "regions.csv"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def names(self) -> tuple[str, ...]:
        """All instance types, sorted."""
        return tuple(sorted(self._types))

    def find(self, instance_type: str) -> InstanceType:
        """The instance type of that name; InputError with a suggestion if there is none."""
        row = self._types.get(instance_type)
        if row is None:
            hint = suggestion(instance_type, self._types) or f"The catalogue knows {len(self._types)} types."
            raise InputError(Problem(f"unknown instance type {instance_type!r}.", value=instance_type, hint=hint))
        return _instance_type(row)

    def on_demand(self, instance_type: str, region: str = HOME_REGION, os: str = "linux") -> Price:
        """The on-demand list price with its source and date."""
        self._check(instance_type, region, os)
        refreshed = self._prices.get((region, os, "on-demand", instance_type))
        if refreshed:
            return _price(refreshed[""])
        row = self._types[instance_type]
        if region == HOME_REGION and os == "linux" and row.cells["usd_per_hour"]:
            source, _, date = row.cells["price"].partition("-")
            return Price(row.number("usd_per_hour", positive=True), source, date)
        raise self._no_price("on-demand", instance_type, region, os)

    def on_demand_usd_per_hour(self, instance_type: str, region: str = HOME_REGION, os: str = "linux") -> float:
        """The on-demand list price in USD per hour."""
        return self.on_demand(instance_type, region, os).usd_per_hour

    def spot(self, instance_type: str, region: str = HOME_REGION, os: str = "linux", az: str | None = None) -> Price:
        """The Spot price: of the zone as refreshed, else the mean over refreshed zones, else on-demand x (1 - saving).

        The saving is the Spot Advisor's for the region, a mean over zones and weeks.
        """
        self._check(instance_type, region, os)
        if not self.find(instance_type).spot_supported:
            hint = "Give the pool `purchase: on-demand`."
            raise InputError(Problem(f"{instance_type} is not sold as Spot.", value=instance_type, hint=hint))
        zones = self._prices.get((region, os, "spot", instance_type))
        if zones:
            return _price(zones[az]) if az in zones else _mean(zones.values())
        advice = self._advice_row(instance_type, region, os)
        if advice is None:
            raise self._no_price("Spot", instance_type, region, os)
        base = self.on_demand(instance_type, region, os)
        found = _advice(advice)
        return Price(base.usd_per_hour * (100 - found.savings_percent) / 100, "spot advisor", found.date)

    def spot_usd_per_hour(
        self, instance_type: str, region: str = HOME_REGION, os: str = "linux", az: str | None = None
    ) -> float:
        """The Spot price in USD per hour, as `spot` finds it."""
        return self.spot(instance_type, region, os, az).usd_per_hour

    def advice(self, instance_type: str, region: str = HOME_REGION, os: str = "linux") -> Advice:
        """What the Spot Advisor says of a type; InputError if it says nothing."""
        self._check(instance_type, region, os)
        row = self._advice_row(instance_type, region, os)
        if row is None:
            message = f"the Spot Advisor's table says nothing of {instance_type} ({os}) in {region}."
            raise InputError(Problem(message, value=instance_type, hint="State the interruptions in the scenario."))
        return _advice(row)

    def interruption_bucket(self, instance_type: str, region: str = HOME_REGION, os: str = "linux") -> int:
        """0 (below 5 % of capacity reclaimed in a month) to 4 (above 20 %), as the Spot Advisor says."""
        return self.advice(instance_type, region, os).bucket

    def regions(self) -> tuple[str, ...]:
        """All regions with known zones, sorted."""
        return tuple(sorted(_zone_letters()))

    def availability_zones(self, region: str) -> tuple[str, ...]:
        """The zone names of a region, sorted; InputError with a suggestion if the region is unknown."""
        letters = _zone_letters().get(region)
        if letters is None:
            hint = suggestion(region, _zone_letters()) or f"Known are {', '.join(self.regions())}."
            raise InputError(Problem(f"unknown region {region!r}.", value=region, hint=hint))
        return tuple(region + letter for letter in letters)

    def region_of(self, az: str) -> str:
        """The region of a zone name such as us-east-1a; InputError if either is unknown."""
        zones = self.availability_zones(az[:-1]) if az[-1:].isalpha() else ()
        if az not in zones:
            known = ", ".join(zones) if zones else "written as region and letter, such as us-east-1a"
            raise InputError(Problem(f"unknown availability zone {az!r}.", value=az, hint=f"Zones are {known}."))
        return az[:-1]

    def _overlay(self, rows: Iterable[Row]) -> None:
        """Take over price rows: a type's rows of one file replace those of an earlier one, never mixing two days."""
        fresh: dict[tuple[str, str, str, str], dict[str, Row]] = {}
        for row in rows:
            cells = row.cells
            if cells["purchase"] not in ("on-demand", "spot"):
                raise row.problem(f"{cells['purchase']!r} is neither on-demand nor spot.", "purchase")
            if cells["os"] not in OPERATING_SYSTEMS:
                raise row.problem(f"{cells['os']!r} is neither linux nor windows.", "os")
            row.number("usd_per_hour", positive=True)
            key = (cells["region"], cells["os"], cells["purchase"], cells["instance_type"])
            fresh.setdefault(key, {})[cells["az"] if cells["purchase"] == "spot" else ""] = row
        self._prices.update(fresh)

    def _check(self, instance_type: str, region: str, os: str) -> None:
        self.find(instance_type)
        self.availability_zones(region)
        if os not in OPERATING_SYSTEMS:
            hint = f"It is one of {', '.join(OPERATING_SYSTEMS)}."
            raise InputError(Problem(f"unknown os {os!r}.", value=os, hint=hint))

    def _advice_row(self, instance_type: str, region: str, os: str) -> Row | None:
        if self._advice is None:
            rows = read_table(_DATA / "spot_advisor.csv", _ADVISOR_COLUMNS)
            self._advice = {(row.cells["region"], row.cells["os"], row.cells["instance_type"]): row for row in rows}
        return self._advice.get((region, os, instance_type))

    def _no_price(self, what: str, instance_type: str, region: str, os: str) -> InputError:
        elsewhere = sorted(place for place, system, _, name in self._prices if (system, name) == (os, instance_type))
        hint = f"Run `{refresh_command(region, os)}`, or give the pool a `price:`."
        if elsewhere:
            hint += f" A price is known in {', '.join(dict.fromkeys(elsewhere))}."
        message = f"no {what} price of {instance_type} ({os}) in {region} is known."
        return InputError(Problem(message, value=instance_type, hint=hint))


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """The sentence "Did you mean ...?" for the known names that are close to `name`, if any is."""
    import difflib  # only when something is wrong

    close = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.75)
    return f"Did you mean {' or '.join(repr(match) for match in close)}?" if close else None


@cache
def _load(versions: tuple[tuple[Path, int], ...]) -> Catalogue:
    """One catalogue per set of files and their times of change."""
    return Catalogue([path for path, _ in versions])


@cache
def _zone_letters() -> dict[str, str]:
    rows = read_table(_DATA / "regions.csv", ("region", "zone_letters", "source"))
    return {row.cells["region"]: row.cells["zone_letters"] for row in rows}


def _instance_type(row: Row) -> InstanceType:
    cells = row.cells
    return InstanceType(
        name=cells["instance_type"],
        vcpus=int(row.number("vcpus", positive=True)),
        memory_gib=row.number("memory_gib", positive=True),
        arch=cells["arch"],
        gpus=int(row.number("gpus")),
        gpu_model=cells["gpu_model"],
        gpu_memory_gib=row.number("gpu_memory_gib"),
        instance_storage_gb=row.number("instance_storage_gb"),
        network=cells["network"],
        bare_metal=row.flag("bare_metal"),
        burstable=row.flag("burstable"),
        current=row.flag("current"),
        spot_supported=row.flag("spot_supported"),
        source=cells["specs"],
    )


def _price(row: Row) -> Price:
    return Price(row.number("usd_per_hour", positive=True), row.cells["source"], row.cells["date"])


def _mean(rows: Iterable[Row]) -> Price:
    """The mean over zones; all rows of one file and type are of one day."""
    prices = [_price(row) for row in rows]
    return Price(math.fsum(price.usd_per_hour for price in prices) / len(prices), prices[0].source, prices[0].date)


def _advice(row: Row) -> Advice:
    bucket = int(row.number("interruption_bucket"))
    return Advice(row.number("savings_percent"), bucket, *_BUCKETS[bucket], row.cells["date"])
