"""Step Functions in threads: performs `aws/worker.asl.json`, and calls the functions that its states name."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from aws.local import asl

Function = Callable[[asl.Data], asl.Data]


class Executor:
    """The executions of one machine. `functions` are by the names that the machine's placeholders carry; `tell` hears
    of an execution that has failed."""

    def __init__(
        self, functions: Mapping[str, Function], tell: Callable[[str], None], machine: Path = asl.MACHINE
    ) -> None:
        self._machine = asl.Machine(machine)
        self._functions, self._tell = functions, tell
        self._started: set[tuple[str, int]] = set()
        self._tokens: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

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

    def _execute(self, data: asl.Data) -> None:
        name = self._machine.first
        try:
            while not self._closed.is_set() and (state := self._machine.states[name])["Type"] != "Succeed":
                if state["Type"] == "Choice":
                    name = self._machine.choose(name, data)
                else:
                    name, data = self._perform(state, data)
        except Exception as error:  # noqa: BLE001 an execution that fails ends, and the fleet's reaper sees it
            self._tell(f"execution of {data.get('worker')} failed in {name}: {type(error).__name__}: {error}")

    def _perform(self, state: asl.State, data: asl.Data) -> tuple[str, asl.Data]:
        token = uuid.uuid4().hex
        parked = self._tokens[token] = threading.Event()
        result = self._retried(state, *asl.call_of(state, data, token))
        on_time = not asl.waits(state) or parked.wait(asl.timeout_s(state, data))
        self._tokens.pop(token, None)
        return (state["Next"] if on_time else asl.after_timeout(state)), asl.output_of(state, data, result)

    def _retried(self, state: asl.State, function: str, payload: asl.Data) -> asl.Data:
        tries = 0
        while True:
            try:
                return self._functions[function](payload)
            except Exception as error:  # whatever a function raises, as States.ALL says
                tries += 1
                pause_s = asl.pause_s(state, tries)
                if pause_s is None or self._closed.wait(pause_s):
                    raise
                self._tell(f"{function} is called again: {type(error).__name__}: {error}")


def retried(act: Callable[[], object], tell: Callable[[str], None], tries: int = 6, pause_s: float = 0.2) -> None:
    """Call until it succeeds, as EventBridge and SQS call a function again; tells of the last error."""
    for again in range(tries):
        try:
            act()
            return
        except Exception as error:  # noqa: BLE001 whatever a function raises
            tell(f"call {again + 1} of {tries}: {type(error).__name__}: {error}")
        time.sleep(pause_s * 2**again)
