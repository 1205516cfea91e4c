"""The journal: what every run writes, simulated or real. Ledger, metrics, `explain` and the report read only this.

Entries are in the order in which things happened: events that the roles heard, commands that they gave, and facts
that no role decides (attempts, instances, interruptions). `sha256` is taken over canonical JSON lines (sorted keys, no
spaces), so it depends on neither hash seeds nor processes. Parquet on disk, JSON lines for people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from scheduler.record import record

VERSION = 1


@record
class AttemptFact:
    """One attempt that has ended. Times in ms; `*_ms` of causes are instance time and add up to end - start."""

    job: str
    number: int  # index of the job in the world's work
    attempt: int  # the lease epoch
    worker: str
    pool: str
    start_ms: int
    end_ms: int
    cause: str
    useful_ms: int
    lost_ms: int
    checkpoint_ms: int
    failed_ms: int
    usd: float


@record
class InstanceFact:
    """One instance that has ended. `ms` by cause in the order of metering.INSTANCE_CAUSES, without the minimum."""

    worker: str
    pool: str
    requested_ms: int
    launched_ms: int
    ready_ms: int
    ended_ms: int
    reason: str
    attempts: int
    ms: tuple[int, ...]
    minimum_ms: int  # billed beyond its life
    usd: float


class Entry(NamedTuple):
    """One line. `what` is event, command or fact; `kind` the name of its type; `body` its fields."""

    at_ms: int
    role: str
    subject: str
    what: str
    kind: str
    body: Any


Row: TypeAlias = tuple[int, str, str, str, str, Any]  # the fields of an Entry


class Journal:
    """An append-only list of entries."""

    def __init__(self) -> None:
        self._rows: list[Row] = []  # a plain tuple is written, and made JSON, in half of an Entry's time
        self._entries: list[Entry] = []
        self._append = self._rows.append

    @property
    def entries(self) -> list[Entry]:
        """All entries until now."""
        made = self._entries
        made.extend(map(Entry._make, self._rows[len(made) :]))
        return made

    def step(self, role: str, subject: str, event: Any, commands: Sequence[Any]) -> None:
        """An event that a role heard, and the commands that it gave."""
        at_ms, append = event.at_ms, self._append
        append((at_ms, role, subject, "event", event.__class__.__name__, event))
        for command in commands:
            append((at_ms, role, subject, "command", command.__class__.__name__, command))

    def fact(self, at_ms: int, kind: str, subject: str, body: dict[str, Any]) -> None:
        """Something that happened and that no role decided."""
        self._append((at_ms, "world", subject, "fact", kind, body))

    def attempt(self, fact: AttemptFact) -> None:
        self._append((fact.end_ms, "world", fact.job, "fact", "attempt", fact))

    def instance(self, fact: InstanceFact) -> None:
        self._append((fact.ended_ms, "world", fact.worker, "fact", "instance", fact))

    def lines(self) -> Iterator[bytes]:
        """Canonical JSON, one line an entry."""
        import orjson  # where functions on AWS run there is none, and they write these records too

        dumps, options = orjson.dumps, orjson.OPT_SORT_KEYS
        for row in self._rows:
            yield dumps(row, option=options)

    def bodies(self) -> list[str]:
        """The fields of each entry as canonical JSON."""
        import orjson

        return [orjson.dumps(entry.body, option=orjson.OPT_SORT_KEYS).decode() for entry in self.entries]

    def sha256(self) -> str:
        """Hash of the canonical lines, each ended by a newline."""
        digest = hashlib.sha256()
        lines = self.lines()
        while block := b"\n".join(islice(lines, 1_000)):
            digest.update(block)
            digest.update(b"\n")
        return digest.hexdigest()
