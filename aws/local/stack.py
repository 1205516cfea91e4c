"""A named stack on this machine: what of it is local. What its user does is in `aws.stack`.

Its state lies in `$SPOTBED_HOME/local/NAME` (or `~/.spotbed/local/NAME`); its tables live as long as its process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aws.local import cloud
from aws.local.processes import kill_tree
from aws.local.region import ADDRESS, JOURNAL, PACKAGE, SPEC
from aws.stack import PLAN, Address, Clients, Stack
from spotbed.errors import InputError, OutsideError, Problem

# What suits jobs of seconds on one machine; a plan's own values suit EC2. Milliseconds.
LOCAL_SETTINGS = {"lease_ms": 15_000, "tick_ms": 1_000, "keep_alive_ms": 5_000, "boot_timeout_ms": 60_000}
GRACE_MS = 5_000  # from SIGTERM to SIGKILL
_STARTS_WITHIN_S, _ENDS_WITHIN_S, _PAUSE_S = 60.0, 20.0, 0.05
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_ROOT = Path(__file__).resolve().parent.parent.parent
_QUEUES = ("jobs", "finished", "dead")


def home(name: str) -> Path:
    """Where a stack's state lies. Raises InputError for what is no name."""
    if not _NAME.fullmatch(name):
        raise InputError(Problem("is no name of a stack: letters, digits and dashes.", path="name", value=name))
    base = os.environ.get("SPOTBED_HOME")
    return (Path(base) if base else Path.home() / ".spotbed") / "local" / name


def names() -> list[str]:
    """The stacks that there are."""
    return sorted(path.parent.name for path in home("any").parent.glob(f"*/{SPEC}"))


def apply_local(
    name: str,
    policy: Mapping[str, Any],
    pools: Sequence[Mapping[str, Any]],
    *,
    sources: Mapping[str, str] | None = None,
    settings: Mapping[str, int] | None = None,
    plan: str = "",
) -> LocalStack:
    """Start a stack: `policy` and `pools` (of `aws.control.PoolSpec`) as in a plan, `sources` the user's own modules by
    their path in the package, `settings` instead of LOCAL_SETTINGS, `plan` the text of the plan to keep.

    Raises OutsideError when there is one of this name, or it does not start.
    """
    folder = home(name)
    if sys.platform != "linux":
        how = "use a machine that runs Linux, or a container"
        raise OutsideError("The local target ends processes as only Linux lets it.", "nothing", how, exit_code=4)
    if (folder / SPEC).exists():
        again = f"use another name, or remove it: spotbed destroy {name}"
        raise OutsideError(f"A local stack {name!r} is there already.", "that stack, unchanged", again, exit_code=4)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, source in (sources or {}).items():
        file = folder / PACKAGE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, "utf-8")
    work_root = Path(tempfile.mkdtemp(prefix=f"spotbed-{name}-"))
    work_root.chmod(0o711)  # the jobs' user passes through, and lists nothing
    spec = {
        "policy": {**policy, "settings": {**policy.get("settings", {}), **LOCAL_SETTINGS, **(settings or {})}},
        "pools": [dict(pool) for pool in pools],
        "work_root": str(work_root),
        "run_as": "nobody" if os.name != "nt" and os.getuid() == 0 else "",
        "grace_ms": GRACE_MS,
    }
    (folder / SPEC).write_text(json.dumps(spec, indent=1), "utf-8")
    if plan:
        (folder / PLAN).write_text(plan, "utf-8")
    _spawn(folder)
    return LocalStack(name)


def _spawn(folder: Path) -> None:
    """Start the region, and wait until it answers."""
    argv = [sys.executable, "-m", "aws.local.region", str(folder)]
    with (folder / "region.log").open("ab") as log:
        process = subprocess.Popen(
            argv, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    until_s = time.monotonic() + _STARTS_WITHIN_S
    while not (folder / ADDRESS).exists():
        if process.poll() is not None or time.monotonic() >= until_s:
            kill_tree(process.pid)
            process.wait()
            log_tail = (folder / "region.log").read_text("utf-8", "replace")[-2000:]
            _remove(folder)
            raise OutsideError(f"The local region did not start:\n{log_tail}", "nothing", "mend that, and try again")
        time.sleep(_PAUSE_S)
    process.returncode = 0  # it goes on without us


class LocalStack(Stack):
    """A stack that runs. Raises InputError when there is none of this name, OutsideError when it does not answer."""

    look_every_s = 2.0

    def __init__(self, name: str) -> None:
        folder = home(name)
        if not (folder / SPEC).exists():
            known = ", ".join(names()) or "none"
            raise InputError(Problem(f"there is no local stack {name!r}; there are: {known}.", path="name", value=name))
        if not _pid(folder):
            raise _gone(name)
        found: dict[str, Any] = json.loads((folder / ADDRESS).read_text("utf-8"))
        dynamodb, s3, sqs = (cloud.client(found["url"], service) for service in ("dynamodb", "s3", "sqs"))
        address = Address(
            name,
            cloud.TABLES,
            {queue: found[queue] for queue in _QUEUES},
            cloud.BUCKET,
            cloud.PREFIX,
            cloud.BUCKET,
        )
        self.folder, self.pid = folder, int(found["pid"])  # `pid` is the region's process
        self._door = LocalDoors(name, found["door"])
        super().__init__(address, Clients(dynamodb, s3, sqs), self._door)

    def kill(self, kind: str, worker: str = "", lead_s: float = 1.0) -> None:
        """Let EC2 take an instance, in one of the ways of `aws.local.instances.KILLS`; for tests and rehearsals."""
        self._door.call("kill", {"kind": kind, "worker": worker, "lead_s": lead_s})

    def plan(self) -> dict[str, Any]:
        """The plan that was applied. Raises InputError for a stack that was made without one."""
        try:
            text = (self.folder / PLAN).read_text("utf-8")
        except FileNotFoundError:
            raise InputError(Problem(f"stack {self.name} was made without a plan.")) from None
        found: dict[str, Any] = json.loads(text)
        return found

    def journal(self) -> list[Any]:
        """The lines of the journal: [time in ms, role, subject, event, commands]."""
        return [json.loads(line) for line in (self.folder / JOURNAL).read_text("utf-8").splitlines()]


class LocalDoors:
    """The region's process, over HTTP on loopback."""

    def __init__(self, name: str, url: str) -> None:
        self._name, self._url = name, url

    def operate(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return self.call("operate", payload)

    def running(self) -> dict[str, Any]:
        return self.call("status", {})

    def call(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What the region answers. Raises OutsideError when it does not."""
        request = urllib.request.Request(f"{self._url}/{name}", json.dumps(payload).encode())  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 our own address
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except OSError:
            raise _gone(self._name) from None


def destroy(name: str) -> None:
    """End everything of a stack, and remove what it has kept; also of one whose process has gone."""
    folder = home(name)
    if not (folder / SPEC).exists():
        raise InputError(Problem(f"there is no local stack {name!r}.", path="name", value=name))
    pid = _pid(folder)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        until_s = time.monotonic() + _ENDS_WITHIN_S
        while _is_region(pid, folder) and time.monotonic() < until_s:
            time.sleep(_PAUSE_S)
        if _is_region(pid, folder):
            kill_tree(pid)
    _remove(folder)


def _pid(folder: Path) -> int:
    """The region's process, if it lives; a number may have been given to another one meanwhile."""
    try:
        pid = int(json.loads((folder / ADDRESS).read_text("utf-8"))["pid"])
    except FileNotFoundError:
        return 0
    return pid if _is_region(pid, folder) else 0


def _is_region(pid: int, folder: Path) -> bool:
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    spec = json.loads((folder / SPEC).read_text("utf-8"))
    shutil.rmtree(spec["work_root"], ignore_errors=True)
    shutil.rmtree(folder)


def _gone(name: str) -> OutsideError:
    what = f"The local stack {name!r} does not answer: its process has ended, and its tables with it."
    return OutsideError(
        what, "its journal and logs", f"remove it (spotbed destroy {name}) and apply again", exit_code=4
    )
