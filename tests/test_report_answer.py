"""The opening paragraph claims what the intervals carry, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_frames import make_results

from spotbed.report.answer import answer, answer_in_time, legacy_sentences
from spotbed.report.charts.costs import usd_by_cause
from spotbed.report.data import ComparisonData, RunData, empty
from spotbed.report.document import Words
from spotbed.report.standing import is_billed, standing

BASE, OURS = ("base", "decoupled", 1.0), ("ours", "decoupled", 0.5)


def compare(costs: dict[str, list[float]], **columns: dict[str, float]) -> ComparisonData:
    """A comparison with these costs per world; other metrics are constant: `jobs_lost={"ours": 3}`."""
    constant = {
        "makespan_s": 36_000.0,
        "flow_s": 3600.0,
        "wait_s": 60.0,
        "bounded_slowdown": 1.0,
        "deadline_missed": 0.0,
    }
    constant |= {
        "interruptions": 0.0,
        "lost_work_s": 0.0,
        "jobs_submitted": 100.0,
        "jobs_done": 100.0,
        "jobs_failed": 0.0,
    }
    constant |= {"jobs_unfinished": 0.0, "jobs_lost": 0.0, "duplicate_completions": 0.0, "orphan_workers": 0.0}
    rows = []
    for label, values in costs.items():
        own = constant | {metric: by_label[label] for metric, by_label in columns.items() if label in by_label}
        rows += [{"policy": label, "world": world, "cost_usd": cost, **own} for world, cost in enumerate(values)]
    worlds = pd.DataFrame(rows)
    labels = [(label, "legacy-2019" if label == "legacy" else "decoupled", 1.0) for label in costs]
    return ComparisonData(results=make_results(worlds, labels, next(iter(costs))), worlds=worlds)


def told(data: ComparisonData) -> str:
    return " ".join("".join(sentence) for sentence in answer(data, standing(data)))


def spread(mean: float, worlds: int = 30, deviation: float = 1.0, seed: int = 0) -> list[float]:
    noise = np.random.default_rng(seed).normal(0, deviation, worlds)
    return list(mean + noise - noise.mean())


def test_a_clear_winner_is_named_with_its_saving() -> None:
    text = told(compare({"base": spread(200, seed=1), "ours": spread(100, seed=2), "other": spread(120, seed=3)}))
    assert "ours is the cheapest policy: $100" in text
    assert "The next, other, costs $20.00" in text
    assert "ours costs 50 % less than the baseline base ($200), and is cheaper in all 30 worlds." in text
    assert "Its makespan is 10 h against the baseline's 10 h." in text


def test_no_winner_where_the_interval_of_the_difference_holds_zero() -> None:
    data = compare(
        {"base": spread(200), "ours": spread(100, seed=2, deviation=9), "other": spread(100.5, seed=3, deviation=9)}
    )
    text = told(data)
    assert standing(data).tied == ["other"]
    assert "cheapest" not in text
    assert "ours has the lowest mean cost: $100" in text
    assert "do not tell it apart from other" in text
    assert "not a winner" in text


def test_a_tie_with_the_baseline_claims_no_saving() -> None:
    text = told(compare({"base": spread(100.2, deviation=9, seed=1), "ours": spread(100, deviation=9, seed=2)}))
    assert "no saving is shown" in text
    assert "less than the baseline" not in text


def test_the_baseline_may_be_the_best() -> None:
    text = told(compare({"base": spread(100, seed=1), "ours": spread(150, seed=2)}))
    assert "base is the cheapest policy" in text
    assert "no saving was found" in text


def test_one_world_gives_no_winner_and_no_interval() -> None:
    text = told(compare({"base": [200.0], "ours": [100.0]}))
    assert "In the one world that was simulated, ours costs least: $100." in text
    assert "interval" not in text
    assert "run more worlds" in text


def test_a_policy_that_loses_jobs_is_not_the_cheapest() -> None:
    costs = {"base": spread(200, seed=1), "legacy": spread(50, seed=2), "ours": spread(100, seed=3)}
    data = compare(costs, jobs_lost={"legacy": 7.0}, jobs_done={"legacy": 93.0})
    assert standing(data).best == "ours"
    assert "legacy spends $50.00, but loses 7 of 100 jobs: its bill does not buy the same work." in told(data)


def test_a_policy_that_leaves_work_undone_is_not_the_cheapest() -> None:
    costs = {"base": spread(200, seed=1), "ours": spread(100, seed=3)}
    data = compare(costs, jobs_unfinished={"ours": 9.0}, jobs_done={"ours": 91.0})
    assert standing(data).best == "base"
    assert "leaves unfinished 9 of 100 jobs" in told(data)


def test_a_difference_of_makespans_that_is_not_resolved_is_not_called_none() -> None:
    data = compare({"base": spread(200, seed=1), "ours": spread(100, seed=2)})
    data.worlds["makespan_s"] = [*spread(36_000, deviation=9000, seed=4), *spread(39_600, deviation=9000, seed=5)]
    data.results = make_results(data.worlds, [BASE, OURS], "base")
    text = told(data)
    assert "Its makespan is 11 h against the baseline's 10 h, a difference that these worlds do not resolve." in text


def test_nobody_is_cheapest_when_nobody_has_a_cost() -> None:
    data = compare({"base": [float("nan")] * 3, "ours": [float("nan")] * 3})
    assert standing(data).best is None
    assert "No policy did the work" in told(data)


def test_nobody_is_cheapest_when_no_job_is_done() -> None:
    nothing = {"base": 0.0, "ours": 0.0}
    data = compare(
        {"base": spread(200), "ours": spread(100)}, jobs_done=nothing, jobs_failed={"base": 100.0, "ours": 100.0}
    )
    assert standing(data).best is None
    assert "cheapest" not in told(data).replace("none is called the cheapest", "")


def test_jobs_that_nobody_gets_done_are_not_hidden() -> None:
    data = compare({"base": spread(200), "ours": spread(100)}, jobs_done={"base": 90.0, "ours": 90.0})
    assert "It gets 90 of 100 jobs done (90 %)." in told(data)


def test_a_policy_without_a_mean_is_said_to_have_none() -> None:
    data = compare({"base": spread(200), "ours": [float("nan")] * 30})
    assert standing(data).undefined == ["ours"]
    assert "No mean cost can be stated for ours" in told(data)


def test_the_price_in_deadlines_is_told() -> None:
    costs = {"base": spread(200, seed=1), "ours": spread(100, seed=3)}
    text = told(compare(costs, deadline_missed={"base": 1.0, "ours": 4.0}, makespan_s={"ours": 72_000.0}))
    assert "It misses 4 deadlines a world, the baseline 1." in text
    assert "Its makespan is 20 h, 10 h more than the baseline's 10 h." in text


def test_deadlines_are_not_mentioned_where_no_job_has_one() -> None:
    data = compare({"base": spread(200, seed=1), "ours": spread(100, seed=3)})
    data.runs = {"base": RunData("base")}
    assert "deadline" not in told(data)


@pytest.fixture
def legacy() -> ComparisonData:
    data = compare(
        {"legacy": spread(50), "ours": spread(100)},
        jobs_lost={"legacy": 41.0},
        duplicate_completions={"legacy": 2.5},
        orphan_workers={"legacy": 12.0},
    )
    lines = [
        ("legacy", "ec2.spot", "useful", 1.0, "instance-second", 30.0),
        ("legacy", "sqs.request", "control", 1.0, "request", 10.0),
    ]
    lines += [
        ("ours", "ec2.spot", "useful", 1.0, "instance-second", 99.0),
        ("ours", "sqs.request", "control", 1.0, "request", 1.0),
    ]
    data.bill = pd.DataFrame(lines, columns=["policy", *empty("bill").columns])
    return data


def sentences(words: list[Words]) -> list[str]:
    return ["".join(sentence) for sentence in words]


def test_the_faults_of_2019_are_counted(legacy: ComparisonData) -> None:
    assert sentences(legacy_sentences(legacy, usd_by_cause(legacy))) == [
        "legacy loses 41 jobs of 100 a world (41 %): deleted from the queue before they ended, and never run again.",
        "2.5 duplicate completions a world: the same job ran, and ended, twice.",
        "12 orphan workers a world: instances that are paid with nothing to do and nothing that would stop them.",
        "Its control plane, which polls, costs $10.00 a world, 25 % of its bill; under ours it is $1.00.",
    ]


def test_without_the_2019_scheduler_nothing_is_said_of_it() -> None:
    data = compare({"base": spread(200), "ours": spread(100)})
    assert legacy_sentences(data, {}) == []


def test_a_lucky_2019_scheduler_is_not_accused() -> None:
    data = compare({"legacy": spread(200), "ours": spread(100)})
    assert sentences(legacy_sentences(data, {})) == [
        "legacy lost nothing in these worlds: no interruption or limit met it at a bad moment."
    ]


@pytest.mark.parametrize(
    ("slowdown", "expected"),
    [
        (
            {"base": 92.58, "ours": 69.41},
            "ours has the lowest mean bounded slowdown: 69.41. Under the baseline base it is 92.58.",
        ),
        ({"base": 1.5, "ours": 2.0}, "base has the lowest mean bounded slowdown: 1.50. base is the baseline itself."),
    ],
)
def test_where_nothing_is_billed_the_slowdown_is_told(slowdown: dict[str, float], expected: str) -> None:
    data = compare({"base": [0.0], "ours": [0.0]}, bounded_slowdown=slowdown)
    assert not is_billed(data.results)
    text = " ".join("".join(sentence) for sentence in answer_in_time(data))
    assert text.startswith(f"In the one world that was simulated, {expected}")
    assert "$" not in text


def test_a_slowdown_that_differs_by_noise_is_not_resolved() -> None:
    data = compare({"base": [0.0] * 30, "ours": [0.0] * 30})
    data.worlds["bounded_slowdown"] = [*spread(2.01, deviation=0.5, seed=4), *spread(2.0, deviation=0.5, seed=5)]
    data.results = make_results(data.worlds, [BASE, OURS], "base")
    text = " ".join("".join(sentence) for sentence in answer_in_time(data))
    assert "ours has the lowest mean bounded slowdown: 2.00." in text
    assert "it is 2.01, a difference that these worlds do not resolve." in text


def test_one_of_many_that_is_lower_by_chance_is_no_winner() -> None:
    """A difference of p = .02: alone it makes a winner; as the lowest of seven it asks for more worlds."""
    noise = np.random.default_rng(8).normal(0, 1, 30)
    noise -= noise.mean()
    apart = 2.45 * noise.std(ddof=1) / np.sqrt(30)
    best = np.full(30, 100.0)
    others = {f"p{number}": list(best + noise * (1 if number % 2 else -1) + apart) for number in range(6)}
    alone = compare({"p0": others["p0"], "best": list(best)})
    assert standing(alone).tied == []
    many = compare({**others, "best": list(best)})
    assert sorted(standing(many).tied) == sorted(others)
    text = told(many)
    assert "not a winner" in text
    assert "more worlds would." in text
