"""Checks of pools, market, services and costs."""

from __future__ import annotations

from collections.abc import Iterable

from spotbed.errors import InputError
from spotbed.scenario.check_work import tell_duplicates
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_world import (
    ConstantPrices,
    Pool,
    PriceInterruptions,
    TraceInterruptions,
    TracePrices,
)
from spotbed.scenario.problems import shown, suggestion
from spotbed.scenario.services import service_values
from spotbed.scenario.tell import Teller
from spotbed.scenario.yaml_positions import Keys


def find_type(name: str) -> object:
    """The instance type of that name. Raises InputError."""
    from spotbed.catalogue import Catalogue

    return Catalogue.load().find(name)


def find_zone(az: str) -> object:
    """The region of that zone. Raises InputError."""
    from spotbed.catalogue import Catalogue

    return Catalogue.load().region_of(az)


def find_region(region: str) -> object:
    """The zones of that region. Raises InputError."""
    from spotbed.catalogue import Catalogue

    return Catalogue.load().availability_zones(region)


def check_pools(scenario: Scenario, teller: Teller) -> None:
    """Pools are called differently."""
    ids = [pool.id for pool in scenario.capacity.pools]
    tell_duplicates(ids, teller, ("capacity", "pools"), "id")


def check_prices(scenario: Scenario, teller: Teller) -> None:
    """The price of every pool is known."""
    prices = scenario.market.prices
    for number, pool in enumerate(scenario.capacity.pools):
        keys = ("capacity", "pools", number)
        if pool.price is not None or (isinstance(prices, TracePrices) and pool.purchase == "spot"):
            continue
        if isinstance(prices, ConstantPrices) and pool.purchase == "spot":
            if prices.price is None:
                hint = "Give the pool a `price:`, or market.prices a `price:` for all."
                teller.error("has no price.", (*keys, "price"), hint)
            continue
        try:
            _look_up(pool)
        except InputError as error:
            teller.pass_on(error, (*keys, "instance_type"))


def _look_up(pool: Pool) -> None:
    from spotbed.catalogue import Catalogue

    catalogue = Catalogue.load()
    region = catalogue.region_of(pool.az)
    if pool.purchase == "spot":
        catalogue.spot(pool.instance_type, region, pool.os, pool.az)
    else:
        catalogue.on_demand(pool.instance_type, region, pool.os)


def check_references(scenario: Scenario, teller: Teller) -> None:
    """What the market names exists among the pools."""
    pools = scenario.capacity.pools
    zones = {pool.az for pool in pools}
    for number, outage in enumerate(scenario.market.outages):
        if outage.az not in zones:
            hint = suggestion(outage.az, zones)
            teller.error(f"no pool is in {shown(outage.az)}.", ("market", "outages", number, "az"), hint)
    spot = [pool.id for pool in pools if pool.purchase == "spot"]
    interruptions, prices = scenario.market.interruptions, scenario.market.prices
    if isinstance(prices, TracePrices) and isinstance(interruptions, TraceInterruptions) and prices.start is not None:
        hint = "Say it once, at market.interruptions.start: it holds for prices too."
        teller.error("both traces have a start.", ("market", "prices", "start"), hint)
    keys: Keys = ("market", "interruptions")
    if isinstance(interruptions, TraceInterruptions) and isinstance(interruptions.path, dict):
        _tell_ids(interruptions.path, spot, teller, (*keys, "path"), "are never interrupted")
    if isinstance(interruptions, PriceInterruptions) and isinstance(interruptions.max_price, dict):
        _tell_ids(interruptions.max_price, spot, teller, (*keys, "max_price"), "have the on-demand price as maximum")
    if isinstance(prices, TracePrices) and isinstance(prices.path, dict):
        _tell_ids(prices.path, spot, teller, ("market", "prices", "path"), "take the catalogue's price")


def _tell_ids(named: Iterable[str], spot: list[str], teller: Teller, keys: Keys, otherwise: str) -> None:
    """Errors for names that are no Spot pool, and a warning for Spot pools that are not named."""
    for name in named:
        if name not in spot:
            teller.error(f"{shown(name)} is not the id of a Spot pool.", (*keys, name), suggestion(name, spot))
    rest = [name for name in spot if name not in set(named)]
    if rest:
        listed = ", ".join(rest[:5]) + (", ..." if len(rest) > 5 else "")
        teller.warning(f"the Spot pools that are not named here {otherwise}: {listed}.", keys)


def check_costs(scenario: Scenario, teller: Teller) -> None:
    """Fixed costs are called differently."""
    tell_duplicates([cost.item for cost in scenario.costs.fixed], teller, ("costs", "fixed"), "item")


def check_services(scenario: Scenario, teller: Teller) -> None:
    """What is replaced in the preset exists, and fits it."""
    if not scenario.services.overrides():
        return
    try:
        service_values(scenario.services)
    except InputError as error:
        for problem in error.problems:
            keys = _keys_of(problem.path or "services", teller)
            teller.error(problem.message, keys, problem.hint, of_key=problem.message == "unknown key.")


def _keys_of(path: str, teller: Teller) -> Keys:
    """services.sqs.visibility as the file has it: with one key `sqs.visibility`, or one in the other."""
    dotted = path.removeprefix("services.")
    flat: Keys = ("services", dotted)
    return flat if teller.document.find(flat) else ("services", *dotted.split("."))
