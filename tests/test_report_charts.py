"""What the charts say is what the frames hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_frames import HOUR, POLICIES, frame, make_bill, make_comparison, make_run

from spotbed.report.charts.attempts import attempts
from spotbed.report.charts.costs import cost_by_cause, waterfall, waterfall_steps
from spotbed.report.charts.deadlines import lateness
from spotbed.report.charts.fleet import fleet
from spotbed.report.charts.interruptions import interruptions
from spotbed.report.charts.observed import observed
from spotbed.report.charts.paired import paired_differences
from spotbed.report.charts.queue import queue_depth, run_queue
from spotbed.report.charts.times import cumulative, times_by_policy
from spotbed.report.charts.trade_off import cost_against_makespan
from spotbed.report.charts.waste import wasted_work
from spotbed.report.comparison import comparison_document
from spotbed.report.comparison_tables import result_grid
from spotbed.report.data import RunData, empty
from spotbed.report.marks import Bars, Chart, Columns, Heat, Line, Mark, Note, Points, Region, Rule, Stack
from spotbed.report.metric_words import CUT
from spotbed.report.one_run import run_document
from spotbed.report.palette import BASELINE, policy_styles, pool_colors
from spotbed.report.plotly_figures import figure
from spotbed.report.resample import mean_between, on_common_grid, value_at
from spotbed.report.standing import standing

MOST_POINTS = 2000
DATA = make_comparison()
STYLES = policy_styles([label for label, _, _ in POLICIES], "on-demand")


def marks(chart: Chart, kind: type[Mark]) -> list[Any]:
    return [mark for panel in chart.panels for mark in panel.marks if isinstance(mark, kind)]


def all_charts() -> Iterator[Chart]:
    yield from comparison_document(DATA).charts()
    yield from run_document(make_run(jobs=400)).charts()


def test_every_chart_of_the_list_is_there() -> None:
    keys = {chart.key.removeprefix("0-") for chart in comparison_document(DATA).charts()}
    asked = {
        "queue-depth",
        "fleet",
        "waterfall",
        "cost-by-cause",
        "cost-makespan",
        "interruptions",
        "attempts",
        "wasted-work",
    }
    assert asked | {"times", "deadlines", "paired", "lateness"} <= keys


def test_keys_are_unique_also_for_labels_that_look_alike() -> None:
    data = make_comparison(
        [("a b", "decoupled", 1.0), ("a+b", "decoupled", 0.5), ("A B", "decoupled", 0.4)], worlds=3, jobs=5
    )
    keys = [chart.key for chart in comparison_document(data).charts()]
    assert len(keys) == len(set(keys))


def test_plotly_knows_every_attribute_that_is_used() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for chart in all_charts():
        for panel in chart.panels:
            made = graph_objects.Figure(figure(panel))  # raises on a name or a value that plotly does not know
            assert len(made.data) > 0, chart.key


def test_figures_are_json_without_nan_and_small() -> None:
    for chart in all_charts():
        for panel in chart.panels:
            drawn = figure(panel)
            json.dumps(drawn, allow_nan=False)
            assert all(len(trace.get("x", [])) <= MOST_POINTS for trace in drawn["data"]), chart.key


def test_every_chart_says_how_to_read_it_and_carries_its_numbers() -> None:
    for chart in all_charts():
        assert bool(chart.absent) != bool(chart.panels), chart.key
        if chart.panels:
            assert chart.reading, chart.key
            assert chart.alt.endswith("."), chart.key
            assert chart.table is not None, chart.key
            assert chart.table.rows, chart.key
            assert all(len(row) == len(chart.table.columns) for row in chart.table.rows), chart.key


def test_every_axis_with_numbers_has_a_unit_or_names_a_count() -> None:
    counts = {
        "jobs waiting",
        "workers",
        "jobs",
        "worker, in order of request",
        "worlds, sorted",
        "share of jobs",
        "jobs per world",
    }
    for chart in all_charts():
        for panel in chart.panels:
            for axis in (panel.x, panel.y):
                named = (
                    axis.title in counts
                    or axis.log
                    or "(" in axis.title
                    or axis.title.startswith(("USD", "instance hours"))
                )
                assert named or axis.ticks, (chart.key, axis.title)


# --- the bill


def test_the_waterfall_ends_at_the_total_of_the_bill() -> None:
    for scale in (1.0, 0.42):
        bill = make_bill(scale)
        assert math.isclose(sum(value for _, value in waterfall_steps(bill)), bill["usd"].sum(), rel_tol=1e-12)


def test_the_waterfall_starts_at_the_list_price_of_the_useful_work() -> None:
    steps = waterfall_steps(make_bill(0.42))
    assert steps[:2] == [("Useful work at list price", 800.0), ("Spot discount", 800.0 * 0.42 - 800.0)]
    assert waterfall_steps(make_bill(0.42).drop(columns="list_usd"))[0] == ("Useful work, as paid", 800.0 * 0.42)


def test_the_waterfall_drops_no_item_that_it_does_not_know() -> None:
    rows = [("quantum.qubit", "useful", 1.0, "qubit", 3.0), ("ec2.spot", "mystery", 1.0, "instance-second", 4.0)]
    rows += [("ec2.spot", "useful", 1.0, "instance-second", 5.0), ("penalty.late", "fixed", 1.0, "job", 2.0)]
    assert waterfall_steps(frame("bill", rows)) == [("Useful work, as paid", 5.0), ("Penalties", 2.0), ("Other", 7.0)]


def test_bars_of_the_waterfall_hang_together_and_a_saving_is_not_red() -> None:
    chart = waterfall(make_bill(0.42), "w")
    bars = marks(chart, Bars)
    level = bars[0].length[0]
    for bar in bars[1:-1]:
        assert math.isclose(bar.start[0], level)
        level += bar.length[0]
    assert math.isclose(bars[-1].length[0], level)
    assert bars[-1].start[0] == 0
    saving, costing = bars[1].color, bars[2].color
    assert bars[1].length[0] < 0 < bars[2].length[0]
    assert saving != costing
    red = int(saving[1:3], 16)
    assert red < int(saving[3:5], 16)  # more green than red
    assert [note.text for note in marks(chart, Note)][-1] == "$418"  # not $0


def test_causes_add_up_to_the_bill_of_each_policy() -> None:
    chart = cost_by_cause(DATA)
    ends = np.sum([bar.length for bar in marks(chart, Bars)], axis=0)
    expected = [DATA.bill.loc[DATA.bill["policy"] == label, "usd"].sum() for label, _, _ in POLICIES]
    assert ends == pytest.approx(expected, rel=1e-12)


def test_wasted_work_is_everything_but_useful_instance_time() -> None:
    chart = wasted_work(make_bill(0.42).assign(policy="ours"), ["ours"], "w")
    assert chart.table is not None
    seconds = 2.1e5 + 4.1e5 + 2.0e3 + 5.0e5 + 9e4
    assert sum(bar.length[0] for bar in marks(chart, Bars)) == pytest.approx(seconds / HOUR)
    assert marks(chart, Note)[0].text == f"{100 * 7.2e6 / (7.2e6 + seconds):.1f} % useful"


# --- time


def test_the_heat_map_keeps_every_busy_second() -> None:
    run = make_run(jobs=400)
    heat = marks(attempts(run, "a"), Heat)[0]
    widths = np.diff(heat.x_edges) * HOUR
    workers = np.diff(heat.y_edges)
    busy = (np.array(heat.values) * widths[None, :] * workers[:, None]).sum()
    assert busy == pytest.approx((run.attempts["end_s"] - run.attempts["start_s"]).sum(), rel=1e-9)


def test_two_hundred_attempts_are_a_gantt_chart_and_one_more_is_a_heat_map() -> None:
    rows = [(f"j{n}", 1, f"w{n}", "p", "spot", float(n), n + 5.0, "done", 5.0, 0.0, 0.0, 0.1) for n in range(201)]
    few, many = (RunData("x", attempts=frame("attempts", rows[:count])) for count in (200, 201))
    assert not marks(attempts(few, "a"), Heat)
    assert sum(len(bar.length) for bar in marks(attempts(few, "a"), Bars) if bar.name == "done") == 200
    assert marks(attempts(many, "a"), Heat)


def test_attempts_still_running_at_the_end_are_drawn_to_the_end() -> None:
    rows = [
        ("a", 1, "w1", "p", "spot", 0.0, 3600.0, "done", 1.0, 0.0, 0.0, 0.1),
        ("b", 1, "w2", "p", "spot", 600.0, np.nan, "", 0.0, 0.0, 0.0, 0.0),
    ]
    bars = [bar for bar in marks(attempts(RunData("x", attempts=frame("attempts", rows)), "a"), Bars) if bar.name == ""]
    assert bars[0].start[0] + bars[0].length[0] == pytest.approx(60.0)  # minutes


def test_the_fleet_by_pool_and_by_phase_hold_the_same_workers() -> None:
    by_pool, by_phase = marks(fleet(make_run(), "f"), Stack)
    totals = [np.sum([values for _, _, values in stack.layers], axis=0) for stack in (by_pool, by_phase)]
    assert totals[0] == pytest.approx(totals[1])
    assert totals[0].max() > 1


def test_pools_beyond_the_ninth_are_drawn_together() -> None:
    pools = [f"pool-{number:02d}" for number in range(14)]
    rows = [(0.0, "workers", pool, "busy", float(place + 1)) for place, pool in enumerate(pools)]
    rows += [(10.0, "workers", pool, "busy", 0.0) for pool in pools]
    layers = marks(fleet(RunData("x", timeline=frame("timeline", rows)), "f"), Stack)[0].layers
    assert len(layers) == 10
    assert layers[-1][0] == "5 other pools"
    assert sum(values[0] for _, _, values in layers) == sum(range(1, 15))


def test_each_panel_of_the_queue_ends_with_its_policy() -> None:
    data = make_comparison()
    short = (data.queue_depth["policy"] == "hedge") & (data.queue_depth["at_s"] > 10 * HOUR)
    data.queue_depth = data.queue_depth[~short]
    ends_s = data.queue_depth.groupby("policy")["at_s"].max()
    chart = queue_depth(data, STYLES)
    assert len(set(ends_s)) == 2
    for panel in chart.panels:
        assert panel.x.high == pytest.approx(ends_s[panel.title] / 3600)
        assert all(max(line.x) <= panel.x.high * (1 + 1e-9) for line in panel.marks if isinstance(line, Line))
    assert len({panel.y.high for panel in chart.panels}) == 1


def test_queue_depth_of_a_run_is_its_timeline() -> None:
    rows = [(0.0, "queue_depth", "", "", 2.0), (60.0, "queue_depth", "", "", 5.0), (120.0, "queue_depth", "", "", 0.0)]
    line = marks(run_queue(RunData("x", timeline=frame("timeline", rows)), "q", BASELINE), Line)[0]
    assert (list(line.x), list(line.y)) == ([0.0, 1.0, 2.0], [2.0, 5.0, 0.0])


def test_a_cumulative_share_counts_the_jobs_that_did_not_end_well() -> None:
    jobs = (
        empty("jobs")
        .reindex(range(4))
        .assign(status=["done", "done", "failed", "lost"], waiting_time=[0.0, 30.0, 99.0, 99.0])
    )
    assert cumulative(jobs, "waiting_time") == ([1.0, 30.0], [0.25, 0.5])


def test_lateness_puts_no_late_job_left_of_the_line() -> None:
    run = make_run(jobs=300)
    columns = marks(lateness(run, "l", BASELINE), Columns)[0]
    late = (run.jobs["finish_time"] > run.jobs["deadline"]).sum()
    edges = np.array(columns.edges)
    assert np.isclose(edges, 0.0).any()
    assert sum(height for low, height in zip(edges, columns.heights, strict=False) if low > -1e-9) == late
    assert sum(columns.heights) == 300


def test_events_are_all_marked_and_a_notice_does_not_hide_its_interruption() -> None:
    run = make_run()
    points = marks(interruptions(run, "i"), Points)
    assert sum(len(mark.x) for mark in points) == len(run.events)
    rows = [set(mark.y) for mark in points]
    assert not rows[0] & rows[1]


def test_an_instance_that_left_on_its_notice_counts_as_interrupted() -> None:
    run = make_run()
    lost = (run.workers["end_reason"] == "interrupted").sum()
    run.events = run.events[run.events["kind"] == "notice"]
    points = {mark.name: len(mark.x) for mark in marks(interruptions(run, "i"), Points)}
    assert points == {"interruption": lost, "notice": len(run.events)}


def test_a_run_without_a_journal_is_not_drawn_as_idle() -> None:
    run = make_run()
    bare = RunData("bare", jobs=run.jobs, timeline=run.timeline, bill=run.bill)
    for chart in (fleet(bare, "f"), attempts(bare, "a"), interruptions(bare, "i"), run_queue(bare, "q", BASELINE)):
        assert chart.absent == "This run kept no journal, so nothing is known of single workers and attempts."


def test_prices_that_never_change_are_told_in_words() -> None:
    chart = interruptions(make_run(moving=False), "i")
    assert len(chart.panels) == 1
    assert "Prices did not change: c6i-1a $0.068/h" in chart.reading


# --- comparison


def test_a_policy_has_one_colour_and_the_baseline_is_grey() -> None:
    assert STYLES["on-demand"].color == BASELINE
    assert len({style.color for style in STYLES.values()}) == len(POLICIES)
    named = {
        mark.name: mark.color
        for mark in marks(cost_against_makespan(DATA, STYLES, standing(DATA)), Points)
        if mark.listed
    }
    lines = {mark.name: mark.color for mark in marks(times_by_policy(DATA.runs, STYLES), Line)}
    assert named == lines == {label: style.color for label, style in STYLES.items()}


def test_twenty_policies_can_still_be_told_apart() -> None:
    styles = policy_styles([f"p{number}" for number in range(20)], None)
    assert len({(style.color, style.symbol, style.dash) for style in styles.values()}) == 20


def test_colours_of_pools_say_the_purchase_option() -> None:
    colors = pool_colors([("a", "spot"), ("b", "on-demand"), ("c", "spot"), ("d", "on-demand")])
    warm = {pool for pool, color in colors.items() if int(color[1:3], 16) > int(color[5:7], 16)}
    assert warm == {"b", "d"}


def test_means_intervals_and_bounds_stand_where_the_results_say() -> None:
    chart = cost_against_makespan(DATA, STYLES, standing(DATA))
    own = next(mark for mark in marks(chart, Points) if mark.name == "hedge")
    metrics = next(policy for policy in DATA.results["policies"] if policy["label"] == "hedge")["metrics"]
    assert own.y == [metrics["cost_usd"]["mean"]]
    assert [end[0] for end in own.y_interval] == metrics["cost_usd"]["ci95"]
    assert own.x == [metrics["makespan_s"]["mean"] / HOUR]
    assert [rule.at for rule in chart.panels[0].marks if isinstance(rule, Rule)] == [27.0, 371.2]
    panel = chart.panels[0]
    assert panel.x.low is not None
    assert panel.x.low < 27.0


def test_of_single_worlds_left_of_the_bounds_the_page_says_that_they_may_lie_there() -> None:
    many, one = make_comparison(POLICIES[:2], worlds=5, jobs=3), make_comparison(POLICIES[:2], worlds=1, jobs=3)
    said = [cost_against_makespan(data, STYLES, standing(data)).reading for data in (many, one)]
    assert [" in the mean (lower bounds). A single world" in text for text in said] == [True, False]
    assert "no schedule can, in the mean over the worlds, cost less than" in json.dumps(
        comparison_document(many), default=str
    )


def test_an_interval_is_drawn_from_zero_where_it_reaches_below_and_the_page_says_so() -> None:
    data = make_comparison(POLICIES[:2], worlds=5, jobs=3)
    label, metrics = (data.results["policies"][1][key] for key in ("label", "metrics"))
    assert CUT not in cost_against_makespan(data, STYLES, standing(data)).reading
    metrics["cost_usd"]["ci95"] = [-100.0, 900.0]
    metrics["makespan_s"]["ci95"] = [-7200.0, 720_000.0]
    chart = cost_against_makespan(data, STYLES, standing(data))
    own = next(mark for mark in marks(chart, Points) if mark.name == label)
    assert own.y_interval == ([0.0], [900.0])
    assert own.x_interval == ([0.0], [200.0])
    assert (chart.panels[0].x.low, chart.panels[0].y.low) == (0.0, 0.0)
    assert chart.reading.endswith(CUT)
    grid = result_grid(data)
    assert str(grid.note[0]).endswith(CUT)
    assert grid.rows[1][1].below == "0.00 to 900"
    assert metrics["cost_usd"]["ci95"] == [-100.0, 900.0]


def test_policies_pushed_into_a_corner_are_shown_close_up() -> None:
    panels = cost_against_makespan(DATA, STYLES, standing(DATA)).panels
    assert panels[1].title == "close up: div+ckpt, hedge and my-mix"
    assert {mark.name for mark in panels[1].marks if isinstance(mark, Points) and mark.listed} == {
        "div+ckpt",
        "hedge",
        "my-mix",
    }
    few = make_comparison([POLICIES[0], POLICIES[2]], worlds=5, jobs=3)
    assert len(cost_against_makespan(few, STYLES, standing(few)).panels) == 1


def test_paired_differences_show_every_world_and_the_interval_of_the_results() -> None:
    chart = paired_differences(DATA, STYLES)
    wide = DATA.worlds.pivot_table(index="world", columns="policy", values="cost_usd")
    for label, points, region in zip(STYLES, marks(chart, Points), marks(chart, Region), strict=False):
        assert points.y == pytest.approx(sorted(wide[label] - wide["on-demand"]))
        stated = next(policy for policy in DATA.results["policies"] if policy["label"] == label)["vs_baseline"]
        assert (region.low, region.high) == pytest.approx(tuple(stated["cost_usd"]["diff_ci95"]))


def test_simulated_is_compared_with_observed_only_where_something_was_observed() -> None:
    assert observed(make_run(), "o") is None
    run = make_run()
    run.observed = frame("observed", [("makespan", "s", 110.0, 100.0), ("never seen", "s", 1.0, np.nan)])
    chart = observed(run, "o")
    assert chart is not None
    assert marks(chart, Points)[0].x == pytest.approx([1.1])


# --- step functions


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e3)), min_size=1, max_size=30, unique_by=lambda pair: pair[0])
)
def test_a_coarse_grid_keeps_the_area(pairs: list[tuple[float, float]]) -> None:
    times, values = (np.array(column) for column in zip(*sorted(pairs), strict=True))
    end = float(times[-1]) + 100.0
    edges = np.linspace(0.0, end, 7)
    exact = float((values * np.diff(np.append(times, end))).sum())
    coarse = float((mean_between(times, values, edges) * np.diff(edges)).sum())
    assert math.isclose(coarse, exact, rel_tol=1e-9, abs_tol=1e-6)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=40, unique=True))
def test_a_fine_grid_keeps_every_value(at: list[int]) -> None:
    times = np.array(sorted(at), dtype=float)
    values = times * 2 + 1
    grid, found, exact = on_common_grid({"a": (times, values)}, 600.0, 100)
    assert exact
    assert found["a"].tolist() == value_at(times, values, grid).tolist()
    assert set(values) <= set(found["a"])


def test_a_grid_has_no_more_points_than_asked() -> None:
    times = np.arange(5000.0)
    grid, found, exact = on_common_grid({"a": (times, times)}, 5000.0, 300)
    assert not exact
    assert len(grid) == len(found["a"]) == 300


def test_the_last_of_several_values_at_one_moment_holds() -> None:
    rows = [(0.0, "queue_depth", "", "", 9.0), (0.0, "queue_depth", "", "", 3.0), (60.0, "queue_depth", "", "", 1.0)]
    line = marks(
        run_queue(RunData("x", timeline=pd.DataFrame(rows, columns=empty("timeline").columns)), "q", BASELINE), Line
    )[0]
    assert list(line.y) == [3.0, 1.0]
