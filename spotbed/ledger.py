"""The bill: metered usage x a dated price book, added up in two ways that must agree.

One way goes by cause: the attempts' split of instance time, and the calls by operation. The other goes by thing: what
the instances cost as a whole, and the items of the price book. There is no residual line, so a second of an instance or
a call that nobody accounts for is an error, not a small number at the bottom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spotbed.metering import INSTANCE_CAUSES, USEFUL, PoolUse, Tally
from spotbed.pricebook import PriceBook
from spotbed.services_preset import ServicesPreset

TOLERANCE = 1e-9
_FIXED_ITEMS = ("network.nat-hour", "cloudwatch.metric", "cloudwatch.alarm", "dynamodb.rcu-hour", "dynamodb.wcu-hour")
_CAUSE_OF_OPERATION = {
    "checkpoint": "checkpoint",
    "restore": "checkpoint",
    "stage_in_gib": "useful",
    "stage_out_gib": "useful",
}
_MS_PER_HOUR = 3_600_000
_OF_AN_ATTEMPT = {
    "decoupled": ("deliver", "step", "park", "claim_hit", "start", "complete"),
    "legacy-2019": ("job_start", "success"),
}


class LedgerError(AssertionError):
    """The two ways of adding up differ: a fault of ours."""


@dataclass(frozen=True, slots=True)
class BillLine:
    item: str
    cause: str
    usage: float
    unit: str
    usd: float
    list_usd: float = 0.0  # of instance time: the same time at the on-demand list price


@dataclass(frozen=True, slots=True)
class Costs:
    """What the scenario adds to the bill. `fixed` is (item, USD per hour); a commitment (USD per hour, discount)."""

    ebs_gib: float = 0.0
    fixed: tuple[tuple[str, float], ...] = ()
    commitments: tuple[tuple[float, float], ...] = ()
    head_node_usd_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """All lines of one world; `list_usd` is the useful instance time at the on-demand list price."""

    lines: tuple[BillLine, ...]
    total_usd: float
    list_usd: float
    notes: tuple[str, ...] = field(default=())

    def by_cause(self) -> dict[str, float]:
        """USD by cause."""
        sums: dict[str, float] = {}
        for line in self.lines:
            sums[line.cause] = sums.get(line.cause, 0.0) + line.usd
        return sums


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What the ledger needs of a pool: how it is bought and the list price of its type."""

    purchase: str
    on_demand_usd_per_hour: float


def make_bill(
    tally: Tally,
    pools: Sequence[PoolFacts],
    architecture: str,
    book: PriceBook,
    preset: ServicesPreset,
    costs: Costs,
    *,
    slots: int = 1,
    hours: float = 0.0,
    penalty_usd: float = 0.0,
) -> Bill:
    """The bill of a world that lasted `hours`. Raises LedgerError when the two ways of adding up differ."""
    uncovered = 1.0 - _covered_share(tally, pools, costs, hours)
    lines = [
        *_instance_lines(tally.pools, pools, slots, uncovered),
        *_storage_lines(tally.pools, slots, costs.ebs_gib, book),
        *_call_lines(tally, architecture, book, preset, hours),
        *_fixed_lines(tally, costs, hours),
    ]
    if penalty_usd:
        lines.append(BillLine("penalty.late", "fixed", penalty_usd, "USD", penalty_usd))
    total = _total_usd(tally, pools, architecture, book, preset, costs, hours, uncovered) + penalty_usd
    by_cause = sum(line.usd for line in lines)
    if abs(by_cause - total) > TOLERANCE * max(1.0, abs(total)):
        raise LedgerError(f"by cause {by_cause!r} USD, by instance and price book {total!r} USD")
    return Bill(tuple(line for line in lines if line.usage or line.usd), total, _list_usd(tally.pools, pools, slots))


def _instance_lines(
    uses: Sequence[PoolUse], pools: Sequence[PoolFacts], slots: int, uncovered: float
) -> list[BillLine]:
    ms: dict[tuple[str, str], int] = {}
    usd: dict[tuple[str, str], float] = {}
    listed: dict[tuple[str, str], float] = {}
    for use, pool in zip(uses, pools, strict=True):
        factor = uncovered if pool.purchase == "on-demand" else 1.0
        for number, cause in enumerate(INSTANCE_CAUSES):
            key = (f"ec2.{pool.purchase}", cause)
            ms[key] = ms.get(key, 0) + use.ms[number]
            usd[key] = usd.get(key, 0.0) + use.usd[number] * factor
            hours = use.ms[number] / _MS_PER_HOUR / slots
            listed[key] = listed.get(key, 0.0) + hours * pool.on_demand_usd_per_hour
    return [BillLine(key[0], key[1], ms[key] / 1000 / slots, "instance-second", usd[key], listed[key]) for key in ms]


def _storage_lines(uses: Sequence[PoolUse], slots: int, gib: float, book: PriceBook) -> list[BillLine]:
    if not gib:
        return []
    usd = book.usd("ebs.gp3")
    lines = []
    for number, cause in enumerate(INSTANCE_CAUSES):
        gib_s = sum(use.ms[number] for use in uses) / 1000 / slots * gib
        lines.append(BillLine("ebs.gp3", cause, gib_s, "gib-second", gib_s * usd))
    return lines


def operation_usd(operation: Mapping[str, float], book: PriceBook) -> float:
    """What one operation costs."""
    return sum(units * book.usd(item) for item, units in operation.items())


def _call_lines(
    tally: Tally, architecture: str, book: PriceBook, preset: ServicesPreset, hours: float
) -> list[BillLine]:
    """Calls by operation: what each operation uses of each item, times how often it was done."""
    usage: dict[tuple[str, str], float] = {}
    for name, count in _operations(tally, hours).items():
        for item, units in _uses(name, architecture, preset).items():
            cause = "fixed" if item in _FIXED_ITEMS else _CAUSE_OF_OPERATION.get(name, "control")
            usage[item, cause] = usage.get((item, cause), 0.0) + units * count
    return [
        BillLine(item, cause, units, book.line(item).unit, units * book.usd(item))
        for (item, cause), units in usage.items()
    ]


def _operations(tally: Tally, hours: float) -> dict[str, float]:
    return {**tally.operations, **{f"stage_{way}_gib": gib for way, gib in tally.gib.items()}, "hour": hours}


def _uses(name: str, architecture: str, preset: ServicesPreset) -> Mapping[str, float]:
    """What an operation uses of each item. Raises LedgerError for one that the services data does not have: it would
    be free without anybody having said so."""
    table = preset.operations[_table_of(architecture)]
    if name not in table:
        raise LedgerError(f"the services data has no operation {name!r} of {architecture}")
    return table[name]


def _table_of(architecture: str) -> str:
    return "legacy" if architecture == "legacy-2019" else architecture


def _fixed_lines(tally: Tally, costs: Costs, hours: float) -> list[BillLine]:
    lines = [BillLine(f"fixed.{item}", "fixed", hours, "hour", hours * usd) for item, usd in costs.fixed]
    for usd, _ in costs.commitments:
        lines.append(BillLine("fixed.commitment", "fixed", hours, "hour", hours * usd))
    if tally.head_node_ms:
        seconds = tally.head_node_ms / 1000
        usd = seconds / 3600 * costs.head_node_usd_per_hour
        lines.append(BillLine("ec2.head-node", "control", seconds, "instance-second", usd))
    return lines


def _total_usd(
    tally: Tally,
    pools: Sequence[PoolFacts],
    architecture: str,
    book: PriceBook,
    preset: ServicesPreset,
    costs: Costs,
    hours: float,
    uncovered: float,
) -> float:
    """The bill from its things: instances as billed, storage for their time, calls by operation, fixed lines."""
    instances = storage_s = 0.0
    for use, pool in zip(tally.pools, pools, strict=True):
        instances += use.instance_usd * (uncovered if pool.purchase == "on-demand" else 1.0)
        storage_s += use.instance_ms / 1000
    storage = storage_s * costs.ebs_gib * book.usd("ebs.gp3")
    calls = sum(
        count * operation_usd(_uses(name, architecture, preset), book)
        for name, count in _operations(tally, hours).items()
    )
    fixed = hours * (sum(usd for _, usd in costs.fixed) + sum(usd for usd, _ in costs.commitments))
    head = tally.head_node_ms / _MS_PER_HOUR * costs.head_node_usd_per_hour
    return instances + storage + calls + fixed + head


def _covered_share(tally: Tally, pools: Sequence[PoolFacts], costs: Costs, hours: float) -> float:
    """The share of on-demand spending that the commitments cover, hour by hour: what an hour does not use is lost."""
    total = sum(tally.on_demand_usd_by_hour.values())
    if not costs.commitments or not total:
        return 0.0
    cover = sum(usd / (1.0 - discount) for usd, discount in costs.commitments)
    return sum(min(cover, usd) for usd in tally.on_demand_usd_by_hour.values()) / total


def _list_usd(uses: Sequence[PoolUse], pools: Sequence[PoolFacts], slots: int) -> float:
    return sum(
        use.ms[USEFUL] / slots * pool.on_demand_usd_per_hour / _MS_PER_HOUR
        for use, pool in zip(uses, pools, strict=True)
    )


def control_usd_per_job(
    tally: Tally, architecture: str, book: PriceBook, preset: ServicesPreset
) -> tuple[float, float]:
    """(USD of the calls of one attempt, USD of one submission): what a job's calls cost beside its instance time."""
    names = _OF_AN_ATTEMPT.get(architecture, ("start",))
    attempt = sum(operation_usd(_uses(name, architecture, preset), book) for name in names)
    return attempt, operation_usd(_uses("submit", architecture, preset), book)
