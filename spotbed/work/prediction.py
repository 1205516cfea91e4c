"""How long a job will run, by what is known when it is submitted: by the last two jobs of its user or by a quantile of
gradient-boosted trees (the extra `predict`), and how wrong that is on jobs that it was not trained on.

What had ended before a job was submitted is read off a log or the journal of a run. Nothing later is used.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim.inputs import Float64
from spotbed.errors import InputError, Problem

RuntimeEstimate = Literal["requested", "actual", "last-two", "boosted"]
PREDICTIONS: tuple[RuntimeEstimate, ...] = ("last-two", "boosted")  # among them
LEAST = 100  # jobs to train on
_SEED = 7  # of the trees: the same log gives the same predictions


@dataclass(frozen=True)
class Past:
    """Jobs in order of submission, as a log or a journal has them; columns of length n, times in seconds from the first
    submission, which was at `first_s` of a clock whose days begin at 0."""

    submit_s: Float64
    ends_s: Float64
    runtime_s: Float64
    asked_s: Float64  # -1 where nothing was
    user: npt.NDArray[np.int32]
    traits: tuple[Float64, ...]  # what else the trees may look at: slots, a class, what it needs
    first_s: float = 0.0

    def __len__(self) -> int:
        return len(self.submit_s)

    @property
    def most_s(self) -> Float64:
        """What each job asked for: infinity where nothing was."""
        return np.where(self.asked_s > 0, self.asked_s, np.inf)


@dataclass(frozen=True)
class History:
    """What was known of each job's user when it was submitted; columns of length n, NaN where nothing was."""

    last_s: Float64  # runtime of the last job that had ended
    mean_s: Float64  # of the last two; NaN with fewer
    ended: Float64  # how many had

    @classmethod
    def of(cls, past: Past) -> History:
        count = len(past)
        last_s, mean_s, ended = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
        running: list[tuple[float, int]] = []  # (end, job), the earliest first
        known: dict[int, tuple[list[float], int]] = {}
        for job in range(count):
            while running and running[0][0] <= past.submit_s[job]:
                _, other = heapq.heappop(running)
                two, number = known.get(int(past.user[other]), ([], 0))
                known[int(past.user[other])] = ([*two[-1:], float(past.runtime_s[other])], number + 1)
            two, number = known.get(int(past.user[job]), ([], 0))
            if two:
                last_s[job], ended[job] = two[-1], number
            if len(two) == 2:
                mean_s[job] = sum(two) / 2
            heapq.heappush(running, (float(past.ends_s[job]), job))
        return cls(last_s, mean_s, ended)


def predicted(past: Past, how: RuntimeEstimate, trained: int, quantile: float = 0.5) -> Float64:
    """What `last_two` or `boosted` says of each job."""
    return last_two(past) if how == "last-two" else boosted(past, trained, quantile)


def last_two(past: Past) -> Float64:
    """The mean runtime of the last two jobs of the user that had ended, at most the request; the request where there
    are not two (Tsafrir, Etsion, Feitelson, TPDS 2007); -1 where there is neither."""
    mean_s = History.of(past).mean_s
    found = np.where(np.isnan(mean_s), past.most_s, np.minimum(mean_s, past.most_s))
    return np.where(np.isinf(found), -1.0, found)


def boosted(past: Past, trained: int, quantile: float) -> Float64:
    """The quantile of each job's runtime, by trees that were trained on those of the first `trained` jobs that
    had ended when the next was submitted; at most the request. The first jobs get what they were trained to say.

    Raises InputError without scikit-learn, and with fewer than 100 such jobs.
    """
    regressor = _regressor()
    features = _features(past)
    border_s = past.submit_s[trained] if trained < len(past) else np.inf
    learn = np.flatnonzero(past.ends_s[:trained] <= border_s)
    if len(learn) < LEAST:
        message = (
            f"{len(learn)} jobs had ended before those to be predicted: at least {LEAST} are needed to learn from."
        )
        raise InputError(Problem(message, hint="Set `first`: what comes before it is learnt from."))
    model = regressor(loss="quantile", quantile=quantile, max_iter=200, random_state=_SEED)
    model.fit(features[learn], np.log1p(past.runtime_s[learn]))
    found = np.maximum(1.0, np.expm1(model.predict(features)))
    capped: Float64 = np.minimum(found, past.most_s)
    return capped


def _features(past: Past) -> Float64:
    history = History.of(past)
    hour = (past.first_s + past.submit_s) / 3600 % 24
    asked_s = np.where(past.asked_s > 0, past.asked_s, np.nan)
    known = (np.log1p(history.last_s), np.log1p(history.mean_s), history.ended, hour)
    return np.column_stack((np.log1p(asked_s), *past.traits, *known)).astype(np.float64)


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


def evaluate(past: Past, share: float, quantile: float) -> list[Wrong]:
    """The errors of the request, the last two and the trees on the jobs after the first `share` of them."""
    trained = round(share * len(past))
    methods = {
        "request": np.where(past.asked_s > 0, past.asked_s, -1.0),
        "last two of the user": last_two(past),
        "gradient boosting": boosted(past, trained, quantile),
    }
    runtime_s = past.runtime_s[trained:]
    return [wrong_by(name, found[trained:], runtime_s, quantile) for name, found in methods.items()]
