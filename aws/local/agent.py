"""An instance: a process that is told on its standard input what to run, and runs the wrapper for each attempt.

    python -m aws.local.agent WORKER CONFIG

One JSON object a line: {"start": JOB, "epoch": N, "checkpoint_every_ms": N} or {"leave": JOB, "epoch": N}. When its
input ends, the region has gone: everything that runs here is killed, and the instance ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from aws import wrapper
from aws.local.processes import kill_below

PROGRAM = Path(wrapper.__file__)


class Agent:
    """The attempts of one worker. An attempt that is asked for twice is started once."""

    def __init__(self, worker: str, config: str) -> None:
        self._worker, self._config = worker, config
        self._attempts: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def hear(self, order: dict[str, Any]) -> None:
        key = (order.get("start") or order["leave"], order["epoch"])
        given = [f"--job={key[0]}", f"--epoch={key[1]}", f"--worker={self._worker}", f"--config={self._config}"]
        if "leave" in order:
            wrapper.main([*given, "--order=checkpoint"])
        elif key not in self._attempts:
            self._start(key, [*given, f"--checkpoint-every-ms={order['checkpoint_every_ms']}"])

    def _start(self, key: tuple[str, int], given: list[str]) -> None:
        with self._lock:
            process = subprocess.Popen([sys.executable, str(PROGRAM), *given], stdin=subprocess.DEVNULL)
            self._attempts[key] = process
        threading.Thread(target=self._await, args=(process,), daemon=True).start()

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        """What a wrapper leaves that was killed itself ends with it."""
        process.wait()
        with self._lock:
            if all(each.poll() is not None for each in self._attempts.values()):
                kill_below(os.getpid())


def main(worker: str, config: str) -> None:
    wrapper.adopt_orphans()
    agent = Agent(worker, config)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        agent.hear(json.loads(line))
    kill_below(os.getpid())


if __name__ == "__main__":
    main(*sys.argv[1:])
