"""The background process of a stack: the emulated services, the executions, the fleet, and a door for the others.

    python -m aws.local.region FOLDER

`FOLDER/spec.json` says what to run; `FOLDER/region.json` is written when the region answers, and says where.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aws import functions, operate
from aws.control import Control, PoolSpec
from aws.effects import DelayedMessages, Queues
from aws.local import cloud
from aws.local.executions import Executor, retried
from aws.local.instances import LocalFleet
from aws.policy import guarded_from
from aws.rebuild import S3Results
from aws.store import Store
from aws.translate import ready
from aws.wrapper import Config
from scheduler.codec import encode

SPEC, ADDRESS, CONFIG, JOURNAL, PACKAGE = "spec.json", "region.json", "config.json", "journal.jsonl", "package"
_LOOK_EVERY_S = 0.2  # at the queue
_BATCH = 10  # messages of one receive: the most that SQS gives
_ROW_TRIES, _ROW_PAUSE_S = 100, 0.05  # an agent may register before its worker's record is written


class FileJournal:
    """The journal as lines of a file; the same lines as in the log of the functions."""

    def __init__(self, path: Path) -> None:
        self._file, self._lock = path.open("a", encoding="utf-8"), threading.Lock()

    def step(self, role: str, subject: str, event: Any, commands: Sequence[Any]) -> None:
        self._write([event.at_ms, role, subject, encode(event), [encode(command) for command in commands]])

    def fact(self, at_ms: int, kind: str, subject: str, body: dict[str, Any]) -> None:
        self._write([at_ms, "world", subject, {"fact": kind, **body}, []])

    def _write(self, line: list[Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


class Region:
    """One stack. `spec` holds `policy` and `pools` as a plan has them, `work_root`, `run_as` and `grace_ms`."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.folder, self._spec = folder, spec
        self._closed = threading.Event()
        self._bus = ThreadPoolExecutor(4, "bus")
        self.cloud = cloud.Cloud()
        self.door = Door(self)
        (folder / "logs").mkdir(exist_ok=True)
        self.fleet = LocalFleet(folder / CONFIG, folder / "logs", self._registered, self._say)
        self.journal = FileJournal(folder / JOURNAL)
        self.executor = Executor({"StepFunction": self._step, "ParkFunction": self._park}, tell)

    # its life -------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        self.cloud.start()
        self.queues = self.cloud.furnish()
        self.control = self._control()
        settings = asdict(self.control.policy.settings)
        self.journal.fact(self.control.now_ms(), "stack", self.folder.name, {"target": "local", "settings": settings})
        self.door.start()
        self._configure()
        for act, every_s in ((self._take_in, _LOOK_EVERY_S), (self._tick, self.control.policy.settings.tick_ms / 1000)):
            threading.Thread(target=self._repeat, args=(act, every_s), daemon=True).start()
        address = {"pid": os.getpid(), "url": self.cloud.url, "door": self.door.url, **asdict(self.queues)}
        _write_private(self.folder / ADDRESS, address)

    def close(self) -> None:
        self._closed.set()
        self.executor.close()
        self.fleet.close()
        self._bus.shutdown(cancel_futures=True)
        self.door.stop()
        self.cloud.stop()
        self.journal.close()
        (self.folder / ADDRESS).unlink(missing_ok=True)

    def _control(self) -> Control:
        sqs, queues = self.cloud.client("sqs"), self.queues
        return Control(
            Store(self.cloud.client("dynamodb"), cloud.TABLES),
            guarded_from(self._spec["policy"]),
            self.fleet,
            self.executor,
            Queues(sqs, None, queues.finished, queues.dead),
            DelayedMessages(sqs, queues.jobs),
            self,
            self.journal,
            {each["id"]: PoolSpec(**each) for each in self._spec["pools"]},
            lambda: time.time_ns() // 1_000_000,
            results=S3Results(self.cloud.client("s3"), (cloud.BUCKET,), cloud.PREFIX),
        )

    def _configure(self) -> None:
        """What wrappers read."""
        config = Config(
            jobs_table=cloud.TABLES.jobs,
            region=cloud.REGION,
            bucket=cloud.BUCKET,
            prefix=cloud.PREFIX,
            lease_ms=self.control.policy.settings.lease_ms,
            work_root=self._spec["work_root"],
            endpoint_url=self.cloud.url,
            deliver_url=f"{self.door.url}/deliver",
            run_as=self._spec["run_as"],
            grace_ms=self._spec["grace_ms"],
        )
        _write_private(self.folder / CONFIG, asdict(config))

    def _repeat(self, act: Callable[[], None], every_s: float) -> None:
        while not self._closed.wait(every_s):
            try:
                act()
            except Exception as error:  # noqa: BLE001 the next time may do better
                tell(f"{act.__name__}: {type(error).__name__}: {error}")

    # the functions and what calls them --------------------------------------------------------------------------------
    def _step(self, payload: dict[str, Any]) -> dict[str, Any]:
        return functions.step(payload, None, self.control)

    def _park(self, payload: dict[str, Any]) -> dict[str, Any]:
        return functions.park(payload, None, self.control)

    def _tick(self) -> None:
        functions.fleet({}, None, self.control)

    def _take_in(self) -> None:
        """The event source mapping: messages that the function does not refuse are deleted."""
        sqs, url = self.cloud.client("sqs"), self.queues.jobs
        while found := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=_BATCH, AttributeNames=["ApproximateReceiveCount"]
        ).get("Messages", ()):
            records = [
                {"messageId": each["MessageId"], "body": each["Body"], "attributes": each["Attributes"]}
                for each in found
            ]
            failed = functions.intake({"Records": records}, None, self.control)["batchItemFailures"]
            again = {each["itemIdentifier"] for each in failed}
            for each in found:
                if each["MessageId"] not in again:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])

    def _say(self, payload: dict[str, Any]) -> None:
        """EventBridge: the function is called, and called again if it fails."""
        if not self._closed.is_set():
            self._bus.submit(retried, lambda: functions.deliver(payload, None, self.control), tell)

    def wake(self, worker: str, event_id: str) -> None:
        """A hint, as an asynchronous call of Deliver."""
        self._say({"worker": worker, "id": event_id, "wakes": True})

    def _registered(self, worker: str) -> None:
        for _ in range(_ROW_TRIES):
            if self.control.store.worker(worker) is not None:
                break
            time.sleep(_ROW_PAUSE_S)
        heard = ready(worker, self.control.now_ms())
        self._say({"worker": worker, "id": heard.event_id, "event": encode(heard.event)})

    # what the door takes ----------------------------------------------------------------------------------------------
    def deliver(self, payload: dict[str, Any]) -> dict[str, Any]:
        """From a wrapper."""
        if self.fleet.strikes("mid-completion"):
            self.fleet.lose(payload["worker"])
            return {}  # nobody has heard it
        return functions.deliver(payload, None, self.control)

    def operate(self, payload: dict[str, Any]) -> dict[str, Any]:
        """From a user."""
        return functions.operate(payload, None, self.control)

    def kill(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.fleet.kill(payload["kind"], payload.get("worker", ""), float(payload.get("lead_s", 1.0)))
        return {}

    def status(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"instances": dict(self.fleet.live()), "executions": self.executor.running, "armed": self.fleet.armed,
                "drained": operate.since_ms(self.control) >= 0}  # fmt: skip

    def destroy(self, payload: dict[str, Any]) -> dict[str, Any]:
        threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        return {}


class Door:
    """HTTP on loopback, behind a path that nobody guesses."""

    CALLS = ("deliver", "operate", "kill", "status", "destroy")

    def __init__(self, region: Region) -> None:
        secret = secrets.token_urlsafe(24)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """One call; what it raises is answered as 500."""
                first, _, name = self.path.removeprefix("/").partition("/")
                if not secrets.compare_digest(first.encode(), secret.encode()) or name not in Door.CALLS:
                    self.send_error(404)
                    return
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    answer = json.dumps(getattr(region, name)(payload)).encode()
                except Exception as error:  # noqa: BLE001 the caller is told
                    tell(f"{name}: {type(error).__name__}: {error}")
                    self.send_error(500, type(error).__name__)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Nothing: the path is a secret."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/{secret}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def tell(text: str) -> None:
    """A line of the region's log."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def _write_private(path: Path, document: Any) -> None:
    """Whole or not at all, and readable by nobody else."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(document), encoding="utf-8")
    new.replace(path)


def main(folder: Path) -> None:
    os.environ.update(cloud.CREDENTIALS)
    if (folder / PACKAGE).is_dir():
        sys.path.insert(0, str(folder / PACKAGE))  # the user's own policies
    region = Region(folder, json.loads((folder / SPEC).read_text("utf-8")))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=ended.set).start())
    region.start()
    ended.wait()
    region.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
