"""Simulated against observed, where a real run exists to compare with."""

from __future__ import annotations

from spotbed.report.charts.rows import policy_rows
from spotbed.report.charts.scales import room
from spotbed.report.data import RunData
from spotbed.report.marks import Axis, Chart, Panel, Points, Rule, Table
from spotbed.report.palette import BLUE, RULE
from spotbed.report.words import number


def observed(run: RunData, key: str) -> Chart | None:
    """The ratio simulated / observed of each quantity; None where nothing was observed."""
    frame = run.observed[run.observed["observed"].notna() & run.observed["simulated"].notna()]
    frame = frame[frame["observed"] != 0]
    if frame.empty:
        return None
    names = frame["quantity"].astype(str).tolist()
    ratios = (frame["simulated"] / frame["observed"]).astype(float).tolist()
    rows: list[tuple[str, str, float, float]] = list(
        frame[["quantity", "unit", "simulated", "observed"]].itertuples(index=False, name=None)
    )
    says = [f"{name}: simulated {number(own)}, observed {number(real)} {unit}" for name, unit, own, real in rows]
    places = [float(place) for place in range(len(names))]
    points = Points("ratio", ratios, places, BLUE, says, size=11)
    ratio = Axis("simulated / observed", *room([1.0, *ratios], 0.15), decimals=3)
    return Chart(
        key=key,
        title="Simulated against observed",
        reading="At 1 the simulation says what the real run did.",
        alt="Ratios of simulated to observed: "
        + ", ".join(f"{n} {r:.3f}" for n, r in zip(names, ratios, strict=True))
        + ".",
        panels=(
            Panel(
                ratio, policy_rows(names), (Rule("x", 1.0, "", RULE), points), height=90 + 34 * len(names), legend=False
            ),
        ),
        table=Table(("quantity", "unit", "simulated", "observed"), tuple(rows)),
    )
