"""`spotbed bench published`: targets as data, how they are judged, what is skipped, and the page that it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spotbed.cli.app import app
from spotbed.errors import InputError
from spotbed.published import SOURCES, Measured, judge, targets
from spotbed.published import table as targets_module
from spotbed.published.document import apart, read_store, render, updated, write
from spotbed.published.judge import Result, accepted
from spotbed.published.runs import chosen, results
from spotbed.published.table import Target

TARGET = Target("kth", "a/b", 100.0, "h", "relative", 0.02, long=False, date="2026-11-23")


def test_every_target_is_of_a_source_and_every_source_has_targets() -> None:
    assert {target.source for target in targets()} == set(SOURCES)
    assert len({target.name for target in targets()}) == len(targets())
    assert all((target.rule == "reported") or target.published is not None for target in targets())


@pytest.mark.parametrize(
    ("rule", "tolerance", "value", "passed"),
    [
        ("relative", 0.02, 102.0, True), ("relative", 0.02, 102.1, False), ("relative", 0.02, 97.9, False),
        ("absolute", 1.0, 101.0, True), ("absolute", 1.0, 98.9, False),
        ("decimals", 1, 100.04, True), ("decimals", 1, 100.06, False),
        ("below", 0.0, 100.0, True), ("below", 0.0, 100.1, False),
        ("above", 0.0, 99.9, False), ("above", 0.0, 100.1, True),
        ("errors", 3, 106.0, True), ("errors", 3, 106.1, False),
    ],
)  # fmt: skip
def test_each_rule_accepts_what_it_says(rule: str, tolerance: float, value: float, passed: bool) -> None:
    result = judge(replace(TARGET, rule=rule, tolerance=tolerance), Measured(value, error=2.0))
    assert result.passed is passed
    assert result.difference == pytest.approx(value - 100.0)


def test_what_is_only_reported_is_not_judged_and_errors_need_an_error() -> None:
    assert judge(replace(TARGET, rule="reported"), Measured(1e9)).passed is None
    assert judge(replace(TARGET, rule="errors"), Measured(100.0)).passed is False
    assert accepted(TARGET) == "± 2 %"
    assert apart(TARGET, {"value": 99.0}) == "-1.00 %"
    assert apart(replace(TARGET, rule="errors"), {"value": 103.0, "error": 2.0}) == "+1.5 errors"


@pytest.mark.parametrize(
    ("value", "error", "passed"),
    [(101.0, 0.4, True), (101.3, 0.4, False), (102.1, 0.6, False), (101.0, 0.67, False), (100.0, None, False)],
)
def test_precise_asks_for_the_share_the_errors_and_errors_that_could_tell(
    value: float, error: float | None, passed: bool
) -> None:
    """Within 2 % and three errors; and three errors are at most 2 %, or a wide interval would pass anything."""
    precise = replace(TARGET, rule="precise")
    assert judge(precise, Measured(value, error=error)).passed is passed
    assert accepted(precise) == "± 2 % and 3 errors, these ≤ 2 %"
    assert apart(precise, {"value": 101.0, "error": 0.4}) == "+1.00 ± 1.20 %"


def test_a_name_chooses_a_source_a_part_of_it_or_a_cell() -> None:
    assert {target.source for target in chosen(["kth"])} == {"kth"}
    assert [target.cell for target in chosen(["lublin/fcfs"])] == ["fcfs/plain", "fcfs/backfill"]
    assert [target.cell for target in chosen(["shards/8/2/counted"])] == ["8/2/counted"]
    with pytest.raises(InputError, match="shardz"):
        chosen(["shardz"])


def test_a_table_that_is_wrong_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "published.csv"
    monkeypatch.setattr(targets_module, "TABLE", table)
    header = "source,cell,published,unit,rule,tolerance,long,date\n"
    for row, match in (("kth,a,1,h,roughly,0,false,x", "roughly"), ("kth,a,,h,below,0,false,x", "published number")):
        table.write_text(header + row + "\n")
        targets_module.targets.cache_clear()
        with pytest.raises(InputError, match=match):
            targets_module.targets()
    monkeypatch.undo()
    targets_module.targets.cache_clear()


def test_rows_without_their_data_are_skipped_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPOTBED_DATA", raising=False)
    (kth,) = results(["kth/actual/fcfs/mean"])
    assert kth.measured is kth.passed is None
    assert kth.skipped == "no data: set SPOTBED_DATA to the folder of public data"
    monkeypatch.setenv("SPOTBED_DATA", str(tmp_path))
    (kth,) = results(["kth/actual/fcfs/mean"])
    assert "KTH-SP2-1996-2.2-filtered.swf.gz is not in" in kth.skipped
    assert all("--quick" in result.skipped for result in results(["burst"], quick=True))


def test_the_command_prints_the_rows_and_fails_if_one_is_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["bench", "published", "--only", "shards", "-o", "json", "-q"])
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["passed"] is True
    assert [row["cell"] for row in document["rows"]] == ["8/2", "8/2/counted", "100/5", "2048/4"]
    assert set(document["rows"][0]) >= {"source", "published", "ours", "difference", "accepted", "passed"}
    monkeypatch.setattr("spotbed.published.shards.overlap_probability", lambda n, k, m: 0.5)
    failed = runner.invoke(app, ["bench", "published", "--only", "shards/8/2", "-q"])
    assert failed.exit_code == 3
    assert "NO" in failed.stdout
    wrong = runner.invoke(app, ["bench", "published", "--only", "nothing"])
    assert wrong.exit_code == 2


def test_what_is_not_run_keeps_its_stored_result(tmp_path: Path) -> None:
    page = tmp_path / "validation.md"
    write(page, list(results(["shards"])))
    stored = read_store(page.with_suffix(".json"))
    assert list(stored) == [target.name for target in chosen(["shards"])]
    old = {**stored, "shards/8/2": {**stored["shards/8/2"], "date": "2000-01-01"}, "gone/cell": {}}
    again = updated(old, [judge(target, Measured(3.0)) for target in chosen(["shards/100/5"])])
    assert again["shards/8/2"]["date"] == "2000-01-01"
    assert again["shards/100/5"]["value"] == 3.0
    assert again["shards/100/5"]["passed"] is False
    assert "gone/cell" not in again
    assert updated(old, [Result(target, None, None, "no data") for target in chosen(["shards/8/2"])])["shards/8/2"]
    assert page.read_text() == render(stored)
    assert "| 8/2 | 3.57143 % | 3.57143 % |" in page.read_text()
    assert "not run" in page.read_text()


def test_the_page_of_this_repository_is_what_the_command_makes_of_its_stored_results(root: Path) -> None:
    stored = read_store(root / "docs" / "validation.json")
    assert (root / "docs" / "validation.md").read_text(encoding="utf-8") == render(stored)
    missing = [target.name for target in targets() if target.name not in stored]
    assert not missing, "run `spotbed bench published --write docs/validation.md`"
    failed = [name for name, found in stored.items() if found["passed"] is False]
    assert not failed
    for target in targets():
        found = stored[target.name]
        again = judge(target, Measured(found["value"], found["low"], found["high"], found["error"]))
        assert again.passed == found["passed"], target.name
