"""A named local stack, as its user handles it: start it, give it jobs, look, fetch, and remove it.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws.local import cloud
from aws.local.processes import kill_tree
from aws.local.region import ADDRESS, JOURNAL, PACKAGE, SPEC
from aws.translate import BadMessage, from_message
from spotbed.errors import InputError, OutsideError, Problem

# What suits jobs of seconds on one machine; a plan's own values suit EC2. Milliseconds.
LOCAL_SETTINGS = {"lease_ms": 15_000, "tick_ms": 1_000, "keep_alive_ms": 5_000, "boot_timeout_ms": 60_000}
GRACE_MS = 5_000  # from SIGTERM to SIGKILL
_STARTS_WITHIN_S, _ENDS_WITHIN_S, _TAKEN_WITHIN_S, _PAUSE_S = 60.0, 20.0, 30.0, 0.05
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_ROOT = Path(__file__).resolve().parent.parent.parent
_RUN = 'exec "./$SPOTBED_RUN"'  # a constant: the file's name is data
_FINAL = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class JobLine:
    """A job as `jobs` shows it. Times in ms since 1970; `output` and `log` are where they lie in the bucket."""

    job_id: str
    phase: str
    attempts: int
    interruptions: int
    submitted_ms: int
    ended_ms: int | None
    exit_code: int | None
    holder: str
    output: str
    log: str
    metrics: Mapping[str, float]


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
) -> LocalStack:
    """Start a stack: `policy` and `pools` (of `aws.control.PoolSpec`) as in a plan, `sources` the user's own modules by
    their path in the package, `settings` instead of LOCAL_SETTINGS.

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


class LocalStack:
    """A stack that runs. Raises InputError when there is none of this name, OutsideError when it does not answer."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, home(name)
        if not (self.folder / SPEC).exists():
            known = ", ".join(names()) or "none"
            raise InputError(Problem(f"there is no local stack {name!r}; there are: {known}.", path="name", value=name))
        if not _pid(self.folder):
            raise _gone(name)
        self._address: dict[str, Any] = json.loads((self.folder / ADDRESS).read_text("utf-8"))
        self._dynamodb = cloud.client(self._address["url"], "dynamodb")
        self._s3 = cloud.client(self._address["url"], "s3")
        self._sqs = cloud.client(self._address["url"], "sqs")

    @property
    def pid(self) -> int:
        """Of the region's process."""
        return int(self._address["pid"])

    # work -----------------------------------------------------------------------------------------------------------
    def submit(self, path: Path) -> list[str]:
        """Submit a file (one message, a list of them, or JSON lines) or a folder with one executable; the ids."""
        messages = [self._dropped(path)] if path.is_dir() else list(_messages(path))
        for number, message in enumerate(messages):
            try:
                from_message(json.dumps(message), 0)
            except BadMessage as error:
                raise InputError(Problem(f"job {number + 1}: {error}.", file=str(path))) from None
        for message in messages:
            self.send(message)
        ids = [str(message.get("id", message.get("job_id"))) for message in messages]
        self._await(ids)
        return ids

    def _await(self, ids: Sequence[str]) -> None:
        """Until the table knows the jobs. Raises OutsideError."""
        until_s = time.monotonic() + _TAKEN_WITHIN_S
        while missing := set(ids) - {line.job_id for line in self.jobs()}:
            if time.monotonic() >= until_s:
                what = f"{len(missing)} of {len(ids)} jobs were not taken in within {_TAKEN_WITHIN_S:.0f} s."
                raise OutsideError(what, "their messages, in the queue", f"look at {self.folder}/region.log")
            time.sleep(_PAUSE_S)

    def send(self, message: Mapping[str, Any]) -> None:
        """Put one message into the queue, as it is."""
        self._sqs.send_message(QueueUrl=self._address["jobs"], MessageBody=json.dumps(message))

    def _dropped(self, folder: Path) -> dict[str, Any]:
        """Upload a folder, and make the message that runs the one executable in it."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        programs = [path for path in files if path.parent == folder and os.access(path, os.X_OK)]
        if len(programs) != 1:
            found = ", ".join(path.name for path in programs) or "none"
            message = f"has {len(programs)} executables ({found}): one is run, so there must be one."
            raise InputError(Problem(message, file=str(folder)))
        job_id = folder.resolve().name
        prefix = f"{cloud.PREFIX}drop/{job_id}/"
        for path in files:
            self._s3.upload_file(str(path), cloud.BUCKET, prefix + path.relative_to(folder).as_posix())
        program = programs[0].name
        run = {"key": prefix + program, "to": program, "executable": True}
        return {"id": job_id, "commands": [_RUN], "env": {"SPOTBED_RUN": program}, "inputs": [prefix, run],
                "outputs": ["*"]}  # fmt: skip

    def jobs(self) -> list[JobLine]:
        """All jobs, in the order of submission."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=cloud.TABLES.jobs)
        lines = [_line(item) for page in pages for item in page["Items"]]
        return sorted(lines, key=lambda line: (line.submitted_ms, line.job_id))

    def job(self, job_id: str) -> JobLine:
        """One job. Raises InputError."""
        key = {"job_id": {"S": job_id}}
        item = self._dynamodb.get_item(TableName=cloud.TABLES.jobs, Key=key, ConsistentRead=True).get("Item")
        if item is None:
            raise InputError(Problem(f"stack {self.name} has no job {job_id!r}.", path="job", value=job_id))
        return _line(item)

    def logs(self, job_id: str) -> bytes:
        """The whole output of the job's last attempt that has ended. Raises InputError when none has."""
        log = self.job(job_id).log
        if not log:
            raise InputError(Problem(f"no attempt of {job_id!r} has ended yet.", path="job", value=job_id))
        content: bytes = self._s3.get_object(Bucket=cloud.BUCKET, Key=log)["Body"].read()
        return content

    def fetch(self, job_id: str, into: Path) -> list[Path]:
        """Bring the outputs of a job that is done. Raises InputError when it has none."""
        prefix = self.job(job_id).output
        if not prefix:
            raise InputError(Problem(f"{job_id!r} has no outputs.", path="job", value=job_id))
        fetched = []
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=cloud.BUCKET, Prefix=prefix):
            for found in page.get("Contents", ()):
                path = into.joinpath(*_below(found["Key"][len(prefix) :]))
                path.parent.mkdir(parents=True, exist_ok=True)
                self._s3.download_file(cloud.BUCKET, found["Key"], str(path))
                fetched.append(path)
        return fetched

    def cancel(self, job_id: str) -> str:
        """End a job, also while it runs; its phase then."""
        return str(self._call("cancel", job=self.job(job_id).job_id)["phase"])

    # the stack ------------------------------------------------------------------------------------------------------
    def drain(self) -> None:
        """Launch nothing any more, and let workers end after what they do now."""
        self._call("drain")

    def kill(self, kind: str, worker: str = "", lead_s: float = 1.0) -> None:
        """Let EC2 take an instance, in one of the ways of `aws.local.instances.KILLS`; for tests and rehearsals."""
        self._call("kill", kind=kind, worker=worker, lead_s=lead_s)

    def workers(self) -> dict[str, str]:
        """Worker -> its phase and job, of the instances that are there."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=cloud.TABLES.workers)
        states = {item["worker"]["S"]: json.loads(item["state"]["S"]) for page in pages for item in page["Items"]}
        return {name: f"{state['phase']} {state['job']}".strip() for name, state in sorted(states.items())}

    def status(self) -> dict[str, Any]:
        """What there is: jobs by phase, workers by phase, instances, executions, and messages in the queues."""
        counts: dict[str, int] = {}
        for line in self.jobs():
            counts[line.phase] = counts.get(line.phase, 0) + 1
        phases: dict[str, int] = {}
        for state in self.workers().values():
            phase = state.split()[0]
            phases[phase] = phases.get(phase, 0) + 1
        return {"name": self.name, "jobs": counts, "workers": phases, "queues": self.queued(), **self._call("status")}

    def queued(self) -> dict[str, int]:
        """Messages in each queue, those in flight and delayed ones included."""
        attributes = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible",
                      "ApproximateNumberOfMessagesDelayed")  # fmt: skip
        found = {}
        for name in ("jobs", "finished", "dead"):
            answer = self._sqs.get_queue_attributes(QueueUrl=self._address[name], AttributeNames=list(attributes))
            found[name] = sum(int(answer["Attributes"][each]) for each in attributes)
        return found

    def journal(self) -> list[Any]:
        """The lines of the journal: [time in ms, role, subject, event, commands]."""
        return [json.loads(line) for line in (self.folder / JOURNAL).read_text("utf-8").splitlines()]

    def wait(self, within_s: float) -> bool:
        """Whether all jobs have ended and all messages were taken in within this time."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if not self.queued()["jobs"] and all(line.phase in _FINAL for line in self.jobs()):
                return True
            time.sleep(4 * _PAUSE_S)
        return False

    def _call(self, name: str, **payload: Any) -> dict[str, Any]:
        request = urllib.request.Request(f"{self._address['door']}/{name}", json.dumps(payload).encode())  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 our own address
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except OSError:
            raise _gone(self.name) from None


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


def _messages(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot be read: {error}.", file=str(path))) from None
    try:
        found = json.loads(text)
    except ValueError:
        found = [_parsed(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    for each in found if isinstance(found, list) else [found]:
        if not isinstance(each, dict):
            raise InputError(Problem(f"a job is an object, not {each!r}.", file=str(path)))
        yield each


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(Problem(f"is no JSON: {error}.", file=str(path), line=number)) from None


def _line(item: Mapping[str, Mapping[str, Any]]) -> JobLine:
    def number(name: str) -> int | None:
        return int(item[name]["N"]) if name in item else None

    def text(name: str) -> str:
        return str(item.get(name, {}).get("S", ""))

    state = json.loads(text("state"))
    return JobLine(
        job_id=text("job_id"),
        phase=text("phase"),
        attempts=number("attempts") or 0,
        interruptions=int(state.get("rare", {}).get("interruptions", 0)),
        submitted_ms=number("submitted_ms") or 0,
        ended_ms=number("ended_ms"),
        exit_code=number("exit_code"),
        holder=text("holder"),
        output=text("output"),
        log=text("log"),
        metrics=json.loads(text("metrics") or "{}"),
    )


def _below(name: str) -> list[str]:
    """The parts of a relative path. Raises InputError for one that leads elsewhere."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(Problem(f"the output {name!r} would lie outside the folder.", value=name))
    return parts
