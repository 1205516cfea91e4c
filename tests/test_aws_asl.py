"""The state machine of a worker: its graph, its errors, and what a cycle of it costs, by walking it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scheduler.settings import Settings
from sim.inputs import ServiceInputs
from spotbed.services_preset import ServicesPreset

Answer = dict[str, Any] | str  # what a function returns, or the name of the error with which it ends
Calls = dict[str, Callable[[dict[str, Any]], Answer]]
# AWS Step Functions developer guide, execution history: the events of a state that ends well.
TASK = ("TaskStateEntered", "TaskScheduled", "TaskStarted")


@pytest.fixture(scope="module")
def machine(root: Path) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads((root / "aws" / "worker.asl.json").read_text("utf-8"))
    return definition


@dataclass
class Walk:
    """What an execution did."""

    transitions: int = 1  # StartExecution counts as one
    history: list[str] = field(default_factory=lambda: ["ExecutionStarted"])
    states: list[str] = field(default_factory=list)
    retries: Counter[str] = field(default_factory=Counter)
    status: str = "SUCCEEDED"


def walk(machine: dict[str, Any], given: dict[str, Any], calls: Calls) -> Walk:
    """Run an execution: the part of the Amazon States Language that the definition uses, and nothing else."""
    done, data, name = Walk(), given, machine["StartAt"]
    while True:
        state = machine["States"][name]
        done.transitions += 1
        done.states.append(name)
        if state["Type"] == "Succeed":
            done.history += ["SucceedStateEntered", "SucceedStateExited", "ExecutionSucceeded"]
            return done
        if state["Type"] == "Choice":
            done.history += ["ChoiceStateEntered", "ChoiceStateExited"]
            following = choose(state, data)
        else:
            data, following = run_task(done, name, state, data, calls)
        if following is None:
            done.status = "FAILED"
            done.history.append("ExecutionFailed")
            return done
        name = following


def choose(state: dict[str, Any], data: dict[str, Any]) -> str | None:
    for rule in state["Choices"]:
        assert rule.keys() == {"Variable", "StringEquals", "Next"}
        if reference(rule["Variable"], data) == rule["StringEquals"]:
            return str(rule["Next"])
    return state.get("Default")


def run_task(
    done: Walk, name: str, state: dict[str, Any], data: dict[str, Any], calls: Calls
) -> tuple[dict[str, Any], str | None]:
    waits = state["Resource"].endswith(".waitForTaskToken")
    if "TimeoutSecondsPath" in state:
        timeout_s = reference(state["TimeoutSecondsPath"], data)
        assert isinstance(timeout_s, int)
        assert timeout_s > 0
    done.history.append(TASK[0])
    payload = arguments(state["Parameters"]["Payload"], data)
    for attempt in range(100):
        done.history += TASK[1:]
        answer = calls[state["Parameters"]["FunctionName"]](payload)
        done.history += ["TaskSubmitted"] if waits else []
        if not isinstance(answer, str):
            done.history += ["TaskSucceeded", "TaskStateExited"]
            return result(state, data, answer), state["Next"]
        done.history.append("TaskTimedOut" if answer == "States.Timeout" else "TaskFailed")
        if attempt >= retries(state, answer):
            return data, caught(done, state, answer)
        done.transitions += 1  # "retries count"
        done.retries[name] += 1
    raise AssertionError("no end of tries")


def caught(done: Walk, state: dict[str, Any], error: str) -> str | None:
    for catcher in state.get("Catch", ()):
        if matches(catcher, error):
            assert catcher["ResultPath"] is None  # the input goes on
            done.history.append("TaskStateExited")
            return str(catcher["Next"])
    return None


def result(state: dict[str, Any], data: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    if state.get("ResultPath", "$") is None:
        return data
    assert state["OutputPath"] == "$.Payload"
    return answer


def retries(state: dict[str, Any], error: str) -> int:
    return next((int(each["MaxAttempts"]) for each in state["Retry"] if matches(each, error)), 0)


def matches(rule: dict[str, Any], error: str) -> bool:
    return "States.ALL" in rule["ErrorEquals"] or error in rule["ErrorEquals"]


def arguments(template: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    return {key.removesuffix(".$"): reference(path, data) for key, path in template.items() if key.endswith(".$")}


def reference(path: str, data: dict[str, Any]) -> Any:
    if path == "$$.Task.Token":
        return "a-token"
    return data[path.removeprefix("$.")]


GIVEN = {"worker": "i-1", "generation": 3}


def scripted(answers: list[str], park: Callable[[dict[str, Any]], Answer] = lambda _: {}) -> Calls:
    """Step answers these one after the other: what comes next, or an error."""
    script = iter(answers)

    def step(payload: dict[str, Any]) -> Answer:
        assert payload == GIVEN
        following = next(script)
        return following if "." in following else {**payload, "next": following, "timeout_s": 60}

    return {"${StepFunction}": step, "${ParkFunction}": park}


# the graph ---------------------------------------------------------------------------
def targets(state: dict[str, Any]) -> Iterator[str]:
    yield from (state[key] for key in ("Next", "Default") if key in state)
    yield from (rule["Next"] for key in ("Choices", "Catch") for rule in state.get(key, ()))


def unreached(machine: dict[str, Any]) -> set[str]:
    """States that no path leads to. Raises KeyError for a target that is not there."""
    reached, todo = set(), [machine["StartAt"]]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += targets(machine["States"][name])
    return set(machine["States"]) - reached


def stuck(machine: dict[str, Any]) -> set[str]:
    """States from which an execution cannot end."""
    ends = {name for name, state in machine["States"].items() if state["Type"] == "Succeed"}
    while more := {name for name, state in machine["States"].items() if ends.intersection(targets(state))} - ends:
        ends |= more
    return set(machine["States"]) - ends


def test_every_state_is_reached_and_can_end(machine: dict[str, Any]) -> None:
    assert unreached(machine) == stuck(machine) == set()


def test_a_state_that_nothing_leads_to_would_be_found(machine: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(machine))
    changed["States"]["Lonely"] = {"Type": "Task", "Next": "Ended"}
    assert (unreached(changed), stuck(changed)) == ({"Lonely"}, set())


def test_a_choice_without_a_way_out_would_be_found(machine: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(machine))
    changed["States"]["Choose"]["Choices"] = []
    assert unreached(changed) == {"Park", "Ended"}
    assert stuck(changed) == {"Choose", "Step", "Park"}


def test_a_target_that_is_not_there_would_be_found(machine: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(machine))
    changed["States"]["Park"]["Next"] = "Nowhere"
    with pytest.raises(KeyError, match="Nowhere"):
        unreached(changed)


def test_nothing_polls(machine: dict[str, Any]) -> None:
    kinds = Counter(state["Type"] for state in machine["States"].values())
    assert kinds == {"Task": 2, "Choice": 1, "Succeed": 1}


def test_every_task_is_retried_on_any_error_by_one_layer_with_growing_jittered_waits(machine: dict[str, Any]) -> None:
    for name in ("Step", "Park"):
        *others, last = machine["States"][name]["Retry"]
        assert last["ErrorEquals"] == ["States.ALL"]
        assert (last["IntervalSeconds"], last["BackoffRate"], last["JitterStrategy"]) == (2, 2, "FULL")
        assert all(each["MaxAttempts"] == 0 for each in others)
        waits = [min(2 * 2**n, last["MaxDelaySeconds"]) for n in range(last["MaxAttempts"])]
        assert sum(waits) == 362  # seconds at most: longer than a lease, so that an outage of minutes ends no execution


def test_every_task_ends_in_finite_time(machine: dict[str, Any]) -> None:
    assert machine["States"]["Step"]["TimeoutSeconds"] > 60  # the function's own timeout is 60 s
    assert machine["States"]["Park"]["TimeoutSecondsPath"] == "$.timeout_s"


# walks ---------------------------------------------------------------------------
def test_a_worker_that_ends_at_once(machine: dict[str, Any]) -> None:
    assert walk(machine, GIVEN, scripted(["end"])).states == ["Step", "Choose", "Ended"]


def test_what_comes_meanwhile_is_heard_before_parking(machine: dict[str, Any]) -> None:
    done = walk(machine, GIVEN, scripted(["step", "park", "end"]))
    assert done.states == ["Step", "Choose", "Step", "Choose", "Park", "Step", "Choose", "Ended"]


def test_park_is_given_a_token_and_its_answer_changes_nothing(machine: dict[str, Any]) -> None:
    seen: list[dict[str, Any]] = []

    def park(payload: dict[str, Any]) -> Answer:
        seen.append(payload)
        return {"worker": "somebody else", "generation": -1}

    walk(machine, GIVEN, scripted(["park", "end"], park))  # Step asserts that it gets GIVEN again
    assert seen == [{"worker": "i-1", "token": "a-token"}]


def test_a_timer_is_parks_timeout_and_leads_to_step_without_a_retry(machine: dict[str, Any]) -> None:
    done = walk(machine, GIVEN, scripted(["park", "end"], lambda _: "States.Timeout"))
    assert done.states == ["Step", "Choose", "Park", "Step", "Choose", "Ended"]
    assert done.retries == {}


def test_an_answer_that_is_none_of_ours_fails_the_execution(machine: dict[str, Any]) -> None:
    assert walk(machine, GIVEN, scripted(["sleep"])).status == "FAILED"


@pytest.mark.parametrize("error", ["Lambda.TooManyRequestsException", "Lambda.ServiceException", "Some.Bug"])
def test_a_function_that_fails_is_called_again_and_at_last_the_execution_fails(
    machine: dict[str, Any], error: str
) -> None:
    passing = walk(machine, GIVEN, scripted([error, error, "end"]))
    assert (passing.status, passing.retries["Step"], passing.transitions) == ("SUCCEEDED", 2, 1 + 3 + 2)
    lasting = walk(machine, GIVEN, scripted([error] * 11))
    assert (lasting.status, lasting.retries["Step"]) == ("FAILED", 10)


def test_a_park_that_fails_is_called_again_with_the_same_input(machine: dict[str, Any]) -> None:
    answers: Iterator[Answer] = iter(["Lambda.ServiceException", {}])
    done = walk(machine, GIVEN, scripted(["park", "end"], lambda _: next(answers)))
    assert (done.status, done.retries) == ("SUCCEEDED", {"Park": 1})


# what the simulator assumes ---------------------------------------------------------------------------
def cycle(machine: dict[str, Any], park: Callable[[dict[str, Any]], Answer] = lambda _: {}) -> tuple[int, int]:
    """Transitions and history events that one more event of a worker costs."""
    few, many = (walk(machine, GIVEN, scripted(["park"] * count + ["end"], park)) for count in (1, 101))
    transitions, events = many.transitions - few.transitions, len(many.history) - len(few.history)
    assert transitions % 100 == events % 100 == 0
    return transitions // 100, events // 100


@pytest.mark.parametrize("park", [lambda _: {}, lambda _: "States.Timeout"], ids=["answered", "timed out"])
def test_a_cycle_costs_what_the_simulator_meters(
    machine: dict[str, Any], park: Callable[[dict[str, Any]], Answer]
) -> None:
    operations = ServicesPreset.load().operations["decoupled"]
    metered = [
        sum(operations[name].get(f"stepfunctions.{item}", 0) for name in ("step", "park"))
        for item in ("transition", "history-event")
    ]
    assert list(cycle(machine, park)) == metered == [3, 13]
    assert metered[0] == ServiceInputs.__dataclass_fields__["cycle_transitions"].default


def test_an_execution_costs_what_the_simulator_meters_and_two_transitions_more(machine: dict[str, Any]) -> None:
    """`worker_start` counts StartExecution and the first and last event of the execution. It leaves out the state in
    which it ends (one transition, two events): 0.0000250 USD in the life of a worker."""
    operations = ServicesPreset.load().operations["decoupled"]
    shortest = walk(machine, GIVEN, scripted(["end"]))
    step, start = operations["step"], operations["worker_start"]
    left_out = {"stepfunctions.transition": 1, "stepfunctions.history-event": 2}
    for item, counted in (("transition", shortest.transitions), ("history-event", len(shortest.history))):
        name = f"stepfunctions.{item}"
        assert counted == step[name] + start[name] + left_out[name]


def test_a_retry_costs_what_the_simulator_meters(machine: dict[str, Any]) -> None:
    retry = ServicesPreset.load().operations["decoupled"]["retry"]
    once = walk(machine, GIVEN, scripted(["Lambda.ServiceException", "end"]))
    never = walk(machine, GIVEN, scripted(["end"]))
    assert once.transitions - never.transitions == retry["stepfunctions.transition"]
    assert len(once.history) - len(never.history) == retry["stepfunctions.history-event"]


def test_an_execution_rolls_over_long_before_its_history_is_full(machine: dict[str, Any]) -> None:
    """An attempt is two events of the worker, each of at most two Steps: what was claimed, and how it ended."""
    preset = ServicesPreset.load()
    _, events = cycle(machine)
    step = int(preset.operations["decoupled"]["step"]["stepfunctions.history-event"])
    retries = machine["States"]["Step"]["Retry"][0]["MaxAttempts"] * 3
    assert Settings().events_per_cycle >= 2 * events
    assert Settings().roll_over_at + 2 * (events + step) + retries < preset.value("stepfunctions.history_limit")


# AWS's own reading ---------------------------------------------------------------------------
def lint(machine: dict[str, Any], folder: Path) -> str:
    """What cfn-lint says of the definition (its rule E3601 reads state machines)."""
    tool = shutil.which("cfn-lint", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("cfn-lint is not installed")
    resource = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {
            "RoleArn": "arn:aws:iam::123456789012:role/worker",
            "Definition": machine,
            "DefinitionSubstitutions": {"StepFunction": "step", "ParkFunction": "park"},
        },
    }
    template = folder / "machine.json"
    template.write_text(json.dumps({"Resources": {"Machine": resource}}), "utf-8")
    done = subprocess.run([tool, str(template)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_cfn_lint_finds_nothing(machine: dict[str, Any], tmp_path: Path) -> None:
    assert lint(machine, tmp_path) == ""


def test_cfn_lint_would_find_a_state_that_leads_nowhere(machine: dict[str, Any], tmp_path: Path) -> None:
    broken = json.loads(json.dumps(machine))
    del broken["States"]["Park"]["Next"]
    assert "E3601" in lint(broken, tmp_path)
