"""What a process, here or on another machine, is sent to do: run worlds of a scenario under its policies."""

from __future__ import annotations

import atexit
import os
import pickle
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from spotbed.build import Blueprint, blueprint
from spotbed.errors import OutsideError
from spotbed.frames import journal_frame, run_data
from spotbed.keeping import Kept, Store, Task, code_sha256, own_hashes
from spotbed.policies.load import Source, adopt, source_carried
from spotbed.scenario.load import load_scenario
from spotbed.scenario.paths import bring
from spotbed.work.build import file_read
from spotbed.worlds import run_world

_MOST_JOURNALED = 100_000  # jobs of a world whose journal is kept with a comparison
_LOOKS_EVERY_S = 0.5  # how often a process looks whether the one that started it is there


@dataclass(frozen=True, slots=True)
class Errand:
    """What a process needs to know to run tasks of a scenario."""

    folder: Path  # the current one, at which relative paths start
    path: Path
    overrides: tuple[str, ...]
    scenario_sha256: str
    store: Store
    tables: bool = True  # of world 0 tables and journal are kept too

    @classmethod
    def of(cls, made: Blueprint, path: Path, overrides: Sequence[str], target: Path, *, tables: bool = True) -> Errand:
        """The errand of all tasks of a scenario whose results will be written to `target`."""
        return cls(Path.cwd(), path, tuple(overrides), made.scenario.sha256, Store.of(target, made), tables)

    def run(self, task: Task) -> Kept:
        """Run a world, and keep it at once: what ends the others does not take it along."""
        kept = run_task(blueprint_of(self), *task, tables=self.tables)
        self.store.put(task, kept)
        return kept


Item = tuple[Errand, Task]


@lru_cache(maxsize=2)
def blueprint_of(errand: Errand) -> Blueprint:
    """Each process reads the scenario once, its policies' files included. They may have been changed meanwhile."""
    made = blueprint(load_scenario(errand.path, errand.overrides))
    if made.scenario.sha256 != errand.scenario_sha256 or own_hashes(made) != errand.store.policies:
        what = f"{errand.path}, or a policy that it names, was changed while it was compared."
        raise OutsideError(what, "the worlds that were finished before", "give the same command again.")
    return made


def run_task(made: Blueprint, label: str, world: int, *, tables: bool = True) -> Kept:
    """One world under one policy; of world 0 the tables are kept too, if they are wanted."""
    composed = made.composed[label]
    if world or not tables:
        return Kept(run_world(made, composed, world).result)
    run = run_world(made, composed, world, journal=True)
    data = run_data(made, composed, run, {})
    if run.journal is None or len(run.inputs.work) > _MOST_JOURNALED:
        return Kept(run.result, data)
    return Kept(run.result, data, journal_frame(run.journal), run.journal.sha256())


# in another process of this machine ---------------------------------------------------------------------------------
def run_here(sender: int, items: Sequence[Item]) -> list[tuple[Item, Kept]]:
    """Run a batch in a process of this machine, which reads the same files and keeps what it finishes itself. `sender`
    is the process that sent it."""
    _end_with(sender)
    os.chdir(items[0][0].folder)  # joblib's processes outlive one comparison, and stay where they began
    return [((errand, task), errand.run(task)) for errand, task in items]


@cache
def _end_with(sender: int) -> None:
    """Let this process end soon after the one that sent its batch, which started it, even if that one is killed: joblib
    waits for minutes. It may have been killed before the batch was looked at: then its number is no more our parent's.
    """
    if sender == os.getpid():  # joblib runs the batch in place where it may start no processes
        return

    def watch() -> None:
        while os.getppid() == sender:
            time.sleep(_LOOKS_EVERY_S)
        os._exit(1)

    if os.getppid() != sender:
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


# on another machine -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Baggage:
    """What a machine without our files needs beside the scenarios: users' policies, and the files that work is read
    from. It must have the same spotbed."""

    code_sha256: str
    sources: tuple[Source, ...]
    files: tuple[tuple[str, str, str, bytes], ...]  # path as the scenario has it, base folder, file's name, content


@dataclass(frozen=True, slots=True)
class Parcel:
    """Tasks of one scenario, with the scenario made ready: it needs no file of ours to be run."""

    made: bytes
    tables: bool
    tasks: tuple[tuple[int, Task], ...]  # each with its number


def baggage_of(errands: Iterable[Errand]) -> Baggage:
    """What all the scenarios need."""
    sources: dict[str, Source] = {}
    files: dict[tuple[str, str], tuple[str, str, str, bytes]] = {}
    for errand in errands:
        made = blueprint_of(errand)
        for part in (part for composed in made.composed.values() for part in composed.parts.values()):
            source = source_carried(type(part))
            if source is not None:
                sources[source.name] = source
        for path in made.scenario.input_paths():
            key = (str(path), str(path.base_dir))
            if key not in files:
                found = file_read(made.scenario.workload, path)
                files[key] = (*key, found.name, found.read_bytes())
    return Baggage(code_sha256(), tuple(sources.values()), tuple(files.values()))


def parcels_of(items: Sequence[Item], first: int) -> list[Parcel]:
    """A batch, ready to be sent; its tasks are numbered from `first` on."""
    by_errand: dict[Errand, list[tuple[int, Task]]] = {}
    for number, (errand, task) in enumerate(items, first):
        by_errand.setdefault(errand, []).append((number, task))
    return [
        Parcel(zlib.compress(pickle.dumps(blueprint_of(errand)), 1), errand.tables, tuple(tasks))
        for errand, tasks in by_errand.items()
    ]


def run_there(baggage: Baggage, parcels: Sequence[Parcel]) -> list[tuple[int, Kept]]:
    """Run a batch on a machine that has the same spotbed, and none of our files. It keeps nothing: who sent it does."""
    _unpack(baggage)
    done = []
    for parcel in parcels:
        made: Blueprint = pickle.loads(zlib.decompress(parcel.made))  # noqa: S301 from the scheduler that it serves
        done += [(number, run_task(made, *task, tables=parcel.tables)) for number, task in parcel.tasks]
    return done


@lru_cache(maxsize=8)
def _unpack(baggage: Baggage) -> None:
    if baggage.code_sha256 != code_sha256():
        what = "A worker of the cluster runs another spotbed than this machine."
        raise OutsideError(what, "what was finished before", "install the same version on all machines.")
    for source in baggage.sources:
        adopt(source)
    if not baggage.files:
        return
    folder = Path(tempfile.mkdtemp(prefix="spotbed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for number, (text, base, name, content) in enumerate(baggage.files):
        file = folder / str(number) / name
        file.parent.mkdir()
        file.write_bytes(content)
        bring(text, base, file)
