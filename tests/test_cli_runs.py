"""The commands that run worlds, as scripts use them: output, folders, exit codes, interruption by the user."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from spotbed.cli.app import app
from spotbed.results import results_schema

SMALL = """\
name: small
seed: 3
replications: 3
workload:
  source: synthetic
  jobs: 30
  arrivals: {dist: poisson, rate: 60/h}
  classes: [{runtime: {dist: lognormal, median: 20m, p95: 90m}, vcpus: 4, memory: 8 GiB, deadline: 6h}]
capacity:
  pools:
    - {id: spot, instance_type: c6i.xlarge, az: us-east-1a, purchase: spot, max: 20}
    - {id: od, instance_type: c6i.xlarge, az: us-east-1a, purchase: on-demand, max: 20}
market: {interruptions: {source: weibull, up: {shape: 0.6, scale: 3h}, down: {shape: 0.7, scale: 20m}, burst: 3m}}
policies: [{use: on-demand-only, label: on-demand}, spot-only, spot-fallback]
baseline: on-demand
gates:
  - {rule: cost_usd.mean <= 0.9 * baseline, for: [spot-only]}
  - {rule: jobs_lost.mean <= 0, for: [spot-only, spot-fallback]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with small.yaml in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def invoke(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.stderr
    return result


def test_run_writes_the_folder_of_the_contract_and_prints_its_metrics(here: Path) -> None:
    result = invoke("run", "small.yaml", "--policy", "spot-only", "--seed", "11")
    folder = here / "reports" / "small-spot-only-11"
    assert f"Written: {folder.relative_to(here)}" in result.stderr
    promised = ["journal.parquet", "jobs.csv", "workers.csv", "bill.csv", "timeline.csv", "results.json", "report.html"]
    assert {*promised, "provenance.json"} <= {path.name for path in folder.iterdir()}
    metrics = json.loads((folder / "results.json").read_text())["policies"][0]["metrics"]
    printed = {row.split()[0]: row.split()[1] for row in result.stdout.splitlines()[2:]}
    assert set(printed) == set(metrics)
    assert printed["jobs_submitted"] == "30"
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["seeds"]["seed"] == 11
    assert str(here) not in json.dumps(provenance)


def test_run_without_a_journal_keeps_none() -> None:
    invoke("run", "small.yaml", "--no-journal", "--out", "bare")
    assert not Path("bare/journal.parquet").exists()
    assert Path("bare/jobs.csv").exists()


def test_compare_prints_the_results_document_and_nothing_else_on_stdout() -> None:
    result = invoke("compare", "small.yaml", "-o", "json", "--jobs", "1")
    document = json.loads(result.stdout)
    Draft202012Validator(results_schema()).validate(document)
    assert document == json.loads(Path("reports/small/results.json").read_text())
    assert [policy["label"] for policy in document["policies"]] == ["on-demand", "spot-only", "spot-fallback"]
    assert all(gate["passed"] is True for gate in document["gates"])


def test_options_change_the_scenario_without_its_file(here: Path) -> None:
    (here / "small.yaml").write_text(SMALL.replace("0.9 * baseline", "9 * baseline"))
    chosen = ["--policy", "spot-only", "--baseline", "spot-fallback", "--replications", "2", "--set", "workload.jobs=7"]
    document = json.loads(invoke("compare", "small.yaml", "--jobs", "1", "-o", "json", *chosen).stdout)
    assert (document["replications"], document["baseline"]) == (2, "spot-fallback")
    assert [policy["label"] for policy in document["policies"]] == ["spot-only", "spot-fallback"]
    assert {policy["metrics"]["jobs_submitted"]["mean"] for policy in document["policies"]} == {7.0}


def test_a_gate_for_a_policy_that_is_left_out_is_not_judged() -> None:
    chosen = ["--policy", "spot-only", "--replications", "2"]
    document = json.loads(invoke("compare", "small.yaml", "--jobs", "1", "-o", "json", *chosen).stdout)
    assert [gate["policy"] for gate in document["gates"]] == ["spot-only", "spot-only"]


def test_csv_has_one_row_for_each_policy_and_metric() -> None:
    text = invoke("compare", "small.yaml", "--jobs", "1", "--replications", "2", "-o", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["policy"] for row in rows} == {"on-demand", "spot-only", "spot-fallback"}
    cost = next(row for row in rows if (row["policy"], row["metric"]) == ("on-demand", "cost_usd"))
    assert float(cost["mean_ci95_low" if "mean_ci95_low" in cost else "ci95_low"]) <= float(cost["mean"])


def test_a_failed_gate_is_exit_code_3_with_the_report_written() -> None:
    Path("small.yaml").write_text(SMALL.replace("0.9 * baseline", "0.01 * baseline"))
    result = invoke("compare", "small.yaml", "--jobs", "1", "--replications", "2", code=3)
    assert "gate failed: cost_usd.mean <= 0.01 * baseline for spot-only" in result.stderr
    assert Path("reports/small/index.html").exists()


def test_a_report_is_written_again_in_another_format(here: Path) -> None:
    invoke("compare", "small.yaml", "--jobs", "1", "--replications", "2")
    written = json.loads(invoke("report", "reports/small", "--format", "md", "--out", "again", "-o", "json").stdout)
    assert written["written"] == ["again/report.md"]
    pictures = {path.name for path in (here / "again" / "figures").glob("*.png")}
    assert pictures
    assert all(f"figures/{name}" in (here / "again" / "report.md").read_text(encoding="utf-8") for name in pictures)


def test_a_folder_that_is_no_run_is_invalid_input(here: Path) -> None:
    (here / "empty").mkdir()
    assert "empty" in invoke("report", "empty", code=2).stderr
    assert "empty" in invoke("explain", "empty", "job-1", code=2).stderr


def test_explain_tells_of_one_job() -> None:
    invoke("run", "small.yaml", "--out", "one")
    with Path("one/jobs.csv").open() as stream:
        job = max(csv.DictReader(stream), key=lambda row: int(row["attempts"]))
    text = invoke("explain", "one", job["job_id"]).stdout
    assert job["job_id"] in text
    assert json.loads(invoke("explain", "one", job["job_id"], "-o", "json").stdout)["schema_version"] == 1
    assert "no job" in invoke("explain", "one", "no-such-job", code=2).stderr


def test_a_folder_of_somebody_else_is_refused_before_anything_runs(here: Path) -> None:
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter.tex").write_text("")
    for command in ("run", "compare"):
        assert "is not a folder of spotbed's" in invoke(command, "small.yaml", "--out", "thesis", code=2).stderr
    assert [path.name for path in (here / "thesis").iterdir()] == ["chapter.tex"]


def test_a_second_run_replaces_the_first() -> None:
    for seed in ("1", "2"):
        invoke("run", "small.yaml", "--out", "same", "--seed", seed)
    assert json.loads(Path("same/provenance.json").read_text())["seeds"]["seed"] == 2
    assert sorted(path.name for path in Path().iterdir()) == ["same", "small.yaml"]


def test_ctrl_c_leaves_no_folder_and_the_same_command_goes_on(here: Path) -> None:
    (here / "small.yaml").write_text(SMALL.replace("replications: 3", "replications: 400"))
    command = [sys.executable, "-m", "spotbed", "compare", "small.yaml", "--jobs", "1"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **streams) as process:
        while not list(here.rglob("*.pickle")) and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        printed, told = process.communicate()
    assert process.returncode == 130, told
    assert printed == ""
    assert told.startswith("Interrupted.\nKept: ")
    assert "Traceback" not in told
    assert not (here / "reports" / "small").exists()
    finished = {path: path.stat().st_mtime_ns for path in here.rglob("*.pickle")}
    assert finished
    again = CliRunner().invoke(app, ["compare", "small.yaml", "--jobs", "1", "--replications", "3", "-o", "json"])
    assert json.loads(again.stdout)["replications"] == 3


def test_lenient_skips_bad_lines_and_says_so(here: Path) -> None:
    good = "{} {} -1 100 1 -1 -1 1 200 -1 1 1 1 1 1 1 -1 -1"
    (here / "log.swf").write_text("\n".join(["; MaxProcs: 4", good.format(1, 0), "2 10 -1 x", good.format(3, 20), ""]))
    (here / "log.yaml").write_text(
        "workload: {source: swf, path: log.swf}\ncapacity: {cluster: {slots: 4}}\n"
        "replications: 1\npolicies: [{label: fifo, order: fifo, architecture: central}]\n"
    )
    refused = invoke("compare", "log.yaml", code=2)
    assert "log.swf:3: error: " in refused.stderr
    assert "--lenient" in refused.stderr
    assert not (here / "reports").exists()
    allowed = invoke("compare", "log.yaml", "--lenient", "-o", "json")
    assert json.loads(allowed.stdout)["policies"][0]["metrics"]["jobs_submitted"]["mean"] == 2
    assert "1 of 3 lines" in allowed.stderr
