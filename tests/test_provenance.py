"""What provenance.json says, and what it must not say."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from interruptible import scenario

import scheduler
from spotbed import api
from spotbed import provenance as subject
from spotbed.build import Blueprint, blueprint
from spotbed.keeping import Store
from spotbed.scenario.load import load_scenario


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "alice" / "project"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_inputs_are_named_relatively_and_hashed(here: Path) -> None:
    inside, outside = here / "scenarios" / "demo.yaml", here.parent / "private.csv"
    inside.parent.mkdir()
    inside.write_bytes(b"name: demo\n")
    outside.write_bytes(b"1,2\n")
    command = ["spotbed", "run", str(inside), "--out", str(here.parent / "out"), "--seed", "7"]
    found = subject.provenance(
        command, {"scenario": inside, "prices": outside}, {"seed": 7}, price_book_date="2026-07-20"
    )
    assert found["inputs"] == {
        "scenario": {"path": "scenarios/demo.yaml", "sha256": hashlib.sha256(b"name: demo\n").hexdigest()},
        "prices": {"path": "…/private.csv", "sha256": hashlib.sha256(b"1,2\n").hexdigest()},
    }
    assert found["command"] == ["spotbed", "run", "scenarios/demo.yaml", "--out", "…/out", "--seed", "7"]
    assert (found["seeds"], found["price_book_date"]) == ({"seed": 7}, "2026-07-20")
    assert "alice" not in json.dumps(found)


def test_of_an_earlier_run_it_is_the_jobs_that_are_hashed_whatever_file_is_named(here: Path) -> None:
    """Else a comparison would go on with worlds of other jobs."""
    Path("s.yaml").write_text(scenario(2, "policies: [on-demand-only]", "replications: 2"))
    api.run_scenario("s.yaml", out=Path("earlier"))
    lines = Path("s.yaml").read_text().splitlines()
    again = ["workload: {source: journal, path: earlier/journal.parquet}", *lines[lines.index("capacity:") :]]
    Path("s.yaml").write_text("\n".join(again))

    def made() -> Blueprint:
        return blueprint(load_scenario("s.yaml"))

    jobs = Path("earlier/jobs.csv")
    assert made().input_files()["earlier/journal.parquet"].name == "jobs.csv"
    first = Store.of(Path("out"), made()).folder
    jobs.write_text(jobs.read_text() + "\n")
    assert Store.of(Path("out"), made()).folder != first


def test_versions_name_what_computes_the_numbers() -> None:
    import numpy as np
    import simpy

    found = subject.versions()
    assert (found["numpy"], found["simpy"]) == (np.__version__, simpy.__version__)
    assert found["spotbed"] == subject.spotbed_version()


def test_the_hash_of_the_scheduler_changes_with_its_source_only(tmp_path: Path) -> None:
    copy = tmp_path / "scheduler"
    shutil.copytree(Path(str(scheduler.__file__)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert subject.tree_sha256(copy, "*.py") == subject.scheduler_sha256()
    (copy / "notes.txt").write_text("not code")
    assert subject.tree_sha256(copy, "*.py") == subject.scheduler_sha256()
    (copy / "__init__.py").write_text("changed = True\n")
    assert subject.tree_sha256(copy, "*.py") != subject.scheduler_sha256()


def test_a_renamed_file_changes_the_hash(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    before = subject.tree_sha256(tmp_path, "*.py")
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert subject.tree_sha256(tmp_path, "*.py") != before


def test_the_commit_is_that_of_our_own_source(root: Path) -> None:
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        pytest.skip("not in a git repository")
    state = subject.git_state()
    assert state is not None
    assert state["commit"] == head.stdout.strip()
