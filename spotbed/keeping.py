"""What is kept of unfinished work, so that the same command goes on where it stopped: one file a world."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.build import Blueprint
from spotbed.files import make_parents, remove_empty, write_bytes
from spotbed.provenance import file_sha256, tree_sha256
from spotbed.worlds import WorldResult

if TYPE_CHECKING:
    from spotbed.report.data import RunData

Task = tuple[str, int]  # the label of a policy, and the number of a world
_OF_THE_WHOLE = {"policies", "replications", "baseline", "gates", "sweep", "search", "name", "description"}
_ROOT = Path(__file__).parent.parent


@dataclass(slots=True)
class Kept:
    """What one task gives back: a world under a policy, and of world 0 its tables and its journal."""

    result: WorldResult
    run: RunData | None = None
    journal: Any = None
    journal_sha256: str | None = None


def unfinished_folder(target: Path) -> Path:
    """The folder beside `target` where worlds are kept until it is written."""
    return target.parent / f".{target.name}.unfinished"


def forget(target: Path) -> None:
    """Remove what was kept for `target`."""
    shutil.rmtree(unfinished_folder(target), ignore_errors=True)


@contextlib.contextmanager
def leaving_nothing_empty(target: Path) -> Iterator[None]:
    """Nothing of the folder for `target` is left behind where nothing was put into it."""
    folder = unfinished_folder(target)
    above = [parent for parent in make_parents(folder / "world") if parent != folder]
    try:
        yield
    finally:
        inner = list(folder.iterdir()) if folder.is_dir() else []
        for each in inner:
            remove_empty([each])
        remove_empty([folder, *above])


@dataclass(frozen=True)
class Store:
    """The folder beside the target where finished worlds are kept until the comparison is written.

    Its name stands for the world: what in the scenario concerns all policies, data and code. The names of the files in
    it stand for one policy, with its own files, and the world's number. So a comparison that was ended early goes on
    with another policy, with one that was mended, with more worlds or other gates, and runs only what is missing.
    """

    folder: Path
    policies: tuple[tuple[str, str], ...]  # (label, hash of all that is its own)

    @classmethod
    def of(cls, target: Path, made: Blueprint) -> Store:
        """The store of a comparison that will be written to `target`. Nothing is made on disk."""
        model = made.scenario.model_dump_json(by_alias=True, exclude=_OF_THE_WHOLE)
        parts = [model, made.book.sha256, made.preset.sha256]
        parts += [f"{name} {file_sha256(file)}" for name, file in made.input_files().items() if name != "scenario"]
        digest = hashlib.sha256("\n".join([*parts, code_sha256()]).encode())
        for pool in made.pools:
            digest.update(pool.price.usd_per_hour.tobytes() + str(pool.on_demand_usd_per_hour).encode())
        return cls(unfinished_folder(target) / digest.hexdigest()[:16], own_hashes(made))

    def unit(self, task: Task) -> str:
        """What a world under a policy is, by the content of all that it depends on."""
        label, world = task
        own = hashlib.sha256(f"{label} {dict(self.policies)[label]}".encode()).hexdigest()[:16]
        return f"{self.folder.name}-{own}-{world}"

    def file(self, task: Task) -> Path:
        """Where a world under a policy is kept."""
        return self.folder / f"{self.unit(task).partition('-')[2]}.pickle"

    def put(self, task: Task, kept: Kept) -> None:
        """Keep a world."""
        write_bytes(self.file(task), pickle.dumps(kept))

    def get(self, task: Task) -> Kept | None:
        """A world that was kept, or None."""
        file = self.file(task)
        if not file.is_file():
            return None
        try:
            kept = pickle.loads(file.read_bytes())  # noqa: S301 our own file, in a folder named by its content's hash
        except Exception:  # noqa: BLE001 whatever is wrong with a file that was cut short: the world is run again
            return None
        return kept if isinstance(kept, Kept) else None


def told(stored: Sequence[tuple[Store, Task]]) -> str:
    """How many worlds are kept."""
    count = sum(store.file(task).is_file() for store, task in stored)
    return f"{count} of {len(stored)} worlds in {stored[0][0].folder.parent}"


@cache
def code_sha256() -> str:
    """The hash of all of our code and data that a world may depend on."""
    trees = [tree_sha256(_ROOT / "spotbed" / "data", "*")]
    trees += [tree_sha256(_ROOT / package, "*.py") for package in ("scheduler", "sim", "spotbed")]
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()


def own_hashes(made: Blueprint) -> tuple[tuple[str, str], ...]:
    """(label, hash of its entry in the scenario and of its own files) of each policy."""
    entries = {entry.label: entry for entry in made.scenario.policies}
    own = {label: f"{entries[label].model_dump_json()} {each.sha256}" for label, each in made.composed.items()}
    return tuple((label, hashlib.sha256(text.encode()).hexdigest()) for label, text in own.items())
