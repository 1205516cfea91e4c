"""From a scenario to what the simulator takes: pools, market, services, settings; and the work of each world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.distributions import quantile_s
from sim.inputs import (
    NEVER_MS,
    Billing,
    Dist,
    HeadNode,
    Interruptions,
    MarketInputs,
    Outage,
    Pool,
    PricePath,
    ServiceInputs,
    WorldInputs,
)
from sim.streams import Streams
from spotbed.catalogue import Catalogue
from spotbed.errors import InputError, Problem
from spotbed.ledger import Costs, PoolFacts
from spotbed.policies.compose import Composed, compose
from spotbed.pricebook import PriceBook
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_world import (
    ConstantPrices,
    Every,
    ExponentialInterruptions,
    LifetimeInterruptions,
    NoInterruptions,
    PriceInterruptions,
    TraceInterruptions,
    TracePrices,
    WeibullInterruptions,
)
from spotbed.scenario.models_world import Pool as PoolModel
from spotbed.scenario.services import service_values
from spotbed.services_preset import ServicesPreset
from spotbed.traces.availability import load_capacity
from spotbed.traces.lifetimes import load_lifetimes
from spotbed.traces.prices import PriceHistory, Series, load_price_paths
from spotbed.work.build import build_work, file_read
from spotbed.work.durations import dist_of

_MS = 1000
_SLOW = 0.95
_LEGACY_PATHS = ("launch", "worker_start", "ready", "job_start", "poll", "success", "fail_ssm", "fail_string",
                 "queue_check", "teardown")  # fmt: skip
_ALONE = ("launch", "missed", "delayed", "retried", "start_retried", "index_lag", "rebalance_alone")
# operation of the drivers -> the paths of the services data that follow one another in it
_PATHS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "decoupled": {
        "event": ("event", "step"),
        "report": ("event", "step", "complete"),
        "wake": ("submit", "step"),
        "worker_start": ("worker_start", "step"),
        "start": ("claim", "start"),
        "order": ("start",),
        **{name: (name,) for name in _ALONE},
    },
    "central": {"launch": ("launch",)},
    "legacy-2019": {name: (name,) for name in _LEGACY_PATHS},
}
_IN_LAUNCH = "ec2.pending"  # drawn as the market's launch latency, not as a call's


@dataclass(frozen=True)
class Blueprint:
    """A scenario made ready: what all worlds and policies share."""

    scenario: Scenario
    catalogue: Catalogue
    book: PriceBook

    @cached_property
    def preset(self) -> ServicesPreset:
        """The services, with the scenario's own values."""
        services = self.scenario.services
        return ServicesPreset.load(services.source).with_overrides(service_values(services))

    @cached_property
    def price_histories(self) -> list[PriceHistory]:
        """The recorded prices of its pools, a history a file."""
        return _price_histories(self.scenario)

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """The pools, with their prices."""
        return _pools(self)

    @cached_property
    def market(self) -> MarketInputs:
        return _market(self.scenario, self.preset, self.pools)

    @cached_property
    def billing(self) -> Billing:
        rule = self.book.rules
        free = self.scenario.costs.first_hour_free
        return Billing(
            rule.minimum_s,
            rule.first_hour_free if free is None else free,
            by_hour=bool(self.scenario.costs.commitments),
        )

    @cached_property
    def composed(self) -> dict[str, Composed]:
        """The policies by label. Raises InputError with all that is wrong with them."""
        problems: list[Problem] = []
        found = {}
        for number, entry in enumerate(self.scenario.policies):
            try:
                found[entry.label] = compose(entry, self.scenario.base_dir, f"policies.{number}")
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return found

    def preset_of(self, composed: Composed) -> ServicesPreset:
        """The services as this policy has them: `legacy-2019` takes its parameters from there."""
        if not composed.services:
            return self.preset
        model = self.scenario.services.model_copy(update={"preset": self.preset.name})
        extra = type(model).model_validate({"preset": self.preset.name, **composed.services})
        return self.preset.with_overrides(service_values(extra))

    def settings(self, preset: ServicesPreset) -> Settings:
        """What the core reads beside a policy's parameters."""
        checkpoint = self.scenario.checkpoint
        return Settings(
            seed=self.scenario.seed,
            lease_ms=_ms(preset, "lease"),
            tick_ms=_ms(preset, "tick"),
            keep_alive_ms=_ms(preset, "keep_alive"),
            boot_timeout_ms=_ms(preset, "boot_timeout"),
            roll_over_at=int(preset.value("stepfunctions.roll_over_at")),
            events_per_cycle=max(1, round(_per_cycle("stepfunctions.history-event"))),
            checkpoint_write_ms=round(checkpoint.write * _MS),
            checkpoint_restore_ms=round(checkpoint.restore * _MS),
            startup_ms=round(checkpoint.startup * _MS),
            reaction_ms=self._reaction_ms(preset),
        )

    def _reaction_ms(self, preset: ServicesPreset) -> int:
        """What a deadline must allow from a decision to a ready worker: a tick, and the slow end of launch and boot."""
        if self.scenario.capacity.cluster:
            return 0
        boots = [quantile_s(pool.boot, _SLOW) for pool in self.pools]
        launch = quantile_s(self.market.launch, _SLOW) + sum(
            preset.latency(name).p95_s for name in preset.paths["decoupled"].get("launch", ()) if name != _IN_LAUNCH
        )
        return round((preset.value("tick") + launch + max(boots, default=0.0)) * _MS)

    def policy(self, composed: Composed) -> Policy:
        """The core's policy, with this scenario's settings."""
        return composed.policy(self.settings(self.preset_of(composed)))

    def world(self, number: int, composed: Composed, seed: int | None = None) -> tuple[WorldInputs, list[str]]:
        """World `number` as the policy's driver takes it, and notes on its work and its prices."""
        scenario = self.scenario
        seed = scenario.seed if seed is None else seed
        horizon_ms = None if scenario.horizon is None else round(scenario.horizon * _MS)
        work, notes = build_work(scenario.workload, streams=Streams(seed, number), horizon_ms=horizon_ms)
        notes += [note for history in self.price_histories for note in history.notes]
        preset = self.preset_of(composed)
        capacity = scenario.capacity
        return WorldInputs(
            seed=seed,
            world=number,
            work=work,
            pools=self.pools,
            market=self.market,
            services=service_inputs(preset, composed.architecture),
            billing=self.billing,
            horizon_ms=NEVER_MS if horizon_ms is None else horizon_ms,
            budget_usd=capacity.budget or 0.0,
            licences=dict(capacity.licences),
            slots_per_instance=capacity.slots_per_instance,
            head_node=self._head_node(composed.label),
            legacy={key: setting.value for key, setting in preset.settings.items()},
            cluster_slots=capacity.cluster.slots if capacity.cluster else 0,
        ), notes

    def _head_node(self, label: str) -> HeadNode:
        central = self.scenario.policy(label).central
        if central is None:
            return HeadNode()
        fails = tuple((round(each.at * _MS), round(each.for_ * _MS)) for each in central.fails)
        return HeadNode(central.price, central.dispatch_rate or 0.0, fails)

    def costs(self, composed: Composed) -> Costs:
        """The scenario's lines of the bill."""
        costs, preset = self.scenario.costs, self.preset_of(composed)
        legacy = composed.architecture == "legacy-2019" and "legacy.ebs_gib" in preset.settings
        ebs = preset.value("legacy.ebs_gib" if legacy else "ebs.gib")
        head = self._head_node(composed.label).usd_per_hour
        if composed.architecture == "central" and not head:
            head = self.book.usd("ec2.head-node") * 3600
        return Costs(
            ebs_gib=(ebs if preset.charged else 0.0) if costs.ebs_gib is None else costs.ebs_gib,
            fixed=tuple((each.item, each.usd_per_hour) for each in costs.fixed),
            commitments=tuple((each.usd_per_hour, each.discount) for each in costs.commitments),
            head_node_usd_per_hour=head,
        )

    def pool_facts(self) -> list[PoolFacts]:
        return [PoolFacts(pool.purchase, pool.on_demand_usd_per_hour) for pool in self.pools]

    def input_files(self) -> dict[str, Path]:
        """Every file that the result depends on, by the name that the scenario has for it."""
        workload = self.scenario.workload
        files = {str(path): file_read(workload, path) for path in self.scenario.input_paths()}
        if self.scenario.source_path is not None:
            files["scenario"] = self.scenario.source_path
        return files


def blueprint(scenario: Scenario) -> Blueprint:
    """Make a scenario ready. Raises InputError for what only shows when its files and policies are read."""
    made = Blueprint(scenario, Catalogue.load(), PriceBook.load(scenario.capacity.region))
    if not scenario.capacity.cluster:
        _ = made.market
    _ = made.composed
    return made


def _ms(preset: ServicesPreset, key: str) -> int:
    return round(preset.value(key) * _MS)


def _per_cycle(item: str) -> float:
    """What a worker uses of an item between two claims: of the services data, of one Step and one Park."""
    table = ServicesPreset.load().operations["decoupled"]
    return sum(table[name].get(item, 0.0) for name in ("step", "park"))


def service_inputs(preset: ServicesPreset, architecture: str) -> ServiceInputs:
    """Latencies, faults and limits for the drivers of an architecture."""
    table = preset.paths.get("legacy" if architecture == "legacy-2019" else architecture, {})
    calls = {
        operation: [name for path in paths for name in table.get(path, ())]
        for operation, paths in _PATHS[architecture].items()
    }
    latency = {
        operation: tuple(
            Dist("lognormal", {"median": found.median_s, "p95": found.p95_s})
            for name in names
            if name != _IN_LAUNCH and (found := preset.latency(name)).median_s > 0
        )
        for operation, names in calls.items()
    }
    if architecture == "decoupled":
        latency["reordered"] = (Dist("uniform", {"low": 0.0, "high": preset.value("sqs.visibility")}),)
    faults = {
        key: each.value for key, each in preset.settings.items() if each.role == "fault" and each.kind == "probability"
    }
    limits = (
        {key: each.value for key, each in preset.settings.items() if each.role == "limit"} if preset.charged else {}
    )
    return ServiceInputs(
        latency,
        faults,
        limits,
        staging_gib_per_s=preset.value("s3.bandwidth") if preset.charged else 0.0,
        occasional=_cold_starts(preset, calls),
        count_staleness_s=preset.value("dynamodb.count_staleness"),
        renewals_per_lease=int(preset.value("renewals_per_lease")),
        cycle_transitions=_per_cycle("stepfunctions.transition"),
        cycle_lambda_s=sum(preset.value(f"lambda.duration.{name}") for name in ("deliver", "step", "park")),
    )


def _cold_starts(preset: ServicesPreset, calls: Mapping[str, list[str]]) -> dict[str, tuple[tuple[float, Dist], ...]]:
    """Operation -> (probability, duration) of a cold start, once for each function that it calls."""
    probability, found = preset.value("lambda.cold_start.probability"), preset.latency("lambda.cold_start")
    if not probability or not found.median_s:
        return {}
    cold = (probability, Dist("lognormal", {"median": found.median_s, "p95": found.p95_s}))
    return {operation: (cold,) * names.count("lambda.invoke") for operation, names in calls.items()}


# pools and their prices ---------------------------------------------------------------------------------------------
def _pools(made: Blueprint) -> tuple[Pool, ...]:
    traced = {pool: path for history in made.price_histories for pool, path in history.paths.items()}
    return tuple(
        _pool(model, traced.get(model.id) or _flat(_price(made, model)), made) for model in made.scenario.capacity.pools
    )


def _pool(model: PoolModel, price: PricePath, made: Blueprint) -> Pool:
    kind = made.catalogue.find(model.instance_type)
    boot_key = "ec2.boot_windows" if model.os == "windows" else "ec2.boot"
    boot = _latency_dist(made.preset, boot_key) if model.boot is None else dist_of(model.boot)
    list_price = _list_price(made, model, float(price.usd_per_hour.max()))
    return Pool(
        model.id,
        model.instance_type,
        model.az,
        model.purchase,
        model.max,
        kind.vcpus,
        kind.memory_gib,
        kind.gpus,
        price,
        list_price,
        boot,
        model.os,
    )


def _latency_dist(preset: ServicesPreset, key: str) -> Dist:
    found = preset.latency(key)
    if found.median_s == 0:
        return Dist("constant", {"value": 0.0})
    return Dist("lognormal", {"median": found.median_s, "p95": found.p95_s})


def _region(az: str) -> str:
    return az.rstrip("abcdefghijklmnopqrstuvwxyz") if not az[-1].isdigit() else az


def _list_price(made: Blueprint, model: PoolModel, otherwise: float) -> float:
    """The on-demand list price of the pool's type; where the catalogue has none, the pool's own price."""
    try:
        return made.catalogue.on_demand_usd_per_hour(model.instance_type, _region(model.az), model.os)
    except InputError:
        return otherwise


def _price(made: Blueprint, model: PoolModel) -> float:
    if model.price is not None:
        return model.price
    prices, region = made.scenario.market.prices, _region(model.az)
    if model.purchase == "on-demand":
        return made.catalogue.on_demand_usd_per_hour(model.instance_type, region, model.os)
    if isinstance(prices, ConstantPrices) and prices.price is not None:
        return prices.price
    return made.catalogue.spot_usd_per_hour(model.instance_type, region, model.os)


def _flat(usd_per_hour: float) -> PricePath:
    return PricePath(np.zeros(1, dtype=np.int64), np.array([usd_per_hour]))


def _price_histories(scenario: Scenario) -> list[PriceHistory]:
    """Price histories of the Spot pools without a price of their own."""
    prices = scenario.market.prices
    if not isinstance(prices, TracePrices):
        return []
    spot = [pool for pool in scenario.capacity.pools if pool.purchase == "spot" and pool.price is None]
    by_file: dict[Path, dict[str, Series]] = {}
    for pool in spot:
        path = prices.path.get(pool.id) if isinstance(prices.path, Mapping) else prices.path
        if path is not None:
            series = Series(pool.instance_type, pool.az, "Windows" if pool.os == "windows" else "Linux/UNIX")
            by_file.setdefault(path.locate(), {})[pool.id] = series
    return [load_price_paths(file, wanted, lenient=prices.lenient) for file, wanted in by_file.items()]


# market -------------------------------------------------------------------------------------------------------------
def _market(scenario: Scenario, preset: ServicesPreset, pools: tuple[Pool, ...]) -> MarketInputs:
    market = scenario.market
    launch = _latency_dist(preset, _IN_LAUNCH) if market.launch is None else dist_of(market.launch)
    return MarketInputs(
        interruptions=_interruptions(scenario, pools),
        notice_probability=market.notice.probability,
        notice_lead_ms=round(market.notice.lead * _MS),
        rebalance_probability=market.rebalance.probability,
        rebalance_lead_ms=round(market.rebalance.lead * _MS),
        launch=launch,
        outages=tuple(
            Outage(each.az, round(each.from_ * _MS), round(each.until * _MS), each.launches_fail)
            for each in market.outages
        ),
    )


def _interruptions(scenario: Scenario, pools: tuple[Pool, ...]) -> Interruptions:
    """The cause of interruptions. Recorded prices start where a recorded capacity does, if there is one."""
    cause, prices = _cause(scenario, pools), scenario.market.prices
    if cause.source == "trace" or not isinstance(prices, TracePrices) or prices.start is None:
        return cause
    return _started(cause, prices.start)


def _started(cause: Interruptions, start: float | str | Every) -> Interruptions:
    if isinstance(start, Every):
        return replace(cause, start="every", every_ms=round(start.every * _MS))
    if isinstance(start, str):
        return replace(cause, start="random")
    return replace(cause, start_ms=round(start * _MS))


def _cause(scenario: Scenario, pools: tuple[Pool, ...]) -> Interruptions:
    model = scenario.market.interruptions
    match model:
        case NoInterruptions():
            return Interruptions()
        case ExponentialInterruptions():
            return Interruptions("exponential", mean_ms=model.mean * _MS)
        case WeibullInterruptions():
            up, down = (Dist("weibull", {"shape": each.shape, "scale": each.scale}) for each in (model.up, model.down))
            return Interruptions("weibull", up=up, down=down, burst_ms=round(model.burst * _MS))
        case TraceInterruptions():
            return _traced(model, pools)
        case LifetimeInterruptions():
            lifetimes_ms, survival = load_lifetimes(model.path.locate())
            return Interruptions("lifetimes", lifetimes_ms=lifetimes_ms, survival=survival)
        case PriceInterruptions():
            return Interruptions("price", max_price_usd_per_hour=_max_prices(model, pools), burst_ms=0)


def _max_prices(model: PriceInterruptions, pools: tuple[Pool, ...]) -> dict[str, float]:
    spot = [pool for pool in pools if pool.purchase == "spot"]
    given = model.max_price
    if isinstance(given, Mapping):
        return {pool.id: given.get(pool.id, pool.on_demand_usd_per_hour) for pool in spot}
    return {pool.id: pool.on_demand_usd_per_hour if given is None else given for pool in spot}


def _traced(model: TraceInterruptions, pools: tuple[Pool, ...]) -> Interruptions:
    spot = [pool.id for pool in pools if pool.purchase == "spot"]
    paths = model.path
    traces = {
        pool: (paths[pool] if isinstance(paths, Mapping) else paths).locate()
        for pool in spot
        if not isinstance(paths, Mapping) or pool in paths
    }
    common = Interruptions("trace", capacity=load_capacity(traces), burst_ms=0, scale=model.scale)
    return _started(common, model.start)
