"""Bags of jobs on preemptible workers (Kadupitiya, Jadhao, Sharma, HPDC 2020): makespan of real runs, simulated.

A bag is run by several groups of machines, each of which runs one job at a time; a group that loses a machine loses its
job, and goes on when the machine has been replaced. Recorded and given to the simulator: how long each job that ended
well ran, and which group was lost when. Not given: the pauses between two jobs and after a loss, which are the medians
over the *other* bags. A cell is BAG/STATISTIC.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import NoProtection
from scheduler.policies.retry import Immediate
from scheduler.settings import Settings
from sim.inputs import JobClass, MarketInputs, Recorded, ServiceInputs
from spotbed.metering import DONE
from spotbed.published.builders import HOUR, S, constant, policy_of, pool, work_of
from spotbed.published.judge import Measured
from spotbed.published.queueing import column, inputs_of
from spotbed.worlds import simulate

if TYPE_CHECKING:
    import pandas as pd

FILES = ("spot_jobs/scispot-jobs-2019.csv.gz", "spot_jobs/scispot-vms-2019.csv.gz")
BAGS = "shapes"  # experiments with this in their name are bags of equal jobs
_TOLERANCE_S = 15.0  # a machine's replacement is asked for at most so long after its job was given up
_LONGEST_PAUSE_S = 60.0  # between two jobs of a group that lost nothing


class Run(NamedTuple):
    """One attempt of a bag (seconds since the first): when it began and ended, its group, and when that was lost."""

    begin_s: float
    end_s: float
    group: int
    lost_s: float | None


@cache
def _tables(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    jobs, machines = (pd.read_csv(data / name) for name in FILES)
    for table, columns in ((jobs, ("t_start", "t_finish")), (machines, ("t_start",))):
        for name in columns:
            table[name] = pd.to_datetime(table[name]).astype("datetime64[ns]").astype("int64") / 1e9
    return jobs, machines


@cache
def runs(data: Path, bag: str) -> list[Run]:
    """The attempts of a bag, in order. Each goes to the group that was free first; a lost one was lost when its
    replacement was asked for."""
    jobs, machines = _tables(data)
    rows = jobs[jobs["experiment"].str.endswith(bag)].sort_values("t_start")
    asked = machines[machines["experiment"].str.endswith(bag)]["t_start"].to_numpy()
    origin, free, found = float(rows["t_start"].min()), list[float](), list[Run]()
    for row in rows.itertuples():
        begin, end = float(row.t_start) - origin, float(row.t_finish) - origin  # type: ignore[arg-type]
        group = min(range(len(free)), key=lambda index: free[index], default=-1)
        if group < 0 or free[group] > begin + 1.0:
            group = len(free)
            free.append(0.0)
        free[group] = end
        lost = None
        if row.state == "rerun":
            before = asked[(asked - origin > begin) & (asked - origin <= end + _TOLERANCE_S)] - origin
            lost = min(float(before.max()) if len(before) else end, end)
        found.append(Run(begin, end, group, lost))
    return found


def pauses_s(data: Path, bag: str) -> tuple[list[float], list[float]]:
    """How long a group of the bag paused between two jobs, and from a loss to its next job."""
    between, after_loss = list[float](), list[float]()
    last: dict[int, Run] = {}
    for run in runs(data, bag):
        before = last.get(run.group)
        last[run.group] = run
        if before is None:
            continue
        if before.lost_s is not None:
            after_loss.append(run.begin_s - before.lost_s)
        elif run.begin_s - before.end_s <= _LONGEST_PAUSE_S:
            between.append(run.begin_s - before.end_s)
    return between, after_loss


def other_pauses_s(data: Path, bag: str) -> tuple[float, float]:
    """The medians of both over all bags but this one."""
    jobs, _ = _tables(data)
    names = {name.rpartition("/")[2] for name in jobs["experiment"] if BAGS in name and "exploration" not in name}
    others = [pauses_s(data, name) for name in sorted(names - {bag, "shapes"})]
    between, after_loss = ([pause for each in others for pause in each[side]] for side in (0, 1))
    return median(between), median(after_loss)


def recorded(attempts: list[Run], replacing_s: float) -> tuple[Recorded, ...]:
    """What each group met, and then what each of its replacements did, in the order of their launch.

    Several lost jobs had run for longer than any that ended: they hung, their machine gone. So the moment of a loss is
    at most half of a usual run after the job's begin; what counts is when the group goes on, and that is as recorded.
    """
    usual_s = median(run.end_s - run.begin_s for run in attempts if run.lost_s is None)
    losses = sorted(
        (run.begin_s + min(run.lost_s - run.begin_s, usual_s / 2), run.group, run.lost_s + replacing_s)
        for run in attempts
        if run.lost_s is not None
    )
    launched = [(0.0, group, 0.0) for group in sorted({run.group for run in attempts})] + losses
    found = []
    for at_s, group, back_s in launched:
        lost_s = next((lost for lost, other, _ in losses if other == group and lost > at_s), None)
        found.append(Recorded(0, round((back_s - at_s) * S), None if lost_s is None else round(lost_s * S)))
    return tuple(found)


@cache
def makespan_h(data: Path, bag: str) -> float:
    """From the first job's start to the last one's end, in the simulator."""
    attempts, (between_s, replacing_s) = runs(data, bag), other_pauses_s(data, bag)
    jobs = [round((run.end_s - run.begin_s) * S) for run in attempts if run.lost_s is None]
    groups = len({run.group for run in attempts})
    work = work_of((JobClass("job", retries=len(attempts)),), [0] * len(jobs), jobs)
    market = MarketInputs(recorded={"spot": recorded(attempts, replacing_s - between_s)}, notice_probability=0.0)
    services = ServiceInputs({"start": (constant(between_s),)})
    inputs = inputs_of(work, (pool(most=groups, boot_s=replacing_s),), market=market, services=services)
    parts: dict[str, Any] = {"place": LowestPrice(), "protect": NoProtection(), "retry": Immediate()}
    tally = simulate(inputs, policy_of(Settings(tick_ms=S, keep_alive_ms=HOUR), **parts))
    assert set(tally.jobs.status) == {DONE}
    return float(column(tally.jobs.end_ms).max() - column(tally.jobs.first_start_ms).min()) / HOUR


def measure(data: Path, cell: str) -> Measured:
    """The makespan, and the numbers of attempts that ended well and that were lost."""
    bag, statistic = cell.split("/")
    if statistic == "makespan":
        return Measured(makespan_h(data, bag))
    lost = sum(run.lost_s is not None for run in runs(data, bag))
    return Measured(float(lost if statistic == "lost" else len(runs(data, bag)) - lost))
