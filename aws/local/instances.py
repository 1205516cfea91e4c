"""The local fleet driver: instances are agent processes, and EC2's events come from here.

An instance that is lost is lost whole: its agent, the wrapper and the job's processes are killed together, as when EC2
takes it. What EventBridge would then say goes to `say`, or is kept back (a silent loss).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aws.control import Launched, PoolSpec
from aws.local.processes import kill_tree
from aws.store import WorkerRow
from aws.translate import STATE, WARNING
from scheduler.commands import Checkpoint, Start

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = ("silent", "notice", "terminated", "mid-claim", "mid-completion")
Say = Callable[[dict[str, Any]], None]


@dataclass
class Instance:
    """A live one."""

    name: str
    pool: str
    process: subprocess.Popen[str]


class LocalFleet:
    """`aws.control.Target` over local processes. `ready` hears of agents that have registered, `say` takes payloads of
    EventBridge."""

    def __init__(self, config: Path, logs: Path, ready: Callable[[str], None], say: Say) -> None:
        self._config, self._logs, self._ready, self._say = config, logs, ready, say
        self._lock = threading.RLock()
        self._live: dict[str, Instance] = {}
        self._launched: dict[str, Launched] = {}
        self.armed: list[str] = []  # kills that wait for their moment
        self._closed = False

    # Target -----------------------------------------------------------------------------------------------------
    def start(self, worker: WorkerRow, command: Start) -> bool:
        if self.strikes("mid-claim"):
            self.lose(worker.name)
        every_ms = command.checkpoint_every_ms
        return self._order(worker.name, {"start": command.job, "epoch": command.epoch, "checkpoint_every_ms": every_ms})

    def checkpoint(self, worker: WorkerRow, command: Checkpoint) -> None:
        self.leave(worker.name, command.job, command.epoch)

    def leave(self, name: str, job: str, epoch: int) -> None:
        """The attempt shall write a checkpoint and end."""
        self._order(name, {"leave": job, "epoch": epoch})

    def stop(self, worker: WorkerRow, reason: str) -> None:
        self.terminate(worker.name)

    def protect(self, worker: WorkerRow, on: bool) -> None:
        """Nothing here scales in by itself."""

    def launch(self, pool: PoolSpec, count: int, command_id: str) -> Launched:
        with self._lock:
            if command_id not in self._launched:
                room = 0 if self._closed else pool.max - sum(each.pool == pool.id for each in self._live.values())
                names = tuple(self._boot(pool.id) for _ in range(max(0, min(count, room))))
                self._launched[command_id] = Launched(len(names), names, "" if len(names) == count else "max")
            return self._launched[command_id]

    def withdraw(self, pool: PoolSpec, count: int) -> None:
        """An instance is there as soon as it is asked for."""

    def live(self) -> Mapping[str, str]:
        with self._lock:
            return {name: each.pool for name, each in self._live.items() if each.process.poll() is None}

    def price_usd_per_hour(self, pool: PoolSpec) -> float:
        return pool.on_demand_usd_per_hour

    # what befalls instances ---------------------------------------------------------------------------------------
    def lose(self, name: str) -> None:
        """The instance is gone without a word."""
        with self._lock:
            instance = self._live.pop(name, None)
        if instance is not None:
            _end(instance.process)

    def terminate(self, name: str) -> None:
        """The instance is gone, and EC2 says so; also of one that has gone before."""
        self.lose(name)
        self._say(_event(STATE, name, state="terminated"))

    def interrupt(self, name: str, lead_s: float) -> None:
        """EC2 gives notice, and takes the instance after this time."""
        self._say(_event(WARNING, name, **{"instance-action": "terminate"}))
        timer = threading.Timer(lead_s, self.terminate, (name,))
        timer.daemon = True
        timer.start()

    def kill(self, kind: str, name: str = "", lead_s: float = 1.0) -> None:
        """One of KILLS. The last two wait for a worker to come to that moment, whichever it is."""
        match kind:
            case "silent":
                self.lose(name)
            case "notice":
                self.interrupt(name, lead_s)
            case "terminated":
                self.terminate(name)
            case "mid-claim" | "mid-completion":
                self.armed.append(kind)
            case _:
                raise ValueError(f"{kind!r} is none of {', '.join(KILLS)}")

    def strikes(self, kind: str) -> bool:
        """Whether a kill has waited for this moment; it strikes once."""
        with self._lock:
            if kind not in self.armed:
                return False
            self.armed.remove(kind)
            return True

    def close(self) -> None:
        """Nothing runs any more, and nothing is launched."""
        with self._lock:
            self._closed = True
            names = list(self._live)
        for name in names:
            self.lose(name)

    # agents -------------------------------------------------------------------------------------------------------
    def _boot(self, pool: str) -> str:
        name = f"i-{uuid.uuid4().hex[:17]}"
        argv = [sys.executable, "-m", "aws.local.agent", name, str(self._config)]
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        self._live[name] = Instance(name, pool, process)
        threading.Thread(target=self._register, args=(name, process), daemon=True).start()
        return name

    def _register(self, name: str, process: subprocess.Popen[str]) -> None:
        if _piped(process.stdout).readline():
            self._ready(name)

    def _order(self, name: str, order: Mapping[str, Any]) -> bool:
        """Tell an agent; False when the instance is gone."""
        with self._lock:
            instance = self._live.get(name)
            if instance is None:
                return False
            pipe = _piped(instance.process.stdin)
            try:
                pipe.write(json.dumps(order) + "\n")
                pipe.flush()
            except (BrokenPipeError, ValueError):
                return False
        return True


def _piped(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # asked for when the process was started
    return pipe


def _end(process: subprocess.Popen[str]) -> None:
    kill_tree(process.pid)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        _piped(pipe).close()


def _event(kind: str, instance: str, **detail: str) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "detail-type": kind, "detail": {"instance-id": instance, **detail}}
