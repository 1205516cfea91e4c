"""A scenario's distribution of durations as `sim.inputs.Dist`."""

from __future__ import annotations

from pathlib import Path

from sim.inputs import Dist
from spotbed.errors import InputError, Problem
from spotbed.scenario.models_work import Dist as DistModel
from spotbed.scenario.models_work import Empirical
from spotbed.work.complaints import Complaints
from spotbed.work.textfile import read_text
from spotbed.work.values import LARGEST, parse_number


def dist_of(model: DistModel) -> Dist:
    """The distribution, with the durations of its file if it is empirical. Raises InputError."""
    if isinstance(model, Empirical):
        return Dist("empirical", values=read_durations(model.path.locate()))
    return Dist(model.dist, model.params())


def read_durations(path: Path) -> tuple[float, ...]:
    """Durations in seconds, one a line; blank lines and lines that start with # are skipped. Raises InputError."""
    complaints = Complaints(path, "lines are no durations", hint="Write one number of seconds a line.")
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), start=1)]
    lines = [(number, text) for number, text in lines if text and not text.startswith("#")]
    values = []
    for number, text in lines:
        try:
            value = parse_number(text)
        except ValueError:
            complaints.add(number, f"{text[:40]!r} is not a number of seconds.")
            continue
        if not 0 <= value <= LARGEST:
            why = "a duration is not negative" if value < 0 else "a duration beyond all reason"
            complaints.add(number, f"{text[:40]!r}: {why}.")
        else:
            values.append(value)
    complaints.settle(len(lines), lenient=False)
    if not values:
        raise InputError(Problem("there is no duration in this file.", file=str(path)))
    return tuple(values)
