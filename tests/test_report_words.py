"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from spotbed.metric_names import METRIC_NAMES
from spotbed.report.metric_words import called, is_cut, shown_ends
from spotbed.report.words import (
    cents,
    count,
    duration,
    hours,
    in_unit,
    listed,
    number,
    one_line,
    percent,
    plural,
    time_unit,
    usd,
    usd_like,
)


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (usd, 1284.3, "$1,284"),
        (usd, 438.04, "$438"),
        (usd, 43.8, "$43.80"),
        (usd, 0.0486, "$0.049"),
        (usd, 0.000025, "$0.000025"),
        (usd, 0, "$0.00"),
        (usd, -846.1, "\u2212$846"),
        (usd, -0.0, "$0.00"),
        (cents, 4381.257, "$4,381.26"),
        (cents, 0.0042, "$0.0042"),
        (cents, 0.0, "$0.00"),
        (count, 0, "0"),
        (count, 3.25, "3.2"),
        (count, 0.033, "0.033"),
        (count, 12_345.6, "12,346"),
        (count, -0.76, "\u22120.8"),
        (number, 7, "7"),
        (number, 0.341234, "0.3412"),
        (number, 1e-9, "1.00e-09"),
        (number, -1234.5, "\u22121,234"),
        (percent, 0.341, "34.1 %"),
        (percent, 0.5, "50 %"),
        (percent, 1.0, "100 %"),
        (percent, 0.00031, "0.03 %"),
        (percent, -0.659, "\u221265.9 %"),
        (percent, 1e-9, "0 %"),
        (hours, 119_520, "33.2 h"),
        (hours, 4500, "1.25 h"),
        (hours, -3.0, "0.00 h"),
        (hours, 36_000_000, "10,000 h"),
        (duration, 45, "45 s"),
        (duration, 720, "12 min"),
        (duration, 119_520, "33.2 h"),
        (duration, 457_920, "5.3 d"),
        (duration, 36_000.000001, "10 h"),
    ],
)
def test_a_number_in_words(function: object, value: float, text: str) -> None:
    assert callable(function)
    assert function(value) == text


@pytest.mark.parametrize("function", [usd, cents, count, number, percent, hours, duration])
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_a_number_is_said_to_be_none(function: object, value: float | None) -> None:
    assert callable(function)
    assert function(value) == "n/a"


def test_the_ends_of_an_interval_have_the_decimals_of_its_mean() -> None:
    assert [usd_like(value, 101.0) for value in (99.6, 102.4)] == ["$100", "$102"]
    assert [usd_like(value, 4.0) for value in (-0.5, 8.5)] == ["\u2212$0.50", "$8.50"]


def test_plurals_and_lists() -> None:
    assert plural(1, "world") == "1 world"
    assert plural(30, "policy", "policies") == "30 policies"
    assert [listed(list(names)) for names in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_text_on_one_line() -> None:
    assert one_line("a\n b\tc") == "a b c"
    assert one_line("x" * 50, 10) == "x" * 9 + "\u2026"


@pytest.mark.parametrize(
    ("seconds", "unit", "written"),
    [
        ([26_000.0, 65_000.0, None], "h", "18.1 h"),
        ([54.7, 918.0, 200.0], "min", "15.3 min"),
        ([0.0, 30.0, 65.0], "s", "65.0 s"),
        ([], "s", "n/a"),
    ],
)
def test_times_under_each_other_have_one_unit(seconds: list[float | None], unit: str, written: str) -> None:
    largest = max((each for each in seconds if each is not None), default=None)
    assert time_unit(seconds) == unit
    assert in_unit(largest, unit) == written


def test_every_metric_is_called_by_words_without_its_unit() -> None:
    words = {name: called(name) for name in METRIC_NAMES}
    assert len(set(words.values())) == len(METRIC_NAMES)
    assert not any("_" in word or word.endswith(("usd", " s")) for word in words.values())
    known = ("cost_usd", "makespan_s", "flow_s", "lost_work_s", "orphan_workers", "duplicate_completions")
    assert [words[name] for name in known] == [
        *("Cost", "Makespan", "Flow time", "Lost work", "Orphan workers", "Completed twice")
    ]


def test_an_interval_of_a_metric_is_shown_from_zero() -> None:
    assert shown_ends([-3.0, 2.0]) == [0.0, 2.0]
    assert shown_ends([1.0, 2.0]) == [1.0, 2.0]
    assert [is_cut(ends) for ends in ([-3.0, 2.0], [0.0, 2.0], None)] == [True, False, False]
