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
import time
from collections.abc import Iterator
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
    """A Dask scheduler and workers, each a process of its own in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2])

    def workers(self, count: int) -> list[subprocess.Popen[bytes]]:
        return [
            self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
            for _ in range(count)
        ]

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        own = self.folder / f"{kind}-{len(self.processes)}"
        own.mkdir(parents=True)
        command = [sys.executable, "-m", "dask", kind, *arguments, "--no-dashboard"]
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=own, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="the extra spotbed[dask] is not installed")
    started = Cluster(tmp_path / "cluster")
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
            os.kill(self.victim.pid, signal.SIGKILL)


def differing(one: Path, other: Path) -> list[str]:
    """The files of two results that are not the same, byte for byte."""
    names = {path.relative_to(each) for each in (one, other) for path in each.rglob("*") if path.is_file()}
    return [str(name) for name in sorted(names) if not _same(one / name, other / name)]


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def test_dask_comes_to_the_same_bytes_with_a_worker_killed_on_the_way(cluster: Cluster) -> None:
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


def test_a_worker_that_comes_after_the_only_one_has_died_does_the_rest(cluster: Cluster) -> None:
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


def test_that_the_only_worker_has_died_is_told(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    (victim,) = cluster.workers(1)
    monkeypatch.setattr(engines, "PATIENCE_S", 10.0)
    told = r"has no worker after 10 s.\nKept: \d+ of 40 worlds.*\nTo go on: start workers"
    with pytest.raises(OutsideError, match=told):
        api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address), progress=Killing(victim))


def test_a_sweep_on_dask_goes_on_from_what_is_kept_here(cluster: Cluster) -> None:
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


def test_what_a_users_policy_does_wrong_on_a_worker_is_told_with_its_line(cluster: Cluster) -> None:
    Path("own.py").write_text(OWN.replace("job.ticket.estimate_ms", "job.ticket.no_such_thing"))
    cluster.workers(1)
    with pytest.raises(PolicyFailure, match=r"own.py:8.*no_such_thing"):
        api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address))


def test_a_worker_with_another_spotbed_is_refused(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    cluster.workers(1)
    monkeypatch.setattr("spotbed.errands.code_sha256", lambda: "another")
    with pytest.raises(OutsideError, match="runs another spotbed"):
        api.compare_scenario("s.yaml", engine=Engine("dask", cluster.address))


def test_a_scheduler_without_workers_is_told(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
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
def test_ray_comes_to_the_same_bytes() -> None:
    pytest.importorskip("ray", reason="the extra spotbed[ray] is not installed: it has 270 MB")
    serial = api.compare_scenario("s.yaml", jobs=1, out=Path("serial")).path
    with _ray_cluster() as address:
        engine = Engine("ray", address, processes=2)
        clustered = api.compare_scenario("s.yaml", engine=engine, out=Path("clustered")).path
    assert differing(serial, clustered) == []


@contextlib.contextmanager
def _ray_cluster() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "2"]
    command += ["--node-ip-address", "127.0.0.1", "--port", str(port), "--include-dashboard", "false"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, start_new_session=True, **streams) as process:
        time.sleep(10)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
