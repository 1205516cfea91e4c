"""Policies on the same worlds, in parallel processes. What is finished is kept on disk until the comparison is written,
so that an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.build import Blueprint
from spotbed.engines import Engine, run_all
from spotbed.errands import Errand, Item
from spotbed.errors import OutsideError
from spotbed.files import disk_full, is_disk_full
from spotbed.guard import PolicyFailure
from spotbed.keeping import Kept, Task, forget, leaving_nothing_empty, told, unfinished_folder
from spotbed.metric_names import METRIC_NAMES
from spotbed.progress import Progress
from spotbed.worlds import WorldResult

if TYPE_CHECKING:
    import pandas as pd

    from spotbed.report.data import RunData


@dataclass(slots=True)
class Finished:
    """All worlds of a comparison by policy, in order of their number; tables of world 0 by policy."""

    results: dict[str, list[WorldResult]]
    kept: dict[str, Kept]
    target: Path | None = None  # what is written, with worlds kept beside it until then
    count: int = 0
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
        return "all worlds" if self.target is None else f"all {self.count} worlds in {unfinished_folder(self.target)}"

    def forget(self) -> None:
        """Remove what was kept for resuming."""
        if self.target is not None:
            forget(self.target)


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
    engine: Engine,
    progress: Progress,
    target: Path,
) -> Finished:
    """Run all worlds under all policies. The result does not depend on the engine.

    Raises KeyboardInterrupt, PolicyFailure and OutsideError (a full disk) with how many worlds are kept.
    """
    worlds = made.scenario.replications
    errand = Errand.of(made, path, overrides, target)
    done: dict[Task, Kept] = {}
    for (_, task), kept in finish(
        [(errand, (label, world)) for world in range(worlds) for label in labels], engine, progress, target
    ):
        done[task] = kept
    finished = Finished(
        {label: [done[label, world].result for world in range(worlds)] for label in labels},
        {label: done[label, 0] for label in labels},
        target,
        len(done),
    )
    finished.runs = {label: kept.run for label, kept in finished.kept.items() if kept.run is not None}
    return finished


def finish(
    items: Sequence[Item], engine: Engine, progress: Progress, target: Path, name: Callable[[Item], str] | None = None
) -> Iterator[tuple[Item, Kept]]:
    """All tasks with their results: first those that were kept, then those that are run now, in the order they end.

    What it says of a task is what `name` calls it. Raises as `compare_worlds` says.
    """
    say = name or (lambda item: f"{item[1][0]}, world {item[1][1]}")
    with leaving_nothing_empty(target):
        todo = []
        for item in items:
            errand, task = item
            kept = errand.store.get(task)
            if kept is None:
                todo.append(item)
            else:
                yield item, kept
        count, total = len(items) - len(todo), len(items)
        progress.update(count, total, f"{count} of {total} were finished before" if count else "")
        with _saying_what_is_kept(items):
            for item, kept in run_all(todo, engine):
                count += 1
                progress.update(count, total, say(item))
                yield item, kept


@contextlib.contextmanager
def _saying_what_is_kept(items: Sequence[Item]) -> Iterator[None]:
    """Whatever ends the work early says how much of it is kept, and that the same command goes on from there."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{_told(items)}, where the same command finds them") from None
    except PolicyFailure as error:
        how = "mend the policy, and give the same command again: it runs only what is missing"
        raise error.with_kept(_told(items), how) from error
    except OutsideError as error:
        raise error.with_kept(_told(items)) from error
    except Exception as error:
        if is_disk_full(error):
            raise disk_full(items[0][0].store.folder.parent, _told(items)) from error
        raise


def _told(items: Sequence[Item]) -> str:
    return told([(errand.store, task) for errand, task in items])


def settings_by_label(made: Blueprint, labels: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """All settings of the policies, for the table of those that differ."""
    return {label: made.composed[label].described() for label in labels}
