"""From a comparison to a local stack and its results, as a user types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aws.local import stack
from spotbed.cli.app import app

SCENARIO = """\
name: my.small_one
replications: 3
workload: {source: synthetic, jobs: 6, arrivals: {dist: poisson, rate: 60/h},
           classes: [{runtime: {dist: constant, value: 30m}, vcpus: 1, memory: 1 GiB, deadline: 24h}]}
capacity:
  pools:
    - {id: spot, instance_type: c6i.xlarge, az: us-east-1a, purchase: spot, max: 3}
    - {id: od, instance_type: c6i.xlarge, az: us-east-1b, purchase: on-demand, max: 3}
policies:
  - {use: on-demand-only, label: on-demand}
  - {use: hedge.py:Hedge, label: hedge, with: {slack_factor: 2.0}}
baseline: on-demand
"""


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copy(root / "policies" / "hedge.py", tmp_path)
    (tmp_path / "small.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTBED_HOME", str(tmp_path / "home"))
    yield tmp_path
    for name in stack.names():
        stack.destroy(name)


def invoke(*arguments: str, code: int = 0, **more: Any) -> Any:
    result = CliRunner().invoke(app, arguments, **more)
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def document(*arguments: str, code: int = 0) -> Any:
    return json.loads(invoke(*arguments, "-o", "json", code=code).stdout)


def test_what_was_compared_runs_here(folder: Path) -> None:
    invoke("compare", "small.yaml", "--out", "record", "--jobs", "1", "-q")
    invoke("plan", "small.yaml", "--policy", "hedge", "--record", "record", "--out", "PLAN")
    assert "local fleet only" in invoke("apply", "PLAN", code=4).stderr
    assert "Start one" in invoke("jobs", code=2).stderr
    made = document("apply", "PLAN", "--target", "local")
    assert made["rows"][0]["stack"] == "my-small-one"
    assert stack.LocalStack("my-small-one").plan() == json.loads(Path("PLAN").read_text())
    assert "is there already" in invoke("apply", "PLAN", "--target", "local", code=4).stderr

    Path("jobs.jsonl").write_text(
        '{"id": "one", "commands": ["echo Hello World; echo out > result"], "outputs": ["result"]}\n'
        '{"id": "two", "commands": ["sleep 613"]}\n'
    )
    assert document("submit", "jobs.jsonl")["jobs"] == ["one", "two"]
    assert document("cancel", "two")["phase"] == "cancelled"
    assert stack.LocalStack("my-small-one").wait(170)
    assert {job["job_id"]: job["phase"] for job in document("jobs")["jobs"]} == {"one": "done", "two": "cancelled"}
    (attempt,) = document("jobs", "one")["attempt_log"]
    assert (attempt["attempt"], attempt["cause"]) == (1, "done")
    assert "one: done, about $0.0" in invoke("jobs", "one").stderr
    assert invoke("cancel", "one", code=1).stdout.splitlines()[-1].split() == ["one", "done"]
    assert invoke("logs", "one").stdout == "Hello World\n"
    assert document("logs", "one")["log"] == "Hello World\n"
    assert document("fetch", "one", "--out", "out")["fetched"] == ["out/result"]
    assert Path("out/result").read_text() == "out\n"
    assert "no job 'three'" in invoke("logs", "three", code=2).stderr
    assert document("status")["jobs"] == {"cancelled": 1, "done": 1}
    assert "jobs done" in invoke("status").stdout

    invoke("drain")
    assert "Nothing was removed" in invoke("destroy", "my-small-one", code=1, input="n\n").stderr
    assert stack.names() == ["my-small-one"]
    invoke("destroy", "my-small-one", "--yes")
    assert "no local stack" in invoke("destroy", "my-small-one", "--yes", code=2).stderr
    assert not any((folder / "home" / "local").iterdir())
