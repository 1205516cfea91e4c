"""What the commands do, for scripts and notebooks: run, compare, demo, load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.build import Blueprint, blueprint
from spotbed.comparison import Finished, compare_worlds
from spotbed.engines import LOCAL, Engine
from spotbed.errors import InputError, Problem
from spotbed.files import MARK, check_replaceable, new_folder, report_folder, write_text
from spotbed.frames import journal_frame, run_data
from spotbed.limits import limits_told
from spotbed.policies.compose import Composed
from spotbed.progress import Progress, Silent
from spotbed.provenance import of_scenario
from spotbed.scenario.load import load_scenario
from spotbed.scenario.load import validate as problems_of
from spotbed.scenario.models import Scenario
from spotbed.scenario.problems import is_error, suggestion
from spotbed.search_space import check_space
from spotbed.summary import assumed_values, differing_rows, findings_of, queue_band, results_of
from spotbed.work.runnable import refuse_unrunnable
from spotbed.worlds import run_world

if TYPE_CHECKING:
    import pandas as pd

    from spotbed.journal import Journal
    from spotbed.precision import Reached
    from spotbed.report.data import ComparisonData, RunData
    from spotbed.stats.stopping import Precision

Warn = Callable[[Sequence[Problem]], None]
DEMO = Path(__file__).parent.parent / "scenarios" / "demo.yaml"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run that is written."""

    path: Path
    results: dict[str, Any]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison that is written."""

    path: Path
    results: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def load(path: str | Path) -> dict[str, Any]:
    """A run's folder as DataFrames by name, with `journal`, `results` and `provenance`."""

    import pandas as pd

    folder = Path(path)
    if not (folder / "jobs.csv").is_file():
        raise InputError(Problem("is no folder of a run.", str(folder), hint="`spotbed run` writes one."))
    frames: dict[str, Any] = {file.stem: pd.read_csv(file) for file in sorted(folder.glob("*.csv"))}
    for name in ("results", "provenance"):
        frames[name] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    if (folder / "journal.parquet").is_file():
        frames["journal"] = read_parquet(folder / "journal.parquet")
    return frames


def run_scenario(
    path: str | Path,
    *,
    policy: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    journal: bool = True,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> RunFolder:
    """One world under one policy (the first, if none is named): its folder, with journal and report.

    `warn` is told what is odd about the scenario before anything is run.
    """
    progress = progress or Silent()
    scenario = load_scenario(Path(path), overrides)
    label = scenario.policies[0].label if policy is None else policy
    made = ready(scenario, worlds=1, seed=seed)
    composed = _policy(made, label)
    _warn(scenario, warn)
    seed = scenario.seed if seed is None else seed
    target = out or report_folder(scenario.name, label, str(seed))
    check_replaceable(target)
    progress.update(0, 2, f"simulating {label}")
    run = run_world(made, composed, 0, seed=seed, journal=journal)
    finished = Finished({label: [run.result]}, {})
    results = results_of(made, finished, label, [label], gates=())
    data = run_data(made, composed, run, results)
    data.provenance = of_scenario(
        made,
        {"seed": seed},
        journal_sha256=run.journal.sha256() if run.journal else None,
        policy=label,
        policy_sha256=composed.sha256,
    )
    progress.update(1, 2, "writing")
    with new_folder(target) as folder:
        write_run(data, folder, run.journal)
        _write_run_html(data, folder / "report.html")
    progress.update(2, 2, "done")
    return RunFolder(target, results, data.notes)


def compare_scenario(
    path: str | Path,
    *,
    baseline: str | None = None,
    replications: int | None = None,
    jobs: int | None = None,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    policies: Sequence[str] | None = None,
    engine: Engine | None = None,
    precision: Precision | None = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Comparison:
    """All policies of a scenario (or `policies` and the baseline) on the same worlds, with the report.

    With `precision`, worlds are run until every mean is so precise. `warn` is told what is odd about the scenario
    before anything is run.
    """
    progress = progress or Silent()
    changed = [
        *overrides,
        *([f"replications={replications}"] if replications is not None else []),
        *([f"baseline={json.dumps(baseline)}"] if baseline is not None else []),
    ]
    try:
        scenario = load_scenario(Path(path), changed)
    except InputError as error:
        raise InputError([_as_given(problem, baseline) for problem in error.problems]) from error
    made = ready(scenario)
    labels = _chosen(made, scenario.baseline, policies)
    target = out or report_folder(scenario.name)
    check_replaceable(target)
    _warn(scenario, warn)
    engine = replace(engine or LOCAL, processes=jobs) if jobs is not None else engine or LOCAL
    notes = list[str]()
    if precision is None:
        finished = compare_worlds(made, Path(path), changed, labels, engine, progress, target)
    else:
        reached = _until_precise(made, Path(path), changed, labels, engine, progress, target, precision)
        made, finished, notes = reached.made, reached.finished, [reached.note]
    data, more_notes = comparison_data(made, finished, labels, changed)
    data.notes = notes = [*notes, *more_notes]
    with new_folder(target, finished.told()) as folder:
        write_comparison(data, folder)
        write_table(finished.bill_worlds_frame(labels), folder / "bill_worlds.csv")
        for label, journal in finished.journals().items():
            write_parquet(journal, folder / "runs" / slug(label) / "journal.parquet")
    finished.forget()
    return Comparison(target, data.results, [*notes, *limits_told(made, finished, labels)])


def _until_precise(
    made: Blueprint, path: Path, changed: Sequence[str], labels: Sequence[str], engine: Engine, progress: Progress,
    target: Path, precision: Precision,
) -> Reached:  # fmt: skip
    """Worlds that were finished at one look are kept for the next."""
    from spotbed.precision import compare_until

    def overrides(worlds: int) -> list[str]:
        return [*(each for each in changed if not each.startswith("replications=")), f"replications={worlds}"]

    return compare_until(
        made,
        precision,
        labels,
        lambda worlds: ready(load_scenario(path, overrides(worlds))),
        lambda made, worlds: compare_worlds(made, path, overrides(worlds), labels, engine, progress, target),
    )


def _as_given(problem: Problem, baseline: str | None) -> Problem:
    """A problem of an override that stands for an option, at that option."""
    given = baseline is not None and (problem.file or "").startswith("--set baseline=")
    return replace(problem, file=f"--baseline {baseline}") if given else problem


def demo(out: Path, progress: Progress | None = None) -> Comparison:
    """The demo scenario: one small regression under several policies."""
    return compare_scenario(DEMO, out=out, progress=progress)


def validate(path: str | Path, *, lenient: bool = False) -> list[Problem]:
    """All that is wrong or odd with a scenario; once nothing is wrong with it itself, also with the files it names."""
    problems = problems_of(path)
    if not any(is_error(problem) for problem in problems):
        try:
            given = lenient_settings(path) if lenient else ()
            scenario = load_scenario(path, given)
            ready(scenario)
            if scenario.search is not None:
                check_space(scenario, scenario.search, Path(path), given)
        except InputError as error:
            problems += error.problems
    return problems


def lenient_settings(path: str | Path, overrides: Sequence[str] = ()) -> list[str]:
    """The overrides that --lenient stands for in a scenario: one for each section whose files may be read so."""
    scenario = load_scenario(path, overrides)
    sections = {"workload": scenario.workload, "market.prices": scenario.market.prices}
    return [f"{key}.lenient=true" for key, section in sections.items() if hasattr(section, "lenient")]


def ready(scenario: Scenario, *, worlds: int | None = None, seed: int | None = None) -> Blueprint:
    """A scenario with all that it names read. Raises InputError for what shows only then, before anything is run."""
    try:
        made = blueprint(scenario)
        for composed in made.composed.values():
            made.preset_of(composed)
        count, first = worlds or scenario.replications, scenario.seed if seed is None else seed
        refuse_unrunnable(scenario, count, first)
    except InputError as error:
        raise InputError([_placed(problem, scenario) for problem in error.problems]) from error
    return made


def _placed(problem: Problem, scenario: Scenario) -> Problem:
    """A problem that lies in no file of its own, at its place in the scenario."""
    if problem.file is not None or problem.path is None or scenario.positions is None:
        return problem
    keys = tuple(int(step) if step.isdecimal() else step for step in problem.path.split("."))
    return scenario.positions.problem(problem.message, keys, hint=problem.hint, value=problem.value)


def _warn(scenario: Scenario, warn: Warn | None) -> None:
    if warn is not None and scenario.warnings:
        warn(scenario.warnings)


def _policy(made: Blueprint, label: str) -> Composed:
    if label not in made.composed:
        hint = suggestion(label, list(made.composed))
        raise InputError(Problem(f"{label!r} is not the label of a policy.", value=label, hint=hint))
    return made.composed[label]


def _chosen(made: Blueprint, baseline: str, policies: Sequence[str] | None) -> list[str]:
    wanted = list(made.composed) if policies is None else [baseline, *policies]
    for label in wanted:
        _policy(made, label)
    return [label for label in made.composed if label in wanted]


def comparison_data(
    made: Blueprint, finished: Finished, labels: Sequence[str], overrides: Sequence[str] = ()
) -> tuple[ComparisonData, list[str]]:
    """What the report of a comparison is made from, and the notes of its worlds. `overrides` changed its scenario."""
    from spotbed.report.data import ComparisonData
    from spotbed.stats.method import method_text

    scenario = made.scenario
    gates = [gate for gate in scenario.gates if set(gate.for_) & set(labels)]
    results = results_of(made, finished, scenario.baseline, labels, gates)
    notes = list(dict.fromkeys(note for label in labels for result in finished.results[label] for note in result.notes))
    empty = sum(not result.done for result in finished.results[labels[0]])
    if empty:
        notes.append(f"{empty} of {scenario.replications} worlds have no job: none arrives before their horizon")
    data = ComparisonData(
        results=results,
        worlds=finished.worlds_frame(scenario.seed),
        bill=finished.bill_frame(labels),
        queue_depth=queue_band(finished, labels),
        runs={label: _run_of(made, finished, label) for label in labels},
        notes=notes,
        assumed=assumed_values(made, labels),
        differing=differing_rows(made, labels),
        findings=findings_of(made, finished, labels),
        coverage=method_text(),
        description=scenario.description or "",
    )
    data.provenance = of_scenario(
        made,
        {"seed": scenario.seed, "worlds": scenario.replications},
        overrides=list(overrides),
        policies={label: made.composed[label].sha256 for label in labels},
        journal_sha256=finished.journal_hashes(),
    )
    return data, notes


def _run_of(made: Blueprint, finished: Finished, label: str) -> RunData:
    data = finished.runs[label]
    data.provenance = of_scenario(
        made,
        {"seed": made.scenario.seed},
        policy=label,
        policy_sha256=made.composed[label].sha256,
        journal_sha256=finished.journal_hashes().get(label),
    )
    return data


# writing ------------------------------------------------------------------------------------------------------------
def slug(label: str) -> str:
    """A label as the name of a folder; one that had to change is told apart by a piece of its hash."""
    plain = "".join(character if character.isalnum() or character in "_-+." else "-" for character in label)
    if plain == label and plain.strip("."):
        return plain
    return f"{plain.strip('.') or 'policy'}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"


def write_run(data: RunData, folder: Path, journal: Journal | None) -> None:
    """The tables, results and provenance of a run, and its journal if one was kept."""
    for name in ("jobs", "workers", "attempts", "timeline", "events", "prices", "bill"):
        write_table(getattr(data, name), folder / f"{name}.csv")
    write_json(folder / "results.json", data.results)
    write_json(folder / "provenance.json", data.provenance)
    write_json(folder / "notes.json", {"notes": data.notes})
    if journal is not None:
        write_parquet(journal_frame(journal), folder / "journal.parquet")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """A table as CSV."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def write_json(path: Path, content: Any) -> None:
    """JSON for people: indented, UTF-8."""

    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def write_parquet(frame: Any, path: Path) -> None:
    """A table's rows as Parquet, such as those of a journal."""
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.register("rows_to_write", frame)
        connection.execute(
            f"COPY rows_to_write TO '{str(path).replace(chr(39), chr(39) * 2)}' (FORMAT parquet, COMPRESSION zstd)"
        )


def read_parquet(path: Path) -> Any:
    """A Parquet file as a DataFrame."""
    import duckdb

    with duckdb.connect() as connection:
        return connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).df()


def write_comparison(data: ComparisonData, folder: Path) -> None:
    """The folder of a comparison: results, tables, the run of world 0 under each policy, and the report."""
    from spotbed.report.html import write_comparison_html

    write_json(folder / "results.json", data.results)
    for name in ("worlds", "bill", "queue_depth"):
        write_table(getattr(data, name), folder / f"{name}.csv")
    write_json(folder / "provenance.json", data.provenance)
    write_json(
        folder / "notes.json",
        {
            name: getattr(data, name)
            for name in ("notes", "assumed", "differing", "findings", "coverage", "description")
        },
    )
    for label, run in data.runs.items():
        write_run(run, folder / "runs" / slug(label), None)
    write_comparison_html(data, folder / "index.html")


def _write_run_html(data: RunData, path: Path) -> None:
    from spotbed.report.html import write_run_html

    write_run_html(data, path)


def write_reports(folders: Sequence[Path], written_as: str, out: Path | None = None) -> list[Path]:
    """The report of finished runs or comparisons again, as html, md or csv; returns what was written."""
    return [path for folder in folders for path in _write_report(Path(folder), written_as, out)]


def _write_report(folder: Path, written_as: str, out: Path | None) -> list[Path]:
    from spotbed.report import data as frames
    from spotbed.report.html import write_comparison_html, write_run_html
    from spotbed.report.markdown import write_comparison_markdown, write_run_markdown

    if not (folder / MARK).is_file():
        hint = "`spotbed run` and `spotbed compare` write them."
        raise InputError(Problem("is no folder of a run or a comparison.", str(folder), hint=hint))
    whole = frames.is_comparison(folder)
    data: Any = frames.load_comparison(folder) if whole else frames.load_run(folder)
    place = out or folder
    if written_as == "html":
        path = place / ("index.html" if whole else "report.html")
        (write_comparison_html if whole else write_run_html)(data, path)
        return [path]
    if written_as == "md":
        (write_comparison_markdown if whole else write_run_markdown)(data, place)
        return [place / "report.md"]
    path = place / "report.csv"
    write_text(path, _results_csv(data.results))
    return [path]


def _results_csv(results: Mapping[str, Any]) -> str:
    """Every estimate of a comparison or a run as one table of plain numbers."""
    import csv
    import io

    from spotbed.results import estimates_table

    table, text = estimates_table(results), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()
