"""What a report is made from, and how it lies on disk: the folder of a run, the folder of a comparison.

Times are seconds from the first moment of the world, money is US dollars. `docs/report.md` lists the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from spotbed.errors import InputError, Problem

_JOBS = {
    "job_id": "text",
    "submission_time": "number",
    "requested_number_of_resources": "number",
    "requested_time": "number",
    "success": "number",
    "starting_time": "number",
    "execution_time": "number",
    "finish_time": "number",
    "waiting_time": "number",
    "turnaround_time": "number",
    "stretch": "number",
    "allocated_resources": "text",
    "attempts": "number",
    "interruptions": "number",
    "pool": "text",
    "purchase_option": "text",
    "lost_work_s": "number",
    "cost_usd": "number",
    "deadline": "number",  # the moment, not the span
    "tenant": "text",
    "class": "text",
    "status": "text",  # done, failed, unfinished, lost
}
_WORKERS = {
    "worker": "text",
    "pool": "text",
    "instance_type": "text",
    "az": "text",
    "purchase_option": "text",
    "requested_s": "number",
    "launched_s": "number",
    "ready_s": "number",
    "ended_s": "number",
    "end_reason": "text",
    "attempts": "number",
    "boot_s": "number",
    "idle_s": "number",
    "useful_s": "number",
    "lost_s": "number",
    "checkpoint_s": "number",
    "failed_s": "number",
    "minimum_s": "number",
    "cost_usd": "number",
}
_ATTEMPTS = {
    "job_id": "text",
    "attempt": "number",
    "worker": "text",
    "pool": "text",
    "purchase_option": "text",
    "start_s": "number",
    "end_s": "number",
    "cause": "text",
    "useful_s": "number",
    "lost_s": "number",
    "checkpoint_s": "number",
    "cost_usd": "number",
}
_TIMELINE = {"at_s": "number", "series": "text", "pool": "text", "phase": "text", "value": "number"}
_EVENTS = {"at_s": "number", "kind": "text", "pool": "text", "worker": "text"}
_PRICES = {"at_s": "number", "pool": "text", "usd_per_hour": "number"}
_BILL = {"item": "text", "cause": "text", "usage": "number", "unit": "text", "usd": "number"}
_QUEUE = {"policy": "text", "at_s": "number", "p10": "number", "p50": "number", "p90": "number"}
_WORLDS = {"policy": "text", "world": "number"}
_OBSERVED = {"quantity": "text", "unit": "text", "simulated": "number", "observed": "number"}
_RUN_FRAMES = {
    "jobs": _JOBS,
    "workers": _WORKERS,
    "attempts": _ATTEMPTS,
    "timeline": _TIMELINE,
    "events": _EVENTS,
    "prices": _PRICES,
    "bill": _BILL,
}


NO_JOURNAL = "This run kept no journal, so nothing is known of single workers and attempts."
_ALL_FRAMES = {
    **_RUN_FRAMES,
    "observed": _OBSERVED,
    "worlds": _WORLDS,
    "queue_depth": _QUEUE,
    "bill_by_policy": {"policy": "text", **_BILL},
}


def empty(kind: str) -> pd.DataFrame:
    """A frame without rows, with the columns and types of `jobs`, …, `observed`, `worlds`, … or `bill_by_policy`."""
    columns = _ALL_FRAMES[kind]
    return pd.DataFrame({name: _typed(pd.Series([], dtype="object"), how) for name, how in columns.items()})


@dataclass(slots=True)
class RunData:
    """One policy in one world.

    `bill` may carry `list_usd`, what the same instance time costs on demand at list price; without it the waterfall
    starts at the price paid. `timeline` rows are steps: each value holds until the next row of the same series, pool
    and phase. `observed` compares with a real run, where there is one.
    """

    label: str
    jobs: pd.DataFrame = field(default_factory=lambda: empty("jobs"))
    workers: pd.DataFrame = field(default_factory=lambda: empty("workers"))
    attempts: pd.DataFrame = field(default_factory=lambda: empty("attempts"))
    timeline: pd.DataFrame = field(default_factory=lambda: empty("timeline"))
    events: pd.DataFrame = field(default_factory=lambda: empty("events"))
    prices: pd.DataFrame = field(default_factory=lambda: empty("prices"))
    bill: pd.DataFrame = field(default_factory=lambda: empty("bill"))
    observed: pd.DataFrame = field(default_factory=lambda: empty("observed"))
    results: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def kept_a_journal(self) -> bool:
        """Whether attempts and workers are known one by one. Without a journal only the jobs and the bill are."""
        return len(self.attempts) > 0 or not float(self.jobs["attempts"].sum())


@dataclass(slots=True)
class ComparisonData:
    """Policies on the same worlds. `results` follows the contract; `runs` holds world 0 of each policy by label."""

    results: dict[str, Any]
    worlds: pd.DataFrame = field(default_factory=lambda: empty("worlds"))
    bill: pd.DataFrame = field(default_factory=lambda: empty("bill_by_policy"))
    queue_depth: pd.DataFrame = field(default_factory=lambda: empty("queue_depth"))
    runs: dict[str, RunData] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    assumed: list[dict[str, Any]] = field(default_factory=list)  # key, value, low, high, unit, why
    differing: list[dict[str, Any]] = field(default_factory=list)  # setting, then one key per policy
    findings: list[str] = field(default_factory=list)
    coverage: str = ""
    description: str = ""

    @property
    def replications(self) -> int:
        """On how many worlds; a comparison that does not say was on one."""
        return int(self.results.get("replications") or 1)


def load_run(folder: Path) -> RunData:
    """Read a run's folder. Raises InputError, with every file and column that is missing or wrong."""
    problems: list[Problem] = []
    frames = {kind: _frame(folder / f"{kind}.csv", columns, problems) for kind, columns in _RUN_FRAMES.items()}
    frames["observed"] = _frame(folder / "observed.csv", _OBSERVED, problems, required=False)
    results = _json(folder / "results.json", problems, required=False)
    provenance = _json(folder / "provenance.json", problems, required=False)
    notes = _json(folder / "notes.json", problems, required=False)
    if problems:
        raise InputError(problems)
    return RunData(
        label=_run_label(results, provenance, folder),
        results=results,
        provenance=provenance,
        notes=list(notes.get("notes", [])),
        **frames,
    )


def load_comparison(folder: Path) -> ComparisonData:
    """Read a comparison's folder with the runs in it. Raises InputError, with everything missing or wrong."""
    problems: list[Problem] = []
    results = _json(folder / "results.json", problems)
    worlds = _frame(folder / "worlds.csv", _WORLDS, problems, others="number")
    bill = _frame(folder / "bill.csv", _ALL_FRAMES["bill_by_policy"], problems)
    queue = _frame(folder / "queue_depth.csv", _QUEUE, problems, required=False)
    provenance = _json(folder / "provenance.json", problems, required=False)
    notes = _json(folder / "notes.json", problems, required=False)
    if problems:
        raise InputError(problems)
    runs = [load_run(path.parent) for path in sorted(folder.glob("runs/*/jobs.csv"))]
    order = [str(policy.get("label")) for policy in results.get("policies", [])]
    by_label = {run.label: run for run in runs}
    return ComparisonData(
        results=results,
        worlds=worlds,
        bill=bill,
        queue_depth=queue,
        runs={label: by_label[label] for label in order if label in by_label},
        provenance=provenance,
        **{name: notes[name] for name in _NOTES if name in notes},
    )


_NOTES = ("notes", "assumed", "differing", "findings", "coverage", "description")


def is_comparison(folder: Path) -> bool:
    """Whether the folder holds a comparison (and not one run)."""
    return (folder / "worlds.csv").is_file()


def _run_label(results: dict[str, Any], provenance: dict[str, Any], folder: Path) -> str:
    policies = results.get("policies") or [{}]
    return str(policies[0].get("label") or provenance.get("policy") or folder.name)


def _json(path: Path, problems: list[Problem], *, required: bool = True) -> dict[str, Any]:
    if not path.is_file():
        if required:
            problems.append(Problem("is missing", file=str(path), hint="Is this a folder that spotbed wrote?"))
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(Problem(f"is not JSON: {error}", file=str(path)))
        return {}
    if not isinstance(content, dict):
        problems.append(Problem("does not hold a JSON object", file=str(path)))
        return {}
    return content


def _frame(
    path: Path,
    columns: dict[str, str],
    problems: list[Problem],
    *,
    required: bool = True,
    others: str | None = None,
) -> pd.DataFrame:
    """Read a CSV file in which an id such as `NA` or `007` stays what it is."""
    if not path.is_file():
        if required:
            problems.append(Problem("is missing", file=str(path), hint="Is this a folder that spotbed wrote?"))
        return pd.DataFrame(columns=list(columns))
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, pd.errors.ParserError) as error:
        problems.append(Problem(f"is not a CSV file: {error}", file=str(path)))
        return pd.DataFrame(columns=list(columns))
    missing = [name for name in columns if name not in raw.columns]
    if missing:
        problems.append(Problem(f"has no column {', '.join(missing)}", file=str(path)))
        return pd.DataFrame(columns=list(columns))
    kinds = {str(name): columns.get(str(name), others or _guess(raw[name])) for name in raw.columns}
    for name, kind in kinds.items():
        try:
            raw[name] = _typed(raw[name], kind)
        except ValueError as error:
            problems.append(Problem(str(error), file=str(path), path=name))
    return raw


def _guess(column: pd.Series[Any]) -> str:
    filled = column[column != ""]
    return "number" if pd.to_numeric(filled, errors="coerce").notna().all() else "text"


def _typed(column: pd.Series[Any], kind: str) -> pd.Series[Any]:
    if kind == "text":
        return column.astype("object")
    words = column.replace({"": None, "True": 1, "False": 0, "true": 1, "false": 0})
    return pd.to_numeric(words).astype("float64")
