"""results.json: its schema, its numbers, and the tables made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from spotbed.gates import Gate, parse_rule
from spotbed.metric_names import METRIC_BY_NAME, METRIC_NAMES
from spotbed.report.words import count, in_unit, number, percent, usd, usd_like
from spotbed.results import (
    PolicyWorlds,
    build_results,
    differing_settings,
    estimates_table,
    results_schema,
    results_table,
)
from spotbed.stats import holm, method_text, paired, summarise

WORLDS = 30
SHA = "0" * 64
BILL = pd.DataFrame(
    [
        ("ec2.spot", "useful", 3600, "instance-second", 0.1),
        ("sqs.request", "control", 12.5, "request", np.float64(5e-6)),
    ],
    columns=["item", "cause", "usage", "unit", "usd"],
)


def some_worlds(cost: float, seed: int = 0, worlds: int = WORLDS, **metrics: Any) -> pd.DataFrame:
    weather = np.exp(0.3 * np.random.default_rng(7).normal(size=worlds))
    own = np.random.default_rng(seed).normal(size=worlds)
    frame = pd.DataFrame({name: np.zeros(worlds) for name in METRIC_NAMES})
    frame["cost_usd"] = cost * weather + 0.01 * own
    frame["makespan_s"] = 36_000 * weather + 100 * own
    frame["wait_s"] = 600 * weather
    frame["jobs_submitted"] = frame["jobs_done"] = np.full(worlds, 1000)
    for name, values in metrics.items():
        frame[name] = values
    return frame


def a_policy(label: str, worlds: pd.DataFrame, **changes: Any) -> PolicyWorlds:
    return PolicyWorlds(label, changes.pop("architecture", "decoupled"), SHA, worlds, BILL, **changes)


BASELINE = a_policy("on-demand", some_worlds(1284.0))
SPOT = a_policy("div+ckpt", some_worlds(438.0, seed=1, deadline_missed=np.arange(WORLDS) % 4))


def compare(
    *policies: PolicyWorlds, gates: tuple[Gate, ...] = (), bounds: dict[str, Any] | None = None
) -> dict[str, Any]:
    return build_results("eda-regression", SHA, "on-demand", policies, bounds or {}, gates)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    rules = ("cost_usd.mean <= 0.6 * baseline", "deadline_missed.p95 <= 2", "jobs_lost.mean <= 0")
    gates = tuple(Gate(parse_rule(rule), ("div+ckpt",)) for rule in rules)
    return compare(BASELINE, SPOT, gates=gates, bounds={"cost_usd": 371.2, "makespan_s": 30_000.0})


@pytest.fixture
def valid() -> Callable[[Any], None]:
    Draft202012Validator.check_schema(results_schema())
    return Draft202012Validator(results_schema()).validate


def test_the_committed_schema_is_the_one_that_is_printed(root: Path) -> None:
    committed = (root / "schemas" / "results.schema.json").read_text(encoding="utf-8")
    assert committed == json.dumps(results_schema(), indent=2, ensure_ascii=False) + "\n"


def test_results_keep_the_schema_also_as_strict_json(results: dict[str, Any], valid: Callable[[Any], None]) -> None:
    text = json.dumps(results, allow_nan=False)
    valid(json.loads(text))
    assert json.loads(text) == results


def test_the_example_of_the_contract_keeps_its_keys(results: dict[str, Any]) -> None:
    keys = ["schema_version", "scenario", "scenario_sha256", "replications", "baseline", "policies", "bounds", "gates"]
    assert list(results) == keys
    assert (results["schema_version"], results["replications"], results["baseline"]) == (1, WORLDS, "on-demand")
    policy = results["policies"][1]
    assert list(policy) == ["label", "architecture", "policy_sha256", "metrics", "bill", "vs_baseline", "regret"]
    assert tuple(policy["metrics"]) == tuple(policy["vs_baseline"]) == METRIC_NAMES
    assert {"mean", "ci95", "p50", "p95"} <= set(policy["metrics"]["cost_usd"])
    assert {"diff_mean", "diff_ci95", "ratio", "win_share"} <= set(policy["vs_baseline"]["cost_usd"])
    assert policy["bill"][0] == {
        "item": "ec2.spot", "cause": "useful", "usage": 3600.0, "unit": "instance-second", "usd": 0.1
    }  # fmt: skip
    assert list(results["gates"][0]) == ["rule", "policy", "value", "limit", "passed"]


def test_the_numbers_are_those_of_the_statistics(results: dict[str, Any]) -> None:
    policy = results["policies"][1]
    ours, theirs = SPOT.worlds["cost_usd"], BASELINE.worlds["cost_usd"]
    assert policy["metrics"]["cost_usd"] == summarise(ours)
    pair = paired(ours, theirs)
    assert policy["vs_baseline"]["cost_usd"] == {**pair, "p_holm": pair["p"]}  # one comparison: nothing to adjust
    assert policy["vs_baseline"]["jobs_done"]["win_share"] == 0.0
    assert policy["vs_baseline"]["attempts"]["ratio"] is None  # 0 / 0
    assert policy["vs_baseline"]["jobs_submitted"]["win_share"] is None
    assert results["policies"][0]["vs_baseline"] == {}
    assert results["bounds"] == {"cost_usd": 371.2, "makespan_s": 30_000.0}


def test_gates_are_judged_on_the_same_numbers(results: dict[str, Any]) -> None:
    relative, quantile, zero = results["gates"]
    assert relative == {
        "rule": "cost_usd.mean <= 0.6 * baseline",
        "policy": "div+ckpt",
        "value": results["policies"][1]["vs_baseline"]["cost_usd"]["ratio"],
        "limit": 0.6,
        "passed": True,
    }
    assert (quantile["value"], quantile["passed"]) == (3.0, False)
    assert (zero["value"], zero["passed"]) == (0.0, True)


def test_more_jobs_done_wins_although_less_of_most_wins() -> None:
    better = a_policy("better", some_worlds(438.0, jobs_done=np.full(WORLDS, 1001)))
    assert compare(BASELINE, better)["policies"][1]["vs_baseline"]["jobs_done"]["win_share"] == 1.0


def test_undefined_worlds_are_null_and_counted(valid: Callable[[Any], None]) -> None:
    wait = np.where(np.arange(WORLDS) < 2, math.nan, 600.0)
    gate = Gate(parse_rule("wait_s.mean <= 1e9"), ("odd",))
    results = compare(
        BASELINE,
        a_policy("odd", some_worlds(1.0, wait_s=wait, flow_s=np.nan)),
        gates=(gate,),
        bounds={"cost_usd": math.nan},
    )
    valid(json.loads(json.dumps(results, allow_nan=False)))
    metrics = results["policies"][1]["metrics"]
    assert (metrics["wait_s"]["mean"], metrics["wait_s"]["n"]) == (600.0, WORLDS - 2)
    assert metrics["flow_s"] == summarise([])
    assert results["gates"][0]["passed"] is False
    assert results["bounds"] == {"cost_usd": None}
    assert "gate FAILED: wait_s.mean <= 1000000000 for odd: no value in some world" in results_table(results).notes


def test_one_world_has_no_intervals(valid: Callable[[Any], None]) -> None:
    results = compare(a_policy("on-demand", some_worlds(5.0, worlds=1)), a_policy("b", some_worlds(4.0, worlds=1)))
    valid(results)
    assert results["policies"][1]["metrics"]["cost_usd"]["ci95"] is None
    table = results_table(results)
    assert "[" not in "".join(str(cell) for row in table.rows for cell in row)
    assert table.rows[1][2] == "0.800"
    assert table.notes[-1].startswith("One world: ")
    assert not any("95 % interval" in note for note in table.notes)


def test_a_mean_that_does_not_converge_is_not_given(valid: Callable[[Any], None]) -> None:
    message = "expected completion does not converge: 3 of 10 jobs of class signoff are interrupted before they get on"
    policy = a_policy("spot", some_worlds(438.0), does_not_converge={"cost_usd": message, "makespan_s": message})
    results = compare(BASELINE, policy, gates=(Gate(parse_rule("cost_usd.mean <= 99999"), ("spot",)),))
    valid(results)
    entry = results["policies"][1]
    assert (entry["metrics"]["cost_usd"]["mean"], entry["metrics"]["cost_usd"]["ci95"]) == (None, None)
    assert entry["metrics"]["cost_usd"]["p50"] is not None
    assert (entry["vs_baseline"]["cost_usd"]["diff_mean"], entry["vs_baseline"]["cost_usd"]["ratio"]) == (None, None)
    assert entry["metrics"]["wait_s"]["mean"] is not None
    assert results["gates"][0]["passed"] is False
    table = results_table(results)
    assert table.rows[1][1:4] == ["does not converge", "n/a", "does not converge"]
    assert table.rows[1][-1] == ""
    assert [note for note in table.notes if "does not converge" in note] == [f"spot: {message}"]


def test_other_worlds_other_columns_and_equal_labels_are_refused() -> None:
    shifted = some_worlds(1.0).set_axis(range(1, WORLDS + 1))
    with pytest.raises(ValueError, match="b was not run on the worlds of on-demand"):
        compare(BASELINE, a_policy("b", shifted))
    with pytest.raises(ValueError, match=r"b: .*'joy', 'wait_s'"):
        compare(BASELINE, a_policy("b", some_worlds(1.0).rename(columns={"wait_s": "joy"})))
    with pytest.raises(ValueError, match="not unique"):
        compare(BASELINE, a_policy("on-demand", some_worlds(1.0)))


def test_the_table_says_what_the_results_say(results: dict[str, Any]) -> None:
    table = results_table(results)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    cost, pair = (results["policies"][1][part]["cost_usd"] for part in ("metrics", "vs_baseline"))
    assert [row["policy"] for row in rows] == ["on-demand", "div+ckpt"]
    assert rows[0]["against baseline"] == "baseline"
    assert rows[0]["cheaper in"] == ""
    low, high = cost["ci95"]
    assert rows[1]["cost"] == f"{usd_like(cost['mean'], 1e3)} [{usd_like(low, 1e3)}, {usd_like(high, 1e3)}]"
    low, high = pair["ratio_ci95"]
    assert rows[1]["against baseline"] == f"{pair['ratio']:.3f} [{low:.3f}, {high:.3f}]"
    assert rows[1]["cheaper in"] == "30 of 30"
    assert (rows[1]["deadlines missed"], rows[1]["not done"]) == (count(43 / 30), count(0))


def test_a_policy_that_loses_jobs_is_not_the_cheapest_and_its_harm_is_told() -> None:
    columns = {"cost_usd": 1.0, "jobs_lost": 3.0, "orphan_workers": 2.0}
    cheap = a_policy("cheap", BASELINE.worlds.assign(**columns))
    table = results_table(compare(BASELINE, cheap, bounds={"cost_usd": 371.2}))
    assert "The cheapest that does, on-demand, is " in table.notes[0]
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert row["not done"] == "3"
    assert "cheap: of 1,000 jobs a world, 3 lost and 2 orphan workers left behind." in table.notes


def test_where_nothing_is_billed_the_slowdown_is_compared() -> None:
    free = [replace(policy, worlds=policy.worlds.assign(cost_usd=0.0)) for policy in (BASELINE, SPOT)]
    table = results_table(compare(*free))
    assert table.columns[1] == "bounded slowdown"
    assert table.columns[-1] == "lower in"


def test_the_lines_below_the_table(results: dict[str, Any]) -> None:
    notes = results_table(results).notes
    above = results["policies"][1]["metrics"]["cost_usd"]["mean"] / 371.2 - 1
    assert notes[0].startswith(
        "No policy that does all this work can be below: "
        f"cost {usd(371.2)}, makespan {in_unit(30_000, 'h')}. The cheapest that does, div+ckpt, is "
    )
    assert notes[0].endswith(f" {percent(above)} above it.")
    assert (
        notes[1] == f"gate passed: cost_usd.mean <= 0.6 * baseline for div+ckpt: {number(results['gates'][0]['value'])}"
    )
    assert notes[2] == "gate FAILED: deadline_missed.p95 <= 2 for div+ckpt: 3"
    assert notes[-1] == f"[ ]: 95 % interval of the mean over 30 worlds; {method_text()}."


def test_what_is_not_resolved_is_told_with_the_worlds_that_it_takes() -> None:
    noise = np.random.default_rng(3).normal(size=WORLDS)
    close = a_policy("close", BASELINE.worlds.assign(cost_usd=BASELINE.worlds["cost_usd"] + 1.0 + 5.0 * noise))
    results = compare(BASELINE, close)
    table = results_table(results)
    assert table.rows[1][2].endswith("] not resolved")
    (line,) = [note for note in table.notes if "not resolved" in note]
    assert line.startswith("close: cost not resolved against on-demand, difference ")
    assert line.endswith(" more worlds would tell.")
    assert not any("makespan" in note for note in table.notes)  # the same in every world: nothing to resolve


def test_a_gate_within_its_interval_is_marked(results: dict[str, Any]) -> None:
    ratio = results["policies"][1]["vs_baseline"]["cost_usd"]["ratio"]
    cost = results["policies"][1]["metrics"]["cost_usd"]["mean"]
    rules = (f"cost_usd.mean <= {cost + 0.5}", f"cost_usd.mean <= {ratio * 2} * baseline", f"cost_usd.p50 <= {cost}")
    table = results_table(compare(BASELINE, SPOT, gates=tuple(Gate(parse_rule(rule), ("div+ckpt",)) for rule in rules)))
    marked = [note.endswith("but the interval holds the limit") for note in table.notes if note.startswith("gate")]
    assert marked == [True, False, False]


def test_the_table_for_programs_has_plain_numbers(results: dict[str, Any]) -> None:
    table = estimates_table(results)
    frame = pd.DataFrame(list(table.rows), columns=list(table.columns))
    assert len(frame) == 2 * len(METRIC_NAMES)
    row = frame[(frame["policy"] == "div+ckpt") & (frame["metric"] == "cost_usd")].iloc[0]
    summary, pair = (results["policies"][1][part]["cost_usd"] for part in ("metrics", "vs_baseline"))
    assert (row["mean"], row["ci95_low"], row["ci95_high"]) == (summary["mean"], *summary["ci95"])
    assert (row["ratio"], row["ratio_ci95_low"], row["win_share"]) == (pair["ratio"], pair["ratio_ci95"][0], 1.0)
    assert row["unit"] == "USD"
    assert frame[frame["policy"] == "on-demand"]["diff_mean"].isna().all()


def test_only_settings_that_differ_are_shown() -> None:
    policies = {
        "a": {"order": "fifo", "place": {"name": "diversified", "with": {"max_share": 0.5}}, "protect": "daly"},
        "b": {"order": "fifo", "place": {"name": "diversified", "with": {"max_share": 0.7}}},
    }
    assert differing_settings(policies) == {
        "place.with.max_share": {"a": 0.5, "b": 0.7},
        "protect": {"a": "daly", "b": None},
    }
    assert differing_settings({"a": policies["a"]}) == {}
    assert differing_settings({}) == {}


def test_the_metrics_are_those_of_the_contract() -> None:
    assert len(METRIC_NAMES) == len(set(METRIC_NAMES)) == len(METRIC_BY_NAME) == 23
    assert METRIC_NAMES[:2] == ("cost_usd", "makespan_s")
    assert METRIC_BY_NAME["jobs_done"].lower_is_better is False
    units = {"s": "s", "usd": "USD"}
    suffixes = {name: units.get(name.rsplit("_", 1)[-1]) for name in METRIC_NAMES}
    assert all(METRIC_BY_NAME[name].unit == unit for name, unit in suffixes.items() if unit)


def test_p_values_are_adjusted_for_the_number_of_policies() -> None:
    shifted = [a_policy(f"p{number}", some_worlds(number / 10, wait_s=600.0)) for number in (7, 8, 9)]
    entries = compare(BASELINE, *shifted)["policies"][1:]
    raw = [entry["vs_baseline"]["cost_usd"]["p"] for entry in entries]
    adjusted = [entry["vs_baseline"]["cost_usd"]["p_holm"] for entry in entries]
    assert adjusted == pytest.approx(holm(raw))
    assert max(adjusted) > max(raw) or len(set(raw)) == 1


def test_regret_is_said_of_policies_that_did_the_whole_work(valid: Callable[[Any], None]) -> None:
    lazy = a_policy("lazy", some_worlds(0.5, wait_s=600.0, jobs_done=1.0))
    results = compare(BASELINE, lazy, bounds={"cost_usd": 100.0, "makespan_s": None})
    valid(json.loads(json.dumps(results, allow_nan=False)))
    first, second = results["policies"]
    assert first["regret"] == {"cost_usd": pytest.approx(first["metrics"]["cost_usd"]["mean"] / 100 - 1)}
    assert "regret" not in second
