"""What `aws/worker.asl.json` says, without a clock: which function a state calls, and which state comes next.

It knows what that machine uses: Task (a Lambda, with or without a task token), Choice and Succeed; Retry, Catch,
timeouts, and paths such as `$.worker`. Anything else in the file is an error when it is read. Whoever drives it brings
the time: threads on this machine, a heap of events in the tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MACHINE = Path(__file__).resolve().parent.parent / "worker.asl.json"
WAITS = ".waitForTaskToken"
TIMEOUT, ANY = "States.Timeout", "States.ALL"
_KEYS = {
    "Task": {"Type", "Comment", "Resource", "Parameters", "OutputPath", "ResultPath", "TimeoutSeconds",
             "TimeoutSecondsPath", "Retry", "Catch", "Next"},
    "Choice": {"Type", "Comment", "Choices"},
    "Succeed": {"Type", "Comment"},
}  # fmt: skip
Data = dict[str, Any]
State = Mapping[str, Any]


class Machine:
    """A state machine. Raises ValueError for one that has more than is known here."""

    def __init__(self, path: Path = MACHINE) -> None:
        definition = json.loads(path.read_text("utf-8"))
        check(definition)
        self.first: str = definition["StartAt"]
        self.states: Mapping[str, State] = definition["States"]

    def choose(self, name: str, data: Data) -> str:
        """The next state of a Choice. Raises ValueError when none of its choices matches."""
        for choice in self.states[name]["Choices"]:
            if _at(choice["Variable"], data) == choice["StringEquals"]:
                return str(choice["Next"])
        raise ValueError("States.NoChoiceMatched")


def call_of(state: State, data: Data, token: str) -> tuple[str, Data]:
    """(function, its payload) of a Task."""
    given = _filled(state["Parameters"], data, {"Task": {"Token": token}})
    return given["FunctionName"].strip("${}"), given["Payload"]


def output_of(state: State, data: Data, result: Data) -> Data:
    """The data after a Task whose function has answered `result`."""
    return _at(state["OutputPath"], {"Payload": result}) if "OutputPath" in state else data


def waits(state: State) -> bool:
    """Whether a Task goes on only when its token is answered."""
    return str(state["Resource"]).endswith(WAITS)


def timeout_s(state: State, data: Data) -> int:
    """How long a Task may take, or wait for its token."""
    return int(_at(state["TimeoutSecondsPath"], data) if "TimeoutSecondsPath" in state else state["TimeoutSeconds"])


def after_timeout(state: State) -> str:
    """The state that a timeout leads to."""
    return next(str(each["Next"]) for each in state["Catch"] if TIMEOUT in each["ErrorEquals"])


def pause_s(state: State, tries: int) -> float | None:
    """How long Step Functions waits at most before it calls a function again that has failed `tries` times; None when
    it gives up."""
    retry: State = next((each for each in state.get("Retry", ()) if ANY in each["ErrorEquals"]), {})
    if tries > retry.get("MaxAttempts", 0):
        return None
    return float(min(retry["IntervalSeconds"] * retry["BackoffRate"] ** (tries - 1), retry["MaxDelaySeconds"]))


def check(machine: Mapping[str, Any]) -> None:
    """Raises ValueError for a machine that has more than this interpreter knows."""
    for name, state in machine["States"].items():
        unknown = state.keys() - _KEYS.get(state["Type"], set())
        if unknown:
            raise ValueError(f"state {name}: {state['Type']} with {', '.join(sorted(unknown))}")
        if state.get("ResultPath") is not None:
            raise ValueError(f"state {name}: ResultPath")


def _at(path: str, data: Any) -> Any:
    """What a path such as `$.a.b` finds."""
    for part in path.lstrip("$").strip(".").split("."):
        data = data[part]
    return data


def _filled(template: Mapping[str, Any], data: Any, context: Any) -> Data:
    """Parameters with the values of their paths: `$.…` in the input, `$$.…` in the context."""
    made: Data = {}
    for name, value in template.items():
        if isinstance(value, Mapping):
            made[name] = _filled(value, data, context)
        elif name.endswith(".$"):
            made[name[:-2]] = _at(value, context if value.startswith("$$") else data)
        else:
            made[name] = value
    return made
