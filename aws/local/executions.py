"""Step Functions in threads: reads `aws/worker.asl.json` and calls the functions that its states name.

It knows what that machine uses: Task (a Lambda, with or without a task token), Choice and Succeed; Retry, Catch,
timeouts, and paths such as `$.worker`. Anything else in the file is an error when it is read.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
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
Function = Callable[[dict[str, Any]], dict[str, Any]]


class Executor:
    """The executions of one machine. `functions` are by the names that the machine's placeholders carry; `tell` hears
    of an execution that has failed."""

    def __init__(self, functions: Mapping[str, Function], tell: Callable[[str], None], machine: Path = MACHINE) -> None:
        self._machine: dict[str, Any] = json.loads(machine.read_text("utf-8"))
        self._functions, self._tell = functions, tell
        self._started: set[tuple[str, int]] = set()
        self._tokens: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        check(self._machine)

    def start(self, worker: str, generation: int) -> None:
        """Start the execution {worker}-{generation}, unless it has been started."""
        with self._lock:
            if (worker, generation) in self._started:
                return
            self._started.add((worker, generation))
        given = {"worker": worker, "generation": generation}
        threading.Thread(target=self._execute, args=(given,), daemon=True, name=f"{worker}-{generation}").start()

    def answer(self, token: str) -> None:
        """Send task success; a token that has timed out is no error."""
        parked = self._tokens.pop(token, None)
        if parked is not None:
            parked.set()

    def close(self) -> None:
        """No execution does anything from now on."""
        self._closed.set()
        for token in list(self._tokens):
            self.answer(token)

    @property
    def running(self) -> int:
        """Executions that have not ended."""
        names = {f"{worker}-{generation}" for worker, generation in self._started}
        return sum(each.name in names for each in threading.enumerate())

    def _execute(self, data: dict[str, Any]) -> None:
        name = self._machine["StartAt"]
        try:
            while not self._closed.is_set() and (state := self._machine["States"][name])["Type"] != "Succeed":
                name, data = self._choose(state, data) if state["Type"] == "Choice" else self._perform(state, data)
        except Exception as error:  # noqa: BLE001 an execution that fails ends, and the fleet's reaper sees it
            self._tell(f"execution of {data.get('worker')} failed in {name}: {type(error).__name__}: {error}")

    def _choose(self, state: Mapping[str, Any], data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        for choice in state["Choices"]:
            if _at(choice["Variable"], data) == choice["StringEquals"]:
                return choice["Next"], data
        raise ValueError("States.NoChoiceMatched")

    def _perform(self, state: Mapping[str, Any], data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        waits, token = state["Resource"].endswith(WAITS), uuid.uuid4().hex
        parked = self._tokens[token] = threading.Event()
        given = _filled(state["Parameters"], data, {"Task": {"Token": token}})
        result = {"Payload": self._retried(state, given["FunctionName"].strip("${}"), given["Payload"])}
        if waits and not parked.wait(_at(state["TimeoutSecondsPath"], data)):
            self._tokens.pop(token, None)
            caught = next(each for each in state["Catch"] if TIMEOUT in each["ErrorEquals"])
            return caught["Next"], data
        self._tokens.pop(token, None)
        if "OutputPath" in state:
            data = _at(state["OutputPath"], result)
        return state["Next"], data

    def _retried(self, state: Mapping[str, Any], function: str, payload: dict[str, Any]) -> dict[str, Any]:
        retry: dict[str, Any] = next((each for each in state.get("Retry", ()) if ANY in each["ErrorEquals"]), {})
        for tries in range(retry.get("MaxAttempts", 0)):
            try:
                return self._functions[function](payload)
            except Exception as error:  # noqa: BLE001 whatever a function raises, as States.ALL says
                self._tell(f"{function} is called again: {type(error).__name__}: {error}")
            if self._closed.wait(
                min(retry["IntervalSeconds"] * retry["BackoffRate"] ** tries, retry["MaxDelaySeconds"])
            ):
                break
        return self._functions[function](payload)


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


def _filled(template: Mapping[str, Any], data: Any, context: Any) -> dict[str, Any]:
    """Parameters with the values of their paths: `$.…` in the input, `$$.…` in the context."""
    made: dict[str, Any] = {}
    for name, value in template.items():
        if isinstance(value, Mapping):
            made[name] = _filled(value, data, context)
        elif name.endswith(".$"):
            made[name[:-2]] = _at(value, context if value.startswith("$$") else data)
        else:
            made[name] = value
    return made


def retried(act: Callable[[], Any], tell: Callable[[str], None], tries: int = 6, pause_s: float = 0.2) -> None:
    """Call until it succeeds, as EventBridge and SQS call a function again; tells of the last error."""
    for again in range(tries):
        try:
            act()
            return
        except Exception as error:  # noqa: BLE001 whatever a function raises
            tell(f"call {again + 1} of {tries}: {type(error).__name__}: {error}")
        time.sleep(pause_s * 2**again)
