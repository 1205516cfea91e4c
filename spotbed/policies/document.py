"""The figures of docs/policies.md: for each point, all registered policies in the worlds of one small scenario.

`python -m spotbed.policies.document` prints them, `--write docs/policies.md` writes them where they belong; with names
of points, for these alone. A scenario of `scenarios/catalogue` holds the worlds, the baseline, and those policies that
need a parameter or a companion to be what they are; every other that is registered is added as it comes. Orders that
look at what tenants use have worlds of their own, `order-tenants`: a fixed cluster does not count that.
"""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from scheduler.observation import TENANT_USE
from scheduler.policies.presets import PARTS, PRESETS
from spotbed.api import ready
from spotbed.errors import InputError, Problem
from spotbed.files import write_text
from spotbed.policies.catalogue import PolicyInfo, known
from spotbed.policies.compose import sees_the_queue
from spotbed.report.words import NOTHING, TIMES, count, duration, number, usd
from spotbed.scenario.load import load_scenario
from spotbed.scenario.models import Scenario
from spotbed.stats.summary import paired
from spotbed.worlds import run_world

SCENARIOS = Path(__file__).parent.parent.parent / "scenarios" / "catalogue"
COMMAND = "python -m spotbed.policies.document --write docs/policies.md"
TENANTS = "order-tenants"
WHOLE = "policy"  # the point of those that fill several
POINTS = (WHOLE, *PARTS)
_BEGIN, _END = "<!-- figures of {point}: `{command}` -->", "<!-- end of figures -->"
_NOT_DONE = "not_done"
# metric -> (heading, how it is written)
_SHOWN = {
    "cost_usd": ("cost", usd), "bounded_slowdown": ("slowdown", number), "makespan_s": ("makespan", duration),
    "wait_s": ("wait", duration), "lost_work_s": ("lost work", duration), "idle_s": ("idle", duration),
    "deadline_missed": ("deadlines missed", count), "interruptions": ("interruptions", count),
    "launch_failures": ("launches failed", count), "attempts": ("attempts", count), _NOT_DONE: ("not done", count),
}  # fmt: skip
_USUAL = ("cost_usd", "makespan_s", "wait_s", "lost_work_s")
# point -> the metrics that its figures have; the first is the one that is set against the baseline
COLUMNS: Mapping[str, Sequence[str]] = {
    WHOLE: (*_USUAL, "deadline_missed", _NOT_DONE),
    "order": ("bounded_slowdown", "makespan_s", "wait_s", "deadline_missed"),
    "place": (*_USUAL, "interruptions", "launch_failures"),
    "scale": (*_USUAL, "idle_s", "deadline_missed"),
    "retry": (*_USUAL, "attempts", _NOT_DONE),
    "protect": _USUAL,
    "move": (*_USUAL, "deadline_missed"),
}


class Figures(NamedTuple):
    """What was found in a scenario for a point: for each policy, by name, each metric's value in each world."""

    scenario: Scenario
    worlds: Mapping[str, Mapping[str, Sequence[float]]]


# running ------------------------------------------------------------------------------------------------------------
def figures(point: str) -> list[Figures]:
    """Run the scenarios of a point under all that is registered there, in this process."""
    return [_run(point, name) for name in (point, *([TENANTS] if point == "order" else []))]


def _run(point: str, name: str) -> Figures:
    path = SCENARIOS / f"{name}.yaml"
    policies = list(_entries(point, load_scenario(path)))
    scenario = load_scenario(path, [f"policies={json.dumps(policies)}"])
    made = ready(scenario)
    found: dict[str, dict[str, list[float]]] = {}
    for label, composed in made.composed.items():
        results = [run_world(made, composed, world).result.metrics for world in range(scenario.replications)]
        for metrics in results:
            metrics[_NOT_DONE] = metrics["jobs_submitted"] - metrics["jobs_done"]
        found[label] = {name: [metrics[name] for metrics in results] for name in COLUMNS[point]}
    return Figures(scenario, found)


def _entries(point: str, scenario: Scenario) -> Iterator[dict[str, Any]]:
    """The scenario's own entry of each registered policy, or the baseline's with this policy in its place."""
    own = {entry.label: entry.model_dump(by_alias=True, exclude_none=True, mode="json") for entry in scenario.policies}
    base = {key: value for key, value in own[scenario.baseline].items() if key != "with" or value}
    for name in PRESETS if point == WHOLE else PARTS[point]:
        counts_tenants = point == "order" and TENANT_USE in getattr(PARTS[point][name], "needs", ())
        if point == "order" and name != scenario.baseline and counts_tenants != (scenario.name == TENANTS):
            continue
        if name in own:
            yield {key: value for key, value in own[name].items() if value != {}}
        elif point == WHOLE:
            yield {"use": name, "label": name}
        else:
            central = {"architecture": "central"} if sees_the_queue(PARTS[point][name]) else {}
            yield {**base, "label": name, point: name, **central}


# writing ------------------------------------------------------------------------------------------------------------
def tables(point: str) -> str:
    """The figures of a point in Markdown."""
    return "\n\n".join(table(point, each) for each in figures(point))


def table(point: str, found: Figures) -> str:
    """Those of one scenario: a row for each policy, in the order in which they are registered."""
    infos = {info.name: info for info in known() if info.point == point}
    baseline, worlds, name = found.scenario.baseline, found.scenario.replications, found.scenario.name
    headings = [_SHOWN[metric][0] for metric in COLUMNS[point]]
    headings.insert(1, f"against `{baseline}`")
    rows = [["name", *headings, "deployed", "source"], ["---"] * (len(headings) + 3)]
    rows += [
        _row(infos[label], metrics, found.worlds[baseline], COLUMNS[point]) for label, metrics in found.worlds.items()
    ]
    said = f"Means over {worlds} worlds of [`{name}.yaml`](../scenarios/catalogue/{name}.yaml): {_sentence(found)}"
    return "\n".join([said, "", *(f"| {' | '.join(row)} |" for row in rows)])


def _sentence(found: Figures) -> str:
    text = found.scenario.description or ""
    return f"{text[:1].lower()}{text[1:]}. In brackets the 95 % interval of the ratio."


def _row(
    info: PolicyInfo,
    metrics: Mapping[str, Sequence[float]],
    baseline: Mapping[str, Sequence[float]],
    columns: Sequence[str],
) -> list[str]:
    cells = [_SHOWN[name][1](_mean(metrics[name])) for name in columns]
    cells.insert(1, _ratio(metrics[columns[0]], baseline[columns[0]]))
    deployed = "yes" if info.deployable else f"no: {info.hindrance}"
    return [f"`{info.name}`", *cells, deployed, (info.source or NOTHING).replace("|", "\\|")]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of the means with its interval; where that holds 1, nobody is better."""
    if list(ours) == list(theirs):
        return "the same"
    pair = paired(ours, theirs)
    if pair["ratio"] is None:
        return NOTHING
    ends = pair["ratio_ci95"]
    return f"{TIMES}{pair['ratio']:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


def with_figures(text: str, made: Mapping[str, str]) -> str:
    """The document with these figures between the marks of their points. Raises InputError where it has none."""
    for point, figures_of_it in made.items():
        begin = _BEGIN.format(point=point, command=COMMAND)
        found = re.compile(f"{re.escape(begin)}\n.*?{re.escape(_END)}", re.DOTALL)
        if not found.search(text):
            raise InputError(Problem(f"has no place for the figures of {point!r}.", hint=f"Add {begin} and {_END}."))
        text = found.sub(partial(_put, f"{begin}\n{figures_of_it}\n{_END}"), text)
    return text


def _put(made: str, match: re.Match[str]) -> str:
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures, or write them into a document."""
    parser = ArgumentParser(prog="python -m spotbed.policies.document", description=__doc__)
    parser.add_argument("point", nargs="*", help=f"of {', '.join(POINTS)}; by default all")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put them between the marks in this document")
    given = parser.parse_args(arguments)
    made = {point: tables(point) for point in given.point or POINTS}
    if given.write:
        write_text(given.write, with_figures(given.write.read_text("utf-8"), made))
    else:
        sys.stdout.write("\n\n".join(made.values()) + "\n")


if __name__ == "__main__":
    main()
