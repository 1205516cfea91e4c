"""Where worlds are run: processes of this machine, a Dask cluster, a Ray cluster; all three through joblib."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spotbed.errands import Item, baggage_of, parcels_of, run_here, run_there
from spotbed.errors import InputError, OutsideError, Problem
from spotbed.keeping import Kept

Name = Literal["local", "dask", "ray"]
Batches = Generator[list[tuple[int, Kept]], None, None]
_BATCHES_PER_PROCESS = 8  # few enough to be cheap, many enough to share evenly
_TRIED_AGAIN = 3  # times that what was lost with a process of a cluster is run again; as many as Dask itself does
PATIENCE_S = 20.0  # for a scheduler to answer, and for its first worker
_TRACKER = "ignore:resource_tracker:UserWarning"
_PACKAGES = {"dask": "distributed", "ray": "ray"}
_NOTHING_LOST = "the worlds that were finished before"


@dataclass(frozen=True, slots=True)
class Engine:
    """Which one, where its scheduler answers (None: one is started here), and how many processes (None: one a core)."""

    name: Name = "local"
    scheduler: str | None = None
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.name == "local" and self.scheduler is not None:
            hint = "Add --engine dask or --engine ray."
            raise InputError(Problem("has no effect: no cluster is used.", "--scheduler", hint=hint))
        package = _PACKAGES.get(self.name)
        if package is not None and importlib.util.find_spec(package) is None:
            hint = f"Install it: pip install 'spotbed[{self.name}]'."
            raise InputError(Problem(f"{package} is not installed.", f"--engine {self.name}", hint=hint))

    @property
    def cores(self) -> int:
        """How many processes run here."""
        return self.processes or os.cpu_count() or 1


LOCAL = Engine()


def run_all(items: Sequence[Item], engine: Engine) -> Iterator[tuple[Item, Kept]]:
    """Run tasks in whatever order they end. Each world is kept in its store before it is handed on."""
    if not items:
        return
    if engine.name == "local":
        yield from _locally(items, engine.cores)
        return
    baggage = baggage_of(dict.fromkeys(errand for errand, _ in items))
    run = _with_dask if engine.name == "dask" else _with_ray
    with contextlib.closing(run(items, baggage, engine)) as batches:
        for batch in batches:
            for number, kept in batch:
                errand, task = items[number]
                errand.store.put(task, kept)
                yield (errand, task), kept


def _locally(items: Sequence[Item], processes: int) -> Iterator[tuple[Item, Kept]]:
    if processes == 1 or len(items) <= 2:
        yield from (((errand, task), errand.run(task)) for errand, task in items)
        return
    import joblib

    say_nothing_of_semaphores()
    batches = [batch for _, batch in _batches(items, processes)]
    parallel = joblib.Parallel(n_jobs=min(processes, len(batches)), return_as="generator_unordered")
    sent = (joblib.delayed(run_here)(os.getpid(), each) for each in batches)
    with _cancelled_quietly(), contextlib.closing(parallel(sent)) as done:
        for batch in done:
            yield from batch


def say_nothing_of_semaphores() -> None:
    """Let joblib's tracker of semaphores, which starts with this process's options, remove in silence what is left
    after a Ctrl-C."""
    if _TRACKER not in sys.warnoptions:
        sys.warnoptions.append(_TRACKER)


def _batches(items: Sequence[Item], processes: int) -> list[tuple[int, Sequence[Item]]]:
    """Batches in order, each with the number of its first task. A batch has tasks of few scenarios: they are sorted."""
    size = max(1, len(items) // (max(1, processes) * _BATCHES_PER_PROCESS))
    return [(start, items[start : start + size]) for start in range(0, len(items), size)]


@contextlib.contextmanager
def _cancelled_quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*still being processed by the workers have been cancelled")
        yield


# Dask -----------------------------------------------------------------------------------------------------------------
def _with_dask(items: Sequence[Item], baggage: Any, engine: Engine) -> Batches:
    """What is lost with the only worker that had the baggage is sent again to those that are left, baggage and all."""
    import distributed

    left = dict.fromkeys(range(len(items)))
    with _dask_client(engine) as client, _told_of_dask(engine):
        for more in reversed(range(_TRIED_AGAIN + 1)):
            _await_a_worker(client, engine)
            sent = tuple(left)
            try:
                for batch in _dask_batches(client, [items[number] for number in sent], baggage):
                    done = [(sent[place], kept) for place, kept in batch]
                    for number, _ in done:
                        del left[number]
                    yield done
                return
            except distributed.client.FutureCancelledError:
                if not more or client.status != "running":
                    raise


def _dask_batches(client: Any, items: Sequence[Item], baggage: Any) -> Batches:
    import joblib

    batches = _batches(items, sum(client.ncores().values()))
    sent = (joblib.delayed(run_there)(baggage, parcels_of(batch, first)) for first, batch in batches)
    with joblib.parallel_config(backend=_dask_backend(client, baggage)):
        parallel = joblib.Parallel(n_jobs=-1, return_as="generator_unordered")
        with _cancelled_quietly(), contextlib.closing(parallel(sent)) as done:
            yield from done


def _dask_backend(client: Any, baggage: Any) -> Any:
    """joblib's own, which leaves a cluster of one core alone and runs everything here: ours does not."""
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc] # joblib has no types
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

    return Backend(client=client, scatter=[baggage], pure=False)


@contextlib.contextmanager
def _dask_client(engine: Engine) -> Iterator[Any]:
    """A client of the scheduler that was named, or of one that is started here for as long as the block lasts."""
    import distributed

    try:
        if engine.scheduler is not None:
            client = distributed.Client(engine.scheduler, timeout=PATIENCE_S, set_as_default=False)
        else:
            local = {"n_workers": engine.cores, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
            client = distributed.Client(set_as_default=False, **local)
    except (OSError, ValueError, TimeoutError) as error:
        raise _unreachable(engine, error) from error
    with contextlib.closing(client):
        yield client


def _await_a_worker(client: Any, engine: Engine) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError as error:
        what = f"The Dask scheduler at {engine.scheduler} has no worker after {PATIENCE_S:g} s."
        how = f"start workers (dask worker {engine.scheduler} --nthreads 1), and give the same command again."
        raise OutsideError(what, _NOTHING_LOST, how) from error


@contextlib.contextmanager
def _told_of_dask(engine: Engine) -> Iterator[None]:
    """What Dask itself gives up, in a user's words."""
    import distributed

    try:
        yield
    except distributed.scheduler.KilledWorker as error:
        what = f"Workers of the Dask cluster died while they ran the same worlds: {error}"
        how = "look for the cause in their logs (memory?), and give the same command again."
        raise OutsideError(what, _NOTHING_LOST, how) from error
    except (distributed.comm.CommClosedError, distributed.client.FutureCancelledError) as error:
        what = f"The Dask scheduler at {engine.scheduler} was lost: {error}"
        raise OutsideError(what, _NOTHING_LOST, "start it, and give the same command again.") from error


def _unreachable(engine: Engine, error: BaseException) -> OutsideError:
    what = f"No {engine.name.capitalize()} scheduler answers at {engine.scheduler or 'this machine'}: {error}"
    how = "look whether it runs and whether this machine may reach it, or leave --engine out to run here."
    return OutsideError(what.rstrip("."), _NOTHING_LOST, how)


# Ray ------------------------------------------------------------------------------------------------------------------
def _with_ray(items: Sequence[Item], baggage: Any, engine: Engine) -> Batches:
    import joblib
    import ray

    with _ray_session(engine):
        processes = engine.processes or max(1, int(ray.cluster_resources().get("CPU", 1)))
        luggage = ray.put(baggage)
        sent = (
            joblib.delayed(_run_with_ray)(luggage, parcels_of(batch, first))
            for first, batch in _batches(items, processes)
        )
        with joblib.parallel_config(backend=_ray_backend(processes)):
            parallel = joblib.Parallel(n_jobs=processes, return_as="generator_unordered", pre_dispatch="n_jobs")
            with _cancelled_quietly(), contextlib.closing(parallel(sent)) as done:
                yield from done


def _ray_backend(processes: int) -> Any:
    """Batches as tasks of Ray, each on a CPU of its own. Ray's own backend for joblib binds them to actors, and ends
    with the first of these that is lost; a task is run again elsewhere."""
    import ray
    from joblib.parallel import ParallelBackendBase

    class Backend(ParallelBackendBase):  # type: ignore[misc] # joblib has no types
        supports_retrieve_callback = True

        def __init__(self) -> None:
            super().__init__()
            self._run = ray.remote(num_cpus=1, max_retries=_TRIED_AGAIN)(_call)

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, processes)  # with one, joblib runs everything here

        def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Any:
            future = self._run.remote(func).future()
            future.add_done_callback(callback)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            try:
                return out.result()
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None

    return Backend()


def _call(batch: Callable[[], Any]) -> Any:
    return batch()


def _run_with_ray(luggage: Any, parcels: Any) -> list[tuple[int, Kept]]:
    import ray

    return run_there(ray.get(luggage), parcels)


@contextlib.contextmanager
def _ray_session(engine: Engine) -> Iterator[None]:
    import ray

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    local = {"num_cpus": engine.cores, "include_dashboard": False}
    try:
        ray.init(address=engine.scheduler, **quiet, **({} if engine.scheduler else local))
    except (OSError, ValueError, RuntimeError, TimeoutError) as error:
        raise _unreachable(engine, error) from error
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Ray prints there what happens to its nodes: it is for results
            yield
    except ray.exceptions.RayError as error:
        what = f"The Ray cluster failed: {str(error).strip().splitlines()[0]}"
        raise OutsideError(what, _NOTHING_LOST, "look at its logs, and give the same command again.") from error
    finally:
        ray.shutdown()
