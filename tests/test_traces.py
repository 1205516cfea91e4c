"""Recordings of the market: what is read from good ones, and what is said about bad ones."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spotbed.errors import InputError, Problem
from spotbed.traces import (
    Series,
    kaplan_meier,
    load_availability,
    load_capacity,
    load_lifetimes,
    load_price_paths,
    load_prices,
    read_lifetimes,
    read_price_history,
    read_spells_trace,
)

HOUR = 3_600_000


@pytest.fixture
def market(root: Path) -> Path:
    return root / "tests" / "fixtures" / "market"


def written(folder: Path, text: str, name: str = "input") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(error: pytest.ExceptionInfo[InputError]) -> list[Problem]:
    return error.value.problems


# ---- availability


def test_a_count_per_tick_becomes_a_step_function_with_an_end(market: Path) -> None:
    at_ms, count = load_availability(market / "availability.json")
    assert (at_ms / 195_000).tolist() == [0, 2, 5, 7, 9, 10]
    assert count.tolist() == [0, 1, 4, 0, 2, 2]
    assert at_ms.dtype == count.dtype == np.int64
    assert load_availability(market / "availability.json", per_unit=60)[1].tolist() == [0, 60, 240, 0, 120, 120]
    times, up = read_spells_trace(market / "availability.json")
    assert ((times / 195_000).tolist(), up.tolist()) == ([0, 2, 7, 9, 10], [0, 1, 0, 1, 1])


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.sampled_from([0.5, 1, 30, 195.25]),
    st.booleans(),
)
def test_every_tick_can_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], gap_s: float, packed: bool
) -> None:
    text = json.dumps({"metadata": {"gap_seconds": gap_s}, "data": counts})
    path = tmp_path_factory.mktemp("trace") / ("trace.json.gz" if packed else "trace.json")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    at_ms, count = load_availability(path)
    ticks_ms = np.rint(np.arange(len(counts)) * gap_s * 1000)
    assert count[np.searchsorted(at_ms, ticks_ms, side="right") - 1].tolist() == counts
    assert at_ms[-1] == round(len(counts) * gap_s * 1000)
    assert count[-1] == count[-2]


def test_a_file_that_pools_share_is_the_same_for_each(market: Path) -> None:
    capacity = load_capacity({"a": market / "availability.json", "b": market / "availability.json"})
    assert capacity["a"] is capacity["b"]


def test_a_log_counts_the_nodes_until_its_last_event(market: Path) -> None:
    at_ms, count = load_availability(market / "nodes.csv")
    assert at_ms.tolist() == [0, 60_000, 120_000, 180_000, 240_000]
    assert count.tolist() == [0, 2, 1, 1, 1]  # at 180 s one came and one went; what the end changed is never seen


TICKS = '{"metadata": {"gap_seconds": 195}, "data": %s}'


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (TICKS % "[0, 1, NaN, 1]", "data[2]", "nan"),
        (TICKS % "[0, -1]", "data[1]", "-1"),
        (TICKS % '[0, "1"]', "data[1]", "at least 0"),
        (TICKS % "[0, 1.5]", "data[1]", "1.5"),
        (TICKS % "[0, true]", "data[1]", "True"),
        (TICKS % "[]", "data", "empty"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "metadata.gap_seconds", "above 0"),
        ('{"metadata": {"gap_seconds": NaN}, "data": [1]}', "metadata.gap_seconds", "above 0"),
        ('{"metadata": {"gap_seconds": "195"}, "data": [1]}', "metadata.gap_seconds", "belongs"),
        ('{"metadata": {"gap_second": 195}, "data": [1]}', "metadata.gap_seconds", "Did you mean 'gap_second'?"),
        ('{"metadata": {}, "data": [1]}', "metadata.gap_seconds", "The form is"),
        ('{"meta": {"gap_seconds": 1}, "dat": [1]}', "metadata", "meta"),
        ('{"metadata": {"gap_seconds": 1}, "data": 7}', "data", "belongs"),
        ("[1, 2]", None, "not an availability trace"),
    ],
)
def test_a_bad_trace_is_told_with_its_place(tmp_path: Path, text: str, path: str | None, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_availability(file)
    problem = problems(error)[0]
    assert (problem.file, problem.path) == (str(file), path)
    assert said in str(problem)


def test_broken_json_is_told_with_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_availability(written(tmp_path, '{"metadata": {"gap_seconds": 195},\n "data": [0, 1,, 1]}'))
    assert (problems(error)[0].line, problems(error)[0].column) == (2, 16)
    with pytest.raises(InputError, match="nested too deeply"):
        load_availability(written(tmp_path, "[" * 200_000))


def test_of_many_mistakes_five_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_availability(written(tmp_path, TICKS % json.dumps([-1] * 12)))
    assert len(problems(error)) == 6
    assert "7 more" in str(problems(error)[-1])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("0,add,a\n5,ad,b\n", 2, "'ad'"),
        ("0,add,a\n5,add\n", 2, "2 cells"),
        ("9,add,a\n5,add,b\n", 2, "earlier than 9 ms"),
        ("-4,add,a\n", 1, "'-4'"),
        ("0,add,a\n\n5,add,a\n", 3, "there already"),
        ("0,remove,a\n", 1, "was not there"),
        ("\n\n", None, "empty"),
    ],
)
def test_a_bad_log_is_told_with_its_line(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_availability(written(tmp_path, text))
    assert problems(error)[0].line == line
    assert said in str(problems(error)[0])


# ---- lifetimes


def test_lifetimes_are_read_with_their_ends(market: Path) -> None:
    lifetimes = read_lifetimes(market / "lifetimes.csv")
    assert lifetimes.duration_s.tolist() == [3600, 7200, 7200, 9000, 10800.5]
    assert lifetimes.event.tolist() == [True, False, True, False, True]
    at_ms, survival = load_lifetimes(market / "lifetimes.csv")
    assert at_ms.tolist() == [3_600_000, 7_200_000, 10_800_500]
    assert survival.tolist() == pytest.approx([4 / 5, 4 / 5 * 3 / 4, 0])


def test_nodes_of_a_log_live_from_add_to_remove_or_to_its_end(tmp_path: Path) -> None:
    lifetimes = read_lifetimes(written(tmp_path, "0,add,a\n1000,add,b\n4000,remove,a\n5000,add,a\n9000,remove,b\n"))
    assert sorted(zip(lifetimes.duration_s.tolist(), lifetimes.event.tolist(), strict=True)) == [
        (4.0, False), (4.0, True), (8.0, True)
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=40))
def test_kaplan_meier_equals_scipys(pairs: list[tuple[int, bool]]) -> None:
    duration = np.array([length for length, _ in pairs], dtype=np.float64)
    event = np.array([ended for _, ended in pairs])
    at, survival = kaplan_meier(duration, event)
    if event.any():
        data = stats.CensoredData(uncensored=duration[event], right=duration[~event])
        assert survival == pytest.approx(stats.ecdf(data).sf.evaluate(at), abs=1e-12)
    else:
        assert len(at) == len(survival) == 0


@pytest.mark.parametrize(
    ("text", "line", "path", "said"),
    [
        ("lifetime_s,end_reason\n5,preempted\n-1,stop\n", 3, "lifetime_s", "'-1'"),
        ("lifetime_s,end_reason\nnan,preempted\n", 2, "lifetime_s", "'nan'"),
        ("lifetime_s,end_reason\n5 h,preempted\n", 2, "lifetime_s", "'5 h'"),
        ("lifetime_s,end_reason\n5\n", 2, None, "1 cells"),
        ("lifetime_s,end_reason\n", None, None, "no rows"),
        ("lifetimes,end_reason\n5,stop\n", 1, "lifetime_s", "Did you mean 'lifetimes'?"),
        ("lifetime_s,end_reason\n5,stop\n6,preemted\n", None, "end_reason", "Did you mean 'preemted'?"),
        ("", None, None, "empty"),
    ],
)
def test_bad_lifetimes_are_told_with_their_line(
    tmp_path: Path, text: str, line: int | None, path: str | None, said: str
) -> None:
    with pytest.raises(InputError) as error:
        read_lifetimes(written(tmp_path, text))
    problem = problems(error)[0]
    assert (problem.line, problem.path) == (line, path)
    assert said in str(problem)


# ---- prices


def test_a_series_of_a_table(market: Path) -> None:
    path, start = load_prices(market / "prices.csv", "c6i.xlarge", "us-east-1a")
    assert start == datetime(2026, 3, 1, tzinfo=UTC)
    assert (path.at_ms / HOUR).tolist() == [0, 6, 30, 36]
    assert path.usd_per_hour.tolist() == [0.07, 0.071, 0.071, 0.071]  # the last record's price is never seen


def test_the_command_lines_json_lists_the_newest_first(market: Path) -> None:
    path, start = load_prices(market / "spot-price-history.json", "c6i.xlarge", "us-east-1a")
    assert start == datetime(2026, 3, 1, 20, tzinfo=UTC)
    assert path.at_ms.tolist() == [0, 12 * HOUR + 500, 34 * HOUR]
    assert path.usd_per_hour.tolist() == [0.065, 0.07, 0.07]
    windows, _ = load_prices(market / "spot-price-history.json", "c6i.xlarge", "us-east-1a", "Windows")
    assert windows.usd_per_hour.tolist() == [0.255]


def test_pools_of_one_file_share_one_window(market: Path) -> None:
    wanted = {"a": Series("c6i.xlarge", "us-east-1a"), "b": Series("c6i.xlarge", "us-east-1b")}
    history = load_price_paths(market / "spot-price-history.json", wanted)
    assert history.start == datetime(2026, 3, 2, tzinfo=UTC)  # when the price of both is known
    assert history.hours == 30
    assert (history.paths["a"].at_ms.tolist(), history.paths["a"].usd_per_hour.tolist()) == (
        [0, 8 * HOUR + 500, 30 * HOUR],
        [0.065, 0.07, 0.07],
    )
    assert (history.paths["b"].at_ms.tolist(), history.paths["b"].usd_per_hour.tolist()) == (
        [0, 12 * HOUR, 30 * HOUR],
        [0.08, 0.081, 0.081],
    )


HEADER = "instance_type,az,timestamp_utc,usd_per_hour\n"
ROW = "c5.large,us-east-1a,2021-03-0%d,%s\n"


@pytest.mark.parametrize(
    ("rows", "line", "said"),
    [
        (ROW % (1, "0.1") + ROW % (3, "0.2") + ROW % (2, "0.3") + ROW % (4, "0.3"), 4, "out of order"),
        (ROW % (1, "0.1") + ROW % (2, "0.2") + ROW % (2, "0.3"), 4, "comes twice"),
        (ROW % (1, "0.1") + ROW % (2, "0.2") + ROW % (6, "0.3"), 4, "hole of 96 h"),
    ],
)
def test_disorder_is_told_and_mended_when_asked(tmp_path: Path, rows: str, line: int, said: str) -> None:
    file = written(tmp_path, HEADER + rows)
    with pytest.raises(InputError) as error:
        load_prices(file, "c5.large", "us-east-1a")
    problem = problems(error)[0]
    assert (problem.line, problem.path) == (line, "timestamp_utc")
    assert said in str(problem)
    assert "--lenient" in str(problem)
    path, start = load_prices(file, "c5.large", "us-east-1a", lenient=True)
    assert start == datetime(2021, 3, 1, tzinfo=UTC)
    assert (np.diff(path.at_ms) > 0).all()


def test_a_series_that_starts_late_or_ends_early_has_a_hole_there(tmp_path: Path) -> None:
    rows = [f"a,z1,2021-03-{day:02d},0.1\n" for day in range(1, 9)] + [
        f"{name},z1,2021-03-{day:02d},0.2\n" for name, days in (("b", (5, 6, 7, 8)), ("c", (1, 2))) for day in days
    ]
    file = written(tmp_path, HEADER + "".join(rows))
    wanted = {name: Series(name, "z1") for name in "abc"}
    with pytest.raises(InputError) as error:
        load_price_paths(file, wanted)
    assert [problem.line for problem in problems(error)] == [10, 15]
    assert "begins 96 h after" in str(problems(error)[0])
    assert "ends 144 h before" in str(problems(error)[1])
    history = load_price_paths(file, wanted, lenient=True)
    assert history.start == datetime(2021, 3, 5, tzinfo=UTC)
    assert (history.paths["c"].at_ms.tolist(), history.paths["c"].usd_per_hour.tolist()) == ([0, 72 * HOUR], [0.2, 0.2])


@pytest.mark.parametrize(
    ("row", "path", "said"),
    [
        ("c5.large,us-east-1a,2021-03-02,-0.2\n", "usd_per_hour", "'-0.2'"),
        ("c5.large,us-east-1a,2021-03-02,0\n", "usd_per_hour", "above 0"),
        ("c5.large,us-east-1a,2021-03-02,nan\n", "usd_per_hour", "'nan'"),
        ("c5.large,us-east-1a,2021-03-02,\n", "usd_per_hour", "''"),
        ("c5.large,us-east-1a,yesterday,0.2\n", "timestamp_utc", "'yesterday'"),
        ("c5.large,us-east-1a,2021-03-02\n", None, "3 cells"),
    ],
)
def test_a_bad_record_is_told_with_its_line(tmp_path: Path, row: str, path: str | None, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_prices(written(tmp_path, HEADER + ROW % (1, "0.1") + row), "c5.large", "us-east-1a")
    problem = problems(error)[0]
    assert (problem.line, problem.path) == (3, path)
    assert said in str(problem)


@pytest.mark.parametrize(
    ("instance_type", "az", "product", "path", "said"),
    [
        ("c6i.xlarg", "us-east-1a", "Linux/UNIX", "instance_type", "Did you mean 'c6i.xlarge'?"),
        ("c6i.xlarge", "us-east-1c", "Linux/UNIX", "az", "of c6i.xlarge"),
        ("m5.large", "us-east-1a", "Linux/UNIX", "az", "Did you mean 'us-east-1c'?"),
        ("m5.large", "us-east-1c", "Windows", "product", "no product column"),
    ],
)
def test_a_pool_that_the_file_does_not_know(
    market: Path, instance_type: str, az: str, product: str, path: str, said: str
) -> None:
    with pytest.raises(InputError) as error:
        load_prices(market / "prices.csv", instance_type, az, product)
    assert problems(error)[0].path == path
    assert said in str(problems(error)[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"SpotPriceHistory": []}', "empty"),
        ('{"SpotPriceHistori": [{}]}', "Did you mean 'SpotPriceHistori'?"),
        ('{"SpotPriceHistory": [{"InstanceType": "a"}]}', "SpotPriceHistory[0]: has no text 'AvailabilityZone'"),
        ("[7]", "SpotPriceHistory[0]"),
        ("instance_type,az,timestamp,price_usd\na,b,2021-01-01,1\n", "no column 'usd_per_hour'"),
        ("", "empty"),
    ],
)
def test_a_file_that_is_no_history(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_prices(written(tmp_path, text), "c5.large", "us-east-1a")
    assert said in str(error.value)


def test_a_record_of_json_is_told_by_its_index(tmp_path: Path) -> None:
    record = {"AvailabilityZone": "a", "InstanceType": "t", "SpotPrice": "free", "Timestamp": "2021-01-01T00:00:00Z"}
    with pytest.raises(InputError) as error:
        load_prices(written(tmp_path, json.dumps({"SpotPriceHistory": [record]})), "t", "a")
    assert problems(error)[0].path == "SpotPriceHistory[0].SpotPrice"


# ---- public data


def test_shares_of_time_available_in_the_nine_zones(spotbed_data: Path) -> None:
    folder = spotbed_data / "availability" / "aws-2023-02-p3-9az"
    shares = {}
    for file in sorted(folder.iterdir()):
        at_ms, up = read_spells_trace(file)
        assert at_ms[-1] == 20_158 * 195_000
        shares[file.name[:10]] = float((np.diff(at_ms) * up[:-1]).sum() / at_ms[-1])
    assert len(shares) == 9
    assert (round(min(shares.values()), 3), round(max(shares.values()), 3)) == (0.167, 0.905)
    assert (shares["us-east-1a"], shares["us-west-2b"]) == (min(shares.values()), max(shares.values()))


def test_mean_nodes_of_the_multi_node_traces_and_of_the_group(spotbed_data: Path) -> None:
    def mean(path: Path) -> float:
        at_ms, count = load_availability(path)
        return float((np.diff(at_ms) * count[:-1]).sum() / at_ms[-1])

    folder = spotbed_data / "availability"
    held = sorted(mean(file) for file in (folder / "aws-2023-08-p3-4node").iterdir())
    assert [round(nodes, 2) for nodes in held] == [1.38, 2.92, 3.26]
    assert round(mean(folder / "bamboo-g4dn-trace.csv"), 1) == 12.6
    assert load_availability(folder / "bamboo-g4dn-trace.csv")[1].max() == 24


def test_every_series_of_the_public_histories_is_whole(spotbed_data: Path) -> None:
    histories = read_price_history(spotbed_data / "prices" / "aws-spot-2021a-us-east-1.csv.gz")
    assert len(histories) == 642
    assert all((np.diff(path.at_ms) > 0).all() for path in histories.values())
    old = read_price_history(spotbed_data / "prices" / "aws-spot-2015a-bidding-era.csv.gz")
    assert len(old) == 6


def test_lifetimes_of_preemptible_machines(spotbed_data: Path) -> None:
    lifetimes = read_lifetimes(spotbed_data / "lifetimes" / "gcp-preemptible-lifetimes-2019.csv.gz")
    assert (len(lifetimes.event), int(lifetimes.event.sum())) == (1053, 436)
    assert lifetimes.duration_s[lifetimes.event].mean() / 3600 == pytest.approx(8.15, abs=0.005)
    assert lifetimes.event.sum() / lifetimes.duration_s.sum() * 3600 == pytest.approx(0.073, abs=0.0005)
