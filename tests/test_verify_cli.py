"""`verify` and `data fit` as they are typed: a journal and a plan, exit codes, and what is written."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from verify_runs import completed_twice

from aws.logs import journal_of
from aws.prediction import BillEstimate, Prediction, estimate
from spotbed.cli.app import app
from spotbed.metric_names import METRIC_NAMES
from spotbed.scenario.load import load_scenario

JOURNALS = Path(__file__).parent / "fixtures" / "journals"


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario, the plan that was applied, and the journal."""
    shutil.copy(root / "policies" / "hedge.py", tmp_path)
    text = (JOURNALS / "small.yaml").read_text().replace("../../../policies/", "")
    (tmp_path / "small.yaml").write_text(text)
    (tmp_path / "journal.jsonl").write_bytes(gzip.decompress((JOURNALS / "local.jsonl.gz").read_bytes()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTBED_HOME", str(tmp_path / "home"))
    write_plan(tmp_path, cost_usd=(0.3, 0.5))
    return tmp_path


def write_plan(folder: Path, cost_usd: tuple[float, float]) -> None:
    """What `verify` reads of a plan."""
    none = estimate([0.0, 0.0])
    prediction = Prediction(
        worlds=2,
        metrics={**dict.fromkeys(METRIC_NAMES, none), "jobs_submitted": estimate([6.0, 6.0])},
        bill=(BillEstimate(item="ec2.spot", cause="useful", unit="s", usage=none, usd=none),),
        per_job={
            "cost_usd_per_1000_jobs": estimate(cost_usd),
            **dict.fromkeys(("miss_rate", "failed_rate", "interruptions"), none),
            "attempts": estimate([1.0, 1.0]),
        },
    )
    plan = {
        "label": "hedge",
        "scenario_file": "small.yaml",
        "overrides": [],
        "hashes": {"scenario": load_scenario(folder / "small.yaml").sha256},
        "policy": {"settings": {}},
        "prediction": prediction.model_dump(mode="json"),
    }
    (folder / "PLAN").write_text(json.dumps(plan))


def invoke(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def document(*arguments: str, code: int = 0) -> Any:
    return json.loads(invoke(*arguments, "-o", "json", code=code).stdout)


KEPT = ("verify", "--journal", "journal.jsonl", "--plan", "PLAN")


def test_a_kept_journal_passes_and_its_services_are_written(folder: Path) -> None:
    found = document(*KEPT, "--write", "measured.yaml")
    assert found["passed"]
    assert {row["name"] for row in found["rows"] if row["what"] == "metric"} == set(METRIC_NAMES)
    assert {row["what"] for row in found["latencies"]} >= {"report", "start", "boot", "launch", "worker_start"}
    assert all(row["passed"] for row in found["rows"])
    assert found["canary"]["action"] == "wait"
    assert "the canary takes 10 minutes" in found["canary"]["reasons"][0]
    held = {each["name"]: each for each in found["prediction"]}
    assert not held["cost_usd_per_1000_jobs"]["binding"]
    assert "jobs_done" not in held  # another number of jobs than was predicted
    (folder / "again.yaml").write_text(
        (folder / "small.yaml").read_text() + "services: {preset: measured.yaml}\nseed: 3\n"
    )
    assert invoke("validate", "again.yaml").exit_code == 0


def test_it_reads_well(folder: Path) -> None:
    shown = invoke(*KEPT)
    assert "Live against played again" in shown.stdout
    assert "Live against predicted" in shown.stdout
    assert "does not decide" in shown.stderr
    assert "| metric |" in invoke(*KEPT, "-o", "markdown").stdout


def test_a_broken_limit_is_exit_code_3_and_says_why(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    (folder / "journal.jsonl").write_text("\n".join(map(json.dumps, completed_twice(lines))))
    shown = invoke(*KEPT, code=3)
    assert "limit broken: duplicate_completions" in shown.stderr
    assert "was completed 2 times" in shown.stderr


def test_in_an_account_the_prediction_decides(folder: Path) -> None:
    lines = (folder / "journal.jsonl").read_text().splitlines()
    settings = json.loads(lines[0])[3]["settings"]
    (folder / "journal.jsonl").write_text("\n".join(lines[1:]))  # only a local stack says what it is
    for cost_usd, code in (((0.3, 0.5), 0), ((46.0, 47.0), 3)):
        write_plan(folder, cost_usd)
        plan = json.loads((folder / "PLAN").read_text())
        (folder / "PLAN").write_text(json.dumps({**plan, "policy": {"settings": settings}}))
        shown = invoke(*KEPT, "--services", "measured", code=code)
        assert ("predicted 46" in shown.stderr) is bool(code)


def test_what_is_wrong_is_told(folder: Path) -> None:
    assert "is no plan" in invoke("verify", "--journal", "journal.jsonl", "--plan", "journal.jsonl", code=2).stderr
    (folder / "moved").mkdir()
    shutil.move(folder / "small.yaml", folder / "moved")
    assert "--scenario FILE" in invoke(*KEPT, code=2).stderr
    shutil.move(folder / "hedge.py", folder / "moved")
    assert invoke(*KEPT, "--scenario", "moved/small.yaml").exit_code == 0
    with (folder / "moved" / "small.yaml").open("a") as file:
        file.write("seed: 9\n")
    assert "not the scenario that was planned" in invoke(*KEPT, "--scenario", "moved/small.yaml", code=2).stderr


def test_a_journal_is_fitted_into_a_scenario(folder: Path) -> None:
    (folder / "fitted.yaml").write_text(invoke("data", "fit", "--from-journal", "journal.jsonl").stdout)
    assert "valid" in invoke("validate", "fitted.yaml").stdout
    found = document("data", "fit", "--from-journal", "journal.jsonl", "--work", "classes")
    assert "lognormal" in found["scenario"]
    assert "give one of" in invoke("data", "fit", code=2).stderr
    assert "give one of" in invoke("data", "fit", "x", "--from-journal", "journal.jsonl", code=2).stderr


# the logs of an account -----------------------------------------------------------------------------------------------
class Logs:
    """CloudWatch Logs with one page for each function that has written."""

    class exceptions:  # noqa: N801 as boto3 has it
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, pages: dict[str, list[str]]) -> None:
        self._pages = pages
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, name: str) -> Logs:
        assert name == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if asked["logGroupName"] not in self._pages:
            raise self.exceptions.ResourceNotFoundException
        return [{"events": [{"message": text}]} for text in self._pages[asked["logGroupName"]]]


def test_the_journal_of_an_account_is_put_together_from_the_logs_of_its_functions() -> None:
    def line(at_ms: int) -> str:
        return json.dumps({"journal": [at_ms, "world", "w1", {"fact": "worker", "pool": "spot"}, []]})

    logs = Logs(
        {
            "/aws/lambda/mine-step": [line(7), "START RequestId: 1\n", json.dumps({"message": line(3) + os.linesep})],
            "/aws/lambda/mine-fleet": [line(5), '{"journal": "said"}', "[]"],
        }
    )
    assert [each[0] for each in journal_of(logs, "mine", since_ms=2)] == [3, 5, 7]
    assert {asked["startTime"] for asked in logs.asked} == {2}
