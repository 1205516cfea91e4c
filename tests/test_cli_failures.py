"""Failures that no validation foresees, through the command line: policies that fail, full disks, wrong arguments."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from counting import counted
from typer.testing import CliRunner

from spotbed import files
from spotbed.cli.app import app

SCENARIO = """\
workload:
  source: synthetic
  jobs: 5
  arrivals: {dist: poisson, rate: 60/h}
  classes: [{runtime: 20m, vcpus: 4, memory: 8 GiB}]
capacity:
  pools:
    - {id: spot, instance_type: c6i.xlarge, az: us-east-1a, max: 20}
    - {id: od, instance_type: c6i.xlarge, purchase: on-demand, max: 20}
market: {interruptions: none}
policies: [{use: on-demand-only, label: first}, {use: mine.py:Mine, label: mine}]
replications: 2
"""
PLACE = "from scheduler.policies.place import LowestPrice\n"
GOOD = PLACE + "class Mine(LowestPrice):\n    pass\n"
PLAIN = SCENARIO.replace("mine.py:Mine", "spot-only")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with s.yaml in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPOTBED_DATA", raising=False)
    Path("s.yaml").write_text(SCENARIO)
    Path("mine.py").write_text(GOOD)
    return tmp_path


def invoke(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "our fault" not in result.stderr
    return result


def tree() -> list[Path]:
    return sorted(Path().rglob("*"))


# a policy that fails while it is asked ------------------------------------------------------------------------------
WRONG = {
    "raises": (
        "    def key(self, job):\n        return 1 / 0\n",
        4,
        "Mine.key raised ZeroDivisionError: division by zero.",
    ),
    "raises deeper": (
        "    def key(self, job):\n        return job.ticket.nothing\n",
        4,
        "Mine.key raised AttributeError",
    ),
    "exits": ("    def key(self, job):\n        raise SystemExit(0)\n", 4, "Mine.key raised SystemExit: 0."),
    "answers no number": (
        "    def key(self, job):\n        return 'soon'\n",
        3,
        "Mine.key answered 'soon'; it must answer a finite",
    ),
    "answers NaN": (
        "    def key(self, job):\n        return float('nan')\n",
        3,
        "Mine.key answered nan; it must answer a finite",
    ),
    "answers nothing": (
        "    def desired(self, view, need): ...\n",
        3,
        "Mine.desired answered None; it must answer a whole",
    ),
    "answers less than 0": ("    def desired(self, view, need):\n        return -1\n", 3, "Mine.desired answered -1"),
    "knows another pool": (
        "    def choose(self, view, need, count):\n        return [('p', 1)]\n",
        3,
        "with pools of spot, od.",
    ),
    "routes nowhere": ("    def route(self, job, now_ms):\n        return 'spot'\n", 3, "it must answer Routing("),
    "changes the view": (
        "    def choose(self, view, need, count):\n        view.room.clear()\n",
        4,
        "is not its to change.",
    ),
    "changes a record": (
        "    def key(self, job):\n        job.phase = 'done'\n        return 0.0\n",
        4,
        "is not its to change.",
    ),
    "is called wrongly": ("    def key(self):\n        return 1\n", 2, "Mine.key raised TypeError"),
}


@pytest.mark.parametrize(("body", "line", "says"), WRONG.values(), ids=WRONG)
def test_a_policy_that_fails_is_told_as_its_own_fault(body: str, line: int, says: str) -> None:
    Path("mine.py").write_text(PLACE + "class Mine(LowestPrice):\n" + body)
    before = tree()
    told = invoke("run", "s.yaml", "--policy", "mine", code=1).stderr
    assert told.startswith(f"mine.py:{line}: error: ")
    assert says in told.splitlines()[0]
    assert "Kept: nothing of this run.\nTo go on: mend the policy, and give the same command again.\n" in told
    assert tree() == before


FAILS_ONCE_KEPT = (
    "import pathlib, time\n"
    + PLACE
    + """
class Mine(LowestPrice):
    def key(self, job):
        while len([*pathlib.Path("reports").rglob("*.pickle")]) < COUNT:
            time.sleep(0.01)
        return 1 / 0
"""
)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_other_policies_finished_is_kept_until_the_policy_is_mended(processes: int) -> None:
    Path("mine.py").write_text(FAILS_ONCE_KEPT.replace("COUNT", str(processes)))
    command = [sys.executable, "-m", "spotbed", "compare", "s.yaml", "--jobs", str(processes)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines() == [
        "mine.py:8: error: Mine.key raised ZeroDivisionError: division by zero.",
        "            return 1 / 0",
        "            ^^^^^^^^^^^^",
        f"Kept: {processes} of 4 worlds in reports/.s.unfinished.",
        "To go on: mend the policy, and give the same command again: it runs only what is missing.",
    ]
    assert [path.name for path in Path("reports").iterdir()] == [".s.unfinished"]
    Path("mine.py").write_text(GOOD)
    with counted() as ran:
        invoke("compare", "s.yaml", "--jobs", "1")
    assert sorted(ran) == [("first", 1), ("mine", 0), ("mine", 1)][processes - 1 :]
    assert [path.name for path in Path("reports").iterdir()] == ["s"]


def test_a_policy_that_was_mended_is_read_anew_in_the_same_process() -> None:
    first = json.loads(invoke("compare", "s.yaml", "--jobs", "1", "-o", "json").stdout)
    Path("mine.py").write_text(GOOD.replace("    pass\n", "    purchase: str = 'on-demand'\n"))
    second = json.loads(invoke("compare", "s.yaml", "--jobs", "1", "-o", "json").stdout)
    cost = [each["policies"][1]["metrics"]["cost_usd"]["mean"] for each in (first, second)]
    assert cost[1] == second["policies"][0]["metrics"]["cost_usd"]["mean"] > cost[0]
    assert first["policies"][1]["policy_sha256"] != second["policies"][1]["policy_sha256"]


def test_a_scenario_that_was_changed_is_read_anew_in_the_same_process() -> None:
    done = []
    for jobs in ("5", "7"):
        Path("s.yaml").write_text(PLAIN.replace("jobs: 5", f"jobs: {jobs}"))
        found = json.loads(invoke("compare", "s.yaml", "--jobs", "1", "-o", "json").stdout)
        done.append(found["policies"][0]["metrics"]["jobs_done"]["mean"])
    assert done == [5, 7]


# policy check -------------------------------------------------------------------------------------------------------
CHECKED = {
    "a clock": ("import time\n" + GOOD, "pure", "mine.py:1 imports time"),
    "chance": ("from numpy import random\n" + GOOD, "pure", "mine.py:1 imports numpy.random"),
    "a file": (
        GOOD.replace("pass", "def key(self, job):\n        return len(open('x').read())"),
        "pure",
        "mine.py:4 calls open",
    ),
    "its view": (
        GOOD.replace("pass", "def choose(self, view, need, count):\n        view.room['od'] = 0"),
        "answers",
        "mine.py:4: ",
    ),
    "its view by force": (
        GOOD.replace(
            "pass", "def key(self, job):\n        object.__setattr__(job, 'progress_ms', 7)\n        return 1"
        ),
        *("answers", "mine.py:3: Mine.key changed the Job that it was given."),
    ),
    "a global": (
        "seen = []\n" + GOOD.replace("pass", "def key(self, job):\n        seen.append(job)\n        return len(seen)"),
        "repeatable",
        "asked again, it decides otherwise: Queue(key=",
    ),
    "a set": (
        GOOD.replace(
            "pass",
            "def choose(self, view, need, count):\n        return [(next(iter(set(view.room))), 1)]",
        ),
        *("repeatable", "it decides otherwise in another process"),
    ),
    "nonsense": (
        GOOD.replace("pass", "def key(self, job):\n        return 'x'"),
        "answers",
        "mine.py:3: Mine.key answered 'x'",
    ),
    "no Python": ("class Mine(:\n", "complete", "mine.py:1: is no Python"),
    "no method": (
        "class Mine:\n    def on_notice(self, *seen): ...\n",
        "complete",
        "mine.py:1: Mine fills 'protect' but has no",
    ),
}


@pytest.mark.parametrize(("source", "row", "detail"), CHECKED.values(), ids=CHECKED)
def test_policy_check_fails_with_a_row_that_says_why(source: str, row: str, detail: str) -> None:
    Path("mine.py").write_text(source)
    rows = json.loads(invoke("policy", "check", "mine.py:Mine", "-o", "json", code=1).stdout)["rows"]
    failed = {each["check"]: each["detail"] for each in rows if not each["passed"]}
    assert row in failed
    assert detail in failed[row]


def test_policy_check_of_a_good_policy_passes_every_row() -> None:
    rows = json.loads(invoke("policy", "check", "mine.py:Mine", "-o", "json").stdout)["rows"]
    expected = ["complete", "pure", "answers", "repeatable", "json", "no peeking", "deployable"]
    assert [each["check"] for each in rows] == expected
    assert all(each["passed"] for each in rows)


def test_policy_check_takes_the_only_policy_of_a_file_and_asks_among_several() -> None:
    helper = "class Ours:\n    pass\n"
    Path("mine.py").write_text(GOOD + helper)
    assert json.loads(invoke("policy", "check", "mine.py", "-o", "json").stdout) == json.loads(
        invoke("policy", "check", "mine.py:Mine", "-o", "json").stdout
    )
    for source in (helper, GOOD + "class Other(Mine):\n    pass\n"):
        Path("mine.py").write_text(source)
        told = invoke("policy", "check", "mine.py", code=2).stderr
        assert "error: 'mine.py' names no class. Write mine.py:ClassName." in told


def test_policy_new_names_the_next_steps() -> None:
    told = invoke("policy", "new", "my_own").stderr
    assert "Next: spotbed policy check my_own.py\n" in told
    assert "{use: my_own.py:MyOwn}, and: spotbed compare scenario.yaml\n" in told
    invoke("policy", "check", "my_own.py")


def test_a_bench_of_which_nothing_is_run_fails() -> None:
    told = invoke("bench", "published", "--only", "lublin", "--write", "v.md", code=1)
    assert "no data: set SPOTBED_DATA" in told.stdout + told.stderr
    assert "nothing was run: every target was skipped" in told.stderr
    assert not Path("v.md").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("spot-onyl", "error: unknown policy 'spot-onyl'. Did you mean 'spot-only'?"),
        ("mien.py:Mine", "error: there is no file 'mien.py'. Did you mean 'mine.py'?"),
        ("", "error: names no policy."),
    ],
)
def test_policy_check_of_nothing_is_invalid_input(name: str, says: str) -> None:
    assert says in invoke("policy", "check", name, code=2).stderr


# a full disk --------------------------------------------------------------------------------------------------------
@pytest.fixture
def small_disk(here: Path) -> Iterator[Path]:
    """A disk of 400 KiB, which is the current folder's `disk`."""
    disk = here / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    Path("s.yaml").write_text(PLAIN)
    told = invoke("compare", "s.yaml", "--jobs", "1", "--out", "disk/c", code=1).stderr
    assert told == (
        "error: The disk is full: disk/c could not be written.\nKept: all 4 worlds in disk/.c.unfinished\n"
        "To go on: make room, and give the same command again: it runs only what is missing.\n"
    )
    assert [path.name for path in small_disk.iterdir()] == [".c.unfinished"]
    told = invoke("run", "s.yaml", "--out", "disk/r", code=1).stderr
    assert told.startswith("error: The disk is full: disk/r could not be written.\nKept: nothing of this run")
    assert [path.name for path in small_disk.iterdir()] == [".c.unfinished"]
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    invoke("compare", "s.yaml", "--jobs", "1", "--out", "disk/c")
    assert [path.name for path in small_disk.iterdir()] == ["c"]


def fill_up(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """From the `after`-th file on, nothing can be written."""
    opened = files.os.fdopen
    left = [after]

    def open_or_fail(*arguments: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os.close(arguments[0])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(*arguments, **more)

    monkeypatch.setattr(files.os, "fdopen", open_or_fail)


@pytest.mark.parametrize("worlds", [0, 1, 3])
def test_a_disk_that_fills_up_keeps_the_worlds_and_the_older_folder(
    worlds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("s.yaml").write_text(PLAIN)
    invoke("compare", "s.yaml", "--jobs", "1")
    older = {path: path.read_bytes() for path in Path("reports/s").rglob("*") if path.is_file()}
    Path("s.yaml").write_text(PLAIN + "seed: 5\n")
    with monkeypatch.context() as full:
        fill_up(full, worlds)
        told = invoke("compare", "s.yaml", "--jobs", "1", code=1).stderr
    assert told == (
        "error: The disk is full: reports/.s.unfinished could not be written.\n"
        f"Kept: {worlds} of 4 worlds in reports/.s.unfinished\n"
        "To go on: make room, and give the same command again: it runs only what is missing.\n"
    )
    assert {path: path.read_bytes() for path in Path("reports/s").rglob("*") if path.is_file()} == older
    assert len(list(Path("reports").rglob("*.pickle"))) == worlds
    assert Path("reports/.s.unfinished").exists() is (worlds > 0)


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_disk_that_fills_up_at_the_end_keeps_the_older_folder(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("s.yaml").write_text(PLAIN)
    arguments = [command, "s.yaml", "--out", "out", *(["--jobs", "1"] if command == "compare" else [])]
    invoke(*arguments)
    older = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    before = tree()
    with monkeypatch.context() as full:
        fill_up(full, 6)
        told = invoke(*arguments, code=1).stderr
    kept = "all 4 worlds in .out.unfinished; out as it was before" if command == "compare" else "out as it was before"
    assert f"error: The disk is full: out could not be written.\nKept: {kept}\nTo go on: make room, " in told
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == older
    assert [path for path in tree() if ".out.unfinished" not in path.parts] == before


def test_a_report_that_does_not_fit_leaves_the_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("s.yaml").write_text(PLAIN)
    invoke("run", "s.yaml", "--out", "out")
    before = Path("out/report.html").read_bytes()
    with monkeypatch.context() as full:
        fill_up(full, 0)
        told = invoke("report", "out", code=1).stderr
    assert told.startswith("error: The disk is full: out/report.html could not be written.\n")
    assert Path("out/report.html").read_bytes() == before


# warnings and notes -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["run", "compare"])
@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_warnings_are_heard_and_quiet_hides_only_what_is_by_the_way(command: str, quiet: tuple[str, ...]) -> None:
    Path("s.yaml").write_text(PLAIN.replace("vcpus: 4", "deadline: 5m, vcpus: 4"))
    result = invoke(command, "s.yaml", *quiet)
    warning = (
        "s.yaml:5:38: warning: workload.classes.0.deadline: 5m is shorter than the median runtime of class class-1"
    )
    assert warning.partition("class-1")[0] in result.stderr
    assert ("Written: " in result.stderr) is not bool(quiet)
    assert "warning" not in result.stdout


def test_an_error_is_not_told_behind_its_warnings() -> None:
    Path("s.yaml").write_text(PLAIN.replace("vcpus: 4", "deadline: 5m, vcpu: 4"))
    told = invoke("compare", "s.yaml", code=2).stderr
    assert "unknown key" in told


# wrong arguments ----------------------------------------------------------------------------------------------------
ARGUMENTS = {
    "run": "FILE",
    "compare": "FILE",
    "validate": "FILE",
    "explain": "RUN",
    "explain x": "JOB",
    "report": "RUN",
    "data fit": "PATH",
    "data get": "NAME",
    "policy check": "FILE.py:Class",
    "policy new": "NAME",
    "init": "DIR",
    "run s.yaml --seed -1": "--seed",
    "run s.yaml --seed 9223372036854775808": "--seed",
    "run s.yaml --seed x": "--seed",
    "run s.yaml --policy spot-onyl": "Known: first, mine.",
    "run s.yaml --out s.yaml": "s.yaml: error: is a file",
    "run s.yaml --out s.yaml/x": "s.yaml/x: error: s.yaml is a file, not a folder.",
    "run s.yaml --out .": "is not a folder of spotbed's",
    "compare s.yaml --jobs 0": "--jobs",
    "compare s.yaml --replications 0": "--replications",
    "compare s.yaml --replications 2000000": "must be at most 1000000, not 2000000.",
    "compare s.yaml --baseline x": "--baseline x: error: baseline: 'x' is not the label of a policy.",
    "compare s.yaml --policy x": "'x' is not the label of a policy.",
    "compare s.yaml --out s.yaml/x": "s.yaml/x: error: s.yaml is a file, not a folder.",
    "compare s.yaml -o xml": "--output",
    "compare s.yaml s.yaml": "unexpected extra argument",
    "data fit nothing.csv": "nothing.csv",
    "data fit data:nothing": "'nothing'",
    "data fit s.yaml": "s.yaml",
    "data fit s.yaml --kind x": "'x'",
    "data get nothing": "spotbed data list",
    "data prices --region mars-1": "unknown region 'mars-1'",
    "data prices --os dos": "unknown os 'dos'",
    "data predict .": ". is a folder, not a file.",
    "bench published --only backoff --write .": ".: error: is a folder, and a file is to be written there.",
    "bench published --only backoff --write s.yaml/x.md": "s.yaml/x.md: error: s.yaml is a file, not a folder.",
    "policy new s.txt": "ends in .py",
    "policy new mine.py": "exists already",
    "policy new mine": "mine.py: error: exists already",
    "policy new yours --point pace": "Did you mean 'place'?",
    "schema plans": "No such command",
    "init s.yaml": "is a file, not a folder",
    "init . --template x": "minimal",
    "report s.yaml": "s.yaml: error: is no folder of a run or a comparison.",
    "report nothing": "nothing: error: is no folder of a run or a comparison.",
    "report .": ".: error: is no folder of a run or a comparison.",
    "report . --format pdf": "--format",
    "doctor x": "unexpected extra argument",
    "demo --out s.yaml": "s.yaml: error: is a file",
}


@pytest.mark.parametrize(("arguments", "says"), ARGUMENTS.items(), ids=ARGUMENTS)
def test_wrong_arguments_are_answered_and_change_nothing(arguments: str, says: str) -> None:
    before = tree()
    result = invoke(*arguments.split(), code=2)
    assert says in " ".join(result.stderr.split())
    assert tree() == before
