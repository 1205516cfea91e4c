"""`compare --precision`: worlds are run until the means are known well enough, and no finished world is run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_cli_runs import SMALL
from typer.testing import CliRunner

from spotbed import api, errands
from spotbed.cli.app import app
from spotbed.errors import InputError
from spotbed.precision import wanted_precision
from spotbed.stats.stopping import Precision, relative_half_width


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("jobs: 30", "jobs: 8").replace("spot-only, spot-fallback]", "spot-only]"))
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every world that is run."""
    ran: list[Any] = []
    run_task = errands.run_task

    def noted(made: Any, label: str, world: int, **options: Any) -> Any:
        ran.append((label, world))
        return run_task(made, label, world, **options)

    monkeypatch.setattr(errands, "run_task", noted)
    return ran


def test_worlds_are_added_until_every_mean_is_precise(scenario: Path, counted: list[Any], tmp_path: Path) -> None:
    precision = Precision(0.15, 400)
    found = api.compare_scenario(scenario, jobs=1, out=tmp_path / "out", precision=precision)
    worlds = found.results["replications"]
    assert 30 < worlds < 400
    assert len(counted) == len(set(counted)) == 2 * worlds  # what was finished at one look was kept for the next
    assert found.notes[0] == f"precision of 15 % reached: every mean cost after {worlds} worlds"
    for policy in found.results["policies"]:
        cost = policy["metrics"]["cost_usd"]
        half = max(cost["ci95"][1] - cost["mean"], cost["mean"] - cost["ci95"][0])
        assert half / cost["mean"] <= 0.15 / 1.15
    few = api.compare_scenario(scenario, jobs=1, out=tmp_path / "few", replications=30)
    assert any(
        (policy["metrics"]["cost_usd"]["ci95"][1] / policy["metrics"]["cost_usd"]["mean"] - 1) > 0.15 / 1.15
        for policy in few.results["policies"]
    )
    again = api.compare_scenario(scenario, jobs=1, out=tmp_path / "again", replications=worlds)
    assert again.results["policies"] == found.results["policies"]


def test_the_cap_ends_it_and_is_told(scenario: Path) -> None:
    arguments = ["compare", str(scenario), "--precision", "0.5%", "--max", "6", "--jobs", "1", "--out", "out"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (0, 3), result.stderr
    assert "precision of 0.5 % not reached: after 6 worlds, as many as allowed, the mean cost of" in result.stderr


def test_what_no_precision_is_is_refused() -> None:
    assert wanted_precision(None, None) is None
    assert wanted_precision("2%", None) == Precision(0.02, 1_000)
    assert wanted_precision(" 0.5 % ", 40) == Precision(0.005, 40)
    for text in ("2", "0%", "100%", "-1%", "two"):
        with pytest.raises(InputError, match="no relative precision"):
            wanted_precision(text, None)
    with pytest.raises(InputError, match="goes with --precision"):
        wanted_precision(None, 40)


def test_one_world_says_nothing_about_precision() -> None:
    assert relative_half_width([3.0]) == float("inf")
