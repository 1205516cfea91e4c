"""docs/policies.md has a figure of every registered policy and of no other, as the command writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spotbed.errors import InputError
from spotbed.policies.catalogue import known
from spotbed.policies.document import COLUMNS, POINTS, SCENARIOS, TENANTS, Figures, main, table, tables, with_figures
from spotbed.report.words import NOTHING
from spotbed.scenario.load import load_scenario

COMMAND = "python -m spotbed.policies.document --write docs/policies.md"
PLACE = f"<!-- figures of {{}}: `{COMMAND}` -->\nold\n<!-- end of figures -->"


def shown(root: Path, point: str) -> list[str]:
    """The lines of the figures of a point."""
    begin, end = PLACE.format(point).split("\nold\n")
    return (root / "docs" / "policies.md").read_text("utf-8").split(begin)[1].split(end)[0].strip().splitlines()


@pytest.mark.parametrize("point", POINTS)
def test_the_figures_list_every_registered_policy_and_no_other(root: Path, point: str) -> None:
    names = [line.split("`")[1] for line in shown(root, point) if line.startswith("| `")]
    assert list(dict.fromkeys(names)) == [info.name for info in known() if info.point == point] or point == "order"
    assert set(names) == {info.name for info in known() if info.point == point}


@pytest.mark.parametrize("point", POINTS)
def test_what_the_document_says_of_each_policy_is_what_its_docstrings_say(root: Path, point: str) -> None:
    rows = {line.split("`")[1]: line for line in shown(root, point) if line.startswith("| `")}
    for info in known():
        if info.point == point:
            assert rows[info.name].endswith(f"| {info.source or NOTHING} |")
            assert (" | yes | " in rows[info.name]) == info.deployable


def test_the_figures_are_those_that_the_command_writes_now(root: Path) -> None:
    """Of one point; `make test-all` compares all."""
    assert tables("retry").splitlines() == shown(root, "retry")


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_all_figures_are_those_that_the_command_writes_now(root: Path, point: str) -> None:
    assert tables(point).splitlines() == shown(root, point)


def test_every_point_has_its_scenario() -> None:
    assert {path.stem for path in SCENARIOS.glob("*.yaml")} == {*POINTS, TENANTS}
    assert set(POINTS) == set(COLUMNS)


def test_a_row_has_the_means_and_the_ratio_to_the_baseline() -> None:
    scenario = load_scenario(SCENARIOS / "protect.yaml", ["replications=2"])
    metrics = {
        "cost_usd": [1.0, 3.0],
        "makespan_s": [3600.0, 7200.0],
        "wait_s": [30.0, 30.0],
        "lost_work_s": [0.0, 0.0],
    }
    cheaper = {**metrics, "cost_usd": [0.5, 1.5]}
    rows = table("protect", Figures(scenario, {"none": metrics, "daly": cheaper})).splitlines()
    assert rows[0].startswith("Means over 2 worlds of [`protect.yaml`](../scenarios/catalogue/protect.yaml): long jobs")
    assert rows[2] == "| name | cost | against `none` | makespan | wait | lost work | deployed | source |"
    assert rows[4] == "| `none` | $2.00 | the same | 1.5 h | 30 s | 0 s | yes | \N{EN DASH} |"
    assert rows[5].startswith("| `daly` | $1.00 | \N{MULTIPLICATION SIGN}0.50 [")


def test_figures_go_between_the_marks_of_their_point_and_nowhere_else(tmp_path: Path) -> None:
    text = f"head\n{PLACE.format('move')}\nbetween\n{PLACE.format('order')}\ntail\n"
    assert with_figures(text, {"order": "new"}) == text[::-1].replace("dlo", "wen", 1)[::-1]
    with pytest.raises(InputError, match="no place for the figures of 'scale'"):
        with_figures(text, {"scale": "new"})


def test_the_command_writes_into_a_document(tmp_path: Path) -> None:
    document = tmp_path / "policies.md"
    document.write_text(PLACE.format("protect"), "utf-8")
    main(["protect", "--write", str(document)])
    assert "| `daly` | $" in document.read_text("utf-8")
    assert "old" not in document.read_text("utf-8")
