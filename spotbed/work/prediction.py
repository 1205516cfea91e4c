"""How long a job will run, by what is known when it is submitted: of a log, by the last two jobs of its user or by a
quantile of gradient-boosted trees (the extra `predict`), and how wrong that is on jobs that it was not trained on.

What had ended before a job was submitted is read off the log: submission, wait and runtime. Nothing later is used.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.inputs import Float64
from spotbed.errors import InputError, Problem

if TYPE_CHECKING:
    from spotbed.work.swf import SwfLog

LEAST = 100  # jobs to train on
_SEED = 7  # of the trees: the same log gives the same predictions


@dataclass(frozen=True)
class History:
    """What was known of each job's user when it was submitted; columns of length n, NaN where nothing was."""

    last_s: Float64  # runtime of the last job that had ended
    mean_s: Float64  # of the last two; NaN with fewer
    ended: Float64  # how many had

    @classmethod
    def of(cls, log: SwfLog) -> History:
        count = len(log)
        last_s, mean_s, ended = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
        running: list[tuple[float, int]] = []  # (end, job), the earliest first
        known: dict[int, tuple[list[float], int]] = {}
        for job in range(count):
            while running and running[0][0] <= log.submit_s[job]:
                _, other = heapq.heappop(running)
                two, number = known.get(int(log.user[other]), ([], 0))
                known[int(log.user[other])] = ([*two[-1:], float(log.runtime_s[other])], number + 1)
            two, number = known.get(int(log.user[job]), ([], 0))
            if two:
                last_s[job], ended[job] = two[-1], number
            if len(two) == 2:
                mean_s[job] = sum(two) / 2
            end_s = log.submit_s[job] + max(0.0, float(log.wait_s[job])) + log.runtime_s[job]
            heapq.heappush(running, (float(end_s), job))
        return cls(last_s, mean_s, ended)


def last_two(log: SwfLog) -> Float64:
    """The mean runtime of the last two jobs of the user that had ended, at most the request; the request where there
    are not two (Tsafrir, Etsion, Feitelson, TPDS 2007); -1 where there is neither."""
    mean_s = History.of(log).mean_s
    asked_s = np.where(log.estimate_s > 0, log.estimate_s, np.inf)
    found = np.where(np.isnan(mean_s), asked_s, np.minimum(mean_s, asked_s))
    return np.where(np.isinf(found), -1.0, found)


def boosted(log: SwfLog, trained: int, quantile: float) -> Float64:
    """The quantile of each job's runtime, by trees that were trained on those of the first `trained` jobs that
    had ended when the next was submitted; at most the request. The first jobs get what they were trained to say.

    Raises InputError without scikit-learn, and with fewer than 100 such jobs.
    """
    regressor = _regressor()
    features = _features(log)
    ends_s = log.submit_s + np.maximum(0.0, log.wait_s) + log.runtime_s
    border_s = log.submit_s[trained] if trained < len(log) else np.inf
    learn = np.flatnonzero(ends_s[:trained] <= border_s)
    if len(learn) < LEAST:
        message = (
            f"{len(learn)} jobs had ended before those to be predicted: at least {LEAST} are needed to learn from."
        )
        raise InputError(Problem(message, hint="Set `first`: what comes before it in the log is learnt from."))
    model = regressor(loss="quantile", quantile=quantile, max_iter=200, random_state=_SEED)
    model.fit(features[learn], np.log1p(log.runtime_s[learn]))
    found = np.maximum(1.0, np.expm1(model.predict(features)))
    asked_s = np.where(log.estimate_s > 0, log.estimate_s, np.inf)
    capped: Float64 = np.minimum(found, asked_s)
    return capped


def _features(log: SwfLog) -> Float64:
    history = History.of(log)
    hour = (log.first_submit_s + log.submit_s) / 3600 % 24
    asked_s = np.where(log.estimate_s > 0, log.estimate_s, np.nan)
    columns = (np.log1p(asked_s), log.slots, np.log1p(history.last_s), np.log1p(history.mean_s), history.ended, hour)
    return np.column_stack(columns).astype(np.float64)


def _regressor() -> Callable[..., Any]:
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError as error:
        raise InputError(
            Problem("this prediction needs scikit-learn.", hint="pip install 'spotbed[predict]'")
        ) from error
    found: Callable[..., Any] = HistGradientBoostingRegressor
    return found


@dataclass(frozen=True)
class Wrong:
    """How wrong a prediction is, on jobs that it was not trained on."""

    method: str
    jobs: int
    mean_absolute_error_s: float
    median_absolute_error_s: float
    too_short: float  # share of jobs that ran longer
    pinball_loss_s: float  # of the quantile: lower is better


def wrong_by(method: str, predicted_s: Float64, runtime_s: Float64, quantile: float) -> Wrong:
    """The errors of one method; jobs without a prediction are left out."""
    known = predicted_s >= 0
    over_s = (predicted_s - runtime_s)[known]
    loss = np.where(over_s < 0, -quantile * over_s, (1 - quantile) * over_s)
    absolute = np.abs(over_s)
    return Wrong(
        method,
        int(known.sum()),
        float(absolute.mean()),
        float(np.median(absolute)),
        float((over_s < 0).mean()),
        float(loss.mean()),
    )


def evaluate(log: SwfLog, share: float, quantile: float) -> list[Wrong]:
    """The errors of the request, the last two and the trees on the jobs after the first `share` of the log."""
    trained = round(share * len(log))
    methods = {
        "request": np.where(log.estimate_s > 0, log.estimate_s, -1.0),
        "last two of the user": last_two(log),
        "gradient boosting": boosted(log, trained, quantile),
    }
    runtime_s = log.runtime_s[trained:]
    return [wrong_by(name, found[trained:], runtime_s, quantile) for name, found in methods.items()]
