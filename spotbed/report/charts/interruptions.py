"""When each pool lost instances, and what it cost at the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from spotbed.report.charts.fleet import pools_of
from spotbed.report.charts.scales import Clock, clock, room
from spotbed.report.data import NO_JOURNAL, RunData
from spotbed.report.marks import Axis, Cell, Chart, Line, Mark, Panel, Points, Table
from spotbed.report.palette import EVENTS, pool_colors
from spotbed.report.resample import thinned
from spotbed.report.words import listed, plural, usd

_MOST_POOLS = 16
_LIMIT = 1500
_ROWS = 60
_NO_POOL = "(all pools)"


def interruptions(run: RunData, key: str) -> Chart:
    """One row per pool with a mark per event; below, the prices, if they ever change."""
    title = "Interruptions and prices"
    if not run.kept_a_journal:
        return Chart(key, title, "", "", absent=NO_JOURNAL)
    events = _events(run)
    moving = {pool: frame for pool, frame in _prices(run).items() if frame["usd_per_hour"].nunique() > 1}
    if events.empty and not moving:
        return Chart(
            key, title, "", "", absent=f"Nothing was interrupted, and no launch failed. {_constant(run)}".strip()
        )
    end = _end(run)
    unit = clock(end)
    pools = _rows(events, run)
    panels = []
    if not events.empty:
        panels.append(_event_panel(events, pools, unit, end))
    if moving:
        panels.append(_price_panel(moving, run, unit, end))
    counts = Counter(events["kind"].astype(str))
    told = (
        listed([plural(number, *EVENTS[kind][2:]) for kind in EVENTS if (number := counts[kind])])
        if counts
        else "no interruption"
    )
    return Chart(
        key=key,
        title=title,
        reading=f"{told[:1].upper()}{told[1:]}. {'' if moving else _constant(run)}".strip(),
        alt=f"Events per pool over {end / unit.unit_s:.0f} {unit.unit}: {told}.",
        panels=tuple(panels),
        table=_table(events, run),
    )


def _events(run: RunData) -> pd.DataFrame:
    """What happened to pools. Interruptions are the instances that ended by one, as the metric counts them: also those
    that left on their notice, before EC2 took them."""
    events = run.events[run.events["kind"].astype(str).isin(EVENTS)]
    lost = run.workers[run.workers["end_reason"].astype(str) == "interrupted"]
    if lost.empty:
        return events
    ends = pd.DataFrame(
        {"at_s": lost["ended_s"], "kind": "interruption", "pool": lost["pool"], "worker": lost["worker"]}
    )
    return pd.concat([events[events["kind"].astype(str) != "interruption"], ends], ignore_index=True)


def _end(run: RunData) -> float:
    ends = [run.timeline["at_s"], run.events["at_s"], run.attempts["end_s"], run.jobs["finish_time"]]
    return max((float(column.max()) for column in ends if column.notna().any()), default=1.0)


def _prices(run: RunData) -> dict[str, pd.DataFrame]:
    return {str(pool): frame.sort_values("at_s") for pool, frame in run.prices.groupby("pool", observed=True)}


def _constant(run: RunData) -> str:
    prices = {pool: frame["usd_per_hour"].iloc[0] for pool, frame in _prices(run).items()}
    if not prices:
        return ""
    told = ", ".join(f"{pool} {usd(float(price))}/h" for pool, price in list(prices.items())[:_MOST_POOLS])
    return f"Prices did not change: {told}{', …' if len(prices) > _MOST_POOLS else ''}."


def _rows(events: pd.DataFrame, run: RunData) -> list[str]:
    """The pools to show: those with most events, in the order of the fleet chart; events of no pool come last."""
    named = events["pool"].fillna("").astype(str).replace("nan", "")
    most = [str(pool) for pool, _ in Counter(named[named != ""]).most_common(_MOST_POOLS)]
    order = [pool for pool, _ in pools_of(run) if pool in most]
    return order + ([_NO_POOL] if (named == "").any() else [])


def _event_panel(events: pd.DataFrame, pools: Sequence[str], unit: Clock, end: float) -> Panel:
    place = {pool: row for row, pool in enumerate(pools)}
    marks: list[Mark] = []
    kinds = [kind for kind in EVENTS if (events["kind"].astype(str) == kind).any()]
    for lane, kind in enumerate(kinds):
        color, symbol, word, _ = EVENTS[kind]
        own = events[events["kind"].astype(str) == kind]
        own = own.iloc[thinned(own["at_s"].to_numpy(dtype=float), _LIMIT)]
        names = [str(pool) if str(pool) in place else _NO_POOL for pool in own["pool"].fillna("").astype(str)]
        known = [(at, name) for at, name in zip(own["at_s"].tolist(), names, strict=True) if name in place]
        if known:
            says = [f"{word} of {name} at {at / unit.unit_s:.2f} {unit.unit}" for at, name in known]
            x, y = unit.of([at for at, _ in known]), [place[name] + _beside(lane, len(kinds)) for _, name in known]
            marks.append(Points(word, x, y, color, says, symbol, 9))
    rows = Axis("", low=-0.6, high=len(pools) - 0.4, ticks=tuple(enumerate(pools)), downwards=True)
    return Panel(unit.axis(end), rows, tuple(marks), title="events", height=80 + 38 * len(pools))


def _beside(lane: int, lanes: int) -> float:
    """How far from the middle of its row a kind of event stands: a notice would hide its interruption."""
    return 0.0 if lanes == 1 else 0.5 * (lane / (lanes - 1) - 0.5)


def _price_panel(moving: Mapping[str, pd.DataFrame], run: RunData, unit: Clock, end: float) -> Panel:
    colors = pool_colors(pools_of(run))
    most = sorted(moving, key=lambda pool: -moving[pool]["usd_per_hour"].nunique())[:_MOST_POOLS]
    marks: list[Mark] = []
    for pool in (name for name in moving if name in most):
        frame = moving[pool].iloc[thinned(moving[pool]["at_s"].to_numpy(dtype=float), _LIMIT // 2)]
        at = [*frame["at_s"].tolist(), max(end, float(frame["at_s"].iloc[-1]))]
        price = [*frame["usd_per_hour"].tolist(), float(frame["usd_per_hour"].iloc[-1])]
        marks.append(Line(pool, unit.of(at), price, colors.get(pool, "#8996A0"), steps=True, width=1.6))
    values = [value for mark in marks if isinstance(mark, Line) for value in mark.y]
    dollars = Axis("price (USD per hour)", *room(values, 0.1, floor=0.0), money=True, decimals=4)
    return Panel(unit.axis(end), dollars, tuple(marks), title="prices", height=280)


def _table(events: pd.DataFrame, run: RunData) -> Table:
    """Per pool: how often each kind of event happened, and between which prices."""
    named = events["pool"].fillna("").astype(str).replace({"": _NO_POOL, "nan": _NO_POOL})
    counts = Counter(zip(named, events["kind"].astype(str), strict=True))
    kinds = [kind for kind in EVENTS if any(kind == other for _, other in counts)]
    prices = {pool: frame["usd_per_hour"] for pool, frame in _prices(run).items()}
    pools = [pool for pool, _ in pools_of(run)] + ([_NO_POOL] if _NO_POOL in set(named) else [])
    rows: list[tuple[Cell, ...]] = []
    for pool in pools[:_ROWS]:
        ends = (float(prices[pool].min()), float(prices[pool].max())) if pool in prices else (None, None)
        rows.append((pool, *(counts[pool, kind] for kind in kinds), *ends))
    names = ("pool", *(EVENTS[kind][3] for kind in kinds), "lowest price (USD/h)", "highest price (USD/h)")
    return Table(names, tuple(rows), note="events.csv and prices.csv hold every event and every price.")
