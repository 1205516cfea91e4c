"""The program on the instance: one process for each attempt. It runs the job's commands and answers for its lease.

    python3 wrapper.py --job=JOB --epoch=N --worker=WORKER --config=FILE [--checkpoint-every-ms=N]
    python3 wrapper.py --job=JOB --epoch=N --worker=WORKER --config=FILE --order=checkpoint

(With `=`: an id may begin with a dash.) Needs Python >= 3.9 and boto3, and nothing of ours: it is copied to an instance
as it is. A job's commands are code and run as an unprivileged user in a directory of their own; everything else (ids,
keys, strings) is data, and no shell sees it. The end of an attempt is reported only while the lease is held; who has
lost it kills the job and says nothing.

What a job may do with its directory, its checkpoints and its metrics stands in docs/jobs.md.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fnmatch
import hashlib
import io
import json
import mmap
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

DONE, FAILED, STRING_MISSING, TIMEOUT = "done", "failed", "string-missing", "timeout"
CHECKPOINTED, INTERRUPTED = "checkpointed", "interrupted"
REPORTED, LOST, INTERRUPTED_EXIT = 0, 3, 130
USAGE, NO_INPUT, CANNOT_START, NO_OUTPUT = 64, 66, 126, 74  # as in sysexits.h, and as a shell says of a command
TIMED_OUT = 124  # as timeout(1)
MARKER = "_SPOTBED_COMPLETE.json"
RESULTS = "spotbed-output"  # below a dropped folder: never an input of it
LONGEST_NAME = 180  # of an id in a key; S3 allows 1,024 bytes for all of a key
MOST_METRICS = 50
LARGEST_SMALL = 65_536  # bytes that are read of a file of metrics or progress
REPORT_FOR_LEASES = 12  # how long an end that nobody hears keeps its job (assumed)
LOOK_EVERY_S = 0.25  # at signals, files and the time limit; the end of the job is seen at once
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "SystemRoot", "ComSpec", "TEMP")
ELSEWHERE = ("192.0.2.1", 9)  # an address of nobody (RFC 5737)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_WINDOWS = os.name == "nt"


class LeaseLost(Exception):
    """The job is no longer ours."""


class Failed(Exception):
    """The attempt cannot go on, and the job's log says why."""

    def __init__(self, exit_code: int, why: str) -> None:
        super().__init__(why)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Config:
    """The stack, as the instance knows it. Exactly one of `deliver_function` and `deliver_url` is given."""

    jobs_table: str
    region: str
    bucket: str
    lease_ms: int
    work_root: str
    prefix: str = ""
    endpoint_url: str | None = None
    deliver_function: str = ""
    deliver_url: str = ""
    run_as: str = ""  # the unprivileged user, needed when we are root
    grace_ms: int = 60_000  # from SIGTERM to SIGKILL; assumed: less than the two minutes of a notice


def note(text: str) -> None:
    """A line for the log of the command (the job's log holds the job's output only)."""
    sys.stderr.write(f"wrapper: {text}\n")


def job_prefix(prefix: str, job: str) -> str:
    """Where in the bucket everything of a job is kept. The id is one part of the key, short and without `/`; no two
    have the same, since no quoted id begins with `=`."""
    raw = job.encode("utf-8", "surrogatepass")
    name = urllib.parse.quote(raw, safe="")
    if len(name) > LONGEST_NAME or not name.strip("."):
        name = "=" + hashlib.sha256(raw).hexdigest()
    return f"{prefix}jobs/{name}/"


def attempt_folder(work_root: str, order: argparse.Namespace) -> Path:
    """Where on the instance everything of an attempt is kept, apart from what other workers on it run."""
    name = f"{order.worker}\0{order.job}".encode("utf-8", "surrogatepass")
    return Path(work_root) / f"{hashlib.sha256(name).hexdigest()[:32]}-{order.epoch}"


def checkpoint_order(work_root: str, order: argparse.Namespace) -> Path:
    """The file that tells an attempt to leave. It lies beside its folder, since it may come before the attempt does."""
    return attempt_folder(work_root, order).with_suffix(".leave")


def own_address(config: Config, worker: str) -> str:
    """Where the other members of a gang reach this instance: its private address, or its name on a stack of one
    machine."""
    if config.endpoint_url:
        return worker
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:  # there is no way out of this network
            return socket.gethostbyname(socket.gethostname())


def inside(root: Path, relative: str) -> Path:
    """The path below `root`. Raises Failed when it would lie elsewhere."""
    parts = relative.split("/")
    if any(part in ("", ".", "..") or "\0" in part or (_WINDOWS and set(part) & set("\\:")) for part in parts):
        raise Failed(NO_INPUT, f"{relative!r} is no path below the work directory")
    return root.joinpath(*parts)


def holds_bytes(path: Path, wanted: bytes) -> bool:
    """Whether a file of any size contains the bytes."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False  # it cannot be mapped
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(wanted) >= 0


# what is left running -------------------------------------------------------------------------------------------------
def adopt_orphans() -> None:
    """Let processes whose parents end become our children, so that none escapes (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def descendants(ancestor: int) -> list[tuple[int, str]]:
    """(process, state letter) of all that descend from a process (Linux; elsewhere none)."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended meanwhile
        children.setdefault(int(parent), []).append((int(entry.parent.name), state))
    found, parents = [], [ancestor]
    while parents:
        here = children.get(parents.pop(), [])
        found += here
        parents += [process for process, _ in here]
    return found


def kill_descendants(process: subprocess.Popen[bytes]) -> None:
    """Kill the job's processes, the group first, until there are none."""
    if _WINDOWS:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)  # noqa: S607
        return
    _signal_group(process, signal.SIGKILL)
    for _ in range(200):
        left = [(each, state) for each, state in descendants(os.getpid()) if each != process.pid or state != "Z"]
        if not left:
            return
        for each, state in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # ended, or its parent will hear of it
                os.waitpid(each, os.WNOHANG) if state == "Z" else os.kill(each, signal.SIGKILL)
        time.sleep(0.01)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if _WINDOWS:
        process.terminate()
        return
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, number)


# the lease ------------------------------------------------------------------------------------------------------------
class Lease:
    """The job's item while it is ours: epoch and holder are the condition of every write.

    A gang has a seat for each rank. That of the first holds the job's lease; the others renew their own, and what they
    write stands on the condition that they are members.
    """

    def __init__(self, client: Any, config: Config, order: argparse.Namespace) -> None:
        self._client, self._config, self._order = client, config, order
        self._renewed_s = time.monotonic()
        self.rank, self.size = 0, 1
        self.lost = threading.Event()
        self.ended = threading.Event()

    def read(self, job: str) -> dict[str, Any]:
        """The item of any job, numbers as texts; {} when there is none."""
        key = {"job_id": {"S": job}}
        found = self._client.get_item(TableName=self._config.jobs_table, Key=key, ConsistentRead=True).get("Item", {})
        return {name: next(iter(value.values())) for name, value in found.items()}

    def item(self) -> dict[str, Any]:
        """The job's item, if we hold it. Raises LeaseLost."""
        item = self.read(self._order.job)
        seats = item.get("seats", {})
        members = [seats[str(rank)]["M"]["worker"]["S"] for rank in range(len(seats))] or [item.get("holder")]
        held, self.size = (item.get("phase"), item.get("epoch")), len(members)
        if held != ("leased", str(self._order.epoch)) or self._order.worker not in members:
            raise LeaseLost
        self.rank = members.index(self._order.worker)
        return item

    def write(self, **values: dict[str, Any]) -> None:
        """Set attributes (as DynamoDB types them). Raises LeaseLost."""
        self._set({name: f"#{name}" for name in values}, values, {f"#{name}": name for name in values})

    def sit(self, **values: dict[str, Any]) -> None:
        """Set attributes of our seat. Raises LeaseLost."""
        names = {f"#{name}": name for name in values} | {"#seats": "seats", "#rank": str(self.rank)}
        self._set({name: f"#seats.#rank.#{name}" for name in values}, values, names)

    def _set(self, paths: dict[str, str], values: dict[str, Any], names: dict[str, str]) -> None:
        ours = {":epoch": {"N": str(self._order.epoch)}, ":leased": {"S": "leased"}, ":us": {"S": self._order.worker}}
        is_ours, mine = "#h = :us", {"#h": "holder"}
        if self.rank:
            is_ours = "#seats.#rank.#h = :us"
            mine = {"#seats": "seats", "#rank": str(self.rank), "#h": "worker"}
        try:
            self._client.update_item(
                TableName=self._config.jobs_table,
                Key={"job_id": {"S": self._order.job}},
                UpdateExpression="SET " + ", ".join(f"{path} = :{name}" for name, path in paths.items()),
                ConditionExpression=f"#e = :epoch AND #p = :leased AND {is_ours}",
                ExpressionAttributeNames={"#e": "epoch", "#p": "phase"} | mine | names,
                ExpressionAttributeValues={f":{name}": value for name, value in values.items()} | ours,
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            self.lost.set()
            raise LeaseLost from None

    def renew(self) -> None:
        """Live for one more lease. Raises LeaseLost."""
        asked_s = time.monotonic()
        until_ms = {"N": str(int(time.time() * 1000) + self._config.lease_ms)}
        if self.rank:
            self.sit(until_ms=until_ms)
        else:
            self.write(lease_until_ms=until_ms)
        self._renewed_s = asked_s

    def seats(self) -> list[dict[str, Any]]:
        """The seats of the gang by rank, as DynamoDB types their attributes. Raises LeaseLost."""
        seats = self.item()["seats"]
        return [seats[str(rank)]["M"] for rank in range(self.size)]

    def ask(self) -> None:
        """Renew now, if the table answers: of a job that was cancelled nothing is worth a grace. Raises LeaseLost."""
        with contextlib.suppress(*_outside()):
            self.renew()

    def keep(self) -> None:
        """Renew every third of the lease until the end (in a thread of its own)."""
        third_s = self._config.lease_ms / 3000
        while not self.ended.wait(third_s):
            try:
                self.renew()
            except LeaseLost:
                return
            except Exception as error:  # noqa: BLE001 whatever the network says: the lease's end decides
                note(f"cannot renew the lease: {type(error).__name__}")
                if (time.monotonic() - self._renewed_s) * 1000 >= self._config.lease_ms:
                    self.lost.set()
                    return

    def check(self) -> None:
        """Raises LeaseLost."""
        if self.lost.is_set():
            raise LeaseLost


# files ----------------------------------------------------------------------------------------------------------------
class Bucket:
    """What is staged in and kept. Only regular files that the job's user owns are read: a link that the job has made
    would lead us, who may read more than it, out of its directory."""

    def __init__(self, client: Any, name: str, lease: Lease, owner: int) -> None:
        self.client, self.name, self._lease, self._owner = client, name, lease, owner

    def keys(self, prefix: str) -> Iterator[str]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            yield from (found["Key"] for found in page.get("Contents", ()))

    def fetch(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.client.download_file(self.name, key, str(path))

    def fetch_all(self, prefix: str, folder: Path) -> int:
        """How many files lay below the prefix."""
        count = 0
        for key in self.keys(prefix):
            self._lease.check()
            if not key.endswith("/") and not key.startswith(f"{prefix}{RESULTS}/"):  # consoles make `/` for a folder
                self.fetch(key, inside(folder, key[len(prefix) :]))
                count += 1
        return count

    def send_all(self, folder: Path, names: Sequence[str], prefix: str, **extra: str) -> list[str]:
        """Upload files of a folder, with `extra` of PutObject; where they lie below the prefix."""
        sent = []
        for name in names:
            self._lease.check()
            opened = _opened(folder / name, self._owner)
            if opened is not None:
                sent.append(key_of(name))
                with opened:
                    self.client.upload_fileobj(opened, self.name, prefix + sent[-1], ExtraArgs=extra)
        return sent

    def put(self, key: str, document: Any) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=json.dumps(document, sort_keys=True).encode())

    def remove(self, prefix: str) -> None:
        for key in list(self.keys(prefix)):
            self.client.delete_object(Bucket=self.name, Key=key)


def _opened(path: Path, owner: int) -> IO[bytes] | None:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError:
        return None  # a link, or gone
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and (_WINDOWS or found.st_uid == owner):
        return file
    file.close()
    return None


def _read(path: Path, owner: int) -> bytes:
    """The beginning of a small file of the job's; nothing if there is none."""
    with _opened(path, owner) or io.BytesIO() as opened:
        return opened.read(LARGEST_SMALL)


def key_of(name: str) -> str:
    """A file's relative name as part of a key: as it is, or quoted when it is no UTF-8 or has control characters."""
    raw = os.fsencode(name)
    plain = name.isprintable() and raw.decode("utf-8", "ignore") == name
    return name if plain else urllib.parse.quote_from_bytes(raw)


def files_below(folder: Path) -> list[str]:
    """Relative names with `/`, in order; links are not followed."""
    walked = os.walk(folder, followlinks=False)
    return sorted((Path(place) / name).relative_to(folder).as_posix() for place, _, names in walked for name in names)


# one attempt ----------------------------------------------------------------------------------------------------------
class Attempt:
    """From the lease to the report."""

    def __init__(self, order: argparse.Namespace, config: Config) -> None:
        self.order, self.config = order, config
        self.folder = attempt_folder(config.work_root, order)
        self.hosts: list[str] = []  # of the members of a gang, by rank
        self.work = self.cwd = self.folder / "work"
        self.kept = self.folder / "checkpoint"
        self.log, self.metrics = self.folder / "output.log", self.folder / "work" / ".spotbed-metrics.json"
        self.user: Any = _user(config)  # (user, group), or None
        self.owner = self.user[0] if self.user else 0 if _WINDOWS else os.getuid()
        self.lease = Lease(_client("dynamodb", config), config, order)
        self.bucket = Bucket(_client("s3", config), config.bucket, self.lease, self.owner)
        self.prefix = f"{job_prefix(config.prefix, order.job)}{order.epoch}/"
        self.base_ms = self.safe_ms = self.worked_ms = self.saves = 0
        self.began_ms = int(time.time() * 1000)
        self.output = self.saved = ""  # where the outputs lie, once they are whole, and the last whole checkpoint
        self.staged: dict[str, tuple[int, int]] = {}
        self.heard: set[int] = set()  # signals: handlers take no lock, which could be held by who is interrupted

    def run(self) -> int:
        try:
            item = self.lease.item()
            self.folder.mkdir(mode=0o711, parents=True)
        except FileExistsError:
            note("this attempt has been started already: nothing is run")
            return LOST
        except LeaseLost:
            return self._stopped()
        threading.Thread(target=self.lease.keep, daemon=True).start()
        try:
            return self._run(item)
        except LeaseLost:
            return self._stopped()
        finally:
            self.lease.ended.set()
            for path in (self.work, self.kept):  # the folder stays: it says that this attempt has been started
                shutil.rmtree(path, ignore_errors=True)
            self.log.unlink(missing_ok=True)  # it lies in the bucket; an instance runs thousands of jobs
            checkpoint_order(self.config.work_root, self.order).unlink(missing_ok=True)

    def _stopped(self) -> int:
        """The job is not ours any more. Of a gang it may be another member that has ended: our worker waits for us."""
        note("the lease is lost: nothing of it is reported to the job")
        if self.lease.size > 1:
            with contextlib.suppress(*_outside()):
                self._keep_log(INTERRUPTED)
            self._report(INTERRUPTED, 0, self.safe_ms, held=False)
        return LOST

    def _run(self, item: dict[str, Any]) -> int:
        self.lease.renew()
        if self.lease.rank:
            self.prefix = f"{self.prefix}rank-{self.lease.rank}/"
        self.base_ms = self.safe_ms = int(item.get("safe_ms", 0))
        self.saved = item.get("checkpoint", "")
        body = json.loads(item["body"])
        self.bucket.name = body.get("bucket") or self.config.bucket
        cause, exit_code = self._result(body)
        if cause != DONE:
            self._keep_checkpoint()
        progress_ms = self.worked_ms if cause == DONE else self.safe_ms
        self._tell_table(cause, exit_code, progress_ms)
        self._report(cause, exit_code, progress_ms)
        return INTERRUPTED_EXIT if cause == INTERRUPTED else REPORTED

    def _result(self, body: dict[str, Any]) -> tuple[str, int]:
        """(cause, exit code); what we ourselves could not do is a failure with a code of its own."""
        try:
            self._prepare(body)
            leaves = self._gather() if self.lease.size > 1 else ""
            if leaves:
                return leaves, 0
            cause, exit_code = self._run_commands(body)
            if cause == DONE and not self.lease.rank:
                self._send_outputs(body)
            return cause, exit_code
        except Failed as failure:
            return self._say(str(failure)), failure.exit_code
        except LeaseLost:
            raise
        except _outside() as error:
            return self._say(f"{type(error).__name__}: {error}"), NO_OUTPUT
        except Exception as error:  # noqa: BLE001 a body that is no description of a job must not come back for ever
            return self._say(f"the job cannot be understood: {type(error).__name__}: {error}"), USAGE

    def _say(self, why: str) -> str:
        """Why the attempt failed, at the end of the job's log; the success string is looked for before."""
        note(why)
        with self.log.open("ab") as log:
            log.write(f"\nspotbed: {why}\n".encode("utf-8", "backslashreplace"))
        return FAILED

    # before -----------------------------------------------------------------------------------------------------------
    def _prepare(self, body: dict[str, Any]) -> None:
        self.log.touch(mode=0o600)
        for folder in (self.work, self.kept):
            folder.mkdir(mode=0o700)
        for wanted in body.get("inputs") or ():
            self._stage(wanted)
        if self.saved:
            self.bucket.fetch_all(self.saved, self.kept)
        if body.get("workdir"):
            self.cwd = inside(self.work, body["workdir"])
        self.cwd.mkdir(parents=True, exist_ok=True)
        self.staged = {name: _stamp(self.work / name) for name in files_below(self.work)}
        self._give(self.work, self.kept)

    def _stage(self, wanted: Any) -> None:
        """An input: a key, a prefix that ends with `/`, {"key" | "prefix": …, "to": path}, or {"job": …, "path": …}."""
        if isinstance(wanted, str):
            wanted = {"prefix" if wanted.endswith("/") else "key": wanted}
        wanted = {"bucket": self.bucket.name, **(self._of_earlier(wanted) if "job" in wanted else wanted)}
        bucket = Bucket(self.bucket.client, wanted["bucket"], self.lease, self.owner)
        if "prefix" in wanted:
            folder = inside(self.work, wanted["to"]) if wanted.get("to") else self.work
            if not bucket.fetch_all(wanted["prefix"], folder):
                raise Failed(NO_INPUT, f"there is no input below {wanted['prefix']!r}")
            return
        path = inside(self.work, wanted.get("to") or wanted["key"].rsplit("/", 1)[-1])
        try:
            bucket.fetch(wanted["key"], path)
        except _outside() as error:
            raise Failed(NO_INPUT, f"input {wanted['key']!r}: {error}") from error
        if wanted.get("executable"):
            path.chmod(0o755)

    def _of_earlier(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """{"job": id, "path": an output, or several with `/`} as a key or a prefix."""
        found, path = self.lease.read(wanted["job"]), wanted.get("path") or ""
        if found.get("phase") != "done" or not found.get("output"):
            raise Failed(NO_INPUT, f"job {wanted['job']!r} has no outputs")
        kind = "prefix" if not path or path.endswith("/") else "key"
        return {**wanted, kind: found["output"] + path, "bucket": found.get("bucket") or self.config.bucket}

    def _give(self, *paths: Path) -> None:
        """To the job's user, with all that lies below."""
        for path in paths if self.user else ():
            for each in (path, *path.rglob("*")):
                os.chown(each, *self.user, follow_symlinks=False)

    # the commands -----------------------------------------------------------------------------------------------------
    def _run_commands(self, body: dict[str, Any]) -> tuple[str, int]:
        """Run them, and judge by exit code and output."""
        limit_s = float(body.get("timeout_s") or 0)
        deadline_s = time.monotonic() + limit_s if limit_s > 0 else float("inf")
        environment = self._environment(body)
        wanted = str((not self.lease.rank and body.get("success_string")) or "").encode("utf-8", "surrogatepass")
        began_s = time.monotonic()
        cause, exit_code = self._run_script(self._script(body["commands"]), environment, deadline_s)
        self.worked_ms = self.base_ms + int((time.monotonic() - began_s) * 1000)
        found = exit_code == 0 and (not wanted.strip() or holds_bytes(self.log, wanted))
        if cause == CHECKPOINTED:  # told to leave: a clean end may be either, unless the output says which
            return (DONE, 0) if wanted.strip() and found else (CHECKPOINTED, 0)
        if cause != DONE or exit_code:
            return FAILED if cause == DONE else cause, exit_code
        return (DONE, 0) if found else (STRING_MISSING, 0)

    def _script(self, commands: Sequence[str]) -> list[str]:
        """The lines as one script, as Run Command makes of them."""
        path = self.folder / f"commands{'.ps1' if _WINDOWS else '.sh'}"
        path.write_bytes("\n".join([*commands, ""]).encode("utf-8", "surrogatepass"))
        path.chmod(0o400)
        self._give(path)
        shell = ["powershell", "-NoProfile", "-NonInteractive", "-File"] if _WINDOWS else ["/bin/sh"]
        return [*shell, str(path)]

    def _environment(self, body: dict[str, Any]) -> dict[str, str]:
        """What the job asks for, and nothing of ours: no credentials, no configuration."""
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        return {
            **kept,
            **{str(name): str(value) for name, value in (body.get("env") or {}).items()},
            "HOME": str(self.work),
            "SPOTBED_JOB_ID": self.order.job,
            "SPOTBED_ATTEMPT": str(self.order.epoch),
            "SPOTBED_CHECKPOINT_DIR": str(self.kept),
            "SPOTBED_CHECKPOINT_EVERY_MS": str(self.order.checkpoint_every_ms),
            "SPOTBED_PROGRESS_MS": str(self.base_ms),
            "SPOTBED_METRICS": str(self.metrics),
            **self._gang(),
        }

    def _gang(self) -> dict[str, str]:
        """What a member of a gang knows of it."""
        if self.lease.size == 1:
            return {}
        return {
            "SPOTBED_GANG_RANK": str(self.lease.rank),
            "SPOTBED_GANG_SIZE": str(self.lease.size),
            "SPOTBED_GANG_HOSTS": ",".join(self.hosts),
        }

    def _run_script(self, argv: list[str], environment: dict[str, str], deadline_s: float) -> tuple[str, int]:
        self.lease.check()
        who: Any = {"user": self.user[0], "group": self.user[1], "extra_groups": []} if self.user else {}
        with self.log.open("ab") as log:
            try:
                process = subprocess.Popen(
                    argv, cwd=self.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=not _WINDOWS, **who,
                )  # fmt: skip
            except (OSError, ValueError) as error:  # no such shell; a NUL in the environment
                raise Failed(CANNOT_START, f"cannot start: {error}") from error
        ended = threading.Event()
        threading.Thread(target=lambda: [process.wait(), ended.set()], daemon=True).start()  # type: ignore[func-returns-value]
        try:
            cause = self._watch(ended, deadline_s)
            if cause in (TIMEOUT, CHECKPOINTED):
                _signal_group(process, signal.SIGTERM)
                ended.wait(self.config.grace_ms / 1000)
        finally:
            kill_descendants(process)
            ended.wait()
        self.lease.check()
        code = process.returncode
        return cause, TIMED_OUT if cause == TIMEOUT else 128 - code if code < 0 else code  # as a shell gives it

    def _watch(self, ended: threading.Event, deadline_s: float) -> str:
        """Until the process ends or must: the cause."""
        while not ended.wait(min(LOOK_EVERY_S, max(0.0, deadline_s - time.monotonic()))):
            self.lease.check()
            if leaves := self._leaves():
                return leaves
            if time.monotonic() >= deadline_s:
                return TIMEOUT
            self._keep_checkpoint()
        return DONE

    def _leaves(self) -> str:
        """The cause of leaving, if we were told to."""
        if self.heard & {signal.SIGTERM, signal.SIGINT}:
            return INTERRUPTED
        if self.heard or checkpoint_order(self.config.work_root, self.order).exists():
            self.lease.ask()
            return CHECKPOINTED
        return ""

    # the gang ---------------------------------------------------------------------------------------------------------
    def _gather(self) -> str:
        """Say where we are, and wait until all members have said so; the cause, if we must leave before."""
        self.lease.sit(host={"S": own_address(self.config, self.order.worker)})
        while not self._look(self._has_hosts):
            self.lease.check()
            if leaves := self._leaves():
                return leaves
            time.sleep(LOOK_EVERY_S)
        return ""

    def _look(self, holds: Callable[[list[dict[str, Any]]], bool]) -> bool:
        """Whether it holds of the seats; no, if the table does not answer. Raises LeaseLost."""
        with contextlib.suppress(*_outside()):
            return holds(self.lease.seats())
        return False

    def _has_hosts(self, seats: list[dict[str, Any]]) -> bool:
        self.hosts = [seat["host"]["S"] for seat in seats if "host" in seat]
        return len(self.hosts) == self.lease.size

    def _await_checkpoint(self) -> None:
        """All members leave together, and the checkpoint is that of the first: the job hears of no end before it is
        kept."""
        until_s = time.monotonic() + self.config.grace_ms / 1000
        while time.monotonic() < until_s and not self._look(lambda seats: "left" in seats[0]):
            time.sleep(LOOK_EVERY_S)

    # the checkpoint ---------------------------------------------------------------------------------------------------
    def _progress_ms(self) -> int:
        """What the job says that its checkpoint keeps; -1 when it says nothing."""
        text = _read(self.kept / "progress", self.owner)[:64].strip()
        return int(text) if text.isdigit() and len(text) < 16 else -1

    def _keep_checkpoint(self) -> None:
        """Keep a newer checkpoint under a prefix of its own, then let the item name it: it is whole, or the last one
        stands."""
        progress_ms = self._progress_ms()
        if progress_ms <= self.safe_ms or self.lease.lost.is_set() or self.lease.rank:
            return
        try:
            self._save(progress_ms)
        except _outside() as error:
            note(f"the checkpoint is not kept: {type(error).__name__}")

    def _save(self, progress_ms: int) -> None:
        self.saves += 1
        prefix = f"{self.prefix}checkpoint-{self.saves}/"
        self.bucket.send_all(self.kept, files_below(self.kept), prefix, Tagging="spotbed=checkpoint")  # which expires
        if self._progress_ms() != progress_ms:  # written while we read: the next look takes the newer one
            self.bucket.remove(prefix)
            return
        self.lease.write(safe_ms={"N": str(progress_ms)}, checkpoint={"S": prefix})
        before, self.saved, self.safe_ms = self.saved, prefix, progress_ms
        if before:
            self.bucket.remove(before)

    # after ------------------------------------------------------------------------------------------------------------
    def _send_outputs(self, body: dict[str, Any]) -> None:
        """Upload what the job made below the attempt's prefix; then, if the job names another, copy it there. Who reads
        either looks for the marker, which comes last."""
        patterns = [str(each) for each in body.get("outputs") or ()]
        if not patterns:
            return
        names = [name for name in files_below(self.work) if self._is_output(name, patterns)]
        sent = self.bucket.send_all(self.work, names, f"{self.prefix}output/")
        manifest = {"schema_version": 1, "job_id": self.order.job, "attempt": self.order.epoch, "files": sent}
        destination = str(body.get("output_prefix") or "")
        if destination:
            self._copy_outputs(sent, destination)
            self.lease.check()
            self.bucket.put(destination + MARKER, manifest)
        self.bucket.put(self.prefix + MARKER, manifest)
        self.output = f"{self.prefix}output/"

    def _is_output(self, name: str, patterns: list[str]) -> bool:
        matched = any(fnmatch.fnmatchcase(name, each + "*" if each.endswith("/") else each) for each in patterns)
        path = self.work / name
        return matched and path != self.metrics and self.staged.get(name) != _stamp(path)

    def _copy_outputs(self, sent: list[str], destination: str) -> None:
        ours = self.config.prefix  # below which only what was dropped is not ours
        if not destination.endswith("/") or (
            destination.startswith(ours or "jobs/") and not destination.startswith(f"{ours}drop/")
        ):
            raise Failed(
                USAGE, f"output_prefix {destination!r} must end with / and not lie where spotbed keeps its own"
            )
        for name in sent:
            self.lease.check()
            if name != MARKER:
                source = {"Bucket": self.bucket.name, "Key": f"{self.prefix}output/{name}"}
                self.bucket.client.copy(source, self.bucket.name, destination + name)

    def _tell_table(self, cause: str, exit_code: int, progress_ms: int) -> None:
        """Keep the log, and where it and the outputs lie; without either the result stands all the same. Of a gang, the
        first says what becomes of the job; another, what went wrong."""
        try:
            log = self._keep_log(cause)
            if self.lease.rank:
                self._tell_of_rank(cause, exit_code, log)
                return
            metrics = self._measured()
            said = json.dumps(metrics, sort_keys=True) if metrics else ""
            texts = {"log": log, "output": self.output, "metrics": said, "bucket": self.bucket.name}
            values = {name: {"S": text} for name, text in texts.items() if text}
            self.lease.write(exit_code={"N": str(exit_code)}, safe_ms={"N": str(progress_ms)}, **values)
        except _outside() as error:
            note(f"the log is not kept: {type(error).__name__}")
        if cause == CHECKPOINTED and self.lease.size > 1:
            self.lease.sit(left={"BOOL": True})

    def _tell_of_rank(self, cause: str, exit_code: int, log: str) -> None:
        if cause == CHECKPOINTED:
            self._await_checkpoint()
        elif cause != DONE:
            self.lease.write(exit_code={"N": str(exit_code)}, log={"S": log}, bucket={"S": self.bucket.name})
            return
        self.lease.renew()

    def _keep_log(self, cause: str) -> str:
        """Where the log lies now."""
        log = f"{self.prefix}log.txt"
        with self.log.open("rb") as file:
            self.bucket.client.upload_fileobj(file, self.bucket.name, log, {"Metadata": {"cause": cause}})
        return log

    def _measured(self) -> dict[str, float]:
        try:
            found = json.loads(_read(self.metrics, self.owner))
        except ValueError:
            return {}
        numbers = found.items() if isinstance(found, dict) else ()
        kept = [(name, value) for name, value in numbers if type(value) in (int, float) and value - value == 0]
        return dict(kept[:MOST_METRICS])

    def _report(self, cause: str, exit_code: int, progress_ms: int, *, held: bool = True) -> None:
        """Call Deliver until it has heard, as long as the lease is `held`; the id makes it hear once."""
        event = {"v": 1, "is": "AttemptEnded", "at_ms": int(time.time() * 1000), "cause": cause,
                 "job": self.order.job, "epoch": self.order.epoch, "exit_code": exit_code,
                 "progress_ms": progress_ms}  # fmt: skip
        payload = {"worker": self.order.worker, "id": f"{self.order.job}/{self.order.epoch}/ended", "event": event,
                   "attempt": {"base_ms": self.base_ms, "lasted_ms": event["at_ms"] - self.began_ms}}  # fmt: skip
        pause_s, until_s = 0.5, time.monotonic() + REPORT_FOR_LEASES * self.config.lease_ms / 1000
        while time.monotonic() < until_s:
            if held:
                self.lease.check()
            try:
                return _deliver(self.config, json.dumps(payload).encode())
            except _outside() as error:
                note(f"Deliver does not answer: {type(error).__name__}")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 30.0)
        raise LeaseLost  # it expires now, and the job runs again


def _stamp(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_mtime_ns, found.st_size


def _user(config: Config) -> tuple[int, int] | None:
    """(user, group) of the job's processes when we are root; None: our own."""
    if _WINDOWS or os.getuid() != 0:
        return None
    import pwd

    found = None
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(config.run_as)
    if found is None or found.pw_uid == 0:
        raise SystemExit(f"wrapper: run_as is {config.run_as!r}: an unprivileged user is needed")
    return found.pw_uid, found.pw_gid


def _client(service: str, config: Config) -> Any:
    import boto3
    from botocore.config import Config as Options

    options = Options(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5})
    make: Any = boto3.client
    return make(service, region_name=config.region, endpoint_url=config.endpoint_url, config=options)


def _outside() -> tuple[type[Exception], ...]:
    """What disk, network and AWS raise."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return OSError, Boto3Error, BotoCoreError, ClientError


def _deliver(config: Config, payload: bytes) -> None:
    if config.deliver_url:
        request = urllib.request.Request(config.deliver_url, payload, {"Content-Type": "application/json"})  # noqa: S310
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 our own configuration
        return
    answer = _client("lambda", config).invoke(FunctionName=config.deliver_function, Payload=payload)
    if "FunctionError" in answer:
        raise OSError("Deliver failed")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="wrapper.py", description="Run one attempt of a job.", allow_abbrev=False)
    for name, kind in (("--job", str), ("--epoch", int), ("--worker", str), ("--config", str)):
        parser.add_argument(name, type=kind, required=True)
    parser.add_argument("--checkpoint-every-ms", type=int, default=0)
    parser.add_argument("--order", choices=["checkpoint"])
    given = parser.parse_args(arguments)
    if not _WINDOWS:
        os.umask(0o022)
    config = Config(**json.loads(Path(given.config).read_text(encoding="utf-8")))
    if given.order:
        checkpoint_order(config.work_root, given).touch()
        return REPORTED
    attempt = Attempt(given, config)
    adopt_orphans()
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: attempt.heard.add(number))
    return attempt.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
