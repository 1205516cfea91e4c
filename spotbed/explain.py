"""`explain`: why a job waited, moved, was interrupted and retried, and what each of its attempts cost.

Everything is read from a run's folder: the tables say what happened, the journal says why. It works for every
architecture; where one writes less (the scheduler of 2019 has no job role), less is told. Times are seconds from the
start of the world.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.errors import InputError, Problem
from spotbed.explain_waits import Wait, waits_of
from spotbed.report.words import duration, listed, plural, usd

if TYPE_CHECKING:
    import duckdb

SCHEMA_VERSION = 1
_CAUSES = {
    "done": "ended well",
    "failed": "the application failed",
    "string-missing": "exit code 0, but the success string was not in the output",
    "timeout": "it reached its time limit",
    "interrupted": "EC2 took the instance",
    "checkpointed": "it wrote a checkpoint and left",
    "released": "it was let go without a checkpoint",
    "lease-lost": "no sign of life for a whole lease",
    "unstarted": "its worker had to go before it started",
    "abandoned": "the scheduler had lost sight of it",
    "dependency": "a job that it depends on did not end well",
}
_STATUS = {"done": "ended well", "failed": "was given up", "unfinished": "had not ended", "lost": "was lost"}
# What the journal says of a worker while an attempt runs there.
_SIGNS = {"Notice": "interruption notice", "Rebalance": "rebalance recommendation", "MoveOrdered": "ordered to move"}
_NO_USD, _LATE_S = 1e-9, 60.0
_NUMBERS = ("start_s", "end_s", "useful_s", "lost_s", "checkpoint_s", "failed_s", "cost_usd")


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the story; `indented` lines belong to the one before."""

    at_s: float
    what: str
    indented: bool = False


@dataclass(slots=True)
class Story:
    """What a run's folder tells of a job. `attempts` are rows of attempts.csv, with `waited_s` and `because`."""

    label: str
    job: dict[str, Any]
    attempts: list[dict[str, Any]] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "policy": self.label,
            "job": self.job,
            "attempts": self.attempts,
            "timeline": [{"at_s": moment.at_s, "what": moment.what} for moment in self.moments],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one job: in one run, or under each policy of a comparison."""

    job_id: str
    stories: tuple[Story, ...]

    @property
    def text(self) -> str:
        """For people."""
        return "\n\n".join("\n".join(_lines(story)) for story in self.stories)

    def to_dict(self) -> dict[str, Any]:
        """For programs. `attempts` holds the attempts under all policies, each with its policy."""
        attempts = [{"policy": story.label, **attempt} for story in self.stories for attempt in story.attempts]
        return {
            "schema_version": SCHEMA_VERSION,
            "job_id": self.job_id,
            "attempts": attempts,
            "runs": [story.to_dict() for story in self.stories],
        }


def explain(run_folder: str | Path, job_id: str) -> Explanation:
    """Tell the story of a job. Raises InputError for a folder that holds no run, and for a job that is not in it."""
    folders = _runs_in(Path(run_folder))
    return Explanation(job_id, tuple(_story(folder, job_id) for folder in folders))


def _runs_in(folder: Path) -> list[Path]:
    """The folder itself, or the runs of the comparison that it holds."""
    if (folder / "jobs.csv").is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.glob("runs/*/jobs.csv"))
    if not runs:
        raise InputError(Problem("is no folder of a run.", str(folder), hint="`spotbed run` writes one."))
    return runs


# reading ------------------------------------------------------------------------------------------------------------
class Reader:
    """The tables of one run's folder, asked by SQL: a job of a million costs as little to find as one of ten.

    Conditions are written here and in `explain_waits`, never by a user; values are bound.
    """

    def __init__(self, folder: Path) -> None:
        import duckdb

        self.folder = folder
        self._connection: duckdb.DuckDBPyConnection = duckdb.connect()

    def rows(self, table: str, where: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of a CSV file as text, None where a cell is empty."""
        path = self.folder / f"{table}.csv"
        query = f"SELECT * FROM read_csv(?, all_varchar = true, header = true) WHERE {where}"  # noqa: S608
        return self._fetch(query, str(path), *values)

    def journal(self, where: str, *values: Any) -> list[dict[str, Any]]:
        """Entries in order, with `at_s` and the fields parsed; none where the run kept no journal."""
        path = self.folder / "journal.parquet"
        if not path.is_file():
            return []
        query = f"SELECT * FROM read_parquet(?) WHERE {where}"  # noqa: S608
        entries = self._fetch(query, str(path), *values)
        return [{**entry, "at_s": entry["at_ms"] / 1000, "fields": json.loads(entry["fields"])} for entry in entries]

    def _fetch(self, query: str, *values: Any) -> list[dict[str, Any]]:
        found = self._connection.execute(query, values)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def label(self) -> str:
        """The policy's label. The runs of a comparison have no results of their own."""
        path = self.folder / "provenance.json"
        provenance = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return str(provenance.get("policy") or self.folder.name)


def _story(folder: Path, job_id: str) -> Story:
    read = Reader(folder)
    job = _job(read, job_id)
    attempts = _attempts(read, job_id)
    story = Story(read.label(), job, attempts)
    entries = read.journal("subject = ? AND role = 'job'", job_id)
    waits = waits_of(read, job, attempts, entries)
    for attempt, wait in zip(attempts, waits, strict=False):
        attempt["waited_s"], attempt["because"] = wait.length_s, wait.because
    story.moments = list(_moments(read, job, attempts, waits, entries))
    return story


def _job(read: Reader, job_id: str) -> dict[str, Any]:
    found = read.rows("jobs", "job_id = ?", job_id)
    if not found:
        from spotbed.scenario.problems import suggestion

        near = read.rows("jobs", "true ORDER BY jaro_winkler_similarity(job_id, ?) DESC, job_id LIMIT 20", job_id)
        hint = suggestion(job_id, [row["job_id"] for row in near])
        raise InputError(Problem(f"{job_id!r} is no job of this run.", str(read.folder), value=job_id, hint=hint))
    row = found[0]
    numbers = {
        "submitted_s": "submission_time",
        "started_s": "starting_time",
        "ended_s": "finish_time",
        "wait_s": "waiting_time",
        "flow_s": "turnaround_time",
        "runtime_s": "runtime",
        "deadline_s": "deadline",
        "lost_work_s": "lost_work_s",
        "cost_usd": "cost_usd",
    }
    return {
        "job_id": job_id,
        "status": row["status"],
        "class": row["class"],
        "tenant": row["tenant"],
        **{name: _number(row.get(column)) for name, column in numbers.items()},
        "attempts": int(row["attempts"]),
        "interruptions": int(row["interruptions"]),
    }


def _number(text: str | None) -> float | None:
    return float(text) if text and text != "nan" else None


def _attempts(read: Reader, job_id: str) -> list[dict[str, Any]]:
    """The attempts in order. The members of a gang are one attempt: on several workers, from the first start to the
    last end, with the sums of their times and costs."""
    members: dict[int, list[dict[str, Any]]] = {}
    for row in read.rows("attempts", "job_id = ?", job_id):
        members.setdefault(int(row["attempt"]), []).append(row)
    attempts = [_attempt(number, rows) for number, rows in members.items()]
    return sorted(attempts, key=lambda attempt: (attempt["start_s"], attempt["attempt"]))


def _attempt(number: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    kept = {name: rows[0][name] or "" for name in ("pool", "purchase_option", "cause")}
    numbers = {name: [float(row[name]) for row in rows] for name in _NUMBERS}
    sums = {name: sum(values) for name, values in numbers.items()}
    span = {"start_s": min(numbers["start_s"]), "end_s": max(numbers["end_s"])}
    return {"attempt": number, "worker": ", ".join(row["worker"] for row in rows), **kept, **sums, **span}


# telling ------------------------------------------------------------------------------------------------------------
def _moments(
    read: Reader,
    job: dict[str, Any],
    attempts: Sequence[dict[str, Any]],
    waits: Sequence[Wait],
    entries: Sequence[dict[str, Any]],
) -> Iterator[Moment]:
    yield Moment(job["submitted_s"], "submitted")
    if job["attempts"] > len(attempts):
        yield Moment(
            job["submitted_s"], "this run kept no journal: its attempts are not known one by one", indented=True
        )
    before: dict[str, Any] | None = None
    for number, wait in enumerate(waits):
        attempt = attempts[number] if number < len(attempts) else None
        yield from _told_wait(wait, before, attempt)
        if attempt is not None:
            yield from _told_attempt(read, number + 1, attempt, entries)
        before = attempt
    if job["ended_s"] is not None and job["status"] != "done":
        yield Moment(job["ended_s"], _end_of_job(job, attempts, entries))


def _end_of_job(job: dict[str, Any], attempts: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]) -> str:
    reason = next((entry["fields"]["reason"] for entry in entries if entry["kind"] == "GiveUp"), "")
    late_s = job["ended_s"] - attempts[-1]["end_s"] if attempts else 0.0
    late = f", {duration(late_s)} after its last attempt had ended" if late_s > _LATE_S else ""
    return _STATUS[job["status"]] + (f": {_CAUSES.get(reason, reason)}" if reason else "") + late


def _told_wait(wait: Wait, before: dict[str, Any] | None, attempt: dict[str, Any] | None) -> Iterator[Moment]:
    if before is not None and attempt is not None and attempt["pool"] != before["pool"]:
        there = f"{attempt['pool']} ({attempt['purchase_option']})"
        yield Moment(
            wait.from_s, f"moves from {before['pool']} ({before['purchase_option']}) to {there}", indented=True
        )
    open_end = " until the end of the run" if attempt is None else ""
    yield Moment(wait.from_s, f"waits {duration(wait.length_s)}{open_end}", indented=True)
    for because in wait.because:
        yield Moment(wait.from_s, f"- {because}", indented=True)


def _told_attempt(
    read: Reader, number: int, attempt: dict[str, Any], entries: Sequence[dict[str, Any]]
) -> Iterator[Moment]:
    where = f"{attempt['worker']} in {attempt['pool']} ({attempt['purchase_option']})"
    yield Moment(attempt["start_s"], f"attempt {number} starts on {where}")
    workers = attempt["worker"].split(", ")
    signs = read.journal("list_contains(?, subject) AND role = 'worker' AND what = 'event'", workers)
    for sign in signs:
        if sign["kind"] in _SIGNS and attempt["start_s"] <= sign["at_s"] <= attempt["end_s"]:
            yield Moment(sign["at_s"], _SIGNS[sign["kind"]] + (f" on {sign['subject']}" if len(workers) > 1 else ""))
    yield Moment(attempt["end_s"], f"attempt {number} ends: {_end_of(attempt, entries)}; {_account(attempt)}")


def _end_of(attempt: dict[str, Any], entries: Sequence[dict[str, Any]]) -> str:
    """How the attempt ended, and what the job made of it."""
    cause, heard = attempt["cause"], [entry for entry in entries if entry["fields"].get("epoch") == attempt["attempt"]]
    text = _CAUSES.get(cause, cause)
    if cause == "checkpointed" and any(entry["fields"].get("cause") == "interrupted" for entry in heard):
        text = "interrupted, after it wrote a checkpoint"
    code = next((entry["fields"]["exit_code"] for entry in heard if entry["fields"].get("exit_code")), 0)
    if any(entry["kind"] == "LeaseExpired" for entry in heard):
        text += "; the reaper found out when the lease had expired"
    return f"{text} (exit code {code})" if code else text


def _account(attempt: dict[str, Any]) -> str:
    """Where its time went, and what it cost."""
    shares = (("useful_s", "useful"), ("lost_s", "lost"), ("failed_s", "failed"), ("checkpoint_s", "overhead"))
    parts = [f"{duration(attempt[name])} {word}" for name, word in shares if attempt[name]]
    return f"{listed(parts) or 'no time'}, {usd(attempt['cost_usd'])}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _lines(story: Story) -> Iterator[str]:
    job = story.job
    yield f"{job['job_id']} under {story.label}: {_STATUS[job['status']]}"
    yield from _summary(story)
    yield ""
    width = max(len(clock(moment.at_s)) for moment in story.moments)
    for moment in story.moments:
        yield f"{'' if moment.indented else clock(moment.at_s):>{width}}  {moment.what}"


def _summary(story: Story) -> Iterator[str]:
    job = story.job
    if job["flow_s"] is not None:
        waited = "" if job["wait_s"] is None else f", {duration(job['wait_s'])} of it not its own work"
        yield f"{duration(job['flow_s'])} from submission to end{waited}"
    attempts = plural(job["attempts"], "attempt")
    lost = f"{duration(job['lost_work_s'])} of work lost" if job["lost_work_s"] else "no work lost"
    interruptions = plural(job["interruptions"], "interruption")
    yield f"{attempts}, {interruptions}, {lost}, {usd(job['cost_usd'])} with its share of control"
    refund_usd = sum(attempt["cost_usd"] for attempt in story.attempts) - (job["cost_usd"] or 0.0)
    if refund_usd > _NO_USD:
        yield f"{usd(refund_usd)} of that was not charged: EC2 took an instance within its first hour"
    if job["deadline_s"] is not None:
        yield _deadline(job)


def _deadline(job: dict[str, Any]) -> str:
    if job["status"] != "done":
        return f"its deadline was {clock(job['deadline_s'])}, and it is missed"
    spare_s = job["deadline_s"] - job["ended_s"]
    verdict = f"met with {duration(spare_s)} to spare" if spare_s >= 0 else f"missed by {duration(-spare_s)}"
    return f"its deadline, {clock(job['deadline_s'])}, is {verdict}"
