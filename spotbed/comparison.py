"""Policies on the same worlds, in parallel processes. What is finished is kept on disk until the comparison is written,
so that an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.build import Blueprint, blueprint
from spotbed.files import write_bytes
from spotbed.frames import journal_frame, run_data
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
    """Run all worlds under all policies. The result does not depend on `processes`."""
    worlds = made.scenario.replications
    folder = _store(target, made, path)
    tasks = [(label, world) for world in range(worlds) for label in labels]
    done = {task: kept for task in tasks if (kept := _stored(folder, task)) is not None}
    total, note = len(tasks), f"{len(done)} of {len(tasks)} were finished before" if done else ""
    progress.update(len(done), total, note)
    todo = [task for task in tasks if task not in done]
    try:
        for task, kept in _run_all(todo, path, tuple(overrides), processes or os.cpu_count() or 1):
            done[task] = kept
            write_bytes(_file(folder, task), pickle.dumps(kept))
            progress.update(len(done), total, f"{task[0]}, world {task[1]}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(done)} of {total} worlds; the same command again goes on from there") from None
    finished = Finished(
        {label: [done[label, world].result for world in range(worlds)] for label in labels},
        {label: done[label, 0] for label in labels},
        folder,
    )
    finished.runs = {label: kept.run for label, kept in finished.kept.items() if kept.run is not None}
    return finished


def _run_all(
    tasks: Sequence[tuple[str, int]], path: Path, overrides: tuple[str, ...], processes: int
) -> Iterator[tuple[tuple[str, int], Kept]]:
    if processes == 1 or len(tasks) <= 2:
        yield from ((task, run_task(path, overrides, *task)) for task in tasks)
        return
    import joblib

    size = max(1, len(tasks) // (processes * _TASKS_PER_PROCESS))
    batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    parallel = joblib.Parallel(n_jobs=min(processes, len(batches)), return_as="generator_unordered")
    for batch in parallel(joblib.delayed(_run_batch)(path, overrides, batch) for batch in batches):
        yield from batch


def _run_batch(
    path: Path, overrides: tuple[str, ...], tasks: Sequence[tuple[str, int]]
) -> list[tuple[tuple[str, int], Kept]]:
    return [(task, run_task(path, overrides, *task)) for task in tasks]


@lru_cache(maxsize=2)
def _blueprint(path: Path, overrides: tuple[str, ...]) -> Blueprint:
    """Each process reads the scenario once, its policies' files included."""
    return blueprint(load_scenario(path, overrides))


def run_task(path: Path, overrides: tuple[str, ...], label: str, world: int) -> Kept:
    """One world under one policy; of world 0 the tables are kept too."""
    made = _blueprint(path, overrides)
    composed = made.composed[label]
    if world:
        return Kept(run_world(made, composed, world).result)
    run = run_world(made, composed, world, journal=True)
    data = run_data(made, composed, run, {})
    if run.journal is None or len(run.inputs.work) > _MOST_JOURNALED:
        return Kept(run.result, data)
    return Kept(run.result, data, journal_frame(run.journal), run.journal.sha256())


# what is kept for resuming ------------------------------------------------------------------------------------------
def _store(target: Path, made: Blueprint, path: Path) -> Path:
    """The folder beside the target for this very comparison: scenario, policies, data and code all count."""
    root = Path(__file__).parent.parent
    parts = [made.scenario.sha256, made.book.sha256, str(path.resolve())]
    parts += [composed.sha256 for composed in made.composed.values()]
    parts += [file_sha256(file) for file in made.input_files().values()]
    parts += [tree_sha256(root / package, "*.py") for package in ("scheduler", "sim", "spotbed")]
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]
    return target.parent / f".{target.name}.unfinished" / digest


def _file(folder: Path, task: tuple[str, int]) -> Path:
    name = hashlib.sha256(task[0].encode()).hexdigest()[:12]
    return folder / f"{name}-{task[1]}.pickle"


def _stored(folder: Path, task: tuple[str, int]) -> Kept | None:
    file = _file(folder, task)
    if not file.is_file():
        return None
    try:
        kept = pickle.loads(file.read_bytes())  # noqa: S301 our own file, in a folder named by this comparison's hash
    except Exception:  # noqa: BLE001 whatever is wrong with a file that was cut short: the world is run again
        return None
    return kept if isinstance(kept, Kept) else None


def settings_by_label(made: Blueprint, labels: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """All settings of the policies, for the table of those that differ."""
    return {label: made.composed[label].described() for label in labels}
