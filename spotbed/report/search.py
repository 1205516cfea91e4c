"""The report of a search: the trials that no other beats, beside the baseline and the policy as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spotbed.metric_names import METRIC_BY_NAME
from spotbed.report.charts.scales import Clock, clock, room
from spotbed.report.document import Bullets, Document, Grid, Paragraph, Section, Strong, Two
from spotbed.report.marks import Axis, Chart, Label, Panel, Points, Symbol, Table
from spotbed.report.metric_words import CUT, called, is_cut, shown_ends
from spotbed.report.palette import BASELINE, BLUE, ORANGE
from spotbed.report.words import in_unit, listed, number, plural, time_unit, usd
from spotbed.stats.method import method_text

if TYPE_CHECKING:
    import pandas as pd

Writer = Callable[[float | None], str]
_Look = tuple[str, Symbol, float]  # colour, symbol, size
_FRONT: _Look = (BLUE, "circle", 8.0)
_LOOKS: tuple[_Look, _Look] = ((ORANGE, "square", 15.0), (BASELINE, "diamond", 15.0))  # the policy as it was, baseline


def search_document(results: Mapping[str, Any]) -> Document:
    """Everything that the report of a search says."""
    front = [trial for trial in results["trials"] if trial["on_front"]]
    tuned, reported = (results[key][1] - results[key][0] for key in ("tune_worlds", "report_worlds"))
    told = f"{plural(len(results['trials']), 'trial')} of {results['policy']} on {plural(tuned, 'world')}"
    return Document(
        title=str(results["scenario"]),
        kicker="spotbed search",
        subtitle=f"{told}; judged on {reported} others",
        sections=[
            Section(
                "answer", "What the search is worth", (Bullets(tuple(_answers(results, front))), front_grid(results))
            ),
            Section("front", "The front", (_chart(results, front),)),
            Section("unknown", "What this report does not know", (Paragraph(_caution(results)),)),
        ],
        colors={results["policy"]: ORANGE, results["baseline"]: BASELINE},
    )


def _caution(results: Mapping[str, Any]) -> tuple[str, ...]:
    first, last = results["tune_worlds"]
    return (
        f"The trials were chosen on worlds {first} to {last - 1}, where the best look better than they are; every "
        f"interval here is of other worlds. The front is of the trials, not of all that the space holds. "
        f"Intervals: {method_text()}.",
    )


def _answers(results: Mapping[str, Any], front: list[Any]) -> list[tuple[Any, ...]]:
    objectives = listed([called(name).lower() for name in results["objectives"]])
    of = f" of {len(results['trials'])} {'is' if len(front) == 1 else 'are'} beaten by no other in all of {objectives}."
    said: list[tuple[Any, ...]] = [(Strong(plural(len(front), "trial")), of)]
    for name in results["objectives"]:
        lower = METRIC_BY_NAME[name].lower_is_better
        judged_in = [trial for trial in front if trial["reported"][name]["mean"] is not None]
        if not judged_in:
            continue
        # chosen on the worlds it was tuned on: what is chosen on the worlds that judge looks better there than it is
        means = [trial["tuned"][name] for trial in judged_in]
        best = judged_in[means.index(min(means) if lower else max(means))]
        judged = best["reported"][name]
        pair = judged["vs_untuned"]
        wanted = "lower" if lower else "higher"
        resolved = {
            wanted: f"{wanted} than {results['policy']} as it was, and the interval carries it",
            "not resolved": f"not told apart from {results['policy']} as it was",
        }.get(pair["verdict"], f"worse than {results['policy']} as it was")
        said.append(
            (
                f"{called(name)}: trial {best['trial']} has ",
                Strong(_writers(results)[name](judged["mean"])),
                f", {resolved}.",
            )
        )
    return said


def front_grid(results: Mapping[str, Any]) -> Grid:
    """The baseline, the policy as it was, and the front."""
    front = [trial for trial in results["trials"] if trial["on_front"]]
    keys = list(front[0]["values"])
    objectives = results["objectives"]
    writers = _writers(results)
    rows = [
        (Label(label), *(_cell(writers[name], judged[name]) for name in objectives), *("" for _ in keys))
        for label, judged in results["before"].items()
    ]
    rows += [
        (
            f"trial {trial['trial']}",
            *(_cell(writers[name], trial["reported"][name]) for name in objectives),
            *(_shown(trial["values"][key]) for key in keys),
        )
        for trial in front
    ]
    first, last = results["report_worlds"]
    note = f"On worlds {first} to {last - 1}." + (f" {CUT}" if _any_cut(results) else "")
    return Grid("pareto", ("", *map(called, objectives), *keys), tuple(rows), (note,))


def _judged(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Metric -> what it was on the worlds of the report: of what was there before, and of the front."""
    return [*results["before"].values(), *(trial["reported"] for trial in results["trials"] if trial["on_front"])]


def _any_cut(results: Mapping[str, Any]) -> bool:
    return any(is_cut(each[name]["ci95"]) for each in _judged(results) for name in results["objectives"])


def _writers(results: Mapping[str, Any]) -> dict[str, Writer]:
    """How the numbers of each objective are written: times all in one unit."""
    return {name: _writer(name, [each[name]["mean"] for each in _judged(results)]) for name in results["objectives"]}


def _writer(name: str, means: Sequence[float | None]) -> Writer:
    unit = METRIC_BY_NAME[name].unit
    if unit == "s":
        of_time = time_unit(means)
        return lambda seconds: in_unit(seconds, of_time)
    return usd if unit == "USD" else number


def _cell(write: Writer, judged: Mapping[str, Any]) -> Two:
    ends = judged["ci95"] and shown_ends(judged["ci95"])
    return Two(write(judged["mean"]), f"[{write(ends[0])}, {write(ends[1])}]" if ends else "")


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _chart(results: Mapping[str, Any], front: list[Any]) -> Chart:
    """The first two objectives of the front, of the baseline and of the policy as it was, on worlds of the report."""
    scales = {name: _Scale.of(name, [each[name] for each in _judged(results)]) for name in results["objectives"]}
    across, up = (*scales.values(), *scales.values())[:2]
    writers = _writers(results)
    marks = [  # the front last, and smaller: a trial that came to what was there before is seen upon it
        *(
            _points(label, across, up, _LOOKS[label == results["baseline"]], writers, [(label, judged)])
            for label, judged in results["before"].items()
        ),
        _points("front", across, up, _FRONT, writers, [(f"trial {each['trial']}", each["reported"]) for each in front]),
    ]
    panel = Panel(across.axis, up.axis, tuple(marks), height=420)
    reading = (
        f"Each blue point is a trial that no other beats in all objectives; {called(across.metric).lower()} to the "
        f"right, {called(up.metric).lower()} upwards.{f' {CUT}' if _any_cut(results) else ''}"
    )
    columns = ("trial", *(scale.axis.title for scale in scales.values()), *front[0]["values"])
    rows = [
        (
            trial["trial"],
            *(scale.place(trial["reported"][name]["mean"]) for name, scale in scales.items()),
            *map(_shown, trial["values"].values()),
        )
        for trial in front
    ]
    return Chart("front", "The Pareto front", reading, reading, (panel,), table=Table(columns, tuple(rows)))


@dataclass(frozen=True, slots=True)
class _Scale:
    """A metric on an axis: times in the unit that fits them."""

    metric: str
    axis: Axis
    of_one: float  # what one on the axis is in the metric's unit

    @classmethod
    def of(cls, name: str, judged: Sequence[Mapping[str, Any]]) -> _Scale:
        """The scale on which all of these means and their intervals have room."""
        unit = METRIC_BY_NAME[name].unit
        values = [end for each in judged for end in (each["mean"], *shown_ends(each["ci95"] or ())) if end is not None]
        time = clock(max(values, default=0.0)) if unit == "s" else Clock(1.0, unit)
        low, high = room(time.of(values), 0.12, floor=0.0)
        told = called(name).lower() + ("" if time.unit in called(name).lower() or unit == "1" else f" ({time.unit})")
        beside = time.unit if unit == "s" else ""
        return cls(name, Axis(told, low, high, money=unit == "USD", decimals=2, unit=beside), time.unit_s)

    def place(self, value: float | None) -> float | None:
        """Where a value stands on the axis."""
        return None if value is None else value / self.of_one


def _points(
    name: str, across: _Scale, up: _Scale, look: _Look, writers: Mapping[str, Writer], judged: list[tuple[str, Any]]
) -> Points:
    judged = [each for each in judged if None not in (each[1][across.metric]["mean"], each[1][up.metric]["mean"])]

    def ends(scale: _Scale) -> tuple[list[float], list[float]]:
        pairs = [shown_ends(each[scale.metric]["ci95"] or [each[scale.metric]["mean"]] * 2) for _, each in judged]
        return [low / scale.of_one for low, _ in pairs], [high / scale.of_one for _, high in pairs]

    x, y = ([each[scale.metric]["mean"] / scale.of_one for _, each in judged] for scale in (across, up))
    says = [
        f"{label}: {', '.join(writers[scale.metric](each[scale.metric]['mean']) for scale in (across, up))}"
        for label, each in judged
    ]
    color, symbol, size = look
    return Points(name, x, y, color, says, symbol, size, x_interval=ends(across), y_interval=ends(up))


def trials_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """Every trial: its parameters, what it had on the worlds it was tuned on, and on others if it is on the front."""
    import pandas as pd

    rows = [
        {
            "trial": trial["trial"],
            **trial["values"],
            **{f"tuned.{name}": value for name, value in trial["tuned"].items()},
            "on_front": trial["on_front"],
            **{f"reported.{name}": judged["mean"] for name, judged in trial.get("reported", {}).items()},
        }
        for trial in results["trials"]
    ]
    return pd.DataFrame(rows)
