"""A cluster comes to the same results as one process, byte for byte: workers in processes of their own, in another
folder, without the user's files, and one of them killed on the way."""

from __future__ import annotations

import contextlib
import filecmp
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spotbed import api, engines
from spotbed.cli.app import app
from spotbed.engines import Engine
from spotbed.errors import OutsideError
from spotbed.guard import PolicyFailure
from spotbed.sweep import Request, run_sweep

SCENARIO = """\
workload: {source: csv, path: jobs.csv}
capacity:
  pools:
    - {id: spot, instance_type: c6i.xlarge, az: us-east-1a, max: 20}
    - {id: od, instance_type: c6i.xlarge, purchase: on-demand, max: 20}
market: {interruptions: {source: weibull, up: {shape: 0.6, scale: 1h}, down: {shape: 0.7, scale: 20m}, burst: 3m}}
policies: [{use: on-demand-only, label: first}, {use: own.py:Own, label: own, protect: daly}]
replications: 20
sweep: {checkpoint.write: [15s, 3m]}
"""
OWN = """\
from scheduler.policies.place import LowestPrice

SHORTEST_FIRST = 1


class Own(LowestPrice):
    def key(self, job):
        return SHORTEST_FIRST * job.ticket.estimate_ms
"""
JOBS = "id,submit,runtime,vcpus,memory_gib\n" + "".join(
    f"{number},{number * 30},{(10 + number % 7 * 12) * 60},4,8\n" for number in range(20)
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with s.yaml and the files that it names."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, text in (("s.yaml", SCENARIO), ("own.py", OWN), ("jobs.csv", JOBS)):
        Path(name).write_text(text)
    return folder


class Cluster:
    """Processes of a cluster, each in a folder and a session of its own, in which no file of the user can be opened."""

    def __init__(self, folder: Path, users: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        (folder / "python").mkdir(parents=True)
        (folder / "python" / "sitecustomize.py").write_text(CLOSED.format(folder=str(users)))
        path = os.pathsep.join(filter(None, (str(folder / "python"), os.environ.get("PYTHONPATH"))))
        self.environment = {**os.environ, "PYTHONPATH": path}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        own = self.folder / str(len(self.processes))
        own.mkdir()
        command = [sys.executable, "-m", *arguments]
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=own, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self.processes):
            kill(process)
            process.wait()


CLOSED = """\
import sys

def refuse(event, arguments):
    if event == "open" and str(arguments[0]).startswith({folder!r}):
        raise PermissionError("no file of the user is here")

sys.addaudithook(refuse)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    pytest.fail(otherwise)


def kill(process: subprocess.Popen[bytes]) -> None:
    """It, and all that it started, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class DaskCluster(Cluster):
    """A Dask scheduler and workers."""

    def __init__(self, folder: Path, users: Path) -> None:
        super().__init__(folder, users)
        port = str(free_port())
        self.address = f"tcp://127.0.0.1:{port}"
        self.start("dask", "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        wait_until(lambda: answers(int(port)), "the Dask scheduler does not listen")

    def workers(self, count: int) -> list[subprocess.Popen[bytes]]:
        own = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", "--no-dashboard")
        return [self.start("dask", "worker", self.address, *own) for _ in range(count)]


@pytest.fixture
def cluster(tmp_path: Path, here: Path) -> Iterator[DaskCluster]:
    pytest.importorskip("distributed", reason="the extra spotbed[dask] is not installed")
    started = DaskCluster(tmp_path / "cluster", here)
    try:
        yield started
    finally:
        started.stop()


class RayCluster(Cluster):
    """A Ray head without CPUs, and nodes of one CPU, each with an address of its own on the loopback: Ray tells nodes
    apart by it. Each node is a raylet and the worker processes that it starts."""

    def __init__(self, folder: Path, users: Path) -> None:
        super().__init__(folder, users)
        self.address = f"127.0.0.2:{free_port()}"
        port = self.address.rpartition(":")[2]
        sockets = ("--temp-dir", str(folder / "ray"))  # a short path: that of a socket has at most 107 characters
        self._node("--head", "--port", port, "--num-cpus", "0", "--include-dashboard", "false", *sockets)

    def workers(self, count: int) -> list[subprocess.Popen[bytes]]:
        return [self._node("--address", self.address, "--num-cpus", "1") for _ in range(count)]

    def _node(self, *arguments: str) -> subprocess.Popen[bytes]:
        """One after the other: nodes that start at the same time take each other's ports."""
        number = len(self.processes)
        address = ("--node-ip-address", f"127.0.0.{2 + number}", "--disable-usage-stats", "--block")
        process = self.start("ray.scripts.scripts", "start", *arguments, *address)
        log = self.folder / str(number) / "log"
        wait_until(lambda: "Ray runtime started" in log.read_text("utf-8"), f"a node of Ray does not start: {log}")
        return process


@pytest.fixture
def ray_cluster(here: Path) -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="the extra spotbed[ray] is not installed: it has 270 MB")
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        started = RayCluster(Path(folder) / "c", here)
        try:
            yield started
        finally:
            started.stop()


class Killing:
    """Kills a process once so large a share is done."""

    def __init__(self, victim: subprocess.Popen[bytes], share: float = 0.4) -> None:
        self.victim = victim
        self.share = share
        self.killed_at: float | None = None

    def update(self, done: int, total: int, note: str = "") -> None:
        if self.killed_at is None and done >= self.share * total:
            self.killed_at = done / total
            kill(self.victim)


def differing(one: Path, other: Path) -> list[str]:
    """The files of two results that are not the same, byte for byte."""
    names = {path.relative_to(each) for each in (one, other) for path in each.rglob("*") if path.is_file()}
    return [str(name) for name in sorted(names) if not _same(one / name, other / name)]


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def test_dask_comes_to_the_same_bytes_with_a_worker_killed_on_the_way(cluster: DaskCluster) -> None:
    serial = api.compare_scenario("s.yaml", jobs=1, out=Path("serial")).path
    victim, _ = cluster.workers(2)
    killing = Killing(victim)
    engine = Engine("dask", cluster.address)
    clustered = api.compare_scenario("s.yaml", engine=engine, progress=killing, out=Path("clustered")).path
    assert killing.killed_at is not None
    assert 0.4 <= killing.killed_at < 1
    victim.wait()
    assert differing(serial, clustered) == []
    assert sorted(path.name for path in Path().iterdir()) == ["clustered", "jobs.csv", "own.py", "s.yaml", "serial"]


def test_a_worker_that_comes_after_the_only_one_has_died_does_the_rest(cluster: DaskCluster) -> None:
    serial = api.compare_scenario("s.yaml", jobs=1, out=Path("serial")).path
    (victim,) = cluster.workers(1)

    class Replacing(Killing):
        def update(self, done: int, total: int, note: str = "") -> None:
            was_alive = self.killed_at is None
            super().update(done, total, note)
            if was_alive and self.killed_at is not None:
                cluster.workers(1)

    engine, replacing = Engine("dask", cluster.address), Replacing(victim)
    clustered = api.compare_scenario("s.yaml", engine=engine, progress=replacing, out=Path("clustered")).path
    assert replacing.killed_at is not None
    victim.wait()
    assert differing(serial, clustered) == []


def test_that_the_only_worker_has_died_is_told(monkeypatch: pytest.MonkeyPatch, cluster: DaskCluster) -> None:
    (victim,) = cluster.workers(1)
    monkeypatch.setattr(engines, "PATIENCE_S", 10.0)
    told = r"has no worker after 10 s.\nKept: \d+ of 40 worlds.*\nTo go on: start workers"
    with pytest.raises(OutsideError, match=told):
        api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address), progress=Killing(victim))


def test_a_worker_gets_the_jobs_of_an_earlier_run_of_which_another_file_is_named(cluster: DaskCluster) -> None:
    api.run_scenario("s.yaml", out=Path("earlier"))
    text = SCENARIO.replace("source: csv, path: jobs.csv", "source: journal, path: earlier/journal.parquet")
    Path("s.yaml").write_text(text.replace("replications: 20", "replications: 4"))
    serial = api.compare_scenario("s.yaml", jobs=1, out=Path("serial")).path
    cluster.workers(1)
    clustered = api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address), out=Path("clustered")).path
    assert differing(serial, clustered) == []


def test_a_sweep_on_dask_goes_on_from_what_is_kept_here(cluster: DaskCluster) -> None:
    serial = run_sweep(Request(Path("s.yaml"), engine=Engine(processes=1), out=Path("serial"))).path
    cluster.workers(1)

    class Impatient:
        def update(self, done: int, total: int, note: str = "") -> None:
            if total == 80 and done >= 20:
                raise KeyboardInterrupt

    request = Request(Path("s.yaml"), engine=Engine("dask", cluster.address), out=Path("clustered"))
    with pytest.raises(KeyboardInterrupt, match=r"of 80 worlds in .clustered.unfinished"):
        run_sweep(request, Impatient())
    assert len(list(Path(".clustered.unfinished").rglob("*.pickle"))) >= 20
    assert differing(serial, run_sweep(request).path) == []


def test_what_a_users_policy_does_wrong_on_a_worker_is_told_with_its_line(cluster: DaskCluster) -> None:
    Path("own.py").write_text(OWN.replace("job.ticket.estimate_ms", "job.ticket.no_such_thing"))
    cluster.workers(1)
    with pytest.raises(PolicyFailure, match=r"own.py:8.*no_such_thing"):
        api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address))


def test_a_worker_with_another_spotbed_is_refused(monkeypatch: pytest.MonkeyPatch, cluster: DaskCluster) -> None:
    cluster.workers(1)
    monkeypatch.setattr("spotbed.errands.code_sha256", lambda: "another")
    with pytest.raises(OutsideError, match="runs another spotbed"):
        api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address))


def test_a_scheduler_without_workers_is_told(monkeypatch: pytest.MonkeyPatch, cluster: DaskCluster) -> None:
    monkeypatch.setattr(engines, "PATIENCE_S", 3.0)
    with pytest.raises(OutsideError, match=r"has no worker after 3 s.\nKept: .*\nTo go on: start workers"):
        api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address))


def test_an_address_that_does_not_answer_is_told_with_a_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra spotbed[dask] is not installed")
    monkeypatch.setattr(engines, "PATIENCE_S", 1.0)
    found = CliRunner().invoke(app, ["compare", "s.yaml", "--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"])
    assert found.exit_code == 1
    assert "error: No Dask scheduler answers at tcp://127.0.0.1:1" in found.stderr
    assert "To go on: look whether it runs" in found.stderr
    assert "Traceback" not in found.stderr
    assert not Path("reports").exists()


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_an_engine_that_is_not_installed_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    missing = {"distributed", "ray"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda what, *more: None if what in missing else find(what, *more))
    found = CliRunner().invoke(app, ["compare", "s.yaml", "--engine", name])
    assert found.exit_code == 2
    assert f"pip install 'spotbed[{name}]'" in found.stderr


@pytest.mark.slow
def test_ray_comes_to_the_same_bytes_with_a_node_killed_on_the_way(
    ray_cluster: RayCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """The raylet of the node and the processes that run its tasks are killed together. What Ray says of it stays out of
    what a command may print as JSON."""
    serial = api.compare_scenario("s.yaml", jobs=1, out=Path("serial")).path
    victim, _ = ray_cluster.workers(2)
    killing = Killing(victim)
    engine = Engine("ray", ray_cluster.address)
    clustered = api.compare_scenario("s.yaml", engine=engine, progress=killing, out=Path("clustered")).path
    assert killing.killed_at is not None
    assert 0.4 <= killing.killed_at < 1
    victim.wait()
    assert differing(serial, clustered) == []
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_what_a_users_policy_does_wrong_on_a_node_of_ray_is_told_with_its_line(ray_cluster: RayCluster) -> None:
    Path("own.py").write_text(OWN.replace("job.ticket.estimate_ms", "job.ticket.no_such_thing"))
    ray_cluster.workers(1)
    with pytest.raises(PolicyFailure, match=r"own.py:8.*no_such_thing"):
        api.compare_scenario("s.yaml", engine=Engine("ray", ray_cluster.address))
