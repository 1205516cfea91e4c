"""The report of a search: the trials that no other beats, beside the baseline and the policy as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spotbed.metric_names import METRIC_BY_NAME
from spotbed.report.document import Bullets, Document, Grid, Paragraph, Section, Strong, Two
from spotbed.report.marks import Axis, Chart, Label, Panel, Points, Table
from spotbed.report.palette import BASELINE, BLUE, ORANGE
from spotbed.report.words import duration, number, plural, usd
from spotbed.stats.method import method_text

if TYPE_CHECKING:
    import pandas as pd


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
        colors={results["policy"]: BLUE, results["baseline"]: BASELINE},
    )


def _caution(results: Mapping[str, Any]) -> tuple[str, ...]:
    first, last = results["tune_worlds"]
    return (
        f"The trials were chosen on worlds {first} to {last - 1}, where the best look better than they are; every "
        f"interval here is of other worlds. The front is of the trials, not of all that the space holds. "
        f"Intervals: {method_text()}.",
    )


def _answers(results: Mapping[str, Any], front: list[Any]) -> list[tuple[Any, ...]]:
    of = f" of {len(results['trials'])} are beaten by no other in all of {', '.join(results['objectives'])}."
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
        said.append((f"{name}: trial {best['trial']} has ", Strong(_write(name, judged["mean"])), f", {resolved}."))
    return said


def front_grid(results: Mapping[str, Any]) -> Grid:
    """The baseline, the policy as it was, and the front."""
    front = [trial for trial in results["trials"] if trial["on_front"]]
    keys = list(front[0]["values"])
    objectives = results["objectives"]
    rows = [
        (Label(label), *("" for _ in keys), *(_cell(name, judged[name]) for name in objectives))
        for label, judged in results["before"].items()
    ]
    rows += [
        (
            f"trial {trial['trial']}",
            *(_shown(trial["values"][key]) for key in keys),
            *(_cell(name, trial["reported"][name]) for name in objectives),
        )
        for trial in front
    ]
    first, last = results["report_worlds"]
    return Grid("pareto", ("", *keys, *objectives), tuple(rows), (f"On worlds {first} to {last - 1}.",))


def _cell(name: str, judged: Mapping[str, Any]) -> Two:
    ends = judged["ci95"]
    below = f"[{_write(name, ends[0])}, {_write(name, ends[1])}]" if ends else ""
    return Two(_write(name, judged["mean"]), below)


def _write(name: str, value: float | None) -> str:
    unit = METRIC_BY_NAME[name].unit
    return usd(value) if unit == "USD" else duration(value) if unit == "s" else number(value)


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _chart(results: Mapping[str, Any], front: list[Any]) -> Chart:
    """The first two objectives of the front, of the baseline and of the policy as it was, on worlds of the report."""
    across, up = (*results["objectives"], results["objectives"][0])[:2]
    marks = [
        _points("front", across, up, BLUE, [(f"trial {trial['trial']}", trial["reported"]) for trial in front]),
        *(
            _points(label, across, up, BASELINE if label == results["baseline"] else ORANGE, [(label, judged)])
            for label, judged in results["before"].items()
        ),
    ]
    panel = Panel(_axis(across), _axis(up), tuple(marks), height=420)
    reading = f"Each blue point is a trial that no other beats in all objectives; {across} to the right, {up} upwards."
    columns = (
        "trial",
        *front[0]["values"],
        *(f"{name} ({METRIC_BY_NAME[name].unit})" for name in results["objectives"]),
    )
    rows = [
        (trial["trial"], *map(_shown, trial["values"].values()),
         *(trial["reported"][name]["mean"] for name in results["objectives"]))
        for trial in front
    ]  # fmt: skip
    return Chart("front", "The Pareto front", reading, reading, (panel,), table=Table(columns, tuple(rows)))


def _axis(name: str) -> Axis:
    metric = METRIC_BY_NAME[name]
    return Axis(f"{name} ({metric.unit})", money=metric.unit == "USD", decimals=2)


def _points(name: str, across: str, up: str, color: str, judged: list[tuple[str, Any]]) -> Points:
    judged = [each for each in judged if None not in (each[1][across]["mean"], each[1][up]["mean"])]

    def ends(metric: str) -> tuple[list[float], list[float]]:
        pairs = [each[metric]["ci95"] or [each[metric]["mean"]] * 2 for _, each in judged]
        return [low for low, _ in pairs], [high for _, high in pairs]

    x, y = ([each[metric]["mean"] for _, each in judged] for metric in (across, up))
    says = [
        f"{label}: {_write(across, each[across]['mean'])}, {_write(up, each[up]['mean'])}" for label, each in judged
    ]
    return Points(name, x, y, color, says, x_interval=ends(across), y_interval=ends(up))


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
