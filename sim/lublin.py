"""The workload model of Lublin and Feitelson for rigid parallel jobs, without job types.

U. Lublin and D. G. Feitelson, "The workload on parallel supercomputers: modeling the characteristics of rigid jobs",
Journal of Parallel and Distributed Computing 63(11), 2003, and the authors' program `m_lublin99.c`. Every quantity is
drawn by inverse transform from one uniform, the authors' rejections included (as conditional distributions), so the
jobs are those of the model but not those of their random generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc, gammaincinv

from sim.distributions import to_ms
from sim.inputs import Float64, JobClass, Work
from sim.streams import Streams

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class LublinParameters:
    """The model's parameters; gammas are (shape, scale) and of the natural logarithm of seconds.

    Sizes: `serial_probability`, then `power_of_two_probability`; log2 of a parallel size is uniform on [low, middle]
    with `low_probability`, else on [middle, log2(slots)], where middle = log2(slots) - `middle_below_high`.
    Runtimes: gamma 1 with probability slope · size + intercept, else gamma 2; none above exp(`longest_log`) seconds.
    Arrivals: gaps in the rush hours are exp(gamma `gap`), the shape multiplied by `gap_ratio`; the day's `buckets` have
    weights from the gamma `daily` (in half hours), its first hours moved by `day_starts_bucket`.
    """

    serial_probability: float
    power_of_two_probability: float
    low: float
    middle_below_high: float
    low_probability: float
    runtime_1: tuple[float, float]
    runtime_2: tuple[float, float]
    slope: float
    intercept: float
    longest_log: float
    gap: tuple[float, float]
    gap_ratio: float
    longest_gap_log: float
    daily: tuple[float, float]
    buckets: int
    day_starts_bucket: int


def lublin_work(slots: int, jobs: int, parameters: LublinParameters, streams: Streams) -> Work:
    """`jobs` jobs for a machine of `slots` processors. Time 0 is the first submission.

    The model's clock starts at midnight. It has no estimates: what is asked for is the runtime itself.
    """
    if slots < 2 or jobs < 1:
        raise ValueError(f"the Lublin model needs at least 2 slots and 1 job, not {slots} and {jobs}")
    sizes = job_sizes(slots, parameters, *(streams.per_entity(f"lublin/{name}", 0, jobs) for name in ("kind", "size")))
    runtime_s = runtimes_s(
        sizes, parameters, *(streams.per_entity(f"lublin/{name}", 0, jobs) for name in ("mix", "run"))
    )
    submit_s = arrivals_s(parameters, streams.per_entity("lublin/gap", 0, jobs))
    runtime_ms = to_ms(runtime_s)
    return Work(
        classes=(JobClass("lublin"),),
        klass=np.zeros(jobs, dtype=np.int32),
        submit_ms=to_ms(submit_s - submit_s[0]),
        runtime_ms=runtime_ms,
        estimate_ms=runtime_ms,
        slots=sizes.astype(np.int32),
        outcome_u=streams.per_entity("outcome", 0, jobs),
        string_u=streams.per_entity("success-string", 0, jobs),
    )


def job_sizes(slots: int, parameters: LublinParameters, kind_u: Float64, size_u: Float64) -> Float64:
    """Processors of each job: serial, a power of two, or any whole number; never more than `slots`."""
    high = math.log2(slots)
    middle = max(high - parameters.middle_below_high, parameters.low)
    below = parameters.low_probability
    log2_size = np.where(
        size_u < below,
        parameters.low + (middle - parameters.low) * size_u / below,
        middle + (high - middle) * (size_u - below) / (1 - below),
    )
    serial = parameters.serial_probability
    power = kind_u <= serial + parameters.power_of_two_probability
    sizes = np.floor(2.0 ** np.where(power, np.floor(log2_size + 0.5), log2_size) + 0.5)
    return np.where(kind_u <= serial, 1.0, np.minimum(sizes, slots))


def runtimes_s(sizes: Float64, parameters: LublinParameters, mix_u: Float64, run_u: Float64) -> Float64:
    """Seconds: exp of a mixture of two gammas whose weight falls with the size, cut at the longest runtime."""
    share = np.clip(parameters.slope * sizes + parameters.intercept, 0.0, 1.0)
    first = share * _below(parameters.runtime_1, parameters.longest_log)
    second = (1.0 - share) * _below(parameters.runtime_2, parameters.longest_log)
    is_first = mix_u * (first + second) < first
    logs = np.empty(len(sizes))
    for chosen, gamma in ((is_first, parameters.runtime_1), (~is_first, parameters.runtime_2)):
        logs[chosen] = _truncated(gamma, parameters.longest_log, run_u[chosen])
    return np.floor(np.exp(logs))


def arrivals_s(parameters: LublinParameters, gap_u: Float64) -> Float64:
    """Seconds since a midnight: gaps counted in a time that runs with the daily cycle, mapped back to the clock."""
    shape, scale = parameters.gap
    gaps = np.exp(_truncated((shape * parameters.gap_ratio, scale), parameters.longest_gap_log, gap_u))
    return clock_s(parameters, np.cumsum(gaps))


def clock_s(parameters: LublinParameters, paid_s: Float64) -> Float64:
    """The clock time by which the daily cycle has paid `paid_s` seconds of mean weight 1."""
    edges = np.linspace(0.0, _DAY_S, parameters.buckets + 1)
    days, rest = np.divmod(paid_s, _DAY_S)
    return days * _DAY_S + np.interp(rest, cumulative_weights_s(parameters), edges)


def cumulative_weights_s(parameters: LublinParameters) -> Float64:
    """How much each day pays by the edges of its buckets, from 0 to one day (length: buckets + 1)."""
    number = np.arange(parameters.buckets) + parameters.day_starts_bucket
    shape, scale = parameters.daily
    weights = np.empty(parameters.buckets)
    share = gammainc(shape, (number + 0.5) / scale) - gammainc(shape, (number - 0.5) / scale)
    weights[(number - 1) % parameters.buckets] = share
    paid: Float64 = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum() * _DAY_S
    return paid


def _below(gamma: tuple[float, float], limit: float) -> float:
    return float(gammainc(gamma[0], limit / gamma[1]))


def _truncated(gamma: tuple[float, float], limit: float, u: Float64) -> Float64:
    """A gamma variable given that it is at most `limit`."""
    return np.asarray(gammaincinv(gamma[0], u * _below(gamma, limit)) * gamma[1], dtype=np.float64)
