"""Which sources there are, and how their targets are run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from spotbed.errors import InputError, Problem
from spotbed.published.judge import Measured, Result, judge
from spotbed.published.table import Target, targets

Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A paper, an archive or a theory: its module has `FILES`, the data that it needs, and `measure`."""

    name: str
    title: str
    module: str

    @property
    def files(self) -> tuple[str, ...]:
        """Paths below the folder of public data."""
        return cast("tuple[str, ...]", import_module(self.module).FILES)

    def measure(self, data: Path, cell: str) -> Measured:
        """Our number for a cell."""
        return cast("Measured", import_module(self.module).measure(data, cell))


def _source(name: str, module: str, title: str) -> Source:
    return Source(name, title, f"spotbed.published.{module}")


SOURCES = {
    source.name: source
    for source in (
        _source("lublin", "lublin", "Lublin-1, RLScheduler (Zhang and others, SC 2020): mean bounded slowdown"),
        _source("kth", "kth", "EASY on the KTH SP2 (Parallel Workloads Archive): bounded slowdown"),
        _source("cant-be-late", "cant_be_late", "Can't Be Late (Wu and others, NSDI 2024): nine scarce Spot zones"),
        _source("lifetimes", "lifetimes", "Preemptible lifetimes (Kadupitiya and others, HPDC 2020)"),
        _source("bags", "bags", "Bags of jobs on preemptible workers (Kadupitiya and others, HPDC 2020)"),
        _source("backoff", "backoff", "Exponential backoff and jitter (AWS Architecture Blog, 2015): time and calls"),
        _source("shards", "shards", "Shuffle sharding (Amazon Builders' Library): full overlap of two tenants"),
        _source("list-schedules", "list_schedules", "List schedules against the optimum (Graham 1966, 1969)"),
        _source("queues", "queues", "Queues in the steady state: mean wait (Erlang; Pollaczek and Khinchine)"),
        _source("attempts", "attempts", "Restart, checkpoints and retries: closed forms (Daly 2006)"),
        _source("burst", "burst", "Recovery from a ten-fold burst, by order and scale"),
        _source("head-node", "head_node", "The head node: makespan with and without one"),
    )
}


def data_folder() -> Path | None:
    """$SPOTBED_DATA, if it is a folder."""
    value = os.environ.get("SPOTBED_DATA")
    folder = Path(value) if value else None
    return folder if folder is not None and folder.is_dir() else None


def chosen(only: Sequence[str]) -> list[Target]:
    """The targets of these sources, or these targets (SOURCE/CELL or a beginning of it); all if none is named."""
    if not only:
        return list(targets())
    for name in only:
        if not any(_is_named(target, name) for target in targets()):
            from spotbed.scenario.problems import suggestion

            hint = suggestion(name, [*SOURCES, *(target.name for target in targets())])
            raise InputError(Problem(f"{name!r} is neither a source nor a target.", value=name, hint=hint))
    return [target for target in targets() if any(_is_named(target, name) for name in only)]


def _is_named(target: Target, name: str) -> bool:
    return target.name == name or target.name.startswith(f"{name.rstrip('/')}/")


def results(only: Sequence[str] = (), *, quick: bool = False, tell: Tell | None = None) -> Iterator[Result]:
    """Run the chosen targets one by one; what lacks its data, or is long with `quick`, is skipped and says so."""
    wanted, data = chosen(only), data_folder()
    for number, target in enumerate(wanted):
        if tell is not None:
            tell(number, len(wanted), target.name)
        source = SOURCES[target.source]
        why = _why_not(source, target, data, quick=quick)
        yield Result(target, None, None, why) if why else judge(target, source.measure(data or Path(), target.cell))
    if tell is not None:
        tell(len(wanted), len(wanted), "")


def _why_not(source: Source, target: Target, data: Path | None, *, quick: bool) -> str:
    if quick and target.long:
        return "long: left out by --quick"
    if source.files and data is None:
        return "no data: set SPOTBED_DATA to the folder of public data"
    missing = [name for name in source.files if data is not None and not (data / name).exists()]
    return f"no data: {missing[0]} is not in SPOTBED_DATA" if missing else ""
