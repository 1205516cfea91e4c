"""What others have published, or what is exact: the rows of `spotbed/data/published.csv`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spotbed.csv_table import Row, read_table

TABLE = Path(__file__).parents[1] / "data" / "published.csv"
RULES = ("relative", "absolute", "decimals", "below", "above", "errors", "precise", "reported")
_COLUMNS = ("source", "cell", "published", "unit", "rule", "tolerance", "long", "date")


@dataclass(frozen=True, slots=True)
class Target:
    """One number of a source.

    `rule` says how ours is judged, with `tolerance`: relative (a share of what was published), absolute (in `unit`),
    decimals (equal when rounded to so many), below and above (ours against the published bound), errors (so many
    standard errors of ours), precise (a share of what was published *and* three standard errors of ours, which are
    themselves no more than that share), reported (not judged: nobody has published it, or under other conditions).
    `long`: it takes more than a few seconds, and `--quick` leaves it out.
    """

    source: str
    cell: str
    published: float | None
    unit: str
    rule: str
    tolerance: float
    long: bool
    date: str  # when the number was read in its source

    @property
    def name(self) -> str:
        """How `--only` and errors call it."""
        return f"{self.source}/{self.cell}"


@cache
def targets() -> tuple[Target, ...]:
    """All rows of the table, in its order. Raises InputError with file and line where the table is wrong."""
    return tuple(_target(row) for row in read_table(TABLE, _COLUMNS))


def _target(row: Row) -> Target:
    cells = row.cells
    if cells["rule"] not in RULES:
        raise row.problem(f"{cells['rule']!r} is none of {', '.join(RULES)}.", "rule")
    if cells["rule"] != "reported" and not cells["published"]:
        raise row.problem("a rule needs a published number.", "published")
    return Target(
        source=cells["source"],
        cell=cells["cell"],
        published=float(cells["published"]) if cells["published"] else None,
        unit=cells["unit"],
        rule=cells["rule"],
        tolerance=row.number("tolerance"),
        long=row.flag("long"),
        date=cells["date"],
    )
