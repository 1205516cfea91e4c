"""docs/validation.md: written by `spotbed bench published --write`, from a template of prose and stored results.

The results are stored beside the document, as JSON; what was not run this time stays as it was, with its date.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from spotbed.files import check_writable, write_text
from spotbed.published.judge import ERRORS, Result, accepted
from spotbed.published.runs import SOURCES
from spotbed.published.table import Target, targets

_PLACE = re.compile(r"^\{\{(\w[\w-]*)(?: (\w+))?\}\}$", re.MULTILINE)
_SKIPPED = "not run"
Stored = Mapping[str, Mapping[str, Any]]  # by name of the target


def read_store(path: Path) -> dict[str, dict[str, Any]]:
    """The stored results; empty if there are none yet."""
    if not path.is_file():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return found


def updated(stored: Stored, results: Iterable[Result]) -> dict[str, dict[str, Any]]:
    """The stored results with those that were run now; in the order of the targets, without what is no target."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    new = {
        result.target.name: {
            "value": _short(result.measured.value),
            "low": _short(result.measured.low),
            "high": _short(result.measured.high),
            "error": _short(result.measured.error),
            "passed": result.passed,
            "date": today,
        }
        for result in results
        if result.measured is not None
    }
    merged = {**stored, **new}
    return {target.name: dict(merged[target.name]) for target in targets() if target.name in merged}


def _short(value: float | None) -> float | None:
    """Twelve digits: beyond them, other processors and libraries may round otherwise."""
    return None if value is None else float(f"{value:.12g}")


def check_place(path: Path) -> None:
    """Raise InputError, before anything is run, where `write` could not write the document and its results."""
    hint = "Give another file with --write."
    check_writable(path, hint)
    check_writable(path.with_suffix(".json"), hint)


def write(path: Path, results: Sequence[Result]) -> None:
    """Write the document and, beside it, the results that it is made from."""
    store = path.with_suffix(".json")
    merged = updated(read_store(store), results)
    write_text(store, json.dumps({"schema_version": 1, "results": merged}, indent=1) + "\n")
    write_text(path, render(merged))


def render(stored: Stored) -> str:
    """The document: the template, with each {{SOURCE}} replaced by its table."""
    template = (files("spotbed") / "published" / "validation.md").read_text(encoding="utf-8")
    return _PLACE.sub(lambda match: _placed(match.group(1), match.group(2), stored), template)


def _placed(name: str, layout: str | None, stored: Stored) -> str:
    if name == "summary":
        return _summary(stored)
    own = [target for target in targets() if target.source == name]
    if not own or name not in SOURCES:
        raise ValueError(f"the template asks for {name!r}, which is no source")
    return _grid(own, stored) if layout == "grid" else _table(own, stored)


def _summary(stored: Stored) -> str:
    """One row a source: how many of its targets are met."""
    lines = ["| source | targets | met | only reported | last run |", "|---|---:|---:|---:|---|"]
    for source in SOURCES.values():
        own = [target for target in targets() if target.source == source.name]
        ran = [stored[target.name] for target in own if target.name in stored]
        judged = [target for target in own if target.rule != "reported"]
        met = sum(each["passed"] is True for each in ran)
        dates = max((str(each["date"]) for each in ran), default=_SKIPPED)
        lines.append(f"| {source.title} | {len(own)} | {met} of {len(judged)} | {len(own) - len(judged)} | {dates} |")
    return "\n".join(lines)


def _table(own: Sequence[Target], stored: Stored) -> str:
    """One row a target."""
    intervals = any(stored.get(target.name, {}).get("low") is not None for target in own)
    errors = any(stored.get(target.name, {}).get("error") is not None for target in own)
    extra = ["95 % interval"] * intervals + ["± standard error"] * errors
    head = ["cell", "published", "ours", *extra, "difference", "accepted", "passed"]
    lines = [
        f"| {' | '.join(head)} |",
        "|" + "|".join("---" if name in ("cell", "accepted") else "---:" for name in head) + "|",
    ]
    for target in own:
        found = stored.get(target.name)
        cells = [
            target.cell,
            text(target.published, target.unit),
            _SKIPPED if found is None else text(found["value"], target.unit),
        ]
        if intervals:
            cells.append(_interval(found))
        if errors:
            cells.append("" if found is None or found["error"] is None else text(found["error"], ""))
        cells += [apart(target, found), accepted(target), _passed(found)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _grid(own: Sequence[Target], stored: Stored) -> str:
    """Cells A/B as a table of A by B."""
    pairs = [target.cell.split("/") for target in own]
    rows, columns = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    unit = own[0].unit
    lines = [f"| {unit} | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for row in rows:
        cells = [_grid_cell(stored.get(f"{own[0].source}/{row}/{column}")) for column in columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _grid_cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return _SKIPPED
    interval = _interval(found)
    return f"{found['value']:.4g}" + (f" {interval}" if interval else "")


def _interval(found: Mapping[str, Any] | None) -> str:
    if found is None or found["low"] is None:
        return ""
    return f"[{found['low']:.4g}, {found['high']:.4g}]"


def _passed(found: Mapping[str, Any] | None) -> str:
    return "" if found is None or found["passed"] is None else ("yes" if found["passed"] else "**no**")


def apart(target: Target, found: Mapping[str, Any] | None) -> str:
    """Ours minus theirs, as the rule has it: in standard errors, as a share (± three errors if precise), the unit."""
    if found is None or target.published is None:
        return ""
    value = float(found["value"]) - target.published
    if target.rule == "errors":
        return f"{value / found['error']:+.1f} errors" if found["error"] else ""
    if target.rule in ("relative", "precise") and target.published:
        share = f"{round(100 * value / target.published, 2) + 0.0:+.2f}"
        half = f" ± {100 * ERRORS * found['error'] / target.published:.2f}" if target.rule == "precise" else ""
        return f"{share}{half} %"
    return f"{value:+.4g}" + (f" {target.unit}" if target.unit else "")


def text(value: float | None, unit: str) -> str:
    """A number with its unit, to six digits."""
    return "" if value is None else f"{value:.6g}" + (f" {unit}" if unit else "")
