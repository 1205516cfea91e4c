"""The Lublin-Feitelson model against its closed forms, and against jobs drawn by its authors' own program."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import spotbed
from sim.inputs import JobClass
from sim.lublin import clock_s, cumulative_weights_s, job_sizes, lublin_work, runtimes_s
from sim.streams import Streams
from spotbed.work.build import lublin_parameters
from spotbed.work.swf import read_swf

PARAMETERS = lublin_parameters()
JOBS = 40_000


@pytest.fixture(scope="module")
def sizes() -> np.ndarray:
    streams = Streams(1)
    return job_sizes(256, PARAMETERS, streams.per_entity("a", 0, JOBS), streams.per_entity("b", 0, JOBS))


def standard_error(probability: float, count: int = JOBS) -> float:
    return math.sqrt(probability * (1 - probability) / count)


def test_parameters_are_data_with_a_source() -> None:
    text = (Path(spotbed.__file__).parent / "data" / "lublin_feitelson_2003.json").read_text()
    assert "Journal of Parallel and Distributed Computing 63(11)" in json.loads(text)["source"]
    assert (PARAMETERS.serial_probability, PARAMETERS.power_of_two_probability) == (0.244, 0.576)
    assert (PARAMETERS.runtime_1, PARAMETERS.runtime_2) == ((4.2, 0.94), (312, 0.03))
    assert (PARAMETERS.gap, PARAMETERS.gap_ratio, PARAMETERS.daily) == ((10.2303, 0.4871), 1.0225, (8.1737, 3.9631))


def test_sizes_are_serial_powers_of_two_and_others(sizes: np.ndarray) -> None:
    assert (sizes == 1).mean() == pytest.approx(0.244, abs=3 * standard_error(0.244))
    # Uniform log2 on [0.8, 5.5] with .86: a power of two is 8 when it falls on [2.5, 3.5), another size is 7 when it
    # falls on [log2 6.5, log2 7.5).
    others = (1 - 0.244 - 0.576) * 0.86 / 4.7
    seven = others * (math.log2(7.5) - math.log2(6.5))
    eight = 0.576 * 0.86 / 4.7 + others * (math.log2(8.5) - math.log2(7.5))
    assert (sizes == 7).mean() == pytest.approx(seven, abs=3 * standard_error(seven))
    assert (sizes == 8).mean() == pytest.approx(eight, abs=3 * standard_error(eight))
    assert sizes.max() == 256
    assert (sizes == np.floor(sizes)).all()


def test_no_job_is_larger_than_the_machine() -> None:
    work = lublin_work(100, 5000, PARAMETERS, Streams(2))
    assert work.slots.max() == 100
    assert work.slots.min() == 1


@pytest.mark.parametrize("size", [1, 64, 256])
def test_runtimes_are_the_mixture_of_two_gammas(size: int) -> None:
    streams = Streams(3)
    runtimes = runtimes_s(
        np.full(JOBS, float(size)), PARAMETERS, streams.per_entity("m", 0, JOBS), streams.per_entity("r", 0, JOBS)
    )
    share = min(max(-0.0054 * size + 0.78, 0.0), 1.0)
    first, second = stats.gamma(4.2, scale=0.94), stats.gamma(312, scale=0.03)

    def below(log_s: float) -> float:
        return float(share * first.cdf(log_s) + (1 - share) * second.cdf(log_s))

    for seconds in (10, 100, 3600, 10_000, 36_000):
        expected = below(math.log(seconds)) / below(12)
        assert (runtimes < seconds).mean() == pytest.approx(expected, abs=3 * standard_error(expected) + 1e-9)
    assert runtimes.max() <= math.exp(12)


def test_the_clock_turns_once_a_day_and_is_fastest_at_noon() -> None:
    weights = np.diff(cumulative_weights_s(PARAMETERS))
    assert weights.sum() == pytest.approx(86_400)
    assert weights.argmax() / 2 == pytest.approx(13.5, abs=0.5)  # half hours: the gamma's mode, 11 half hours moved
    assert weights.argmin() / 2 == pytest.approx(4.5, abs=0.5)
    days = np.array([0.0, 1.0, 2.0, 3.0]) * 86_400.0
    assert clock_s(PARAMETERS, days).tolist() == days.tolist()


def test_work_starts_at_zero_and_asks_for_its_runtime() -> None:
    work = lublin_work(256, 500, PARAMETERS, Streams(4))
    assert len(work) == 500
    assert work.submit_ms[0] == 0
    assert (np.diff(work.submit_ms) >= 0).all()
    assert work.estimate_ms.tolist() == work.runtime_ms.tolist()
    assert [each.name for each in work.classes] == ["lublin"]
    assert lublin_work(256, 100, PARAMETERS, Streams(4)).runtime_ms.tolist() == work.runtime_ms[:100].tolist()
    with pytest.raises(ValueError, match="at least 2 slots"):
        lublin_work(1, 10, PARAMETERS, Streams(4))


@pytest.mark.published
def test_jobs_are_distributed_as_those_of_the_authors_program(spotbed_data: Path) -> None:
    """Mean and CV of runtime by size, the sizes, and the gaps against lublin_256 (10,000 jobs)."""
    theirs = read_swf(spotbed_data / "jobs" / "lublin_256.swf.gz").file_work(JobClass("log")).jobs
    ours = lublin_work(256, JOBS, PARAMETERS, Streams(5))
    for low, high in ((1, 1), (2, 4), (5, 8), (9, 16), (17, 32), (33, 256)):
        of_theirs, of_ours = (
            work.runtime_ms[(work.slots >= low) & (work.slots <= high)] / 1000 for work in (theirs, ours)
        )
        error = of_theirs.std() / math.sqrt(len(of_theirs)) + of_ours.std() / math.sqrt(len(of_ours))
        assert of_ours.mean() == pytest.approx(of_theirs.mean(), abs=3 * error)
        assert of_ours.std() / of_ours.mean() == pytest.approx(of_theirs.std() / of_theirs.mean(), rel=0.1)
        assert stats.ks_2samp(of_ours, of_theirs).pvalue > 0.01
    assert ours.slots.mean() == pytest.approx(theirs.slots.mean(), rel=0.05)
    assert stats.ks_2samp(ours.slots, theirs.slots).pvalue > 0.01


@pytest.mark.published
def test_gaps_of_the_authors_jobs_follow_our_daily_cycle(spotbed_data: Path) -> None:
    """Their submissions, taken through our clock, leave gaps of the model's gamma."""
    log = read_swf(spotbed_data / "jobs" / "lublin_256.swf.gz")
    submit_s = log.first_submit_s + log.submit_s
    edges = np.linspace(0.0, 86_400.0, 49)
    days, rest = np.divmod(submit_s, 86_400.0)
    paid = days * 86_400.0 + np.interp(rest, edges, cumulative_weights_s(PARAMETERS))
    logs = np.log(np.maximum(np.diff(paid), 0.1))
    gap = stats.gamma(10.2303 * 1.0225, scale=0.4871)
    assert stats.kstest(logs, gap.cdf).statistic < 1.628 / math.sqrt(len(logs))
