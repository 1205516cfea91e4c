"""Gangs as real processes on this machine: instances that each have an agent and a wrapper run one job together."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_aws_local import eventually, local, processes_with

from aws.local import stack

__all__ = ["local"]  # a fixture
# Each member leaves a file where all can see it, and waits until it sees those of the others.
MEET = [
    'mkdir -p "$MEET/$SPOTBED_ATTEMPT"',
    'echo "$SPOTBED_GANG_HOSTS" > "$MEET/$SPOTBED_ATTEMPT/$SPOTBED_GANG_RANK"',
    'until [ "$(ls "$MEET/$SPOTBED_ATTEMPT" | wc -l)" = "$SPOTBED_GANG_SIZE" ]; do sleep 0.05; done',
]


def wrappers(job: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", f"wrapper.py --job={job} "], capture_output=True, text=True, check=False)
    return sorted(map(int, found.stdout.split()))


@pytest.fixture
def meet() -> Iterator[Path]:
    """A folder that the jobs' user may write to, whoever that is."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def test_three_members_run_at_once_and_the_first_makes_what_the_job_makes(
    local: stack.LocalStack, meet: Path, tmp_path: Path
) -> None:
    commands = [*MEET, 'echo "I am $SPOTBED_GANG_RANK of $SPOTBED_GANG_SIZE"', "echo $SPOTBED_GANG_RANK > result"]
    local.send({"id": "three", "gang": 3, "commands": commands, "env": {"MEET": str(meet)}, "outputs": ["result"],
                "success_string": "I am 0"})  # fmt: skip
    assert local.wait(60)
    (line,) = local.jobs()
    assert (line.phase, line.attempts, line.exit_code) == ("done", 1, 0), local.logs("three")
    assert local.logs("three") == b"I am 0 of 3\n"
    assert [path.read_text() for path in local.fetch("three", tmp_path / "out")] == ["0\n"]
    hosts = {(meet / "1" / str(rank)).read_text().strip() for rank in range(3)}
    ((told,),) = ([each.split(",") for each in hosts],)
    assert len(set(told)) == 3
    eventually(lambda: not local.status()["instances"])


def test_one_member_that_fails_stops_the_others_and_costs_one_retry(local: stack.LocalStack) -> None:
    commands = ['[ "$SPOTBED_ATTEMPT$SPOTBED_GANG_RANK" != 12 ] || exit 7', '[ "$SPOTBED_ATTEMPT" = 2 ] || sleep 616']
    local.send({"id": "fails", "gang": 3, "retries": 1, "commands": commands})
    assert local.wait(60)
    (line,) = local.jobs()
    assert (line.phase, line.attempts, line.interruptions) == ("done", 2, 0)
    assert not processes_with("sleep 616")
    eventually(lambda: not local.status()["instances"])


def test_a_wrapper_that_dies_and_an_instance_that_is_taken_break_the_gang_and_no_more(local: stack.LocalStack) -> None:
    """A silent death is found by the lease of the member's own seat; a loss that is told, at once."""
    commands = ["echo up", 'case "$SPOTBED_ATTEMPT" in 1|2) sleep 617;; esac']
    local.send({"id": "breaks", "gang": 2, "retries": 0, "commands": commands})
    eventually(lambda: len(processes_with("sleep 617")) >= 2)
    os.kill(wrappers("breaks")[1], 9)
    eventually(lambda: bool(local.jobs()) and local.jobs()[0].attempts == 2 and len(processes_with("sleep 617")) >= 2)
    local.kill("terminated", local.jobs()[0].holder)
    assert local.wait(60)
    (line,) = local.jobs()
    assert (line.phase, line.attempts, line.interruptions, line.exit_code) == ("done", 3, 2, 0)
    eventually(lambda: not local.status()["instances"])
