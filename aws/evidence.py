"""The record of a comparison as evidence: does it speak of what would be deployed, and does the deploy gate hold?

Nothing is taken from `results.json` that can be computed from the worlds themselves: intervals and gates are made anew
from `worlds.csv`, and the two must agree.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotbed.build import Blueprint
from spotbed.errors import InputError, Problem
from spotbed.gates import evaluate, parse_rule
from spotbed.metric_names import METRIC_NAMES
from spotbed.policies.compose import Composed
from spotbed.provenance import file_sha256, scheduler_sha256
from spotbed.stats import Paired, Summary, paired, summarise

COST_RATIO_BELOW = 1.0  # upper 97.5 % bound, against the baseline
MISS_RATE_POINTS_BELOW = 0.1  # upper 97.5 % bound of the difference, in percentage points
INVARIANTS = ("jobs_lost", "duplicate_completions", "orphan_workers")  # 0 in every world
_FILES = ("results.json", "provenance.json", "worlds.csv", "bill_worlds.csv")
_AGAIN = "`spotbed compare` writes it."
_AGREES = 1e-9
_Line = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold. `value` and `limit` are texts or numbers, as they are shown."""

    check: str
    passed: bool
    value: str | float | None
    limit: str | float | None
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """A comparison's folder. `worlds` is label -> metric -> one number a world; `bill` is label -> line -> (usage, USD)
    of each world, 0 where a world has no such line."""

    folder: Path
    results: Mapping[str, Any]
    provenance: Mapping[str, Any]
    worlds: Mapping[str, Mapping[str, list[float]]]
    bill: Mapping[str, Mapping[_Line, list[tuple[float, float]]]]

    @property
    def baseline(self) -> str:
        return str(self.results["baseline"])

    @property
    def replications(self) -> int:
        return int(self.results["replications"])

    @property
    def overrides(self) -> list[str]:
        """What --set and its like had changed in the scenario that was compared."""
        return [str(text) for text in self.provenance["overrides"]]

    def policy(self, label: str) -> Mapping[str, Any]:
        """The entry of a policy in the results. Raises InputError."""
        entries = {entry["label"]: entry for entry in self.results["policies"]}
        if label not in entries:
            hint = f"It compared {', '.join(entries)}."
            raise InputError(Problem(f"did not compare {label!r}.", str(self.folder), value=label, hint=hint))
        found: Mapping[str, Any] = entries[label]
        return found

    def does_not_converge(self, label: str) -> Mapping[str, str]:
        """Metric -> why its mean means nothing."""
        found: Mapping[str, str] = self.policy(label).get("does_not_converge", {})
        return found

    def deadline_share(self, label: str) -> float:
        """The share of jobs with a deadline, as world 0 had it."""
        from spotbed.api import slug

        rows = list(_rows(self.folder / "runs" / slug(label) / "jobs.csv"))
        return sum(bool(row["deadline"]) for row in rows) / len(rows) if rows else 0.0


# reading ------------------------------------------------------------------------------------------------------------
def read_record(folder: Path) -> Record:
    """The record in a folder that `compare` wrote. Raises InputError."""
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        kind = "is a run, not a comparison" if (folder / "attempts.csv").is_file() else "is no folder of a comparison"
        raise InputError(Problem(f"{kind}: it has no {missing[0]}.", str(folder), hint=_AGAIN))
    results, provenance = (_json(folder / name) for name in _FILES[:2])
    try:
        labels = [entry["label"] for entry in results["policies"]]
        worlds: dict[str, dict[str, list[float]]] = {label: {name: [] for name in METRIC_NAMES} for label in labels}
        for row in _rows(folder / "worlds.csv"):
            for metric in METRIC_NAMES:
                worlds[row["policy"]][metric].append(float(row[metric] or "nan"))
        record = Record(folder, results, provenance, worlds, _bill(folder, labels, int(results["replications"])))
        _ = record.overrides, record.baseline, provenance["policies"], provenance["inputs"]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        message = f"is not as `compare` writes it ({type(error).__name__}: {error})."
        raise InputError(Problem(message, str(folder), hint="Compare again.")) from error
    return record


def _bill(folder: Path, labels: Sequence[str], worlds: int) -> dict[str, dict[_Line, list[tuple[float, float]]]]:
    found: dict[str, dict[_Line, list[tuple[float, float]]]] = {label: {} for label in labels}
    for row in _rows(folder / "bill_worlds.csv"):
        line = (row["item"], row["cause"], row["unit"])
        values = found[row["policy"]].setdefault(line, [(0.0, 0.0)] * worlds)
        values[int(row["world"])] = (float(row["usage"]), float(row["usd"]))
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(Problem(f"is no JSON: {error}.", str(path), hint=_AGAIN)) from None
    if not isinstance(found, dict):
        raise InputError(Problem("is no JSON object.", str(path), hint=_AGAIN))
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot be read ({error}).", str(path), hint=_AGAIN)) from None


# checking -----------------------------------------------------------------------------------------------------------
def checks_of(record: Record, label: str, made: Blueprint, composed: Composed) -> list[Check]:
    """All that must hold before `composed` may be deployed on the strength of the record."""
    return [*_same_inputs(record, label, made, composed), *_whole(record, label), *_gate(record, label, made)]


def _same_inputs(record: Record, label: str, made: Blueprint, composed: Composed) -> Iterator[Check]:
    """What was compared is what would be packaged."""
    said = record.provenance
    now: list[tuple[str, Any, str]] = [
        ("scheduler source", said.get("scheduler_sha256"), scheduler_sha256()),
        ("policy source and parameters", said["policies"].get(label), composed.sha256),
        ("scenario", said.get("scenario_sha256"), made.scenario.sha256),
        ("price book", said.get("price_book_sha256"), made.book.sha256),
        ("catalogue of instances", said.get("catalogue_sha256"), made.catalogue.sha256),
        ("services data", said.get("services_sha256"), made.preset.sha256),
    ]
    files = {name: file_sha256(path) for name, path in made.input_files().items() if name != "scenario"}
    now += [(f"input {name}", said["inputs"].get(name, {}).get("sha256"), found) for name, found in files.items()]
    for name, then, found in now:
        detail = "as it was compared" if then == found else "was changed since it was compared: compare again"
        yield Check(name, then == found, found[:12], str(then)[:12], detail)


def _whole(record: Record, label: str) -> Iterator[Check]:
    """The worlds are all there, and say what the results say."""
    for each in dict.fromkeys((record.baseline, label)):
        values = record.worlds[each]["cost_usd"]
        said = record.policy(each)["metrics"]["cost_usd"]["mean"]
        found = math.fsum(values) / len(values) if values else math.nan
        bills = math.fsum(usd for line in record.bill[each].values() for _, usd in line) / max(1, len(values))
        agrees = said is None or math.isclose(said, found, rel_tol=_AGREES)
        agrees = agrees and len(values) == record.replications and math.isclose(found, bills, rel_tol=_AGREES)
        detail = "worlds, bills and results agree" if agrees else "its files do not agree: compare again"
        yield Check(f"record of {each}", agrees, found if math.isfinite(found) else None, said, detail)


def _gate(record: Record, label: str, made: Blueprint) -> Iterator[Check]:
    if label == record.baseline:
        text = "it is the baseline: compare it with another one (`compare --baseline`)"
        yield Check("compared with a baseline", False, label, record.baseline, text)
        return
    yield _cheaper(record, label)
    yield _misses(record, label)
    for metric in INVARIANTS:
        worst = max(
            (value if math.isfinite(value) else math.inf for value in record.worlds[label][metric]), default=math.inf
        )
        detail = (
            "0 in every world" if worst == 0 else f"in one world of {record.replications} at least: never deploy it"
        )
        yield Check(metric, worst == 0, worst if math.isfinite(worst) else None, 0, detail)
    yield from _own_gates(record, label, made)


def _cheaper(record: Record, label: str) -> Check:
    pair = _paired(record, label, *(record.worlds[each]["cost_usd"] for each in (label, record.baseline)))
    ends = pair["ratio_ci95"]
    upper = ends[1] if ends and not _diverges(record, label) else None
    passed = upper is not None and upper < COST_RATIO_BELOW
    detail = f"upper 97.5 % bound of cost against {record.baseline}, {pair['n']} worlds"
    if _diverges(record, label):
        detail += "; a mean does not converge, so there is no bound"
    return Check("cost ratio", passed, upper, COST_RATIO_BELOW, detail)


def _misses(record: Record, label: str) -> Check:
    """Missed deadlines in percent of the jobs that have one. Without any deadline there is none to miss."""
    share = record.deadline_share(label)
    ours, theirs = (_miss_points(record.worlds[each], share) for each in (label, record.baseline))
    ends = _paired(record, label, ours, theirs)["diff_ci95"]
    passed = ends is not None and ends[1] < MISS_RATE_POINTS_BELOW
    detail = f"upper 97.5 % bound of the difference to {record.baseline}, in percentage points"
    return Check("miss rate", passed, ends[1] if ends else None, MISS_RATE_POINTS_BELOW, detail)


def _miss_points(worlds: Mapping[str, Sequence[float]], share: float) -> list[float]:
    pairs = zip(worlds["deadline_missed"], worlds["jobs_submitted"], strict=True)
    return [100 * missed / (jobs * (share or 1)) if jobs else 0.0 for missed, jobs in pairs]


def _own_gates(record: Record, label: str, made: Blueprint) -> Iterator[Check]:
    """The scenario's own, on the worlds of the record."""
    rules = [gate.rule for gate in made.scenario.gates if label in gate.for_]
    summaries = {each: _summaries(record, each) for each in (label, record.baseline)}
    for rule in rules:
        found = evaluate(parse_rule(rule), label, summaries[label], summaries[record.baseline], record.replications)
        yield Check(f"gate {found.rule}", found.passed, found.value, found.limit, "of the scenario")


def _summaries(record: Record, label: str) -> dict[str, Summary]:
    found = {metric: summarise(record.worlds[label][metric]) for metric in METRIC_NAMES}
    for metric in record.does_not_converge(label):
        found[metric]["mean"] = found[metric]["ci95"] = None
    return found


def _diverges(record: Record, label: str) -> bool:
    return any("cost_usd" in record.does_not_converge(each) for each in (label, record.baseline))


def _paired(record: Record, label: str, ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    if len(ours) != len(theirs):
        raise InputError(Problem(f"{label} and {record.baseline} differ in their worlds.", str(record.folder)))
    return paired(ours, theirs)
