"""A search: parameters proposed by Optuna, chosen on some worlds, judged on others, and gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from counting import counted
from interruptible import scenario
from typer.testing import CliRunner

from spotbed import api
from spotbed.cli.app import app
from spotbed.engines import Engine
from spotbed.report.document import Two
from spotbed.report.marks import Points
from spotbed.report.metric_words import CUT
from spotbed.report.search import _answers, front_grid, search_document
from spotbed.scenario.search_keys import path_of
from spotbed.search import Found, Request, run_search

pytest.importorskip("optuna", reason="the extra spotbed[search] is not installed")

SCENARIO = scenario(
    6,
    "policies: [on-demand-only, {label: own, place: {use: wasteful.py:Wasteful}, protect: daly}]",
    "replications: 3",
    "search: {policy: own, space: {place.waste: {from: 0, to: 40}}, objectives: [cost_usd]}",
)
# On demand if its parameter is odd, on Spot if it is even.
WASTEFUL = """\
import os
import time

from scheduler.policies.place import LowestPrice
from scheduler.record import record


@record
class Wasteful(LowestPrice):
    waste: int = 1

    def _real(self):
        time.sleep(float(os.environ.get("SLOW_S", "0")))
        return LowestPrice("on-demand" if self.waste % 2 else "spot")

    def route(self, job, now_ms):
        return self._real().route(job, now_ms)

    def choose(self, view, need, count):
        return self._real().choose(view, need, count)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with s.yaml in it."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)
    Path("wasteful.py").write_text(WASTEFUL)
    return tmp_path


def searched(trials: int, **more: Any) -> Found:
    return run_search(Request(Path("s.yaml"), trials, engine=Engine(processes=1), **more))


def spotbed(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("key", "first", "path"),
    [
        ("place.share", [], "policies.1.place.with.share"),
        ("protect.every", ['policies.1.protect={"use": "daly"}'], "policies.1.protect.with.every"),
        ("order", [], "policies.1.order"),
        ("order.weight", [], "policies.1.with.weight"),
        ("place.use", [], "policies.1.place.use"),
        ("weight", [], "policies.1.with.weight"),
        ("central.dispatch_rate", [], "policies.1.central.dispatch_rate"),
    ],
)
def test_where_a_parameter_stands_in_the_scenario(key: str, first: Sequence[str], path: str) -> None:
    policies = ["on-demand-only", {"label": "own", "use": "spot-only", "place": {"use": "x"}, "protect": "daly"}]
    assert path_of(policies, "own", key) == (first, path)


def test_a_policy_that_is_only_named_is_written_as_a_mapping_first() -> None:
    assert path_of(["spot-only"], "spot-only", "cap") == (['policies.0={"use": "spot-only"}'], "policies.0.with.cap")
    with pytest.raises(KeyError):
        path_of(["spot-only"], "other", "cap")


def test_the_best_is_found_and_judged_on_worlds_that_chose_nothing() -> None:
    with counted() as ran:
        found = searched(8, tune_worlds=2, report_worlds=5).results
    assert len(found["trials"]) == 8
    best = next(trial for trial in found["trials"] if trial["on_front"])
    assert best["values"]["place.waste"] % 2 == 0
    assert best["tuned"]["cost_usd"] == min(trial["tuned"]["cost_usd"] for trial in found["trials"])
    assert {world for _, world in ran} == set(range(7))
    assert found["report_worlds"] == [2, 7]
    assert best["reported"]["cost_usd"]["n"] == 5
    assert best["reported"]["cost_usd"]["vs_baseline"]["verdict"] == "lower"
    written = sorted(path.name for path in Path("reports/s-search").iterdir())
    assert written == ["figures", "index.html", "provenance.json", "report.md", "results.json", "tables", "trials.csv"]


def test_the_report_of_a_search_says_words_hours_and_what_is_cut() -> None:
    results = searched(4, objectives=("cost_usd", "makespan_s")).results
    for judged in [results["before"]["own"], *(t["reported"] for t in results["trials"] if t["on_front"])]:
        judged["cost_usd"] = {**judged["cost_usd"], "mean": 2.0, "ci95": [-1.0, 5.0]}
        judged["makespan_s"] = {**judged["makespan_s"], "mean": 18_000.0, "ci95": [-3600.0, 39_600.0]}
    document = search_document(results)
    (chart,) = document.charts()
    (panel,) = chart.panels
    assert (panel.x.title, panel.y.title) == ("cost (USD)", "makespan (h)")
    assert (panel.x.low, panel.y.low) == (0.0, 0.0)
    assert chart.reading.endswith(CUT)
    was, front = (mark for mark in panel.marks if isinstance(mark, Points) and mark.name in ("own", "front"))
    assert front is panel.marks[-1]  # drawn over what was there before, of which more is seen
    assert front.size < was.size
    assert (was.y[0], was.y_interval) == (5.0, ([0.0], [11.0]))
    grid = front_grid(results)
    assert grid.columns == ("", "Cost", "Makespan", "place.waste")
    assert grid.rows[1][1:3] == (Two("$2.00", "[$0.00, $5.00]"), Two("5.00 h", "[0.00 h, 11.0 h]"))
    assert str(grid.note[0]).endswith(CUT)


def test_what_a_trial_says_is_what_a_comparison_with_its_parameters_says() -> None:
    trial = searched(1).results["trials"][0]
    override = f"policies.own.place.with.waste={trial['values']['place.waste']}"
    compared = api.compare_scenario("s.yaml", jobs=1, overrides=[override]).results["policies"]
    own = next(policy for policy in compared if policy["label"] == "own")
    assert trial["tuned"]["cost_usd"] == pytest.approx(own["metrics"]["cost_usd"]["mean"])


def test_of_several_objectives_no_trial_on_the_front_is_beaten_in_all() -> None:
    trials = searched(10, objectives=("cost_usd", "makespan_s")).results["trials"]
    pairs = [tuple(trial["tuned"].values()) for trial in trials]
    front = {tuple(trial["tuned"].values()) for trial in trials if trial["on_front"]}
    beaten = {
        one for one in pairs for other in pairs if other != one and all(a <= b for a, b in zip(other, one, strict=True))
    }
    assert front == set(pairs) - beaten
    assert sum(trial["on_front"] for trial in trials) == len(front)


def test_more_trials_go_on_where_the_storage_ends() -> None:
    first = pd.read_csv(searched(3).path / "trials.csv")
    with counted() as ran:
        more = pd.read_csv(searched(5).path / "trials.csv")
    assert more.head(3)["place.waste"].tolist() == first["place.waste"].tolist()
    assert len(more) == 5
    tuned = [task for task in ran if task[1] < 3]
    assert len(tuned) <= 2 * 3
    assert len(pd.read_csv(searched(5).path / "trials.csv")) == 5


def test_fewer_trials_than_were_made_tell_the_same_front() -> None:
    def front(found: Found) -> list[int]:
        return [trial["trial"] for trial in found.results["trials"] if trial["on_front"]]

    many = searched(8)
    assert front(many) != [0], "the first trial must be beaten by a later one"
    assert front(searched(1)) == front(many)


def test_the_best_of_the_front_is_named_by_the_worlds_that_chose_it() -> None:
    def trial(number: int, tuned: float, reported: float) -> dict[str, Any]:
        judged = {"mean": reported, "ci95": None, "vs_untuned": {"verdict": "lower"}}
        values = {"place.waste": number}
        return {
            "trial": number,
            "values": values,
            "on_front": True,
            "tuned": {"cost_usd": tuned},
            "reported": {"cost_usd": judged},
        }

    # on the worlds that judge, trial 1 is lucky: to name it would be to choose by the judge
    told = {
        "before": {},
        "trials": [trial(0, 1.0, 1.5), trial(1, 2.0, 1.2)],
        "objectives": ["cost_usd"],
        "policy": "own",
    }
    assert [part for part in _answers(told, told["trials"])[1] if "trial" in part] == ["Cost: trial 0 has "]


def test_a_search_that_is_killed_goes_on_with_the_trial_that_it_was_in() -> None:
    command = [sys.executable, "-m", "spotbed", "search", "s.yaml", "--trials", "6", "--jobs", "1"]
    environment = {**os.environ, "SLOW_S": "0.0005"}
    storage = Path("reports/s-search.optuna.log")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **streams) as process:
        while process.poll() is None and _told_trials(storage) < 2:
            time.sleep(0.01)
        process.kill()
    trials = searched(6).results["trials"]
    assert len(trials) == 6
    numbers = [trial["trial"] for trial in trials]
    assert len(set(numbers)) == 6


@pytest.mark.timeout(60)
def test_the_lock_of_a_search_that_was_killed_while_it_wrote_is_taken_over() -> None:
    storage = "reports/s-search.optuna.log"
    Path("reports").mkdir()
    code = f"import os, pathlib, spotbed.search as s; s.lock_of(pathlib.Path({storage!r})).acquire(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in Path("reports").iterdir()] == ["s-search.optuna.log.lock"]
    assert len(searched(1).results["trials"]) == 1


def _told_trials(storage: Path) -> int:
    """How many trials have ended, by the lines of the storage that carry values."""
    if not storage.exists():
        return 0
    lines = storage.read_text().splitlines()
    return sum("values" in json.loads(line) and bool(json.loads(line)["values"]) for line in lines[:-1])


REFUSED: dict[str, tuple[str, Sequence[str], str]] = {
    "no search": ("", (), "the scenario has no `search`"),
    "an unknown policy": ("search: {policy: owl, space: {x: [1]}}", (), "Did you mean 'own'?"),
    "an unknown metric": ("search: {policy: own, space: {x: [1]}, objectives: [cost]}", (), "Did you mean 'cost_usd'?"),
    "an unknown metric asked for": (
        "search: {policy: own, space: {place.waste: [1]}}",
        ("--objectives", "cost_usd,makespan"),
        "Did you mean 'makespan_s'?",
    ),
    "no space": ("search: {policy: own, space: {}}", (), "search.space: must have at least 1"),
    "an unknown parameter": (
        "search: {policy: own, space: {place.wast: [1]}}",
        (),
        "error: search.space.place.wast: 'wast' is no parameter",
    ),
    "an objective twice": (
        "search: {policy: own, space: {place.waste: [1]}}",
        ("--objectives", "cost_usd,cost_usd"),
        "cost_usd: is named twice",
    ),
    "no objective": ("search: {policy: own, space: {place.waste: [1]}}", ("--objectives", ""), "is no metric"),
}


@pytest.mark.parametrize(("block", "options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_searched_is_told(block: str, options: Sequence[str], said: str) -> None:
    text = Path("s.yaml").read_text()
    Path("s.yaml").write_text(text[: text.index("search:")] + block + "\n")
    if block and not options:
        validated = spotbed("validate", "s.yaml")
        assert validated.exit_code == 2
        assert said in validated.stdout
    found = spotbed("search", "s.yaml", "--trials", "2", *options)
    assert found.exit_code == 2
    assert said in found.stderr
    assert not Path("reports").exists()
