"""A sweep: its points, its data set, and that a sweep which was killed runs nothing twice and misses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from counting import counted
from interruptible import SLOW, scenario
from typer.testing import CliRunner

from spotbed import api
from spotbed.cli.app import app
from spotbed.design import at, points_of
from spotbed.engines import Engine
from spotbed.errors import InputError
from spotbed.metric_names import METRIC_NAMES
from spotbed.report.sweep import _cheapest
from spotbed.scenario.load import load_scenario
from spotbed.scenario.models_search import Range
from spotbed.sweep import Request, Sweep, estimate, plan_sweep, run_sweep
from spotbed.sweep_results import _policies

SCENARIO = scenario(
    6,
    "policies: [{use: on-demand-only, label: first}, {use: slow.py:Slow, label: slow, protect: daly}]",
    "replications: 3",
    "sweep: {checkpoint.write: [15s, 3m], market.interruptions.up.scale: [30m, 1h]}",
)
RUNS = 24  # 4 points, 2 policies, 3 worlds
WRITTEN = ("sweep.parquet", "results.json", "summary.csv", "report.md", "index.html")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with s.yaml in it."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)
    Path("slow.py").write_text(SLOW)
    return tmp_path


BLOCK = SCENARIO[SCENARIO.index("sweep:") :].strip()


def change(old: str, new: str) -> None:
    text = Path("s.yaml").read_text()
    assert old in text
    Path("s.yaml").write_text(text.replace(old, new))


def swept(**more: Any) -> Sweep:
    return run_sweep(Request(Path("s.yaml"), engine=Engine(processes=1), **more))


def spotbed(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


# points -------------------------------------------------------------------------------------------------------------
def test_the_product_has_every_combination_with_the_last_key_changing_fastest() -> None:
    points = points_of({"a": (1, 2), "b": ("x", "y", "z")}, "product", None, 1)
    assert [tuple(point.values.values()) for point in points] == [
        *[(1, "x"), (1, "y"), (1, "z")],
        *[(2, "x"), (2, "y"), (2, "z")],
    ]
    assert points[5].overrides == ["a=2", 'b="z"']


def test_a_latin_hypercube_meets_each_tenth_of_a_range_once() -> None:
    points = points_of({"a": _range(0.0, 10.0), "b": ("x", "y")}, "lhs", 10, 3)
    assert sorted(int(point.values["a"]) for point in points) == list(range(10))
    assert sorted(point.values["b"] for point in points) == ["x"] * 5 + ["y"] * 5


def test_the_first_points_of_a_sobol_sequence_stay_when_more_are_asked_for() -> None:
    few, many = (points_of({"a": _range(0, 100)}, "sobol", count, 3) for count in (4, 16))
    assert few == many[:4]
    assert len({point.values["a"] // 25 for point in many}) == 4


def _range(low: Any, high: Any, **more: Any) -> Range:
    return Range.model_validate({"from": low, "to": high, **more})


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        (_range(1, 4), 0.0, 1),
        (_range(1, 4), 0.99999, 4),
        (_range(1, 4), 0.5, 3),
        (_range(0.2, 1.0), 0.5, 0.6),
        (_range("15s", "3m"), 0.5, "1m37.5s"),
        (_range("1s", "100s", log=True), 0.5, "10s"),
        (_range("1 GiB", "4 GiB"), 0.5, "2.5 GiB"),
        (_range("10/h", "30/h"), 0.25, "15 /h"),
        (("a", "b", "c"), 0.4, "b"),
    ],
)
def test_a_share_of_a_range_is_written_as_a_scenario_has_it(values: Any, share: float, expected: Any) -> None:
    assert at(values, share) == expected


def test_a_quantity_between_two_is_read_by_the_scenario() -> None:
    keys = "workload.arrivals.rate: {from: 10/h, to: 30/h}, workload.classes.0.memory: {from: 1 GiB, to: 4 GiB}"
    change(BLOCK, f"sweep: {{{keys}}}")
    points = points_of(load_scenario("s.yaml").sweep, "lhs", 4, 1)
    for point in points:
        load_scenario("s.yaml", point.overrides)


# the data set -------------------------------------------------------------------------------------------------------
def test_a_row_is_what_a_comparison_of_the_point_has() -> None:
    frame = swept().frame
    assert len(frame) == RUNS
    overrides = ("checkpoint.write=3m", "market.interruptions.up.scale=30m")
    worlds = pd.read_csv(api.compare_scenario("s.yaml", jobs=1, overrides=overrides, out=Path("c")).path / "worlds.csv")
    own = frame[(frame["checkpoint.write"] == "3m") & (frame["market.interruptions.up.scale"] == "30m")]
    for name in ("cost_usd", "makespan_s", "lost_work_s", "interruptions"):
        got = own.set_index(["policy", "world"])[name].to_dict()
        assert got == pytest.approx(worlds.set_index(["policy", "world"])[name].to_dict(), rel=1e-12)
    bills = [column for column in frame.columns if column.startswith("bill.")]
    assert frame[bills].sum(axis=1).to_list() == pytest.approx(frame["cost_usd"].to_list())


def test_of_many_equal_policies_few_are_called_different_from_the_baseline() -> None:
    generator = np.random.default_rng(5)
    labels = ["base", *(f"p{number}" for number in range(10))]
    called = 0
    for _ in range(100):
        names = ("policy", *METRIC_NAMES)
        rows = [(label, *[cost] * len(METRIC_NAMES)) for label in labels for cost in generator.normal(10.0, 1.0, 30)]
        told = _policies(pd.DataFrame(rows, columns=names), "base")
        called += any(each["vs_baseline"]["cost_usd"]["verdict"] != "not resolved" for each in told[1:])
    assert called <= 10  # of 100: 5 are meant; without an adjustment for ten policies 30 and more


def test_of_equally_cheap_policies_none_is_called_the_cheapest_alone() -> None:
    def policy(label: str, usd: float, verdict: str) -> dict[str, Any]:
        return {
            "policy": label,
            "metrics": {"cost_usd": {"mean": usd}},
            "vs_baseline": {} if label == "base" else {"cost_usd": {"verdict": verdict}},
        }

    policies = [policy("base", 2.0, ""), policy("one", 1.0, "lower"), policy("other", 1.0, "lower")]
    told = _cheapest({"points": [{"policies": policies}], "baseline": "base"}, ["base", "one", "other"])
    assert [(str(line[0]), str(line[2])) for line in told] == [("one", "1 of 1 point"), ("other", "1 of 1 point")]


def test_the_data_set_is_read_back_as_it_was() -> None:
    done = swept()
    read = api.read_parquet(done.path / "sweep.parquet")
    assert read.columns.to_list() == done.frame.columns.to_list()
    assert read.to_dict("records") == done.frame.to_dict("records")
    assert sorted(path.name for path in Path("reports").iterdir()) == ["s-sweep"]


def test_what_does_not_depend_on_a_key_is_run_once() -> None:
    change(
        BLOCK,
        "sweep: {policies.slow.protect: [daly, none]}",
    )
    with counted() as ran:
        frame = swept().frame
    assert len(frame) == 12
    assert sorted(ran) == sorted([*[("first", n) for n in range(3)], *[("slow", n) for n in range(3)] * 2])


def test_a_swept_seed_and_number_of_worlds_are_columns_of_their_own() -> None:
    change(
        BLOCK,
        "sweep: {seed: [4, 7], replications: [1, 2]}",
    )
    frame = swept().frame
    assert frame.groupby("point").size().to_list() == [2, 4, 2, 4]
    assert frame["sweep.seed"].to_list() == frame["seed"].to_list()
    assert set(frame["seed"]) == {4, 7}


def test_a_finished_sweep_grows_with_resume() -> None:
    before = swept().frame
    change("[15s, 3m]", "[15s, 45s, 3m]")
    with counted() as ran:
        grown = swept(resume=True)
    assert len(ran) == 12
    assert len(grown.frame) == RUNS + 12
    kept = grown.frame[grown.frame["checkpoint.write"] != "45s"]
    assert kept["cost_usd"].to_list() == before["cost_usd"].to_list()
    whole = swept(out=Path("whole"))
    assert (grown.path / "results.json").read_bytes() == (whole.path / "results.json").read_bytes()


# ended early --------------------------------------------------------------------------------------------------------
def kept() -> list[Path]:
    return list(Path("reports/.s-sweep.unfinished").rglob("*.pickle"))


def _begun(least: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spotbed", "sweep", "s.yaml", "--jobs", "2"]
    environment = {**os.environ, "SLOW_S": "0.05"}
    process = subprocess.Popen(
        command, text=True, start_new_session=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while len(kept()) < least and process.poll() is None:
        time.sleep(0.01)
    return process


def _until_quiet() -> None:
    """Until the processes of the sweep that was ended have seen it."""
    quiet_s, before = 0.0, len(kept())
    while quiet_s < 1.5:
        time.sleep(0.1)
        now = len(kept())
        quiet_s = quiet_s + 0.1 if now == before else 0.0
        before = now


def test_a_sweep_that_is_killed_runs_nothing_twice_and_misses_nothing() -> None:
    with _begun(5) as process:
        process.kill()
        process.communicate()
    _until_quiet()
    finished = len(kept())
    assert 5 <= finished < RUNS
    assert plan_and_left() == RUNS - finished
    with counted() as ran:
        resumed = swept()
    assert len(ran) == RUNS - finished
    assert kept() == []
    whole = swept(out=Path("whole"))
    assert [name for name in WRITTEN if _differs(name, resumed.path, whole.path)] == []


def _differs(name: str, one: Path, other: Path) -> bool:
    return (one / name).read_bytes() != (other / name).read_bytes()


def plan_and_left() -> int:
    return len(plan_sweep(Request(Path("s.yaml"))).todo)


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on() -> None:
    with _begun(3) as process:
        os.killpg(process.pid, signal.SIGINT)
        printed, told = process.communicate()
    assert (process.returncode, printed) == (130, "")
    assert f"Kept: {len(kept())} of {RUNS} worlds in reports/.s-sweep.unfinished" in told
    assert "To go on: give the same command again." in told


# what is asked for wrongly, and the dry run -------------------------------------------------------------------------
def test_a_dry_run_tells_runs_and_time_and_writes_nothing() -> None:
    found = spotbed("sweep", "s.yaml", "--dry-run", "--instance", "c6i.xlarge", "-o", "json")
    assert found.exit_code == 0
    rows = {row["what"]: row["how much"] for row in json.loads(found.stdout)["rows"]}
    assert (rows["points"], rows["different runs"], rows["of these finished before"]) == (4, RUNS, 0)
    assert "$" in rows["on one c6i.xlarge (4 vCPUs)"]
    assert not Path("reports").exists()
    told = estimate(plan_sweep(Request(Path("s.yaml"))), Engine(processes=4))
    assert told.expected_s == pytest.approx(told.cpu_s / 4)
    assert told.cpu_s == pytest.approx(told.seconds_per_run * RUNS)


REFUSED: dict[str, tuple[str, Sequence[str], str]] = {
    "no sweep": ("", (), "the scenario has no `sweep`"),
    "an unknown key": ("sweep: {checkpoint.wrte: [1s]}", (), "Did you mean 'write'?"),
    "an empty list": ("sweep: {seed: []}", (), "sweep.seed: must have at least 1"),
    "no list": ("sweep: {seed: 3}", (), "sweep.seed: must be a list"),
    "a range in a product": ("sweep: {seed: {from: 1, to: 3}}", (), "Choose --design lhs"),
    "ends of two kinds": ("sweep: {seed: {from: 1, to: 3s}}", (), "has ends of two kinds"),
    "ends in disorder": ("sweep: {seed: {from: 3, to: 1}}", (), "must be greater than `from`"),
    "a sample of unknown size": ("sweep: {seed: [1, 2]}", ("--design", "lhs"), "Add --points"),
    "points of a product": ("sweep: {seed: [1, 2]}", ("--points", "3"), "has no effect on a full product"),
    "a scheduler of nothing": ("sweep: {seed: [1, 2]}", ("--scheduler", "tcp://127.0.0.1:1"), "Add --engine dask"),
    "a price of what is run": ("sweep: {seed: [1, 2]}", ("--instance", "c7i.large"), "Add --dry-run"),
    "nothing to resume": ("sweep: {seed: [1, 2]}", ("--resume",), "there is no sweep to go on with"),
    "too many": (
        f"sweep: {{seed: {list(range(400))}, replications: {list(range(1, 400))}}}",
        (),
        "has 159,600 points",
    ),
}


@pytest.mark.parametrize(("block", "options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_swept_is_told(block: str, options: Sequence[str], said: str) -> None:
    text = Path("s.yaml").read_text()
    Path("s.yaml").write_text(text[: text.index("sweep:")] + block + "\n")
    found = spotbed("sweep", "s.yaml", *options)
    assert found.exit_code == 2
    assert said in found.stderr
    assert not Path("reports").exists()


def test_a_value_that_only_fails_when_the_policy_is_made_is_told_before_anything_is_run() -> None:
    change("sweep: {", "sweep: {policies.first.use: [on-demand-only, no-such], ")
    with counted() as ran, pytest.raises(InputError, match="no-such"):
        swept()
    assert ran == []
