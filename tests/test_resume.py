"""An interrupted comparison goes on where it stopped, and comes to the same results, byte by byte."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from counting import Task, counted
from interruptible import SLOW, scenario

from spotbed import api
from spotbed.errors import OutsideError

SCENARIO = scenario(
    8,
    "policies: [{use: on-demand-only, label: first}, {use: slow.py:Slow, label: slow}]",
    "replications: 8",
)
WORLDS = 16  # with both policies


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with s.yaml in it."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)
    Path("slow.py").write_text(SLOW)
    return tmp_path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """results.json of the whole comparison in one go."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "s.yaml").write_text(SCENARIO)
    (folder / "slow.py").write_text(SLOW)
    with contextlib.chdir(folder):
        return results(api.compare_scenario("s.yaml", jobs=1).path)


def results(folder: Path) -> bytes:
    return (folder / "results.json").read_bytes()


def kept() -> dict[str, int]:
    """When each world that is kept was written, by the name of its file."""
    return {path.name: path.stat().st_mtime_ns for path in Path("reports/.s.unfinished").rglob("*.pickle")}


def in_session(session: int) -> list[str]:
    """The processes of a session that have not ended."""
    listed = subprocess.run(["ps", "-e", "-o", "sid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [row[-1] for row in rows if int(row[0]) == session and not row[1].startswith("Z")]


@contextlib.contextmanager
def begun(*options: str, worlds: int = 3) -> Iterator[subprocess.Popen[str]]:
    """A comparison in a session of its own, of which at least so many worlds are finished and many are not."""
    command = [sys.executable, "-m", "spotbed", "compare", "s.yaml", *options]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "SLOW_S": "0.03"}
    with subprocess.Popen(command, text=True, start_new_session=True, env=environment, **streams) as process:
        while len(kept()) < worlds and process.poll() is None:
            time.sleep(0.01)
        yield process


def wait_until_alone(session: int) -> None:
    for _ in range(200):
        if not in_session(session):
            return
        time.sleep(0.05)
    pytest.fail(f"processes are left: {in_session(session)}")


def resumed(before: dict[str, int]) -> list[Task]:
    """Give the same command again, here; returns what it ran, and asserts that it touched nothing that was kept."""
    files = {path: path.stat().st_mtime_ns for path in Path("reports/.s.unfinished").rglob("*.pickle")}
    touched: list[Path] = []

    class Watching:
        def update(self, done: int, total: int, note: str = "") -> None:
            touched.extend(path for path, at in files.items() if path.exists() and path.stat().st_mtime_ns != at)

    assert len(files) == len(before)
    with counted() as ran:
        api.compare_scenario("s.yaml", jobs=1, progress=Watching())
    assert touched == []
    return ran


@pytest.mark.parametrize(("processes", "whom"), [("1", "all"), ("2", "all"), ("2", "the first")])
def test_ctrl_c_says_what_is_kept_and_the_same_command_runs_the_rest(
    processes: str, whom: str, uninterrupted: bytes
) -> None:
    with begun("--jobs", processes) as process:
        (os.killpg if whom == "all" else os.kill)(process.pid, signal.SIGINT)
        printed, told = process.communicate()
    wait_until_alone(process.pid)
    before = kept()
    assert (process.returncode, printed) == (130, "")
    assert told == (
        f"Interrupted.\nKept: {len(before)} of {WORLDS} worlds in reports/.s.unfinished, "
        "where the same command finds them.\nTo go on: give the same command again.\n"
    )
    assert [path.name for path in Path("reports").iterdir()] == [".s.unfinished"]
    assert 3 <= len(before) < WORLDS
    ran = resumed(before)
    assert len(ran) == len(set(ran)) == WORLDS - len(before)
    assert [path.name for path in Path("reports").iterdir()] == ["s"]
    assert results(Path("reports/s")) == uninterrupted


def test_semaphores_that_ctrl_c_leaves_are_removed_without_a_word() -> None:
    code = """
from joblib.externals.loky.backend import resource_tracker
from spotbed.engines import say_nothing_of_semaphores
say_nothing_of_semaphores()
resource_tracker.register("/loky-of-nobody", "semlock")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_comparison_that_is_killed_leaves_nobody_behind_and_goes_on(uninterrupted: bytes) -> None:
    with begun("--jobs", "2") as process:
        process.kill()
        process.communicate()
    wait_until_alone(process.pid)
    before = kept()
    assert 3 <= len(before) < WORLDS
    assert len(resumed(before)) == WORLDS - len(before)
    assert results(Path("reports/s")) == uninterrupted


def test_a_world_whose_file_was_cut_short_is_run_again(uninterrupted: bytes) -> None:
    interrupted_after(5)
    cut = min(Path("reports/.s.unfinished").rglob("*.pickle"))
    cut.write_bytes(cut.read_bytes()[:100])
    with counted() as ran:
        folder = api.compare_scenario("s.yaml", jobs=1).path
    assert len(ran) == WORLDS - 5 + 1
    assert results(folder) == uninterrupted


def interrupted_after(worlds: int, **options: Any) -> None:
    """Run the comparison here until so many worlds are finished."""

    class Impatient:
        def update(self, done: int, total: int, note: str = "") -> None:
            if done >= worlds:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=f"{worlds} of "):
        api.compare_scenario("s.yaml", jobs=1, progress=Impatient(), **options)


def test_processes_that_are_used_again_read_the_scenario_of_the_folder_they_are_called_from(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for jobs in (4, 6):
        folder = here / str(jobs)
        folder.mkdir()
        (folder / "slow.py").write_text(SLOW)
        (folder / "s.yaml").write_text(SCENARIO.replace("jobs: 8", f"jobs: {jobs}").replace("8\n", "2\n"))
        monkeypatch.chdir(folder)
        done = api.compare_scenario("s.yaml", jobs=2).results["policies"]
        assert [policy["metrics"]["jobs_done"]["mean"] for policy in done] == [jobs, jobs]


def change(old: str, new: str) -> None:
    text = Path("s.yaml").read_text()
    assert old in text
    Path("s.yaml").write_text(text.replace(old, new))


# what is changed between, and the worlds that are run although ten of sixteen were finished: the first five of each
ALL = [(label, world) for world in range(8) for label in ("first", "slow")]
REST = ALL[10:]
CHANGES = {
    "nothing": (None, None, REST),
    "more worlds": ("replications: 8", "replications: 9", [*REST, ("first", 8), ("slow", 8)]),
    "fewer worlds": ("replications: 8", "replications: 5", []),
    "another baseline": ("replications: 8", "replications: 8\nbaseline: slow", REST),
    "a gate": ("replications: 8", "replications: 8\ngates: [cost_usd.mean <= 9]", REST),
    "a comment": ("replications: 8", "replications: 8  # more would be better", REST),
    "a third policy": (
        "label: slow}]",
        "label: slow}, spot-fallback]",
        [*REST, *[("spot-fallback", n) for n in range(8)]],
    ),
    "a parameter of one policy": (
        "use: on-demand-only",
        "use: on-demand-only, with: {avoid: 1m}",
        [*REST, *ALL[0:10:2]],
    ),
    "the seed": ("replications: 8", "replications: 8\nseed: 2", ALL),
    "the work": ("jobs: 8", "jobs: 9", ALL),
    "the market": ("scale: 1h", "scale: 2h", ALL),
}


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES.values(), ids=CHANGES)
def test_what_a_change_leaves_as_it_was_is_not_run_again(
    old: str | None, new: str | None, expected: Sequence[Task]
) -> None:
    interrupted_after(10)
    if old is not None and new is not None:
        change(old, new)
    with counted() as ran:
        folder = api.compare_scenario("s.yaml", jobs=1).path
    assert sorted(ran) == sorted(expected)
    again = api.compare_scenario("s.yaml", jobs=1, out=Path("again")).path
    assert results(folder) == results(again)


def test_a_policy_file_that_was_changed_is_run_again_and_no_other() -> None:
    interrupted_after(10)
    Path("slow.py").write_text(SLOW.replace("submit_ms", "estimate_ms"))
    with counted() as ran:
        api.compare_scenario("s.yaml", jobs=1)
    assert sorted(ran) == sorted([*REST, *ALL[1:10:2]])


def test_a_scenario_that_is_changed_while_it_is_compared_is_refused() -> None:
    change("replications: 8", "replications: 7")  # no other test has this one read already

    class Meddling:
        def update(self, done: int, total: int, note: str = "") -> None:
            if done == 0:
                change("jobs: 8", "jobs: 9")

    with pytest.raises(OutsideError, match=r"s.yaml, or a policy that it names, was changed while it was compared"):
        api.compare_scenario("s.yaml", jobs=1, progress=Meddling())
    assert not Path("reports").exists()


BATCH = """\
import os, threading
from spotbed.errands import run_here

class Errand:
    folder = "."
    def run(self, task):
        print("ran with", threading.active_count(), "threads")

run_here({sender}, [(Errand(), ("first", 0))])
"""


@pytest.mark.parametrize(
    ("sender", "code", "told"),
    [("os.getppid()", 0, "ran with 2 threads\n"), ("os.getpid()", 0, "ran with 1 threads\n"), ("{dead}", 1, "")],
    ids=["alive", "itself", "dead"],
)
def test_a_batch_whose_sender_ended_before_it_was_looked_at_is_not_run(sender: str, code: int, told: str) -> None:
    """Else its process would watch for the end of whoever took it over, and never come to its own. One that runs the
    batch itself has nobody to watch."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    command = [sys.executable, "-c", BATCH.format(sender=sender.format(dead=ended.pid))]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (code, told, "")
