"""What a deployment costs in a month in which no job runs, with a NAT gateway and with interface endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from spotbed.pricebook import PriceBook
from spotbed.scenario.models_base import Section, Several
from spotbed.services_preset import ServicesPreset

HOURS_PER_MONTH = 730  # as on the price pages of AWS
# What an instance without a public address calls: its agent, and Deliver. S3 and DynamoDB have gateway endpoints.
INTERFACES = ("ssm", "ssmmessages", "ec2messages", "lambda")
_ARCHITECTURE = "decoupled"
_NETWORK = "network.nat-hour"


class IdleLine(Section):
    """One item of the price book over a month."""

    item: str
    usage: float
    unit: str
    usd: float


class IdleCost(Section):
    """USD a month. `common` is paid either way; the network is one of the two."""

    usd_per_month: dict[str, float] = Field(description="the whole with `nat`, and with `endpoints`")
    common: Several[IdleLine]
    nat: Several[IdleLine]
    endpoints: Several[IdleLine]


def idle_cost(book: PriceBook, preset: ServicesPreset, zones: int) -> IdleCost:
    """The bill of a month without jobs, in `zones` zones. One NAT gateway serves them all, as in the simulated bill."""
    gateways = preset.value("network.nat_gateways")
    common = [_line(book, item, units) for item, units in sorted(_control(preset).items())]
    nat = [
        _line(book, "network.nat-hour", gateways * HOURS_PER_MONTH),
        _line(book, "network.ipv4-hour", gateways * HOURS_PER_MONTH),
    ]
    endpoints = [
        _line(book, "network.endpoint-hour", len(INTERFACES) * zones * HOURS_PER_MONTH),
        _line(book, "network.gateway-endpoint-hour", 2 * HOURS_PER_MONTH),
    ]
    whole = {"nat": _sum([*common, *nat]), "endpoints": _sum([*common, *endpoints])}
    return IdleCost(usd_per_month=whole, common=tuple(common), nat=tuple(nat), endpoints=tuple(endpoints))


def _control(preset: ServicesPreset) -> Mapping[str, float]:
    """Units of a month: the fleet's ticks, and what is used by the hour but for the network."""
    operations = preset.operations[_ARCHITECTURE]
    ticks = HOURS_PER_MONTH * 3600 / preset.value("tick")
    total: dict[str, float] = {}
    for usage, times in ((operations["tick"], ticks), (operations["hour"], HOURS_PER_MONTH)):
        for item, units in usage.items():
            if item != _NETWORK:
                total[item] = total.get(item, 0.0) + units * times
    return total


def _line(book: PriceBook, item: str, usage: float) -> IdleLine:
    return IdleLine(item=item, usage=usage, unit=book.line(item).unit, usd=usage * book.usd(item))


def _sum(lines: Sequence[IdleLine]) -> float:
    return sum(line.usd for line in lines)
