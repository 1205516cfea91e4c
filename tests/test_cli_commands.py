"""The commands that run nothing: what they print, what they write, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from spotbed.cli.app import app

MINIMAL = """\
workload: {source: synthetic, jobs: 5, arrivals: {dist: poisson, rate: 60/h},
           classes: [{runtime: {dist: constant, value: 10m}, vcpus: 2, memory: 4 GiB}]}
capacity: {pools: [{instance_type: c6i.xlarge, max: 5}]}
policies: [spot-only]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPOTBED_DATA", raising=False)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def document(*arguments: str, code: int = 0) -> Any:
    result = invoke(*arguments, "-o", "json")
    assert result.exit_code == code, result.stderr
    found = json.loads(result.stdout)
    assert found["schema_version"] == 1
    return found


def test_init_writes_a_valid_scenario_and_refuses_to_overwrite() -> None:
    first = invoke("init", "mine")
    assert first.exit_code == 0, first.stderr
    assert "Next: cd mine && spotbed compare scenario.yaml" in first.stderr
    assert invoke("validate", "mine/scenario.yaml").exit_code == 0
    assert invoke("policy", "check", "mine/my_policy.py:MyPolicy").exit_code == 0
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    second = invoke("init", "mine")
    assert second.exit_code == 2
    assert "scenario.yaml" in second.stderr
    assert before == {path: path.read_bytes() for path in before}


def test_init_names_the_templates_when_it_knows_none_of_that_name() -> None:
    result = invoke("init", "mine", "--template", "minimum")
    assert result.exit_code == 2
    assert "minimal" in result.stderr
    assert not Path("mine").exists()


def test_validate_tells_all_errors_with_their_places() -> None:
    Path("good.yaml").write_text(MINIMAL)
    Path("bad.yaml").write_text(MINIMAL.replace("10m", "10").replace("vcpus", "vpcus"))
    result = invoke("validate", "good.yaml", "bad.yaml")
    assert result.exit_code == 2
    assert "good.yaml: valid" in result.stdout
    assert "bad.yaml:2:" in result.stdout
    assert "Did you mean 'vcpus'?" in result.stdout
    assert "2 problems" in result.stdout
    verdicts = document("validate", "good.yaml", "bad.yaml", code=2)["files"]
    assert [(verdict["file"], verdict["valid"]) for verdict in verdicts] == [("good.yaml", True), ("bad.yaml", False)]
    assert verdicts[0]["problems"] == []
    assert {problem["line"] for problem in verdicts[1]["problems"]} == {2}


@pytest.mark.parametrize("command", ["validate", "run", "compare"])
def test_a_missing_file_is_invalid_input(command: str) -> None:
    result = invoke(command, "gone.yaml")
    assert result.exit_code == 2
    assert "gone.yaml" in result.stdout + result.stderr


@pytest.mark.parametrize("command", ["run", "compare"])
def test_an_invalid_scenario_leaves_no_folder(command: str) -> None:
    Path("bad.yaml").write_text(MINIMAL.replace("spot-only", "spot-onyl"))
    result = invoke(command, "bad.yaml", "--out", "out")
    assert result.exit_code == 2
    assert "bad.yaml:4:" in result.stderr
    assert "spot-only" in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["bad.yaml"]


@pytest.mark.parametrize("name", ["scenario", "results", "plan", "target"])
def test_schemas_are_printed_as_they_are_shipped(root: Path, name: str) -> None:
    result = invoke("schema", name)
    schema = json.loads(result.stdout)
    Draft202012Validator.check_schema(schema)
    assert schema == json.loads((root / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))


def test_policies_are_listed_with_their_points() -> None:
    rows = document("policy", "list")["rows"]
    by_name = {(row["point"], row["name"]): row for row in rows}
    assert {"policy", "order", "place", "scale", "retry", "protect", "move"} == {row["point"] for row in rows}
    assert by_name["policy", "legacy-2019"]["origin"] == "built-in"
    assert by_name["protect", "continuous"]["deployable"] is False
    assert "which no program gives" in by_name["protect", "continuous"]["hindrance"]
    assert "FGCS 22, 2006" in by_name["protect", "daly"]["source"]


def test_a_new_policy_is_sound_and_is_not_overwritten() -> None:
    assert invoke("policy", "new", "hedge_more.py").exit_code == 0
    assert all(row["passed"] for row in document("policy", "check", "hedge_more.py:HedgeMore")["rows"])
    again = invoke("policy", "new", "hedge_more.py")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [("class Mine(:\n", "mine.py:1"), ("class Other:\n    pass\n", "Mine"), (None, "mine.py")],
    ids=["syntax", "no such class", "no such file"],
)
def test_an_unusable_policy_file_is_told(text: str | None, words: str) -> None:
    if text is not None:
        Path("mine.py").write_text(text)
    result = invoke("policy", "check", "mine.py:Mine")
    assert result.exit_code in (1, 2)
    assert words in result.stdout + result.stderr
    assert "our fault" not in result.stderr


def test_an_impure_policy_fails_the_check() -> None:
    invoke("policy", "new", "mine.py")
    Path("mine.py").write_text("import random\n" + Path("mine.py").read_text())
    rows = {row["check"]: row["passed"] for row in document("policy", "check", "mine.py:Mine", code=1)["rows"]}
    assert rows["pure"] is False


def test_data_sets_are_listed_with_their_homes() -> None:
    rows = document("data", "list")["rows"]
    assert {"name", "what", "size_bytes", "licence", "found", "url"} <= set(rows[0])
    assert all(row["found"] == "" for row in rows)


def test_an_unknown_data_set_is_invalid_input() -> None:
    result = invoke("data", "get", "no-such-thing")
    assert result.exit_code == 2
    assert "data list" in result.stderr


def test_fit_prints_the_lines_for_a_scenario() -> None:
    rows = "".join(f"{seconds},preempted\n" for seconds in range(600, 36_000, 300))
    Path("lifetimes.csv").write_text("lifetime_s,end_reason\n" + rows)
    result = invoke("data", "fit", "lifetimes.csv")
    assert result.exit_code == 0, result.stderr
    assert "market:" in result.stdout
    assert document("data", "fit", "lifetimes.csv")["kind"] == "lifetimes"


def test_prices_without_credentials_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = invoke("data", "prices")
    assert result.exit_code == 4
    assert "To go on: " in result.stderr
    assert not (tmp_path / "cache").exists()
