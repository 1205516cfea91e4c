"""`verify` on a stack that runs on this machine: from a comparison to the verdict, as a user types it."""

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

JOURNALS = Path(__file__).parent / "fixtures" / "journals"
STACK = "small"


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copy(root / "policies" / "hedge.py", tmp_path)
    (tmp_path / "small.yaml").write_text((JOURNALS / "small.yaml").read_text().replace("../../../policies/", ""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTBED_HOME", str(tmp_path / "home"))
    yield tmp_path
    for name in stack.names():
        stack.destroy(name)


def invoke(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.stdout + result.stderr
    return result


@pytest.mark.slow
def test_a_run_on_this_machine_is_verified_fitted_and_rebuilt(folder: Path) -> None:
    invoke("compare", "small.yaml", "--out", "record", "--jobs", "1", "-q")
    invoke("plan", "small.yaml", "--policy", "hedge", "--record", "record", "--out", "PLAN")
    invoke("apply", "PLAN", "--target", "local")
    assert "no job yet" in invoke("verify", code=2).stderr
    jobs: list[dict[str, Any]] = [
        {"id": f"job-{number}", "commands": [f"sleep {1 + number % 3}"]} for number in range(16)
    ]
    jobs.append({"id": "last", "commands": ["sleep 1"], "after": ["sweep", "job-3"]})
    jobs.append({"id": "sweep", "array": 3, "commands": ["sleep $SPOTBED_ARRAY_INDEX"]})
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    invoke("submit", "jobs.jsonl")
    assert json.loads(invoke("rebuild", "-o", "json").stdout)["corrected"] == 0
    mine = stack.LocalStack(STACK)
    assert mine.wait(120)
    found = json.loads(invoke("verify", "--write", "measured.yaml", "-o", "json").stdout)
    assert found["passed"]
    assert {row["name"]: row["live"] for row in found["rows"]}["jobs_done"] == 20
    (folder / "again.yaml").write_text(invoke("data", "fit", "--from-stack", STACK).stdout)
    assert "valid" in invoke("validate", "again.yaml").stdout
    invoke("destroy", STACK, "--yes")
