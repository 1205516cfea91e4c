"""Policies on the same worlds, in parallel processes. What is finished is kept on disk until the comparison is written,
so that an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.build import Blueprint, blueprint
from spotbed.errors import OutsideError
from spotbed.files import disk_full, is_disk_full, make_parents, remove_empty, write_bytes
from spotbed.frames import journal_frame, run_data
from spotbed.guard import PolicyFailure
from spotbed.metric_names import METRIC_NAMES
from spotbed.progress import Progress
from spotbed.provenance import file_sha256, tree_sha256
from spotbed.scenario.load import load_scenario
from spotbed.worlds import WorldResult, run_world

if TYPE_CHECKING:
    import pandas as pd

    from spotbed.report.data import RunData

_TASKS_PER_PROCESS = 8  # batches handed to each process: few enough to be cheap, many enough to share evenly
_MOST_JOURNALED = 100_000  # jobs of a world whose journal is kept with a comparison
_LOOKS_EVERY_S = 0.5  # how often a process looks whether the one that started it is there
_Task = tuple[str, int]  # the label of a policy, and the number of a world


@dataclass(slots=True)
class Kept:
    """What one task gives back: a world under a policy, and of world 0 its tables and its journal."""

    result: WorldResult
    run: RunData | None = None
    journal: Any = None
    journal_sha256: str | None = None


@dataclass(slots=True)
class Finished:
    """All worlds of a comparison by policy, in order of their number; tables of world 0 by policy."""

    results: dict[str, list[WorldResult]]
    kept: dict[str, Kept]
    folder: Path | None = None
    runs: dict[str, RunData] = field(default_factory=dict)

    def journals(self) -> dict[str, Any]:
        """The rows of the journals of world 0, by policy."""
        return {label: kept.journal for label, kept in self.kept.items() if kept.journal is not None}

    def journal_hashes(self) -> dict[str, str]:
        return {label: kept.journal_sha256 for label, kept in self.kept.items() if kept.journal_sha256}

    def worlds_frame(self, seed: int) -> pd.DataFrame:
        """worlds.csv: one row a policy and world, one column a metric."""
        import pandas as pd

        rows = [
            {"policy": label, "world": result.world, "seed": seed, **result.metrics}
            for label, results in self.results.items()
            for result in results
        ]
        return pd.DataFrame(rows, columns=["policy", "world", "seed", *METRIC_NAMES])

    def bill_frame(self, labels: Sequence[str]) -> pd.DataFrame:
        """bill.csv: the mean over worlds, by policy."""
        import pandas as pd

        frames = [mean_bill(self.results[label]).assign(policy=label) for label in labels]
        columns = ["policy", "item", "cause", "usage", "unit", "usd", "list_usd"]
        return pd.concat(frames, ignore_index=True)[columns]

    def bill_worlds_frame(self, labels: Sequence[str]) -> pd.DataFrame:
        """bill_worlds.csv: every line of every world's bill, for what is said of one world to come."""
        import pandas as pd

        rows = [
            (label, result.world, line.item, line.cause, line.usage, line.unit, line.usd)
            for label in labels
            for result in self.results[label]
            for line in result.bill.lines
        ]
        return pd.DataFrame(rows, columns=["policy", "world", "item", "cause", "usage", "unit", "usd"])

    def told(self) -> str:
        """What is kept for resuming."""
        count = sum(len(results) for results in self.results.values())
        return f"all {count} worlds in {self.folder.parent}" if self.folder is not None else "all worlds"

    def forget(self) -> None:
        """Remove what was kept for resuming."""
        if self.folder is not None:
            shutil.rmtree(self.folder.parent, ignore_errors=True)


def mean_bill(results: Sequence[WorldResult]) -> pd.DataFrame:
    """The mean bill over worlds; a line that a world does not have counts as zero there."""
    import pandas as pd

    sums: dict[tuple[str, str, str], list[float]] = {}
    for result in results:
        for line in result.bill.lines:
            row = sums.setdefault((line.item, line.cause, line.unit), [0.0, 0.0, 0.0])
            for position, value in enumerate((line.usage, line.usd, line.list_usd)):
                row[position] += value
    worlds = len(results)
    rows = [
        (item, cause, row[0] / worlds, unit, row[1] / worlds, row[2] / worlds)
        for (item, cause, unit), row in sorted(sums.items())
    ]
    return pd.DataFrame(rows, columns=["item", "cause", "usage", "unit", "usd", "list_usd"])


def compare_worlds(
    made: Blueprint,
    path: Path,
    overrides: Sequence[str],
    labels: Sequence[str],
    processes: int | None,
    progress: Progress,
    target: Path,
) -> Finished:
    """Run all worlds under all policies. The result does not depend on `processes`.

    Raises KeyboardInterrupt, PolicyFailure and OutsideError (a full disk) with how many worlds are kept.
    """
    worlds = made.scenario.replications
    tasks = [(label, world) for world in range(worlds) for label in labels]
    with _Store.opened(target, made) as store:
        done = {task: kept for task in tasks if (kept := store.get(task)) is not None}
        total, note = len(tasks), f"{len(done)} of {len(tasks)} were finished before" if done else ""
        progress.update(len(done), total, note)
        todo = [task for task in tasks if task not in done]
        errand = _Errand(Path.cwd(), path, tuple(overrides), made.scenario.sha256, store)
        with _saying_what_is_kept(store, tasks):
            for task, kept in _run_all(todo, errand, processes or os.cpu_count() or 1):
                done[task] = kept
                progress.update(len(done), total, f"{task[0]}, world {task[1]}")
    finished = Finished(
        {label: [done[label, world].result for world in range(worlds)] for label in labels},
        {label: done[label, 0] for label in labels},
        store.folder,
    )
    finished.runs = {label: kept.run for label, kept in finished.kept.items() if kept.run is not None}
    return finished


@contextlib.contextmanager
def _saying_what_is_kept(store: _Store, tasks: Sequence[_Task]) -> Iterator[None]:
    """Whatever ends the comparison early says how much of it is kept, and that the same command goes on from there."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{store.told(tasks)}, where the same command finds them") from None
    except PolicyFailure as error:
        how = "mend the policy, and give the same command again: it runs only what is missing"
        raise error.with_kept(store.told(tasks), how) from error
    except Exception as error:
        if is_disk_full(error):
            raise disk_full(store.folder.parent, store.told(tasks)) from error
        raise


def _run_all(tasks: Sequence[_Task], errand: _Errand, processes: int) -> Iterator[tuple[_Task, Kept]]:
    if processes == 1 or len(tasks) <= 2:
        yield from ((task, errand.run(task)) for task in tasks)
        return
    import joblib

    size = max(1, len(tasks) // (processes * _TASKS_PER_PROCESS))
    batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    parallel = joblib.Parallel(n_jobs=min(processes, len(batches)), return_as="generator_unordered")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*still being processed by the workers have been cancelled")
        with contextlib.closing(parallel(joblib.delayed(_run_batch)(errand, batch) for batch in batches)) as results:
            for batch in results:
                yield from batch


def _run_batch(errand: _Errand, tasks: Sequence[_Task]) -> list[tuple[_Task, Kept]]:
    _end_with_parent()
    os.chdir(errand.folder)  # joblib's processes outlive one comparison, and stay where they began
    return [(task, errand.run(task)) for task in tasks]


@cache
def _end_with_parent() -> None:
    """Let this process end soon after the one that started it, even if that one is killed: joblib waits for minutes."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True, slots=True)
class _Errand:
    """What a process needs to know to run tasks of a comparison."""

    folder: Path  # the current one, at which relative paths start
    path: Path
    overrides: tuple[str, ...]
    scenario_sha256: str
    store: _Store

    def run(self, task: _Task) -> Kept:
        """Run a world, and keep it at once: what ends the others does not take it along."""
        kept = run_task(_blueprint(self), *task)
        write_bytes(self.store.file(task), pickle.dumps(kept))
        return kept


@lru_cache(maxsize=2)
def _blueprint(errand: _Errand) -> Blueprint:
    """Each process reads the scenario once, its policies' files included. They may have been changed meanwhile."""
    made = blueprint(load_scenario(errand.path, errand.overrides))
    if made.scenario.sha256 != errand.scenario_sha256 or _own_hashes(made) != errand.store.policies:
        what = f"{errand.path}, or a policy that it names, was changed while it was compared."
        raise OutsideError(what, "the worlds that were finished before", "give the same command again.")
    return made


def run_task(made: Blueprint, label: str, world: int) -> Kept:
    """One world under one policy; of world 0 the tables are kept too."""
    composed = made.composed[label]
    if world:
        return Kept(run_world(made, composed, world).result)
    run = run_world(made, composed, world, journal=True)
    data = run_data(made, composed, run, {})
    if run.journal is None or len(run.inputs.work) > _MOST_JOURNALED:
        return Kept(run.result, data)
    return Kept(run.result, data, journal_frame(run.journal), run.journal.sha256())


# what is kept for resuming ------------------------------------------------------------------------------------------
_OF_THE_WHOLE = {"policies", "replications", "baseline", "gates", "sweep", "name", "description"}


@dataclass(frozen=True)
class _Store:
    """The folder beside the target where finished worlds are kept until the comparison is written.

    Its name stands for the world: what in the scenario concerns all policies, data and code. The names of the files in
    it stand for one policy, with its own files, and the world's number. So a comparison that was ended early goes on
    with another policy, with one that was mended, with more worlds or other gates, and runs only what is missing.
    """

    folder: Path
    policies: tuple[tuple[str, str], ...]  # (label, hash of all that is its own)

    @classmethod
    @contextlib.contextmanager
    def opened(cls, target: Path, made: Blueprint) -> Iterator[_Store]:
        """The store of this comparison. Nothing of it is left behind where nothing was put into it."""
        root = Path(__file__).parent.parent
        model = made.scenario.model_dump_json(by_alias=True, exclude=_OF_THE_WHOLE)
        parts = [model, made.book.sha256, made.preset.sha256, tree_sha256(root / "spotbed" / "data", "*")]
        parts += [f"{name} {file_sha256(file)}" for name, file in made.input_files().items() if name != "scenario"]
        parts += [tree_sha256(root / package, "*.py") for package in ("scheduler", "sim", "spotbed")]
        digest = hashlib.sha256("\n".join(parts).encode())
        for pool in made.pools:
            digest.update(pool.price.usd_per_hour.tobytes() + str(pool.on_demand_usd_per_hour).encode())
        folder = target.parent / f".{target.name}.unfinished" / digest.hexdigest()[:16]
        own = [folder, folder.parent]
        above = [parent for parent in make_parents(folder / "world") if parent not in own]
        try:
            yield cls(folder, _own_hashes(made))
        finally:
            remove_empty([*own, *above])

    def file(self, task: _Task) -> Path:
        """Where a world under a policy is kept."""
        label, world = task
        own = hashlib.sha256(f"{label} {dict(self.policies)[label]}".encode()).hexdigest()[:16]
        return self.folder / f"{own}-{world}.pickle"

    def get(self, task: _Task) -> Kept | None:
        """A world that was kept, or None."""
        file = self.file(task)
        if not file.is_file():
            return None
        try:
            kept = pickle.loads(file.read_bytes())  # noqa: S301 our own file, in a folder named by its content's hash
        except Exception:  # noqa: BLE001 whatever is wrong with a file that was cut short: the world is run again
            return None
        return kept if isinstance(kept, Kept) else None

    def told(self, tasks: Sequence[_Task]) -> str:
        """How many worlds are kept."""
        count = sum(self.file(task).is_file() for task in tasks)
        return f"{count} of {len(tasks)} worlds in {self.folder.parent}"


def _own_hashes(made: Blueprint) -> tuple[tuple[str, str], ...]:
    """(label, hash of its entry in the scenario and of its own files) of each policy."""
    entries = {entry.label: entry for entry in made.scenario.policies}
    own = {label: f"{entries[label].model_dump_json()} {each.sha256}" for label, each in made.composed.items()}
    return tuple((label, hashlib.sha256(text.encode()).hexdigest()) for label, text in own.items())


def settings_by_label(made: Blueprint, labels: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """All settings of the policies, for the table of those that differ."""
    return {label: made.composed[label].described() for label in labels}
