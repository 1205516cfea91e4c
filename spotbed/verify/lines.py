"""The lines of a deployed run's journal: [time in ms, role, subject, event, commands], and facts of no role.

A fact is a line of the role `world` with {"fact": kind, ...} for an event. A line of a log is {"journal": line}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.codec import CodecError, decode
from scheduler.commands import ReleaseDependants
from scheduler.events import Lost
from spotbed.errors import InputError, Problem

WORLD = "world"
_NEEDED = {"job": ("ticket",), "array": ("tasks",), "worker": ("pool",), "stack": ("settings",)}
_PARQUET = b"PAR1"
_SIMULATED = (
    "A deployed run is needed: the journal.jsonl of a local stack, or --from-stack of `data fit`, --stack of `verify`. "
    "What a simulated run did is in the tables beside its journal (spotbed.load), and its scenario is known."
)
_HINT = "A local stack keeps it as journal.jsonl; functions write it into their logs."


@dataclass(frozen=True, slots=True)
class Line:
    """What a role heard and ordered; or a fact: `event` is then None, and `fact` its kind."""

    at_ms: int
    role: str
    subject: str
    event: Any = None
    commands: tuple[Any, ...] = ()
    fact: str = ""
    body: dict[str, Any] = field(default_factory=dict)


def read_journal(path: Path) -> list[Line]:
    """The lines of a file, in order of time. Raises InputError with the first line that is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}.", str(path), hint=_HINT)) from None
    if content.startswith(_PARQUET):
        raise InputError(Problem("is the journal of a simulated run.", str(path), hint=_SIMULATED))
    try:
        texts = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        message = f"is no journal: its byte {error.start} is no text in UTF-8."
        raise InputError(Problem(message, str(path), hint=_HINT)) from None
    return lines_of(_parsed(str(path), texts), str(path))


def _parsed(file: str, texts: Sequence[str]) -> Iterator[Any]:
    for number, text in enumerate(texts, 1):
        if text.strip():
            try:
                yield json.loads(text)
            except ValueError as error:
                raise InputError(Problem(f"is no JSON: {error}.", file, number, hint=_HINT)) from None


def lines_of(values: Iterable[Any], file: str = "journal") -> list[Line]:
    """The lines of values as JSON gives them, in order of time; those of one moment stay as they came."""
    found = []
    for number, value in enumerate(values, 1):
        try:
            found.append(_line(value["journal"] if isinstance(value, dict) else value))
        except (CodecError, ValueError, TypeError, KeyError) as error:
            message = f"is no line of a journal ({type(error).__name__}: {error})."
            raise InputError(Problem(message, file, number, hint=_HINT)) from None
    return sorted(found, key=lambda line: line.at_ms)


def _line(value: Any) -> Line:
    at_ms, role, subject, event, commands = value
    if role == WORLD:
        body, kind = {name: each for name, each in event.items() if name != "fact"}, str(event["fact"])
        missing = [name for name in _NEEDED.get(kind, ()) if name not in body]
        if missing:
            raise ValueError(f"a {kind} without {missing[0]}")
        if kind == "job":
            decode(body["ticket"])
        return Line(int(at_ms), role, str(subject), fact=kind, body=body)
    if role not in ("worker", "job", "fleet"):
        raise ValueError(f"no role {role!r}")
    return Line(int(at_ms), role, str(subject), decode(event), tuple(decode(command) for command in commands))


def since(lines: Sequence[Line], at_ms: int) -> list[Line]:
    """The lines from the first job after `at_ms` that came while no job was open and no worker was there: what is
    before it can be left out without anything of it missing. Raises InputError when there was no such moment."""
    if not lines or lines[0].at_ms >= at_ms:
        return list(lines)
    jobs, workers = set[str](), set[str]()
    for number, line in enumerate(lines):
        if line.fact == "job" and line.at_ms >= at_ms and not jobs and not workers:
            return [each for each in lines[:number] if each.fact == "stack"] + list(lines[number:])
        _follow(line, jobs, workers)
    message = "the stack was never without work since then: nowhere can its journal be cut."
    raise InputError(Problem(message, path="since", hint="Drain it, wait, and let jobs run: verify begins with them."))


def _follow(line: Line, jobs: set[str], workers: set[str]) -> None:
    """Which jobs are open, and which workers are there."""
    if line.fact == "job":
        jobs.add(line.subject)
    elif line.fact == "worker":
        workers.add(line.subject)
    elif isinstance(line.event, Lost):
        workers.discard(line.subject)
    elif any(isinstance(command, ReleaseDependants) for command in line.commands):
        jobs.discard(line.subject)
