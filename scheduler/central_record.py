"""What the central scheduler knows, hears and orders; and what an order policy sees of its queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from scheduler.commands import SetTimer
from scheduler.ordered import Ordered
from scheduler.record import record

UNKNOWN_MS = 1 << 60  # the end of a job without an estimate

_NONE: Mapping[str, float] = MappingProxyType({})


# What it knows ------------------------------------------------------------------------------------------------------
@record
class QueueClass:
    """What all jobs of a class share: where they may run, how large they are, what licences they take."""

    id: str
    sites: tuple[str, ...]
    size: int = 0
    licences: tuple[tuple[str, int], ...] = ()


@record
class Waiting:
    """A job that waits. `place` is (key of the order policy, number of its submission)."""

    place: tuple[float, int]
    job: str
    slots: int
    estimate_ms: int  # -1: none
    submit_ms: int
    user: str = ""
    limit_ms: int = -1  # what it asks for, where `estimate_ms` is a prediction


@record
class Running:
    """A job that runs. `place` is (when its estimate ends, number of its submission), `sites` where its slots are."""

    place: tuple[float, int]
    job: str
    slots: int
    sites: tuple[tuple[str, int], ...]
    licences: tuple[tuple[str, int], ...] = ()
    user: str = ""
    start_ms: int = 0
    limit_ms: int = UNKNOWN_MS  # when it ends by what it asks for, where `place` has a prediction


@record
class Site:
    """Where jobs run, and how many slots of it are free and busy."""

    id: str
    free: int = 0
    busy: int = 0


@record
class Backlog:
    """What waits of one class. `picked` is next, and not among `waiting`; `fresh` has come since the last pass, and is
    kept while a job is picked and there are few of them. `promised` are reservations, of an order that makes them."""

    badge: QueueClass
    waiting: Ordered = Ordered()
    picked: Waiting | None = None
    fresh: tuple[Waiting, ...] = ()
    promised: Mapping[str, float] | None = None

    @property
    def first(self) -> Waiting | None:
        """The next job in order."""
        first: Waiting | None = self.picked or self.waiting.first
        return first


@record
class Central:
    """The head node's state. A dispatch keeps it busy for `gap_us`, until `ready_us`. `stirred`: slots or licences have
    changed since the last pass, so that jobs which could not start then may start now. `picks` is said above."""

    phase: str = "up"
    gap_us: int = 0
    picks: bool = False
    ready_us: int = 0
    armed: bool = False
    stirred: bool = False
    sites: tuple[Site, ...] = ()
    backlogs: tuple[Backlog, ...] = ()
    running: Ordered = Ordered()  # by the ends of the estimates
    licences: tuple[tuple[str, int], ...] = ()  # free ones
    ran_ms: Mapping[str, tuple[int, ...]] | None = None  # user -> what the last two jobs ran, if the order predicts


# What it hears ------------------------------------------------------------------------------------------------------
@record
class JobQueued:
    at_ms: int
    badge: QueueClass
    job: Waiting


@record
class JobWithdrawn:
    """The job no longer waits in this class: it was cancelled, or sent elsewhere."""

    at_ms: int
    badge: QueueClass
    job: Waiting


@record
class JobEnded:
    """The attempt that was dispatched as `running` has ended, well or not; its slots are free."""

    at_ms: int
    running: Running


@record
class SlotsChanged:
    """Workers have registered, or are gone, that run nothing."""

    at_ms: int
    site: str
    by: int


@record
class DispatchReady:
    """The pass that was asked for."""

    at_ms: int


@record
class HeadFailed:
    at_ms: int


@record
class HeadRecovered:
    at_ms: int


# What it orders -----------------------------------------------------------------------------------------------------
@record
class Dispatch:
    """Start this job on free slots of its sites. `JobEnded` shall bring `running` back."""

    running: Running


CentralEvent: TypeAlias = (
    JobQueued | JobWithdrawn | JobEnded | SlotsChanged | DispatchReady | HeadFailed | HeadRecovered
)
CentralCommand: TypeAlias = Dispatch | SetTimer


# The order policy's view --------------------------------------------------------------------------------------------
class QueueView(NamedTuple):
    """What `select` sees: one class of waiting jobs, and the free slots and what runs on its sites.

    `new`: when it is not None, only these may start that could not before; all else is as it was at the last pass.
    """

    now_ms: int
    free: int
    running: Iterable[Running]
    picked: Waiting | None
    waiting: Ordered
    new: tuple[Waiting, ...] | None
    promised: Mapping[str, float] = _NONE

    def in_order(self) -> Iterator[Waiting]:
        """All that waits, the picked job first."""
        if self.picked is not None:
            yield self.picked
        yield from self.waiting


Select: TypeAlias = Callable[[QueueView], Iterable[Waiting]]
Reserve: TypeAlias = Callable[[QueueView], tuple[Sequence[Waiting], Mapping[str, float]]]


def in_order(view: QueueView) -> Iterator[Waiting]:
    """The jobs to start now, without backfill: the first ones, as long as they fit."""
    free = view.free
    for job in view.in_order():
        if job.slots > free:
            return
        yield job
        free -= job.slots
