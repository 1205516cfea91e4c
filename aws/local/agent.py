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

    def hear(self, order: dict[str, Any]) -> None:
        key = (order.get("start") or order["leave"], order["epoch"])
        given = [f"--job={key[0]}", f"--epoch={key[1]}", f"--worker={self._worker}", f"--config={self._config}"]
        if "leave" in order:
            wrapper.main([*given, "--order=checkpoint"])
        elif key not in self._attempts:
            every = f"--checkpoint-every-ms={order['checkpoint_every_ms']}"
            argv = [sys.executable, str(PROGRAM), *given, every]
            self._attempts[key] = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        for process in self._attempts.values():
            process.poll()  # those that have ended leave no zombie


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
