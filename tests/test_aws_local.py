"""The local target: the interpreter of the state machine, the fleet driver, and stacks as their users handle them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aws.control import PoolSpec
from aws.local import cloud, stack
from aws.local.asl import MACHINE, check
from aws.local.executions import Executor
from aws.local.instances import LocalFleet
from aws.local.processes import kill_tree
from aws.local.region import SPEC
from aws.policy_json import policy_document
from aws.store import WorkerRow
from aws.wrapper import descendants
from scheduler.commands import Start
from scheduler.policies.move import Stay
from scheduler.policies.order import Fifo
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import OnNotice
from scheduler.policies.retry import Immediate
from scheduler.policies.scale import BacklogAndBusy
from scheduler.policy import Policy
from scheduler.worker import Badge, Worker
from spotbed.errors import InputError, OutsideError

POLICY = policy_document(Policy(Fifo(), LowestPrice(), BacklogAndBusy(), Immediate(), OnNotice(), Stay()), "local")
POOL = PoolSpec("c6i-1a", "c6i.large", "us-east-1a", "spot", 4, 2.0, 4.0, 0, 0.085)
FAST = {"lease_ms": 3_000, "tick_ms": 300, "keep_alive_ms": 1_000}


def eventually(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until_s, "it never came to be"
        time.sleep(0.05)


def ends_told(local: stack.LocalStack, queue: str) -> list[dict[str, Any]]:
    """What a queue tells, one message for each job that ended, in the order of their ids. Each end is told at least
    once: a function that answers late is called again."""
    address = json.loads((local.folder / stack.ADDRESS).read_text("utf-8"))
    sqs, told = cloud.client(address["url"], "sqs"), {}
    while found := sqs.receive_message(QueueUrl=address[queue], MaxNumberOfMessages=10).get("Messages"):
        bodies = [json.loads(message["Body"]) for message in found]
        told.update({body["job_id"]: body for body in bodies})
    return [told[job] for job in sorted(told)]


def processes_with(text: str) -> list[str]:
    found = subprocess.run(["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if text in line and not line.startswith("Z")]


# executions -----------------------------------------------------------------------------------------------------------
class Functions:
    """Step answers what the script says; Park keeps its token."""

    def __init__(self, *answers: tuple[str, float]) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []
        self.generations: list[int] = []
        self.told: list[str] = []
        self.executor = Executor({"StepFunction": self.step, "ParkFunction": self.park}, self.told.append)

    def step(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.generations.append(payload["generation"])
        next_, timeout_s = self.answers.pop(0)
        if next_ == "raise":
            raise ConnectionError
        return {**payload, "next": next_, "timeout_s": timeout_s}

    def park(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.tokens.append(payload["token"])
        return {}

    def ended(self) -> bool:
        return not self.answers and self.executor.running == 0


def test_an_execution_steps_parks_and_goes_on_when_its_token_is_answered() -> None:
    machine = Functions(("step", 0), ("park", 600), ("end", 0))
    machine.executor.start("w1", 3)
    machine.executor.start("w1", 3)  # the same name: it has been started
    eventually(lambda: len(machine.tokens) == 1)
    assert machine.executor.running == 1
    machine.executor.answer("no such token")
    machine.executor.answer(machine.tokens[0])
    eventually(machine.ended)
    assert machine.generations == [3, 3, 3]
    assert machine.told == []


def test_park_times_out_into_step() -> None:
    machine = Functions(("park", 0.05), ("end", 0))
    machine.executor.start("w1", 0)
    eventually(machine.ended)
    machine.executor.answer(machine.tokens[0])  # too late, and no error


def test_an_answer_that_comes_while_park_is_called_is_not_lost() -> None:
    machine = Functions(("park", 600), ("end", 0))
    machine.park = lambda payload: machine.executor.answer(payload["token"]) or {}  # type: ignore[func-returns-value, method-assign]
    machine.executor = Executor({"StepFunction": machine.step, "ParkFunction": machine.park}, machine.told.append)
    machine.executor.start("w1", 0)
    eventually(machine.ended)


def test_what_a_function_raises_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Functions(("raise", 0), ("raise", 0), ("end", 0))
    monkeypatch.setattr(
        machine.executor, "_closed", type("Now", (), {"wait": lambda *_: False, "is_set": lambda _: False})()
    )
    machine.executor.start("w1", 0)
    eventually(machine.ended)
    assert len(machine.told) == 2


def test_an_answer_that_is_no_choice_fails_the_execution_and_is_told() -> None:
    machine = Functions(("nonsense", 0))
    machine.executor.start("w1", 0)
    eventually(machine.ended)
    assert "NoChoiceMatched" in machine.told[0]


def test_a_machine_that_says_more_than_is_understood_is_refused() -> None:
    machine = json.loads(MACHINE.read_text())
    check(machine)
    machine["States"]["Step"]["HeartbeatSeconds"] = 5
    with pytest.raises(ValueError, match="HeartbeatSeconds"):
        check(machine)


# instances ------------------------------------------------------------------------------------------------------------
class Bus:
    """What the fleet says."""

    def __init__(self, folder: Path) -> None:
        self.ready: list[str] = []
        self.said: list[dict[str, Any]] = []
        self.fleet = LocalFleet(folder / "config.json", folder, self.ready.append, self.said.append)

    def kinds(self) -> list[str]:
        return [each["detail-type"].removeprefix("EC2 ") for each in self.said]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    made = Bus(tmp_path)
    yield made
    made.fleet.close()


def row(name: str) -> WorkerRow:
    return WorkerRow(name, Worker(Badge(name, POOL.id, "spot")), 0)


def test_a_launch_that_is_repeated_launches_once_and_never_more_than_the_pool_holds(bus: Bus) -> None:
    first = bus.fleet.launch(POOL, 3, "fleet/1/0")
    assert bus.fleet.launch(POOL, 3, "fleet/1/0") is first
    second = bus.fleet.launch(POOL, 3, "fleet/2/0")
    assert (first.granted, second.granted, second.reason) == (3, 1, "max")
    assert set(bus.fleet.live()) == {*first.names, *second.names}
    eventually(lambda: set(bus.ready) == {*first.names, *second.names})


def test_an_instance_that_is_lost_is_lost_whole_and_silently(bus: Bus) -> None:
    (name,) = bus.fleet.launch(POOL, 1, "a").names
    eventually(lambda: bus.ready == [name])
    process = bus.fleet._live[name].process.pid
    bus.fleet.kill("silent", name)
    assert bus.fleet.live() == {}
    assert bus.said == []
    assert not Path(f"/proc/{process}").exists()
    assert not bus.fleet.start(row(name), Start("j", 1, 0, -1))


def test_a_notice_comes_before_the_end_and_the_end_is_told(bus: Bus) -> None:
    (name,) = bus.fleet.launch(POOL, 1, "a").names
    bus.fleet.kill("notice", name, lead_s=0.1)
    assert bus.kinds() == ["Spot Instance Interruption Warning"]
    eventually(lambda: bus.fleet.live() == {})
    eventually(lambda: bus.kinds()[1:] == ["Instance State-change Notification"])
    bus.fleet.stop(row(name), "again")  # of one that is gone: told again, and no error
    assert len(bus.said) == 3


def test_a_kill_in_the_middle_of_a_claim_strikes_once(bus: Bus) -> None:
    one, two = bus.fleet.launch(POOL, 2, "a").names
    bus.fleet.kill("mid-claim")
    assert not bus.fleet.start(row(one), Start("j", 1, 0, -1))
    assert bus.fleet.start(row(two), Start("j", 2, 0, -1))
    assert list(bus.fleet.live()) == [two]
    with pytest.raises(ValueError, match="none of silent"):
        bus.fleet.kill("gently", two)


def test_an_agent_whose_region_has_gone_ends_with_all_that_it_runs(tmp_path: Path) -> None:
    agent = subprocess.Popen(
        [sys.executable, "-m", "aws.local.agent", "w1", str(tmp_path / "none.json")],
        cwd=MACHINE.parent.parent, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert agent.stdin is not None
    agent.stdin.close()
    assert agent.wait(30) == 0


def test_a_tree_is_killed_with_what_has_left_its_group() -> None:
    script = "setsid sleep 611 & setsid sh -c 'sleep 611; true' & sleep 611"
    root = subprocess.Popen(["/bin/sh", "-c", script])
    eventually(lambda: len(descendants(root.pid)) >= 4)
    kill_tree(root.pid)
    root.wait()
    assert processes_with("sleep 611") == []


# stacks ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stack.LocalStack]:
    monkeypatch.setenv("SPOTBED_HOME", str(tmp_path))
    made = stack.apply_local("team", POLICY, [vars(POOL)], settings=FAST)
    pid = made.pid
    yield made
    if (made.folder / SPEC).exists():
        stack.destroy("team")
    eventually(lambda: not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    assert processes_with(str(tmp_path)) == []


def test_a_stack_runs_jobs_and_is_looked_at_fetched_from_and_removed(local: stack.LocalStack, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(json.dumps([
        {"job_id": "hello", "retry": "3", "job_success_string": "Hello World", "ssm_document": "AWS-RunShellScript",
         "commands": ["echo Hello World"]},
        {"id": "slow", "retries": 0, "timeout": "1s", "commands": ["sleep 600"]},
        {"job_id": "everyone", "retry": "3", "job_success_string": "Hello World",
         "ssm_document": "AWS-RunShellScript", "commands": ["echo Hello EVERYONE"]},
    ]))  # fmt: skip
    folder = tmp_path / "deck"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "model").write_text("model\n")
    (folder / "run; touch x.sh").write_text("#!/bin/sh\ncat lib/model > result.txt\n")
    (folder / "run; touch x.sh").chmod(0o755)
    assert local.submit(tmp_path / "jobs.json") == ["hello", "slow", "everyone"]
    assert local.submit(folder) == ["deck"]
    assert local.wait(170)
    lines = {line.job_id: line for line in local.jobs()}
    assert {name: (line.phase, line.attempts) for name, line in lines.items()} == {
        "hello": ("done", 1), "everyone": ("failed", 4), "deck": ("done", 1),
        "slow": ("failed", 1),
    }  # fmt: skip
    assert lines["slow"].exit_code == 124
    assert local.logs("hello") == b"Hello World\n"
    (fetched,) = local.fetch("deck", tmp_path / "out")
    assert fetched == tmp_path / "out" / "result.txt"
    assert fetched.read_text() == "model\n"
    assert local.queued()["jobs"] == 0
    assert [end["job_id"] for end in ends_told(local, "finished")] == ["deck", "hello"]
    assert [end["job_id"] for end in ends_told(local, "dead")] == ["everyone", "slow"]
    assert {line[1] for line in local.journal()} == {"job", "worker", "fleet", "world"}
    local.drain()
    eventually(lambda: not local.status()["instances"] and not local.status()["executions"])
    stack.destroy("team")
    assert stack.names() == []


def test_a_running_job_is_cancelled_and_its_worker_goes_on(local: stack.LocalStack) -> None:
    local.send({"id": "long", "commands": ["echo up", "sleep 612"]})
    eventually(lambda: bool(processes_with("sleep 612")))
    assert local.cancel("long") == "cancelled"
    eventually(lambda: not processes_with("sleep 612"))
    local.send({"id": "next", "commands": ["true"]})
    assert local.wait(170)
    assert [(line.job_id, line.phase) for line in local.jobs()] == [("long", "cancelled"), ("next", "done")]
    assert local.cancel("long") == "cancelled"


def test_a_wrapper_that_dies_costs_one_lease_and_leaves_nothing_running(local: stack.LocalStack) -> None:
    local.send({"id": "job", "commands": ["echo up", 'test "$SPOTBED_ATTEMPT" = 2 || sleep 614']})
    eventually(lambda: bool(processes_with("sleep 614")))
    found = subprocess.run(["pgrep", "-f", "wrapper.py --job=job "], capture_output=True, text=True, check=True)
    os.kill(int(found.stdout.split()[0]), 9)
    eventually(lambda: not processes_with("sleep 614"))
    assert local.wait(170)
    assert [(line.phase, line.attempts, line.interruptions) for line in local.jobs()] == [("done", 2, 1)]
    eventually(lambda: not local.status()["instances"])


def test_mistakes_are_told(local: stack.LocalStack, tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="is there already"):
        stack.apply_local("team", POLICY, [vars(POOL)])
    for wrong in ("", "../x", "a b", "-x"):
        with pytest.raises(InputError, match="is no name"):
            stack.home(wrong)
    with pytest.raises(InputError, match="there are: team"):
        stack.LocalStack("other")
    with pytest.raises(InputError, match="no job 'x'"):
        local.logs("x")
    for content, message in {
        '{"id": "a"}': "commands: at least one", '[{"id": "a", "commands": ["x"]}, 5]': "a job is an object",
        '{"id": "a", "commands": ["x"]}\nnonsense': r":2: error: is no JSON", '{"id": "a", "comand": ["x"]}': "comand",
    }.items():  # fmt: skip
        (tmp_path / "wrong").write_text(content)
        with pytest.raises(InputError, match=message):
            local.submit(tmp_path / "wrong")
    for name in ("one", "two"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / name).touch(mode=0o755)
    with pytest.raises(InputError, match="2 executables"):
        local.submit(tmp_path / "folder")
    assert local.jobs() == []
    os.kill(local.pid, 9)
    eventually(lambda: not processes_with("aws.local.agent"))
    with pytest.raises(OutsideError, match="does not answer"):
        stack.LocalStack("team")


# end to end -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("jobs", [12, pytest.param(50, marks=pytest.mark.slow)])
def test_five_kills_and_every_job_succeeds_exactly_once(local: stack.LocalStack, jobs: int) -> None:
    for number in range(jobs):
        commands = [f"echo ran {number} | tee result", "sleep 0.4"]
        local.send({"id": f"job-{number}", "commands": commands, "outputs": ["*"], "success_string": f"ran {number}",
                    "retries": 0})  # fmt: skip
    kills = threading.Thread(target=_kill_five, args=(local,))
    kills.start()
    assert local.wait(170)
    kills.join(30)
    assert not kills.is_alive()
    assert local.status()["armed"] == []  # all have struck
    lines = local.jobs()
    assert Counter(line.phase for line in lines) == {"done": jobs}
    assert sum(line.attempts for line in lines) > jobs  # some ran again
    assert all(local.logs(line.job_id) == f"ran {line.job_id[4:]}\n".encode() for line in lines)
    ends = Counter(line[2] for line in local.journal() if line[4] and line[4][0]["is"] == "ReleaseDependants")
    assert ends == {line.job_id: 1 for line in lines}
    assert local.queued()["jobs"] == 0
    assert [end["job_id"] for end in ends_told(local, "finished")] == sorted(ends)
    assert ends_told(local, "dead") == []
    eventually(lambda: not local.status()["instances"] and not local.status()["executions"], 30)
    assert set(local.status()["workers"]) == {"gone"}


def _kill_five(local: stack.LocalStack) -> None:
    """Of each kind one, as soon as there is something to kill."""
    local.kill("mid-claim")
    local.kill("mid-completion")
    for kind in ("silent", "notice", "terminated"):
        eventually(lambda: any(state.startswith("running") for state in local.workers().values()))
        running = [name for name, state in local.workers().items() if state.startswith("running")]
        local.kill(kind, running[0], lead_s=0.3)
        time.sleep(1.0)
