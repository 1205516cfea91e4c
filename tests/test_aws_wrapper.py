"""The program on the instance: real processes, real files, and moto's tables and buckets on loopback."""

from __future__ import annotations

import argparse
import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from aws import wrapper
from scheduler.codec import decode
from scheduler.events import AttemptEnded

PROGRAM = Path(wrapper.__file__)
HOSTILE = {
    "traversal": "../../other",
    "quotes": "a'b\"c`d",
    "substitution": "$(touch /tmp/spotbed-injected); touch /tmp/spotbed-injected #",
    "newline": "one\ntouch /tmp/spotbed-injected",
    "dash": "--config=/etc/passwd",
    "dots": "..",
    "unicode": "jöb/\u202e\U0001f600",
    "long": "x" * 2000,
}


def order_of(job: str, epoch: int, worker: str = "w1") -> argparse.Namespace:
    return argparse.Namespace(job=job, epoch=epoch, worker=worker)


@dataclass
class Cloud:
    """Tables and buckets, a Deliver that notes what it is told, and wrappers that run against them."""

    url: str
    root: Path
    told: list[dict[str, Any]] = field(default_factory=list)
    deliver_url: str = ""
    lease_ms: int = 30_000
    refuse: int = 0  # how many calls of Deliver fail

    def __post_init__(self) -> None:
        self.table, self.bucket = f"jobs-{self.root.name}", f"bucket-{self.root.name}".lower().replace("_", "-")
        self.tables, self.s3 = self._client("dynamodb"), self._client("s3")
        self.tables.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
        )
        self.s3.create_bucket(Bucket=self.bucket)

    def _client(self, service: str) -> Any:
        make: Any = boto3.client
        return make(service, region_name="us-east-1", endpoint_url=self.url,
                    aws_access_key_id="testing", aws_secret_access_key="testing")  # fmt: skip

    def submit(self, job: str = "j1", *, epoch: int = 1, **body: Any) -> None:
        item = {
            "job_id": {"S": job}, "phase": {"S": "leased"}, "epoch": {"N": str(epoch)}, "holder": {"S": "w1"},
            "lease_until_ms": {"N": str(int(time.time() * 1000) + self.lease_ms)}, "safe_ms": {"N": "0"},
            "body": {"S": json.dumps(body)},
        }  # fmt: skip
        self.tables.put_item(TableName=self.table, Item=item)

    def config(self, **changes: Any) -> Path:
        config = wrapper.Config(
            jobs_table=self.table, region="us-east-1", bucket=self.bucket, lease_ms=self.lease_ms,
            work_root=str(self.root / "work"), prefix="stack/", endpoint_url=self.url, deliver_url=self.deliver_url,
            run_as="nobody", grace_ms=2_000,
        )  # fmt: skip
        path = self.root / "config.json"
        path.write_text(json.dumps(asdict(config) | changes))
        return path

    def start(self, job: str = "j1", *more: str, epoch: int = 1, **changes: Any) -> subprocess.Popen[bytes]:
        argv = [sys.executable, str(PROGRAM), f"--job={job}", f"--epoch={epoch}", "--worker=w1",
                f"--config={self.config(**changes)}", *more]  # fmt: skip
        secrets = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "a-secret"}
        with (self.root / "stderr").open("ab") as stderr:
            return subprocess.Popen(argv, env={**os.environ, **secrets}, stderr=stderr)

    def run(self, job: str = "j1", *, epoch: int = 1, **body: Any) -> AttemptEnded:
        """Submit, run to the end, and say what was reported."""
        self.submit(job, epoch=epoch, **body)
        code = self.start(job, epoch=epoch).wait(60)
        assert code == wrapper.REPORTED, self.notes()
        return self.end(job, epoch)

    def end(self, job: str = "j1", epoch: int = 1) -> AttemptEnded:
        (told,) = [each for each in self.told if each["id"] == f"{job}/{epoch}/ended"]
        event = decode(told["event"])
        assert isinstance(event, AttemptEnded)
        assert (event.job, event.epoch, told["worker"]) == (job, epoch, "w1")
        return event

    def item(self, job: str = "j1") -> dict[str, str]:
        found = self.tables.get_item(TableName=self.table, Key={"job_id": {"S": job}})["Item"]
        return {name: next(iter(value.values())) for name, value in found.items()}

    def notes(self) -> str:
        return (self.root / "stderr").read_text()

    def listed(self, prefix: str = "") -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", ())]

    def read(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)

    def log(self, job: str = "j1") -> str:
        return self.read(self.item(job)["log"]).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def cloud(server: str) -> Iterator[Cloud]:
    with tempfile.TemporaryDirectory(prefix="spotbed") as folder:
        root = Path(folder)
        root.chmod(0o711)  # the job's user must pass
        made = Cloud(server, root)
        with deliver(made) as made.deliver_url:
            yield made


class deliver:  # noqa: N801 used as a function
    """An HTTP server that hears what Deliver would."""

    def __init__(self, cloud: Cloud) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if cloud.refuse:
                    cloud.refuse -= 1
                    self.send_error(500)
                    return
                cloud.told.append(json.loads(content))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/deliver"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to be")


def has_log(cloud: Cloud, job: str, text: bytes, epoch: int = 1) -> bool:
    path = wrapper.attempt_folder(str(cloud.root / "work"), order_of(job, epoch)) / "output.log"
    return path.exists() and text in path.read_bytes()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# exit code and output -------------------------------------------------------------------------------------------------
def test_a_job_succeeds_when_its_exit_code_is_zero_and_its_output_holds_the_string(cloud: Cloud) -> None:
    end = cloud.run(commands=["cd /tmp", "pwd; echo Hello World >&2"], success_string="Hello World")
    assert (end.cause, end.exit_code) == ("done", 0)
    assert cloud.log() == "/tmp\nHello World\n"  # the lines are one script, as with Run Command
    assert cloud.item()["exit_code"] == "0"
    assert end.progress_ms == int(cloud.item()["safe_ms"])
    assert list((cloud.root / "work").rglob("*/work")) == []


@pytest.mark.parametrize(
    ("commands", "wanted", "cause", "code"),
    [
        (["echo Hello EVERYONE"], "Hello World", "string-missing", 0),
        (["echo Hello World", "exit 7"], "Hello World", "failed", 7),
        (["kill -9 $$"], "", "failed", 137),
        (["true"], " ", "done", 0),  # in 2019 a blank switched the check off
        (["no-such-program"], "", "failed", 127),
        (["printf 'a\\0\\377b'"], "\ud800", "string-missing", 0),
    ],
)
def test_the_cause_says_what_went_wrong(cloud: Cloud, commands: list[str], wanted: str, cause: str, code: int) -> None:
    end = cloud.run(commands=commands, success_string=wanted)
    assert (end.cause, end.exit_code) == (cause, code)


def test_the_string_is_found_anywhere_in_a_long_output_that_is_no_text(cloud: Cloud) -> None:
    noise = "head -c 3000000 /dev/zero | tr '\\0' '\\377'"
    end = cloud.run(commands=[noise, "echo needle", noise], success_string="needle")
    assert end.cause == "done"
    assert len(cloud.read(cloud.item()["log"])) == 6_000_007


def test_our_own_words_are_not_the_jobs_output(cloud: Cloud) -> None:
    end = cloud.run(commands=["true"], success_string="needle")
    assert end.cause == "string-missing"
    assert cloud.log() == ""


def test_a_body_that_is_no_job_fails_and_does_not_come_back_for_ever(cloud: Cloud) -> None:
    end = cloud.run(commands=5)
    assert (end.cause, end.exit_code) == ("failed", wrapper.USAGE)
    assert "cannot be understood" in cloud.log()


def test_metrics_are_numbers_and_nothing_else(cloud: Cloud) -> None:
    cloud.run(commands=['echo \'{"cells": 12, "slack": -0.5, "bad": NaN, "name": "x"}\' > "$SPOTBED_METRICS"'])
    assert json.loads(cloud.item()["metrics"]) == {"cells": 12, "slack": -0.5}


# processes ------------------------------------------------------------------------------------------------------------
def test_the_time_limit_ends_the_whole_group_and_what_has_left_it(cloud: Cloud) -> None:
    commands = ["sleep 600 & echo $! >> pids", "setsid sleep 600 & echo $! >> pids", "echo started", "sleep 600"]
    end = cloud.run(commands=commands, timeout_s=1.5, outputs=["pids"])
    assert (end.cause, end.exit_code) == ("timeout", wrapper.TIMED_OUT)
    assert "started" in cloud.log()
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 600" not in out.splitlines()


def test_what_a_job_leaves_in_the_background_ends_with_it(cloud: Cloud) -> None:
    end = cloud.run(commands=["setsid sleep 601 &", "echo done"])
    assert end.cause == "done"
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 601" not in out.splitlines()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_job_runs_unprivileged_and_knows_no_secret(cloud: Cloud) -> None:
    end = cloud.run(commands=["id -un", "env", f"cat {cloud.root}/config.json", "touch /etc/spotbed-was-here", "true"])
    assert end.cause == "done"
    log = cloud.log()
    assert log.startswith("nobody\n")
    assert "a-secret" not in log
    assert cloud.deliver_url not in log or "Permission denied" in log
    assert not Path("/etc/spotbed-was-here").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root needs another user")
@pytest.mark.parametrize("user", ["", "root", "no-such-user"])
def test_root_refuses_to_run_a_job_as_itself(cloud: Cloud, user: str) -> None:
    cloud.submit(commands=["touch /tmp/spotbed-injected"])
    assert cloud.start(run_as=user).wait(60) == 1
    assert "an unprivileged user is needed" in cloud.notes()


def test_a_signal_ends_the_job_and_reports_an_interruption(cloud: Cloud) -> None:
    cloud.submit(commands=["echo $$", "exec sleep 602"])
    process = cloud.start()
    eventually(lambda: has_log(cloud, "j1", b"\n"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == wrapper.INTERRUPTED_EXIT
    assert cloud.end().cause == "interrupted"
    assert not running(int(cloud.log()))


# the lease ------------------------------------------------------------------------------------------------------------
def test_nothing_runs_without_the_lease(cloud: Cloud) -> None:
    cloud.submit(epoch=2, commands=["touch /tmp/spotbed-injected"])
    assert cloud.start(epoch=1).wait(60) == wrapper.LOST
    assert cloud.told == []
    assert cloud.listed() == []


def test_an_attempt_that_is_started_twice_runs_once(cloud: Cloud) -> None:
    cloud.run(commands=["true"])
    assert cloud.start().wait(60) == wrapper.LOST
    assert len(cloud.told) == 1


def test_the_lease_is_renewed_while_the_job_runs(cloud: Cloud) -> None:
    cloud.lease_ms = 900
    cloud.submit(commands=["sleep 2"])
    process = cloud.start()
    seen = set()
    while process.poll() is None:
        seen.add(int(cloud.item()["lease_until_ms"]))
        time.sleep(0.1)
    assert cloud.end().cause == "done"
    assert len(seen) > 4
    assert max(seen) - min(seen) > 1500


def test_what_a_job_wrote_does_not_fill_the_disk_of_an_instance_that_runs_many(cloud: Cloud) -> None:
    end = cloud.run(commands=["head -c 100000 /dev/zero; head -c 100000 /dev/zero > made"], outputs=["made"])
    assert end.cause == "done"
    assert len(cloud.log()) == 100_000
    left = [path for path in (cloud.root / "work").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 1_000


def test_who_loses_the_lease_kills_the_job_and_reports_nothing(cloud: Cloud) -> None:
    cloud.lease_ms = 900
    cloud.submit(commands=["echo $$", "exec sleep 603"], outputs=["*"])
    process = cloud.start()
    eventually(lambda: has_log(cloud, "j1", b"\n"))
    log = wrapper.attempt_folder(str(cloud.root / "work"), order_of("j1", 1)) / "output.log"
    job = int(log.read_text())
    cloud.submit(epoch=2, commands=["true"])
    assert process.wait(60) == wrapper.LOST
    assert not running(job)
    assert cloud.told == []
    assert cloud.listed() == []
    assert "log" not in cloud.item()


def test_a_deliver_that_fails_is_called_again(cloud: Cloud) -> None:
    cloud.refuse = 2
    assert cloud.run(commands=["true"]).cause == "done"


# checkpoints ----------------------------------------------------------------------------------------------------------
STEPS = """
step=$(cat "$SPOTBED_CHECKPOINT_DIR/step" 2>/dev/null || echo 0)
echo "from $step, $SPOTBED_PROGRESS_MS ms"
save() {
  echo "$step" > "$SPOTBED_CHECKPOINT_DIR/step"
  echo $((step * 1000)) > "$SPOTBED_CHECKPOINT_DIR/.new"
  mv "$SPOTBED_CHECKPOINT_DIR/.new" "$SPOTBED_CHECKPOINT_DIR/progress"
}
trap 'save; exit 0' TERM
while [ "$step" -lt "$1" ]; do step=$((step + 1)); sleep 0.05; done
"""


def test_a_job_that_must_leave_writes_a_checkpoint_and_goes_on_from_it(cloud: Cloud) -> None:
    script = ["set -- 100000", STEPS]
    cloud.submit(commands=script)
    process = cloud.start()
    eventually(lambda: has_log(cloud, "j1", b"from 0, 0 ms"))
    time.sleep(0.3)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == wrapper.REPORTED
    end = cloud.end()
    assert end.cause == "checkpointed"
    assert end.progress_ms >= 1000
    assert int(cloud.item()["safe_ms"]) == end.progress_ms
    item = cloud.item()
    cloud.tables.update_item(
        TableName=cloud.table, Key={"job_id": {"S": "j1"}}, UpdateExpression="SET epoch = :two, body = :body",
        ExpressionAttributeValues={":two": {"N": "2"}, ":body": {"S": json.dumps({"commands": ["set -- 0", STEPS]})}},
    )  # fmt: skip
    assert cloud.start(epoch=2).wait(60) == wrapper.REPORTED
    assert cloud.end(epoch=2).cause == "done"
    assert cloud.log() == f"from {end.progress_ms // 1000}, {item['safe_ms']} ms\n"


def test_the_order_to_leave_also_comes_as_a_command(cloud: Cloud) -> None:
    cloud.submit(commands=["echo up", "sleep 604"])
    process = cloud.start()
    eventually(lambda: has_log(cloud, "j1", b"up"))
    assert cloud.start("j1", "--order=checkpoint").wait(60) == 0
    assert process.wait(60) == wrapper.REPORTED
    assert (cloud.end().cause, cloud.end().progress_ms) == ("checkpointed", 0)


def test_the_order_may_overtake_the_start(cloud: Cloud) -> None:
    cloud.submit(commands=["sleep 607"])
    (cloud.root / "work").mkdir()
    assert cloud.start("j1", "--order=checkpoint").wait(60) == 0
    assert cloud.start().wait(60) == wrapper.REPORTED
    assert cloud.end().cause == "checkpointed"


def test_a_checkpoint_is_safe_while_the_job_runs_on(cloud: Cloud) -> None:
    cloud.submit(commands=['echo x > "$SPOTBED_CHECKPOINT_DIR/state"', 'echo 4200 > "$SPOTBED_CHECKPOINT_DIR/progress"',
                           "sleep 605"])  # fmt: skip
    process = cloud.start()
    eventually(lambda: cloud.item()["safe_ms"] == "4200")
    assert cloud.read(cloud.item()["checkpoint"] + "state") == b"x\n"
    process.terminate()
    process.wait()


def test_a_job_that_ends_well_when_told_to_leave_is_done_if_its_output_says_so(cloud: Cloud) -> None:
    cloud.submit(
        commands=["trap 'echo all done; exit 0' TERM", "echo up", "sleep 606 & wait"], success_string="all done"
    )
    process = cloud.start()
    eventually(lambda: has_log(cloud, "j1", b"up"))
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == wrapper.REPORTED
    assert cloud.end().cause == "done"


# files ----------------------------------------------------------------------------------------------------------------
def test_inputs_come_and_outputs_are_whole_before_anyone_sees_them(cloud: Cloud) -> None:
    cloud.put("drop/deck/run.sp", b"deck")
    cloud.put("drop/deck/lib/models.inc", b"models")
    cloud.put("one.txt", b"1")
    end = cloud.run(
        commands=["cat run.sp lib/models.inc ../one > result.log", "mkdir out; echo w > out/w.raw", "echo > scratch"],
        inputs=[{"prefix": "drop/deck/", "to": "deck"}, {"key": "one.txt", "to": "one"}],
        workdir="deck", outputs=["*.log", "deck/out/"], output_prefix="drop/results/",
    )  # fmt: skip
    assert end.cause == "done", cloud.log()
    output = cloud.item()["output"]
    assert [key.removeprefix(output) for key in cloud.listed(output)] == ["deck/out/w.raw", "deck/result.log"]
    assert cloud.read("drop/results/deck/result.log") == b"deckmodels1"
    marker = json.loads(cloud.read("drop/results/" + wrapper.MARKER))
    assert marker["files"] == ["deck/out/w.raw", "deck/result.log"]


def test_a_failed_attempt_shows_no_outputs(cloud: Cloud) -> None:
    cloud.run(commands=["echo x > a", "exit 1"], outputs=["*"], output_prefix="results/")
    assert "output" not in cloud.item()
    assert [key for key in cloud.listed() if not key.endswith("log.txt")] == []


def test_an_input_that_is_missing_fails_the_attempt_and_says_which(cloud: Cloud) -> None:
    end = cloud.run(commands=["true"], inputs=["no/such/key"])
    assert (end.cause, end.exit_code) == ("failed", wrapper.NO_INPUT)
    assert "no/such/key" in cloud.log()


@pytest.mark.parametrize("to", ["../../etc/x", "/etc/x", "a/../../b", "", "a//b", "a\0b"])
def test_paths_stay_in_the_work_directory(tmp_path: Path, to: str) -> None:
    with pytest.raises(wrapper.Failed):
        wrapper.inside(tmp_path, to)


def test_a_key_that_climbs_out_is_refused(cloud: Cloud) -> None:
    cloud.put("in/../../../escape", b"x")
    end = cloud.run(commands=["true"], inputs=["in/"])
    assert (end.cause, end.exit_code) == ("failed", wrapper.NO_INPUT)
    assert not list(cloud.root.rglob("escape"))


@pytest.mark.parametrize("kept", ["stack/jobs/other/", "stack/", "stack/plan.json/"])
def test_results_never_land_among_another_jobs_or_what_the_stack_keeps(cloud: Cloud, kept: str) -> None:
    end = cloud.run(commands=["echo x > a"], outputs=["a"], output_prefix=kept)
    assert (end.cause, end.exit_code) == ("failed", wrapper.USAGE)
    assert [key for key in cloud.listed(kept) if not key.startswith("stack/jobs/j1/")] == []


def test_results_of_a_dropped_folder_land_in_it(cloud: Cloud) -> None:
    end = cloud.run(commands=["echo x > a"], outputs=["a"], output_prefix="stack/drop/deck/out/")
    assert end.cause == "done"
    assert cloud.read("stack/drop/deck/out/a") == b"x\n"


def test_links_and_pipes_lead_nobody_out(cloud: Cloud) -> None:
    secret = cloud.root / "secret"
    secret.write_text("not yours")
    secret.chmod(0o600)
    end = cloud.run(commands=[f"ln -s {secret} link; ln -s {cloud.root} folder; mkfifo pipe; echo mine > file"],
                    outputs=["*"])  # fmt: skip
    assert end.cause == "done"
    assert [key.rsplit("/", 1)[1] for key in cloud.listed(cloud.item()["output"])] == ["file"]


def test_names_of_files_may_be_anything(cloud: Cloud) -> None:
    cloud.run(commands=["touch \"$(printf 'a\\377')\" 'x;y' 'new\nline' ' blank '"], outputs=["*"])
    output = cloud.item()["output"]
    names = sorted(key.removeprefix(output) for key in cloud.listed(output))
    assert names == [" blank ", "a%FF", "new%0Aline", "x;y"]


# hostile names --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("job", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_id_is_data(cloud: Cloud, job: str) -> None:
    trap = Path("/tmp/spotbed-injected")
    end = cloud.run(job, commands=['printf %s "$SPOTBED_JOB_ID"', "echo x > a"], outputs=["a"], success_string=job,
                    env={"OF_THE_JOB": job})  # fmt: skip
    assert end.cause == "done", cloud.log(job)
    assert cloud.log(job) == job
    assert not trap.exists()
    assert all(key.startswith(wrapper.job_prefix("stack/", job)) for key in cloud.listed())


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_two_jobs_share_a_prefix(one: str, two: str) -> None:
    first, second = wrapper.job_prefix("p/", one), wrapper.job_prefix("p/", two)
    assert (first == second) == (one == two)
    assert first.count("/") == 3
    assert len(first) < 200
    assert not first.startswith(second) or one == two
    assert first.split("/")[2].strip(".")


# what it is made of ---------------------------------------------------------------------------------------------------
def test_it_speaks_the_python_of_old_instances_and_imports_only_the_standard_library() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))
    names = [name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names]
    names += [str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_no_shell_line_of_ours() -> None:
    tree = ast.parse(PROGRAM.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls for keyword in call.keywords if keyword.arg == "shell"]
    assert not [call for call in calls if ast.unparse(call.func) in ("os.system", "os.popen")]
