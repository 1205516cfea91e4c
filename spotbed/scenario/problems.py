"""Problems as people read them: one line that a tool can parse, the line of the file, and a caret."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from spotbed.errors import Problem

_WIDTH = 110  # of the shown source line
_LARGEST_SHOWN = 8 * 2**20
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Caution(Problem):
    """A warning: it is told, and stops nothing."""

    @classmethod
    def of(cls, problem: Problem) -> Caution:
        """The same problem as a warning."""
        return cls(**{field.name: getattr(problem, field.name) for field in fields(problem)})


def is_error(problem: Problem) -> bool:
    """Whether the problem stops a command."""
    return not isinstance(problem, Caution)


def printable(text: object) -> str:
    """`text` on one line in which nothing can steer a terminal: what is not printable becomes an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def shown(value: object) -> str:
    """A value of the user's as it is quoted in a message: printable and short."""
    text = printable(value)
    if not isinstance(value, str):
        return text
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"


def dotted(path: Iterable[str | int]) -> str:
    """("pools", 1, "az") as pools.1.az."""
    return ".".join(printable(step) for step in path)


def suggestion(value: object, known: Iterable[str]) -> str:
    """ "Did you mean 'x'?", or all that is known when nothing is near and the list is short."""
    names = sorted(set(known))
    near = difflib.get_close_matches(str(value)[:100], names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(names)}." if 0 < len(names) <= 40 else ""


def render(problem: Problem, lines: Sequence[str] | None = None) -> str:
    """The block for a terminal: `file:line:col: error: path: message. hint`, then the line and a caret under the place.

    `lines` are those of the file; without them they are read from it, where that is possible.
    """
    where = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part is not None)
    text = f"{printable(where)}: " if where else ""
    text += "error: " if is_error(problem) else "warning: "
    text += f"{printable(problem.path)}: " if problem.path else ""
    text += printable(problem.message)
    text += f" {printable(problem.hint)}" if problem.hint else ""
    if problem.line is None or problem.file is None:
        return text
    lines = _lines_of(problem.file) if lines is None else lines
    if not 1 <= problem.line <= len(lines):
        return text
    line = lines[problem.line - 1]
    return text + "\n" + _excerpt(line, problem.column or _column_in(line, problem.value))


def _column_in(line: str, value: object) -> int:
    """Where the value stands in its line (from 1), if it stands there once; else where the text of the line begins."""
    if isinstance(value, str) and value and line.count(value) == 1:
        return line.index(value) + 1
    return len(line) - len(line.lstrip()) + 1


def render_all(problems: Iterable[Problem]) -> str:
    """All blocks, in the order of their places; each file is read once."""
    ordered = sorted(problems, key=lambda p: (p.file or "", p.line is None, p.line or 0, p.column or 0))
    files = {p.file: _lines_of(p.file) for p in ordered if p.file is not None and p.line is not None}
    return "\n".join(render(problem, files.get(problem.file or "", [])) for problem in ordered)


def split_lines(text: str) -> list[str]:
    """The lines of `text` as YAML counts them; a text of n line breaks has n + 1."""
    return _BREAK.split(text)


def _lines_of(file: str) -> list[str]:
    path = Path(file)
    try:
        if path.is_file() and path.stat().st_size <= _LARGEST_SHOWN:
            return split_lines(path.read_text("utf-8-sig", errors="replace"))
    except (OSError, ValueError):
        pass
    return []


def _excerpt(line: str, column: int) -> str:
    """The source line, cut around `column` (from 1) if it is long; under it a caret below the word there."""
    index = column - 1
    first = max(0, min(index - _WIDTH // 2, len(line) - _WIDTH))
    last = min(len(line), first + _WIDTH)
    before = "..." * (first > 0) + printable(line[first:index])
    after = printable(line[index:last]) + "..." * (last < len(line))
    word = printable(_word_at(line[:last], index))
    return f"    {before}{after}\n    {' ' * _columns(before)}{'^' * max(1, _columns(word))}"


def _word_at(line: str, index: int) -> str:
    """The key, number or quoted text that starts at `index`; of a list or mapping, its bracket."""
    rest = line[index:]
    if rest[:1] in {"", *"{}[],: "}:
        return rest[:1]
    if rest[0] in {'"', "'"}:
        end = rest.find(rest[0], 1)
        return rest[: end + 1] if end > 0 else rest
    ends = [at for mark in (": ", ",", "}", "]", " #") if (at := rest.find(mark)) > 0]
    return rest[: min(ends, default=len(rest))].rstrip().removesuffix(":")


def _columns(text: str) -> int:
    """How many terminal columns `text` takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
