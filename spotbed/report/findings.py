"""What a report does not know, and where it comes from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spotbed.report.document import Block, Box, Bullets, Code, Facts, Grid, Paragraph, Section
from spotbed.report.words import NOTHING, number


def unknowns(
    findings: Sequence[str], notes: Sequence[str], assumed: Sequence[Mapping[str, Any]], coverage: str = ""
) -> Section:
    """Findings first, then notes, then every value that was assumed with its range."""
    blocks: list[Block] = []
    if findings:
        blocks.append(Box("Findings", tuple((finding,) for finding in findings), "warning"))
    if coverage:
        blocks.append(Paragraph((f"Intervals: {coverage}.",)))
    if notes:
        blocks.append(Bullets(tuple((note,) for note in notes)))
    if assumed:
        blocks.append(_assumed_grid(assumed))
    return Section("unknown", "What this report does not know", tuple(blocks))


def _assumed_grid(assumed: Sequence[Mapping[str, Any]]) -> Grid:
    rows = [
        (str(row.get("key", "")), *(_value(row.get(name)) for name in ("value", "low", "high", "unit", "why")))
        for row in assumed
    ]
    return Grid(
        "assumed",
        ("Value", "Assumed", "At least", "At most", "Unit", "Why"),
        tuple(rows),
        ("No public source gives these; a range says how far off they may be.",),
        f"{len(rows)} assumed values",
    )


def _value(value: Any) -> str:
    if value is None:
        return NOTHING
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def provenance_section(provenance: Mapping[str, Any], results: Mapping[str, Any]) -> Section:
    """Versions, seeds, hashes, dates, the command, and how to get the same numbers again."""
    known = {key: results[key] for key in ("scenario_sha256", "schema_version") if key in results}
    facts = tuple(_flat({**known, **{key: value for key, value in provenance.items() if key != "command"}}))
    blocks: list[Block] = []
    command = provenance.get("command")
    if command:
        text = command if isinstance(command, str) else shlex.join(str(part) for part in command)
        told = "The same command with the same inputs, seed and versions gives the same numbers:"
        blocks += [Paragraph((told,)), Code(text)]
    if facts:
        blocks.append(Facts(facts))
    return Section("provenance", "Where this comes from", tuple(blocks))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flat(item, f"{name}.")
        elif item is not None:
            yield name, item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str)
