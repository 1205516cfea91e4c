"""Checks across the sections of a scenario, each on what is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spotbed.errors import InputError
from spotbed.scenario.check_work import median_s
from spotbed.scenario.load import load_scenario, validate
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_base import Reading
from spotbed.scenario.models_work import Synthetic
from spotbed.scenario.models_world import Services
from spotbed.scenario.problems import Caution
from spotbed.scenario.services import service_values

WORK = "workload: {source: synthetic, jobs: 5, classes: [{name: a, runtime: 1h}]}"
POOLS = (
    "capacity: {pools: [{id: s, instance_type: c6i.xlarge}, {id: o, instance_type: c6i.xlarge, purchase: on-demand}]}"
)
POLICIES = "policies: [on-demand-only, spot-only]"


def said(folder: Path, *lines: str) -> list[str]:
    """Path and message of every problem; a section that is not given is the sound one from above."""
    given = {line.split(":")[0] for line in lines}
    rest = [line for line in (WORK, POOLS, POLICIES) if line.split(":")[0] not in given]
    path = folder / "x.yaml"
    path.write_text("\n".join([*lines, *rest]) + "\n", encoding="utf-8")
    kinds = {True: "warning ", False: ""}
    return [f"{kinds[isinstance(p, Caution)]}{p.path}: {p.message}" for p in validate(path)]


def test_a_broken_section_hides_no_mistake_in_the_others(tmp_path: Path) -> None:
    assert said(tmp_path, "capacity: {poools: []}", "baseline: nobody", "horizon: 5") == [
        "capacity.poools: unknown key.",
        "baseline: 'nobody' is not the label of a policy.",
        "horizon: a duration without a unit.",
    ]
    assert said(tmp_path, "policies: 5", WORK.replace("name: a", "name: a, after: b")) == [
        "policies: must be a list, not 5.",
        "workload.classes.0.after: 'b' is not known.",
    ]
    assert said(tmp_path, "policies: [spot-onyl]") == ["policies.0: unknown policy 'spot-onyl'."]


def test_a_missing_section_is_told_with_an_example(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("seed: 1\n", encoding="utf-8")
    problems = validate(path)
    assert [problem.path for problem in problems] == ["workload", "capacity", "policies"]
    assert all(problem.hint and "`" in problem.hint for problem in problems)


def test_the_key_that_was_meant_is_not_also_missing(tmp_path: Path) -> None:
    assert said(tmp_path, "capacity: {pools: [{instance_typ: c6i.xlarge}]}") == [
        "capacity.pools.0.instance_typ: unknown key."
    ]


@pytest.mark.parametrize(
    ("traits", "told"),
    [
        (
            "deadline: 30m",
            ["warning workload.classes.0.deadline: 30m is shorter than the median runtime of class a, 1h."],
        ),
        (
            "timeout: 59m",
            ["warning workload.classes.0.timeout: 59m is shorter than the median runtime of class a, 1h."],
        ),
        ("deadline: 1h", []),
        ("gang: 101", ["workload.classes.0.gang: class a needs 101 instances, and its pools hold 100."]),
        ("licences: {lic: 2}", []),
        ("licences: {lic: 4}", ["workload.classes.0.licences.lic: needs 4 licences 'lic', and there are 3."]),
        ("licences: {lik: 1}", ["workload.classes.0.licences.lik: capacity.licences has no 'lik'."]),
        ("after: a-3", []),
    ],
)
def test_traits(tmp_path: Path, traits: str, told: list[str]) -> None:
    capacity = "capacity: {licences: {lic: 3}, pools: [{id: s, instance_type: c6i.xlarge}]}"
    assert said(tmp_path, WORK.replace("name: a", f"name: a, {traits}"), capacity, "policies: [spot-only]") == told


def test_a_job_fits_into_a_slot_not_an_instance(tmp_path: Path) -> None:
    capacity = "capacity: {slots_per_instance: 2, pools: [{id: s, instance_type: c6i.xlarge}]}"
    work = WORK.replace("name: a", "name: a, vcpus: 3")
    assert said(tmp_path, work, capacity, "policies: [spot-only]") == [
        "workload.classes.0: class a fits no pool: it needs 3 vCPUs, 0 GiB."
    ]
    assert said(tmp_path, work, "policies: [spot-only]") == []


def test_jobs_on_a_cluster(tmp_path: Path) -> None:
    cluster, policies = "capacity: {cluster: {slots: 4}}", "policies: [central]"
    jobs = "workload: {jobs_list: [{id: x, runtime: 1h, slots: 4}, {id: y, runtime: 1h, slots: 5, after: [x, z]}]}"
    assert said(tmp_path, jobs, cluster, policies) == [
        "workload.jobs_list.1.slots: job y needs 5 slots; the cluster has 4.",
        "workload.jobs_list.1.after.1: 'z' is not known.",
    ]
    lublin = "workload: {source: lublin, slots: 8, jobs: 5}"
    assert said(tmp_path, lublin, cluster, policies) == [
        "workload.slots: the modelled machine needs 8 slots; the cluster has 4."
    ]


def test_dependencies_of_single_jobs(tmp_path: Path) -> None:
    jobs = "[{id: x, runtime: 1h, after: z}, {id: y, runtime: 1h, after: x}, {id: z, runtime: 1h, after: y}]"
    (told,) = said(tmp_path, f"workload: {{jobs_list: {jobs}}}")
    assert told.startswith("workload.jobs_list.0.after: jobs wait for each other in a circle: ")
    assert {"x waits for z", "z waits for y", "y waits for x"} > {told.partition("circle: ")[2][:13]}


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ("[spot-only]", []),
        ("[on-demand-only]", ["policies.0: class a fits no on-demand pool, and 'on-demand-only' needs one."]),
        ("[spot-fallback]", ["policies.0: class a fits no on-demand pool, and 'spot-fallback' needs one."]),
        ("[{use: spot-diversified, with: {on_demand_floor: 0.2}}]", ["policies.0: class a fits no on-demand pool, "]),
        ("[{use: on-demand-only, place: lowest-price}]", []),
        ("[{label: x, place: {use: lowest-price, with: {purchase: on-demand}}}]", ["policies.0: class a fits no on-d"]),
        ("[uniform-progress]", []),
    ],
)
def test_every_purchase_option_of_a_policy_has_a_pool(tmp_path: Path, policies: str, told: list[str]) -> None:
    found = said(tmp_path, "capacity: {pools: [{id: s, instance_type: c6i.xlarge}]}", f"policies: {policies}")
    assert len(found) == len(told)
    assert all(one.startswith(start) for one, start in zip(found, told, strict=True))


@pytest.mark.parametrize(
    ("market", "told"),
    [
        (
            "interruptions: {source: price, max_price: {s: 1 USD/h, o: 1 USD/h}}",
            ["market.interruptions.max_price.o: 'o' is not the id of a Spot pool."],
        ),
        (
            "interruptions: {source: price, max_price: {o: 1 USD/h}}",
            [
                "warning market.interruptions.max_price: the Spot pools that are not named here have the on-demand "
                "price as maximum: s.",
                "market.interruptions.max_price.o: 'o' is not the id of a Spot pool.",
            ],
        ),
        ("prices: {source: constant, price: 0.1 USD/h}", []),
        ("prices: constant", ["capacity.pools.0.price: has no price."]),
        (
            "prices: {source: trace, path: t.csv, start: random}, interruptions: {source: trace, path: t.csv}",
            ["market.prices.start: both traces have a start."],
        ),
        ("prices: {source: trace, path: t.csv, start: random}", []),
        ("outages: [{az: us-east-1a, from: 1h, until: 2h}]", []),
    ],
)
def test_the_market_names_pools_that_are_there(tmp_path: Path, market: str, told: list[str]) -> None:
    (tmp_path / "t.csv").write_text("", encoding="utf-8")
    assert said(tmp_path, f"market: {{{market}}}") == told


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "log.swf").write_text("", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    for path, told in [
        ("log.swf", []),
        ("lok.swf", [f"workload.path: no such file: {tmp_path / 'lok.swf'}."]),
        ("folder", [f"workload.path: {tmp_path / 'folder'} is a folder, not a file."]),
        ("data:no-such-data", ["workload.path: there is no public data called 'no-such-data'."]),
    ]:
        assert said(tmp_path, f"workload: {{source: swf, path: '{path}'}}") == told


def test_public_data_is_found_below_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTBED_DATA", str(tmp_path / "data"))
    file = tmp_path / "data" / "deep" / "log.swf.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    path = tmp_path / "x.yaml"
    for name in ("log.swf.gz", "deep/log.swf.gz"):
        path.write_text(f"workload: {{source: swf, path: 'data:{name}'}}\n{POOLS}\n{POLICIES}\n", encoding="utf-8")
        assert load_scenario(path).input_paths()[0].locate() == file
    path.write_text(f"workload: {{source: swf, path: 'data:deep'}}\n{POOLS}\n{POLICIES}\n", encoding="utf-8")
    (problem,) = validate(path)
    assert (problem.message, problem.hint) == (
        "data:deep is a folder of files.",
        "Name a file in it, such as data:deep/log.swf.gz.",
    )


def test_sweeps(tmp_path: Path) -> None:
    good = "sweep: {checkpoint.write: [1s, 2m], capacity.pools.s.max: [1, 2], policies.spot-only.protect: [daly, none]}"
    assert said(tmp_path, good, "policies: [{use: spot-only}]") == []
    bad = "sweep: {checkpoint.write: [1s, 2], checkpoint.wrte: [1s], capacity.pools.z.max: [1], seed: [-1, 2, -3]}"
    assert said(tmp_path, bad) == [
        "sweep.checkpoint.write.1: checkpoint.write: a duration without a unit.",
        "sweep.checkpoint.wrte.0: checkpoint.wrte: unknown key.",
        "sweep.capacity.pools.z.max: has no entry 'z': it has 2, counted from 0.",
        "sweep.seed.0: seed: must be at least 0, not -1.",
        "sweep.seed.2: seed: must be at least 0, not -3.",
    ]


def test_fixed_costs_have_names_of_their_own(tmp_path: Path) -> None:
    costs = "costs: {fixed: [{item: fsx, usd_per_hour: 1}, {item: fsx, usd_per_hour: 2}]}"
    assert said(tmp_path, costs) == ["costs.fixed.1.item: 'fsx' is given twice, first on line 1."]


def services(**values: Any) -> Services:
    return Services.model_validate(values)


def test_values_of_services_in_their_units() -> None:
    given = services(
        **{"sqs.visibility": "2m", "sqs.duplicate": 0.5, "stepfunctions": {"history_limit": 9000}},
        **{"lambda.memory": "512 MiB", "s3.bandwidth": "512 MiB/s", "stepfunctions.transition.refill": "60/m"},
    )
    assert service_values(given) == {
        "sqs.visibility": 120.0,
        "sqs.duplicate": 0.5,
        "stepfunctions.history_limit": 9000.0,
        "lambda.memory": 0.5,
        "s3.bandwidth": 0.5,
        "stepfunctions.transition.refill": 1.0,
    }
    assert service_values(services()) == {}


def test_wrong_values_of_services_are_told_at_once() -> None:
    given = services(lease=5, **{"sqs.duplicate": "50%", "lambda.memory": "1", "s3.bandwidth": "1 GiB", "x.y": 1})
    with pytest.raises(InputError) as caught:
        service_values(given)
    assert [(problem.path, problem.message) for problem in caught.value.problems] == [
        ("services.lease", "a duration without a unit."),
        ("services.sqs.duplicate", "must be a number, not '50%'."),
        ("services.lambda.memory", "a size without a unit."),
        ("services.s3.bandwidth", "must be a size per second."),
        ("services.x.y", "unknown key."),
    ]


@pytest.mark.parametrize(
    ("dist", "median"),
    [
        ("1h", 3600),
        ({"dist": "exponential", "mean": "1h"}, 3600 * 0.6931471805599453),
        ({"dist": "lognormal", "median": "1h", "p95": "3h"}, 3600),
        ({"dist": "weibull", "shape": 1, "scale": "1h"}, 3600 * 0.6931471805599453),
        ({"dist": "weibull", "shape": 0.5, "scale": "1h"}, 3600 * 0.4804530139182014),
        ({"dist": "uniform", "low": "1h", "high": "3h"}, 7200),
        ({"dist": "empirical", "path": "x.txt"}, None),
    ],
)
def test_medians(dist: Any, median: float | None) -> None:
    data = {
        "workload": {"source": "synthetic", "jobs": 1, "classes": [{"runtime": dist}]},
        "capacity": {"cluster": {"slots": 1}},
        "policies": ["decoupled"],
    }
    work = Scenario.model_validate(data, context=Reading()).workload
    assert isinstance(work, Synthetic)
    assert median_s(work.classes[0].runtime) == (None if median is None else pytest.approx(median, rel=1e-12))
