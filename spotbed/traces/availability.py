"""How many Spot instances a pool had, from recordings: availability JSON and logs of nodes added and removed.

Both become a step function (at_ms, count) whose last entry repeats the value before it: that marks the end of the
recording, where the simulator starts it again (`sim.steps.recorded_period_ms`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from sim.inputs import Int64
from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import shown, suggestion
from spotbed.traces.table import MOST_PROBLEMS, refuse
from spotbed.work.textfile import read_text

_FORM = 'The form is {"metadata": {"gap_seconds": 195}, "data": [0, 1, ...]}.'
_LONGEST_TIME = 15  # digits of milliseconds: thirty thousand years
_MOST_INSTANCES = 1_000_000_000
_LONGEST_GAP_S = 366 * 86_400
_SPACE = re.compile(r"\s*")
_ACTIONS = {"add": 1, "remove": -1}
Capacity = tuple[Int64, Int64]
T = TypeVar("T")


def load_availability(path: Path, *, per_unit: int = 1) -> Capacity:
    """Read an availability JSON or an add/remove log, plain or gzip: (at_ms, count), both of shape n, at_ms[0] = 0.

    JSON: `{metadata: {gap_seconds}, data: [...]}`, one number of available instances for each tick (the format of
    github.com/skypilot-org/spot-traces). A log: lines `t_ms,add|remove,node`. `per_unit` is how many instances one
    unit stands for: a 0/1 trace of launch probes says that there was room for one, not how much.

    Raises InputError with the file, the line or index, and the value.
    """
    text = read_text(path)
    at_ms, count = _from_json(path, text) if is_json(text) else _from_log(path, text)
    return at_ms, count * per_unit


def load_capacity(traces: Mapping[str, Path], *, per_unit: int = 1) -> dict[str, Capacity]:
    """`Interruptions.capacity` for pools by id; a file that several pools share is read once."""
    read = {path: load_availability(path, per_unit=per_unit) for path in sorted(set(traces.values()))}
    return {pool: read[path] for pool, path in traces.items()}


def is_json(text: str) -> bool:
    """Whether a text begins as JSON does."""
    return text.lstrip()[:1] in {"{", "["}


def is_log(text: str) -> bool:
    """Whether a text is an add/remove log: the second cell of its first line is an action."""
    first = text.lstrip().partition("\n")[0].split(",")
    return len(first) == 3 and first[1].strip() in _ACTIONS


def read_spells_trace(path: Path) -> Capacity:
    """As `load_availability`, for fitting: 1 while anything was available, 0 otherwise."""
    at_ms, count = load_availability(path)
    up = (count > 0).astype(np.int64)
    kept = np.r_[True, up[1:-1] != up[:-2], True]
    return at_ms[kept], up[kept]


def parsed_json(path: Path, text: str) -> object:
    """The content of a JSON file; NaN is let through, for whoever knows what it stands for to complain of."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(Problem(f"is not JSON: {error.msg}.", str(path), error.lineno, error.colno)) from error
    except RecursionError:
        raise InputError(Problem("is nested too deeply to be a trace.", str(path), hint=_FORM)) from None


def _from_json(path: Path, text: str) -> Capacity:
    content = parsed_json(path, text)
    if not isinstance(content, dict):
        raise InputError(Problem("is not an availability trace.", str(path), hint=_FORM))
    metadata = _entry(path, content, "metadata", dict)
    data = _entry(path, content, "data", list)
    gap_ms = _gap_ms(path, text, _entry(path, metadata, "gap_seconds", (int, float), "metadata."))
    if not data:
        message, hint = "is empty: no tick was recorded.", "Record at least one tick."
        raise InputError(Problem(message, str(path), *_place(text, "data"), "data", hint=hint))
    bad = [index for index, value in enumerate(data) if not _is_count(value)]
    refuse([_bad_count(path, text, index, data) for index in bad[: MOST_PROBLEMS + 1]], len(bad))
    count = np.array(data, dtype=np.int64)
    changes = np.flatnonzero(np.r_[True, count[1:] != count[:-1]])
    at_ms = np.rint(np.r_[changes, len(count)] * gap_ms).astype(np.int64)
    return at_ms, np.r_[count[changes], count[-1]]


def _entry(
    path: Path, content: dict[str, object], key: str, kind: type[T] | tuple[type[T], ...], prefix: str = ""
) -> T:
    where = prefix + key
    if key not in content:
        near = suggestion(key, set(content) - {"metadata", "data", "gap_seconds"})
        hint = near if near.startswith("Did") else _FORM
        raise InputError(Problem("is missing.", str(path), path=where, hint=hint))
    value = content[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(Problem(f"{shown(value)} is not what belongs here.", str(path), path=where, hint=_FORM))
    return value


def _gap_ms(path: Path, text: str, gap_s: int | float) -> float:
    if not 0 < gap_s <= _LONGEST_GAP_S:
        hint = "It is the time between two ticks, in seconds."
        message = f"{gap_s} must be above 0." if not gap_s > 0 else f"{gap_s} is longer than a year."
        where = "metadata.gap_seconds"
        raise InputError(Problem(message, str(path), *_place(text, "gap_seconds"), where, gap_s, hint))
    return gap_s * 1000.0


def _is_count(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 <= value <= _MOST_INSTANCES and value == int(value)


def _is_huge(value: object) -> bool:
    return isinstance(value, int | float) and value > _MOST_INSTANCES


def _place(text: str, key: str, index: int = -1) -> tuple[int | None, int | None]:
    """Line and column of the value of a key of JSON text, or of an item of it, which follows `index` numbers."""
    match = re.search(rf'"{key}"\s*:\s*', text)
    if match is None:
        return None, None
    at = match.end()
    for _ in range(index + 1):
        at = _SPACE.match(text, 1 + (at if text[at] == "[" else text.index(",", at))).end()  # type: ignore[union-attr]
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _bad_count(path: Path, text: str, index: int, data: list[object]) -> Problem:
    value = data[index]
    plain = all(isinstance(before, int | float | None) for before in data[:index])
    place = _place(text, "data", index) if plain else (None, None)
    message = f"{shown(value)} is not a number of instances."
    hint = f"A tick holds a whole number of at least 0{' and at most a billion' if _is_huge(value) else ''}."
    return Problem(message, str(path), *place, f"data[{index}]", value, hint)


def events_of_log(path: Path, text: str) -> list[tuple[int, str, str]]:
    """(t_ms, "add" or "remove", node) of each line of a log; InputError for lines that make no sense."""
    events: list[tuple[int, str, str]] = []
    present: set[str] = set()
    problems = []
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        event = tuple(cell.strip() for cell in content.split(","))
        wrong = _wrong_event(event, events[-1][0] if events else 0, present)
        if wrong:
            problems.append(Problem(wrong, str(path), line, value=content, hint="The form is t_ms,add|remove,node."))
            continue
        at_ms, action, node = int(event[0]), event[1], event[2]
        (present.add if action == "add" else present.discard)(node)
        events.append((at_ms, action, node))
    refuse(problems)
    if not events:
        raise InputError(Problem("is empty: nothing was added or removed.", str(path)))
    return events


def _wrong_event(event: tuple[str, ...], before_ms: int, present: set[str]) -> str | None:
    if len(event) != 3:
        return f"has {len(event)} cells, not 3."
    at_ms, action, node = event
    if not at_ms.isdecimal() or len(at_ms) > _LONGEST_TIME:
        return f"{shown(at_ms)} is not a time in whole milliseconds."
    if int(at_ms) < before_ms:
        return f"{at_ms} ms is earlier than {before_ms} ms on the line before."
    if action not in _ACTIONS:
        return f"{shown(action)} is neither 'add' nor 'remove'."
    if (action == "add") == (node in present):
        return f"{shown(node)} {'is there already' if action == 'add' else 'was not there'}."
    return None


def _from_log(path: Path, text: str) -> Capacity:
    """The number of nodes that were there. The log ends with its last event, whose effect is not seen any more."""
    events = events_of_log(path, text)
    times = np.array([0, *(at_ms for at_ms, _, _ in events)], dtype=np.int64)
    count = np.cumsum([0, *(_ACTIONS[action] for _, action, _ in events)])
    last_of_time = np.r_[times[1:] != times[:-1], True]
    times, count = times[last_of_time], count[last_of_time]
    if len(times) > 1:
        count[-1] = count[-2]
    return times, count
