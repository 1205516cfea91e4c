"""Services presets: what the simulator knows of AWS services, with the source of every value, as overridable data.

A preset is a flat set of settings by dotted key (`sqs.visibility`, `stepfunctions.history_limit`) and a usage table:
what each operation of an architecture uses of the items of the price book. The tables follow the settings: a user who
doubles `lambda.memory` doubles the GB-seconds of every call.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spotbed.catalogue import suggestion
from spotbed.errors import InputError, Problem

_BASE = "aws-us-east-1"
PRESETS = (_BASE, "ideal")
KINDS = {
    "s": "duration",
    "probability": "probability",
    "count": "count",
    "per_s": "rate_per_s",
    "gib": "gib",
    "gib_per_s": "gib_per_s",
}

Usage = Mapping[str, float]  # item of the price book -> units

_DATA = Path(__file__).with_name("data")
_Z95 = 1.6448536269514722  # the standard normal distribution's 95th percentile
_FILES = (".yaml", ".yml")
_LIMIT_KEY, _ROLL_OVER_KEY = "stepfunctions.history_limit", "stepfunctions.roll_over_at"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a preset, in `unit`. `low` and `high` bound it where it is `assumed`, and `why` says why so.

    A value with a source has no range: `low` and `high` are then the value itself.
    """

    key: str
    value: float
    unit: str
    role: str
    source: str
    date: str
    low: float
    high: float
    assumed: bool = False
    positive: bool = False  # zero makes no sense
    why: str = ""

    @property
    def kind(self) -> str:
        """How a user writes it: duration, probability, count, rate_per_s, gib or gib_per_s."""
        return KINDS[self.unit]


@dataclass(frozen=True, slots=True)
class Latency:
    """A lognormal duration by its median and its 95th percentile, in seconds; both 0 for none."""

    median_s: float
    p95_s: float

    @property
    def mean_s(self) -> float:
        """The mean of the distribution."""
        if self.median_s == 0:
            return 0.0
        sigma = math.log(self.p95_s / self.median_s) / _Z95
        return self.median_s * math.exp(sigma * sigma / 2)


@dataclass(frozen=True, slots=True)
class ServicesPreset:
    """The settings by key, and two tables by architecture and operation.

    `operations` holds the units used of each item of the price book; `paths` the names of the latencies that follow one
    another in it. `charged` is false where services cost nothing: all usage is then empty.
    """

    name: str
    settings: Mapping[str, Setting]
    operations: Mapping[str, Mapping[str, Usage]]
    paths: Mapping[str, Mapping[str, tuple[str, ...]]]
    charged: bool

    @classmethod
    def load(cls, name: str = _BASE) -> ServicesPreset:
        """The preset of that name, or of a file that `spotbed verify` wrote; InputError with a suggestion if there is
        none."""
        if name.endswith(_FILES):
            return _measured(Path(name))
        if name not in PRESETS:
            hint = suggestion(name, PRESETS) or f"It is one of {', '.join(PRESETS)}."
            raise InputError(Problem(f"unknown services preset {name!r}.", value=name, hint=hint))
        return _load(name)

    def keys(self) -> tuple[str, ...]:
        """All keys, sorted."""
        return tuple(sorted(self.settings))

    def setting(self, key: str) -> Setting:
        """The setting of a key; InputError with a suggestion if there is none."""
        found = self.settings.get(key)
        if found is None:
            hint = suggestion(key, self.settings)
            raise InputError(Problem("unknown key.", path=f"services.{key}", value=key, hint=hint))
        return found

    def value(self, key: str) -> float:
        """The value of a key in its unit: seconds, probability, count, per second, GiB or GiB per second."""
        return self.setting(key).value

    def kind(self, key: str) -> str:
        """How a user writes the value of a key: duration, probability, count, rate_per_s, gib or gib_per_s."""
        return self.setting(key).kind

    def latency(self, name: str) -> Latency:
        """The distribution that `name.median` and `name.p95` describe."""
        return Latency(self.value(f"{name}.median"), self.value(f"{name}.p95"))

    def assumed(self) -> tuple[Setting, ...]:
        """The settings without a public source, in the order of the file: a report prints them with their range."""
        return tuple(setting for setting in self.settings.values() if setting.assumed)

    @property
    def sha256(self) -> str:
        """The hash of all values and usage tables, overrides included."""
        content = [{key: setting.value for key, setting in self.settings.items()}, self.operations]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def with_overrides(self, overrides: Mapping[str, float]) -> ServicesPreset:
        """The preset with other values, in the units of their keys; the usage tables follow.

        A lower history limit alone lowers the point of rolling over in proportion. Raises InputError with all
        problems at once.
        """
        problems = [problem for key, value in overrides.items() for problem in self._faults(key, value)]
        if problems:
            raise InputError(problems)
        changes = dict(overrides)
        if _LIMIT_KEY in changes and _ROLL_OVER_KEY not in changes:
            changes[_ROLL_OVER_KEY] = self.value(_ROLL_OVER_KEY) * changes[_LIMIT_KEY] // self.value(_LIMIT_KEY)
        settings = {key: _changed(setting, changes.get(key), "override") for key, setting in self.settings.items()}
        problems = _contradictions(settings)
        if problems:
            raise InputError(problems)
        changed = replace(self, settings=settings)
        return replace(changed, operations=_operations(changed))

    def _faults(self, key: str, value: float) -> list[Problem]:
        """What is wrong with one override taken by itself."""
        try:
            setting = self.setting(key)
        except InputError as error:
            return error.problems
        if _fits(setting, value):
            return []
        return [Problem(f"{value:g} must be {_wanted(setting)}.", path=f"services.{key}", value=value)]


def _contradictions(settings: Mapping[str, Setting]) -> list[Problem]:
    """Pairs of values that cannot hold together."""
    pairs = [(key, f"{key.removesuffix('.median')}.p95") for key in settings if key.endswith(".median")]
    pairs.append((_ROLL_OVER_KEY, _LIMIT_KEY))
    values = [(low, settings[low].value, high, settings[high].value) for low, high in pairs]
    return [
        Problem(f"{least:g} is above {high} ({most:g}).", path=f"services.{low}", hint="Set both.")
        for low, least, high, most in values
        if least > most
    ]


def _wanted(setting: Setting) -> str:
    if setting.kind == "probability":
        return "between 0 and 1"
    number = "a whole number" if setting.kind == "count" else "a number"
    return f"{number} {'above' if setting.positive else 'of at least'} 0"


def _fits(setting: Setting, value: float) -> bool:
    if not math.isfinite(value) or value < 0 or (setting.positive and value == 0):
        return False
    if setting.kind == "probability":
        return value <= 1
    return setting.kind != "count" or value == int(value)


def _changed(setting: Setting, value: float | None, source: str) -> Setting:
    if value is None:
        return setting
    exact = float(value)
    return replace(setting, value=exact, low=exact, high=exact, source=source, date="", assumed=False)


@cache
def _document(name: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language; C where it is built
    text = (_DATA / f"services-{name}.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.load(text, loader)  # noqa: S506 - both loaders are safe ones
    return document


@cache
def _load(name: str) -> ServicesPreset:
    document = _document(name)
    if "based_on" not in document:
        sources = document["sources"]
        settings = {key: _setting(key, entry, sources) for key, entry in document["values"].items()}
        preset = ServicesPreset(name, settings, {}, _paths(), charged=True)
    else:
        base, by_role = _load(document["based_on"]), document["set"]
        settings = {
            key: _changed(setting, by_role.get(setting.role), f"preset {name}")
            for key, setting in base.settings.items()
        }
        preset = ServicesPreset(name, settings, {}, _paths(), charged=document["charged"])
    return replace(preset, operations=_operations(preset))


def _measured(path: Path) -> ServicesPreset:
    """A preset of a file: another one, with values as a run had them. Raises InputError."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
        base, source = ServicesPreset.load(str(document["based_on"])), document["source"]
        values = {str(key): float(value) for key, value in document["values"].items()}
        text, date = str(source["text"]), str(source["date"])
    except OSError as error:
        raise InputError(Problem(f"cannot be read ({error.strerror}).", str(path))) from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"is no services preset ({type(error).__name__}: {error})."
        raise InputError(Problem(message, str(path), hint="`spotbed verify --write` makes one.")) from None
    made = base.with_overrides(values)
    settings = {
        key: replace(setting, source=text, date=date) if key in values else setting
        for key, setting in made.settings.items()
    }
    return replace(made, name=str(path), settings=settings)


def _setting(key: str, entry: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> Setting:
    """One entry of the file; the tests check that none is incomplete."""
    value, positive = float(entry["value"]), entry.get("positive", False)
    common = (key, value, entry["unit"], entry["role"])
    if entry.get("assumed"):
        low, high = float(entry["low"]), float(entry["high"])
        return Setting(*common, "assumed", "", low, high, assumed=True, positive=positive, why=entry["why"])
    source = sources[entry["source"]]
    return Setting(*common, source["text"], str(source["date"]), value, value, positive=positive)


def _paths() -> dict[str, dict[str, tuple[str, ...]]]:
    tables = _document(_BASE)["paths"]
    return {
        architecture: {
            operation: tuple(name for name, times in path.items() for _ in range(times))
            for operation, path in table.items()
        }
        for architecture, table in tables.items()
    }


def _operations(preset: ServicesPreset) -> dict[str, dict[str, dict[str, float]]]:
    """The usage tables of a preset, with its values filled in."""
    tables = _document(_BASE)["operations"]
    calls = {f"lambda.{name}": _call(preset, parts) for name, parts in _document(_BASE)["functions"].items()}
    return {
        architecture: {name: _usage(preset, uses, calls) if preset.charged else {} for name, uses in table.items()}
        for architecture, table in tables.items()
    }


def _usage(preset: ServicesPreset, uses: Mapping[str, Any], calls: Mapping[str, Usage]) -> dict[str, float]:
    usage: dict[str, float] = {}
    for item, amount in uses.items():
        count = _amount(preset, amount)
        for used, units in calls.get(item, {item: 1.0}).items():
            usage[used] = usage.get(used, 0.0) + count * units
    return usage


def _amount(preset: ServicesPreset, amount: Any) -> float:
    if not isinstance(amount, dict):
        return float(amount)
    if "per" in amount:
        return 1 / preset.value(amount["per"])
    return float(preset.value(amount["of"]) * amount.get("times", 1))


def _call(preset: ServicesPreset, function: Mapping[str, str]) -> dict[str, float]:
    """What one call of a function uses. AWS rounds its duration up to the millisecond, and bills INIT (August 2025)."""
    duration_s = math.ceil(round(preset.value(function["duration"]) * 1000, 6)) / 1000
    init_s = preset.value("lambda.cold_start.probability") * preset.latency("lambda.cold_start").mean_s
    return {
        "lambda.request": 1.0,
        "lambda.gb-second": preset.value(function["memory"]) * (duration_s + init_s),
        "cloudwatch.logs-gb": preset.value("cloudwatch.logs_per_call"),
    }
