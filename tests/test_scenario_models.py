"""The models: what keys mean in seconds, GiB and USD, what is filled in, and that nothing else is accepted."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, Tag, ValidationError
from typing_extensions import TypeAliasType

from spotbed.scenario.load import load_scenario
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_base import Reading
from spotbed.scenario.models_policies import default_label
from spotbed.scenario.models_work import Daily, Inline, Lognormal, Swf, Synthetic
from spotbed.scenario.models_world import (
    ConstantPrices,
    Every,
    NoInterruptions,
    PriceInterruptions,
    TraceInterruptions,
    WeibullInterruptions,
)

MINIMAL: dict[str, Any] = {
    "workload": {"source": "synthetic", "jobs": 10, "classes": [{"runtime": "40m"}]},
    "capacity": {"pools": [{"instance_type": "c6i.xlarge"}]},
    "policies": ["spot-only"],
}


def make(**sections: Any) -> Scenario:
    return Scenario.model_validate({**MINIMAL, **sections}, context=Reading(Path("/base")))


def errors(**sections: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        make(**sections)
    return [(error["loc"], error["type"]) for error in caught.value.errors()]


def test_the_contracts_scenario(root: Path) -> None:
    scenario = load_scenario(root / "scenarios" / "eda-regression.yaml")
    assert (scenario.name, scenario.seed, scenario.replications, scenario.horizon) == ("eda-regression", 7, 30, 172_800)
    work = scenario.workload
    assert isinstance(work, Synthetic)
    assert work.arrivals.dist == "poisson"
    assert work.arrivals.rate == 25 / 3600
    regress, signoff = work.classes
    assert regress.runtime == Lognormal(dist="lognormal", median="40m", p95="4h")  # type: ignore[arg-type]
    assert regress.runtime.params() == {"median": 2400, "p95": 14_400}
    assert (regress.memory, regress.deadline, regress.retries, regress.tenant) == (8, 43_200, 3, "cpu-team")
    assert (signoff.timeout, signoff.checkpointable, signoff.tenant) == (129_600, False, "default")
    pools = scenario.capacity.pools
    assert [pool.id for pool in pools][:2] == ["c6i-1a", "c6i-1b"]
    assert {pool.purchase for pool in pools} == {"spot", "on-demand"}
    market = scenario.market
    assert isinstance(market.interruptions, WeibullInterruptions)
    assert (market.interruptions.up.shape, market.interruptions.up.scale) == (0.6, 43_200)
    assert (market.interruptions.down.scale, market.interruptions.burst) == (2400, 180)
    assert (market.notice.probability, market.notice.lead) == (0.97, 120)
    assert (scenario.checkpoint.write, scenario.checkpoint.restore, scenario.checkpoint.startup) == (45, 30, 0)
    assert [policy.label for policy in scenario.policies] == ["on-demand", "legacy-2019", "div+ckpt", "Hedge", "my-mix"]
    assert [(point, part.with_) for point, part in scenario.policy("my-mix").parts()][2] == ("scale", {"target": "1h"})
    assert scenario.baseline == "on-demand"
    assert [gate.for_ for gate in scenario.gates] == [("div+ckpt",), ("div+ckpt",)]
    assert scenario.sweep["checkpoint.write"] == ("15s", "45s", "3m")


def test_everything_else_has_a_default() -> None:
    scenario = make()
    (pool,) = scenario.capacity.pools
    assert (pool.id, pool.az, pool.purchase, pool.max) == ("c6i.xlarge-us-east-1a-spot", "us-east-1a", "spot", 100)
    assert (scenario.seed, scenario.replications, scenario.horizon, scenario.baseline) == (1, 30, None, "spot-only")
    assert isinstance(scenario.market.interruptions, WeibullInterruptions)
    assert (scenario.market.launch, pool.boot, scenario.costs.ebs_gib) == (None, None, None)
    assert scenario.services.overrides() == {}
    assert isinstance(scenario.workload, Synthetic)
    assert (scenario.workload.classes[0].name, scenario.workload.arrivals.dist) == ("class-1", "at-once")


def test_shorthands() -> None:
    scenario = make(
        market={"launch": "60s", "prices": "constant", "interruptions": "none"},
        policies=["spot-only", {"use": "../x.py:Mine", "order": "edf"}],
        gates=["cost_usd.mean <= 3"],
    )
    assert scenario.market.launch is not None
    assert scenario.market.launch.params() == {"value": 60}
    assert isinstance(scenario.market.prices, ConstantPrices)
    assert isinstance(scenario.market.interruptions, NoInterruptions)
    assert [policy.label for policy in scenario.policies] == ["spot-only", "Mine"]
    assert [(point, part.use) for point, part in scenario.policies[1].parts()] == [("order", "edf")]
    assert scenario.gates[0].for_ == ("Mine",)  # all but the baseline


@pytest.mark.parametrize(
    ("use", "label"),
    [
        ("spot-only", "spot-only"),
        ("../policies/hedge.py:Hedge", "Hedge"),
        ("hedge.py", "hedge"),
        (r"C:\work\mine.py:My_1", "My_1"),
        ("x.py:", "policy"),
        ("a b", "a-b"),
    ],
)
def test_default_labels(use: str, label: str) -> None:
    assert default_label(use) == label


def test_jobs_in_the_scenario_itself() -> None:
    jobs = [{"id": "a", "runtime": "10m"}, {"id": "b", "submit": "5m", "runtime": "1h", "after": "a", "vcpus": 2}]
    work = make(workload={"jobs_list": jobs}).workload
    assert isinstance(work, Inline)
    assert [(job.id, job.submit, job.runtime, job.after) for job in work.jobs_list] == [
        ("a", 0, 600, ()),
        ("b", 300, 3600, ("a",)),
    ]


def test_slots_of_a_log_follow_the_capacity() -> None:
    log = {"source": "swf", "path": "x.swf"}
    on_pools, on_cluster = make(workload=log).workload, make(workload=log, capacity={"cluster": {"slots": 9}}).workload
    assert isinstance(on_pools, Swf)
    assert isinstance(on_cluster, Swf)
    assert (on_pools.slots, on_cluster.slots) == ("as-one", "require")


def test_starts_of_traces_and_maximum_prices() -> None:
    trace = {"source": "trace", "path": {"p": "data:x.json"}}
    starts: list[tuple[Any, Any]] = [("0s", 0.0), ("90m", 5400.0), ("random", "random"), ({"every": "24h"}, 86_400.0)]
    for given, wanted in starts:
        found = make(market={"interruptions": {**trace, "start": given}}).market.interruptions
        assert isinstance(found, TraceInterruptions)
        assert (found.start.every if isinstance(found.start, Every) else found.start) == wanted
    cases: list[tuple[Any, Any]] = [("1 USD/h", 1.0), ({"p": "2 USD/h"}, {"p": 2.0}), (None, None)]
    for given, price in cases:
        prices = {"source": "price", **({"max_price": given} if given else {})}
        by_price = make(market={"interruptions": prices}).market.interruptions
        assert isinstance(by_price, PriceInterruptions)
        assert by_price.max_price == price


def test_daily_arrivals_and_moments() -> None:
    arrivals = {"dist": "daily", "rate": "100/d", "peak_hour": 10, "ratio": 3}
    classes = [{"runtime": "1h"}]
    work = make(
        workload={"source": "synthetic", "starts": "2026-03-02T08:00Z", "arrivals": arrivals, "classes": classes}
    ).workload
    assert isinstance(work, Synthetic)
    assert isinstance(work.arrivals, Daily)
    assert (work.arrivals.rate, work.arrivals.peak_hour, work.arrivals.ratio) == (100 / 86_400, 10, 3)
    assert work.starts == datetime(2026, 3, 2, 8, tzinfo=UTC)


def test_services_are_replaced_by_dotted_or_nested_keys() -> None:
    services = {"preset": "ideal", "sqs.visibility": "5s", "lambda": {"memory": "1 GiB", "x": {"y": 2}}}
    assert make(services=services).services.overrides() == {
        "sqs.visibility": "5s",
        "lambda.memory": "1 GiB",
        "lambda.x.y": 2,
    }


def test_central_and_its_failures() -> None:
    central = {"price": "0.2 USD/h", "dispatch_rate": "5/s", "fails": [{"at": "1h", "for": "10m"}]}
    entry = {"use": "decoupled", "label": "c", "architecture": "central", "central": central}
    found = make(policies=[entry]).policies[0].central
    assert found is not None
    assert (found.price, found.dispatch_rate) == (0.2, 5)
    assert (found.fails[0].at, found.fails[0].for_) == (3600, 600)


def test_nothing_is_converted_silently() -> None:
    assert errors(seed="7") == [(("seed",), "int_type")]
    assert errors(seed=True) == [(("seed",), "int_type")]
    assert errors(replications=1.0) == [(("replications",), "int_type")]
    assert errors(name=2019) == [(("name",), "string_type")]
    assert errors(checkpoint={"write": 45}) == [(("checkpoint", "write"), "unit")]
    assert errors(costs={"first_hour_free": "yes"}) == [(("costs", "first_hour_free"), "bool_type")]
    assert errors(market={"notice": {"probability": float("nan")}}) == [
        (("market", "notice", "probability"), "finite_number")
    ]


@pytest.mark.parametrize(
    "sections",
    [
        {"seed": -1},
        {"replications": 0},
        {"horizon": "0s"},
        {"checkpoint": {"write": "-1s"}},
        {"capacity": {"pools": [{"instance_type": "c6i.xlarge", "max": -1}]}},
        {"capacity": {"pools": [{"instance_type": "c6i.xlarge"}], "budget": "0 USD"}},
        {"capacity": {"pools": [{"instance_type": "c6i.xlarge"}], "slots_per_instance": 0}},
        {"capacity": {"cluster": {"slots": 0}}},
        {"capacity": {"pools": []}},
        {"capacity": {"pools": [{"instance_type": "c6i.xlarge"}], "cluster": {"slots": 4}}},
        {"market": {"notice": {"probability": 1.1}}},
        {"market": {"interruptions": {"source": "exponential", "mean": "0s"}}},
        {"market": {"outages": [{"az": "us-east-1a", "from": "2h", "until": "2h"}]}},
        {"costs": {"commitments": [{"usd_per_hour": 0, "discount": 0.3}]}},
        {"costs": {"commitments": [{"usd_per_hour": 1, "discount": 1}]}},
        {"policies": []},
        {"policies": [{"label": "x"}]},
        {"policies": [{"order": "edf"}]},
        {"policies": [{"label": "x", "order": "edf", "with": {"a": 1}}]},
        {"policies": [{"use": "decoupled", "central": {}}]},
        {"sweep": {"seed": []}},
        {"workload": {"source": "synthetic", "jobs": 0, "classes": [{"runtime": "1h"}]}},
        {"workload": {"source": "synthetic", "jobs": 1, "classes": []}},
        {"workload": {"source": "synthetic", "jobs": 1, "classes": [{"runtime": "1h", "share": 0}]}},
        {"workload": {"source": "synthetic", "jobs": 1, "classes": [{"runtime": "1h", "vcpus": 0}]}},
        {"workload": {"source": "synthetic", "jobs": 1, "classes": [{"runtime": "1h", "retries": -1}]}},
        {"workload": {"source": "synthetic", "jobs": 1, "classes": [{"runtime": "1h", "exit_code": 256}]}},
        {"workload": {"source": "lublin", "slots": 1, "jobs": 5}},
        {"workload": {"jobs_list": []}},
        {"workload": {"jobs_list": [{"id": "a", "runtime": "0s"}]}},
        {"description": "a\x1b[31mb"},
    ],
)
def test_impossible_values_are_refused(sections: dict[str, Any]) -> None:
    assert errors(**sections)


def test_the_canonical_text_is_a_scenario_that_means_the_same(root: Path) -> None:
    paths = sorted((root / "scenarios").rglob("*.yaml"))
    assert paths
    for path in paths:
        scenario = Scenario.model_validate(load_data(path), context=Reading(path.parent))
        again = Scenario.model_validate(json.loads(scenario.canonical), context=Reading(path.parent))
        assert again == scenario
        assert again.sha256 == scenario.sha256


def load_data(path: Path) -> Any:
    from spotbed.scenario.yaml_positions import read_document

    return read_document(path).data


def test_the_hash_follows_the_meaning() -> None:
    same = make(checkpoint={"write": "1m"}, seed=1)
    assert make(checkpoint={"write": "60s"}).sha256 == same.sha256
    assert make(checkpoint={"write": "61s"}).sha256 != same.sha256
    assert make().sha256 != same.sha256


def test_a_scenario_travels_to_another_process(root: Path) -> None:
    scenario = load_scenario(root / "scenarios" / "demo.yaml")
    again = pickle.loads(pickle.dumps(scenario))
    assert again == scenario
    assert (again.source_path, again.base_dir) == (scenario.source_path, root / "scenarios")


def test_paths_start_at_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "log.swf").write_text("", encoding="utf-8")
    data = {**MINIMAL, "workload": {"source": "swf", "path": "log.swf"}}
    scenario = Scenario.model_validate(data, context=Reading(tmp_path))
    assert [path.locate() for path in scenario.input_paths()] == [tmp_path / "log.swf"]
    assert [keys for keys, _ in scenario.placed_paths()] == [("workload", "path")]
    copied = pickle.loads(pickle.dumps(scenario))
    assert copied.input_paths()[0].locate() == tmp_path / "log.swf"


def models(kind: Any, seen: set[type[BaseModel]]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every member of a tagged union below `kind`, with its tag."""
    if isinstance(kind, TypeAliasType):
        yield from models(kind.__value__, seen)
    elif get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        tags = [note.tag for note in notes if isinstance(note, Tag)]
        if tags and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield tags[0], inner
        yield from models(inner, seen)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in seen:
            seen.add(kind)
            for field in kind.model_fields.values():
                yield from models(field.annotation, seen)
                for note in field.metadata:
                    yield from models(note, seen)
    else:
        for inner in get_args(kind):
            yield from models(inner, seen)


def test_no_tag_is_also_a_key_of_its_member() -> None:
    """Places are found by leaving out of pydantic's paths what is no key: a tag must not look like one."""
    members = list(models(Scenario, set()))
    assert {tag for tag, _ in members} >= {"synthetic", "swf", "lognormal", "poisson", "weibull", "trace", "catalogue"}
    assert [(tag, member.__name__) for tag, member in members if tag in member.model_fields] == [
        ("jobs_list", "Inline")
    ]
