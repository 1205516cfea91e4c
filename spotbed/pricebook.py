"""The price book: what one unit of every metered item costs, with its source and date, and how EC2 bills instances.

One CSV file per region. Only us-east-1 is shipped; a user's own file stands in for another region, either given by its
path or put into the cache folder as `pricebook-REGION.csv`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from spotbed.catalogue import HOME_REGION, cache_folder, suggestion
from spotbed.csv_table import Row, read_table
from spotbed.errors import InputError, Problem

_DATA = Path(__file__).with_name("data")
_COLUMNS = ("item", "usd", "unit", "per", "source", "date", "assumed", "low", "high", "note")
_RULE_COLUMNS = ("os", "minimum_s", "first_hour_free", "source", "date", "note")
_RULES_FILE = _DATA / "billing_rules.csv"


@dataclass(frozen=True, slots=True)
class PriceLine:
    """`usd` USD buy `per` units of `unit`. `low` and `high` (USD, same `per`) bound a price that is `assumed`."""

    item: str
    usd: float
    unit: str
    per: float
    source: str
    date: str
    assumed: bool
    low: float
    high: float
    note: str

    @property
    def usd_per_unit(self) -> float:
        """The price of one unit in USD."""
        return self.usd / self.per


@dataclass(frozen=True, slots=True)
class BillingRules:
    """How EC2 bills an instance of one operating system.

    minimum_s: the least time that a started instance pays. first_hour_free: one that EC2 interrupts within its first
    hour costs nothing (EBS and transfer are charged all the same).
    """

    os: str
    minimum_s: float
    first_hour_free: bool
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All price lines of a region by item, and the billing rules by operating system."""

    region: str
    file: Path
    lines: Mapping[str, PriceLine]
    rules_by_os: Mapping[str, BillingRules]

    @classmethod
    def load(cls, region: str = HOME_REGION, path: Path | None = None) -> PriceBook:
        """The book of a region: `path`, else the user's file in the cache folder, else the shipped one.

        Raises InputError for a region without a book, and with file and line for a fault in a file.
        """
        return _load(region, _find(region) if path is None else path)

    @property
    def rules(self) -> BillingRules:
        """The rules for Linux."""
        return self.rules_by_os["linux"]

    @property
    def date(self) -> str:
        """The newest date of all lines: the book knows nothing later."""
        return max(line.date for line in self.lines.values())

    @property
    def sha256(self) -> str:
        """The hash of all prices and rules, overrides included; notes and formatting do not count."""
        prices = {item: [line.usd, line.unit, line.per] for item, line in self.lines.items()}
        rules = {os: [rule.minimum_s, rule.first_hour_free] for os, rule in self.rules_by_os.items()}
        return hashlib.sha256(json.dumps([prices, rules], sort_keys=True).encode()).hexdigest()

    def line(self, item: str) -> PriceLine:
        """The line of an item; InputError with a suggestion if there is none."""
        found = self.lines.get(item)
        if found is None:
            hint = suggestion(item, self.lines)
            raise InputError(Problem(f"no price for {item!r}.", str(self.file), value=item, hint=hint))
        return found

    def usd(self, item: str) -> float:
        """The price of one unit of an item in USD."""
        return self.line(item).usd_per_unit

    def assumed(self) -> tuple[PriceLine, ...]:
        """The lines without a public source, in the order of the file."""
        return tuple(line for line in self.lines.values() if line.assumed)

    def with_overrides(self, overrides: Mapping[str, float]) -> PriceBook:
        """A book in which some items cost `overrides[item]` USD per unit.

        `ec2.minimum_s` and `ec2.first_hour_free` (0 or 1) change the rules of all operating systems.
        """
        lines, rules = dict(self.lines), dict(self.rules_by_os)
        for key, value in overrides.items():
            if not math.isfinite(value) or value < 0:
                raise InputError(Problem(f"{value} must be a number of at least 0.", path=key, value=value))
            if key == "ec2.minimum_s":
                rules = {os: replace(rule, minimum_s=value) for os, rule in rules.items()}
            elif key == "ec2.first_hour_free":
                rules = {os: replace(rule, first_hour_free=bool(value)) for os, rule in rules.items()}
            else:
                lines[key] = replace(self.line(key), usd=value, per=1.0, source="override", assumed=False)
        return replace(self, lines=lines, rules_by_os=rules)


def _find(region: str) -> Path:
    own = cache_folder() / f"pricebook-{region}.csv"
    shipped = _DATA / f"pricebook-{region}.csv"
    found = next((path for path in (own, shipped) if path.is_file()), None)
    if found is None:
        home = _DATA / f"pricebook-{HOME_REGION}.csv"
        hint = f"Only {HOME_REGION} is shipped: copy {home} to {own} and put the prices of {region} into it."
        raise InputError(Problem(f"no price book for region {region!r}.", value=region, hint=hint))
    return found


def _load(region: str, path: Path) -> PriceBook:
    lines: dict[str, PriceLine] = {}
    for row in read_table(path, _COLUMNS):
        line = _line(row)
        if line.item in lines:
            raise row.problem("stands twice in the price book.", "item")
        lines[line.item] = line
    missing = [item for item in _needed() if item not in lines]
    if missing:
        raise InputError(
            Problem(f"no line for {', '.join(missing)}.", str(path), hint="Copy it from the shipped book.")
        )
    return PriceBook(region, path, lines, _rules())


@cache
def _needed() -> tuple[str, ...]:
    """The items of the shipped book: what the simulator may meter."""
    return tuple(row.cells["item"] for row in read_table(_DATA / f"pricebook-{HOME_REGION}.csv", _COLUMNS))


@cache
def _rules() -> dict[str, BillingRules]:
    return {row.cells["os"]: _rule(row) for row in read_table(_RULES_FILE, _RULE_COLUMNS)}


def _rule(row: Row) -> BillingRules:
    cells = row.cells
    minimum_s = row.number("minimum_s")
    return BillingRules(cells["os"], minimum_s, row.flag("first_hour_free"), cells["source"], cells["date"])


def _line(row: Row) -> PriceLine:
    cells = row.cells
    usd, assumed = row.number("usd"), row.flag("assumed")
    low = row.number("low") if assumed else usd
    high = row.number("high") if assumed else usd
    if not low <= usd <= high:
        raise row.problem(f"{usd:g} lies outside its range {low:g} to {high:g}.", "usd")
    if not cells["item"] or not cells["unit"] or not (cells["source"] and cells["date"]):
        raise row.problem("item, unit, source and date must not be empty.")
    per = row.number("per", positive=True)
    return PriceLine(
        cells["item"], usd, cells["unit"], per, cells["source"], cells["date"], assumed, low, high, cells["note"]
    )
