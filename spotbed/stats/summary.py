"""A metric over worlds in five numbers, and two policies over the same worlds in six."""

from __future__ import annotations

import math
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from spotbed.stats.intervals import Array, Interval, log_ratio_interval, mean_interval, student_quantile
from spotbed.stats.quantiles import quantile_interval
from spotbed.stats.several import paired_p

LEAST_WITHOUT_SPREAD = 6  # worlds: the sign test's two-sided 2 x 0.5^n is below 5 % from here on
ALPHA = 0.05  # of a set of comparisons
MOST_WORLDS = 1_000_000  # beyond it, "how many more worlds" is answered by None: it will not be resolved


class Summary(TypedDict):
    """A metric over the n worlds in which it is defined; None where there is nothing to say."""

    mean: float | None
    ci95: list[float] | None
    p50: float | None
    p95: float | None
    n: int
    p50_ci95: list[float | None] | None  # by order statistics; an end that so few worlds cannot give is None
    p95_ci95: list[float | None] | None


class Paired(TypedDict):
    """Candidate minus and over baseline on the same n worlds; the ratio is that of the means.

    `p` is that of no difference (Student's, paired); `p_holm` is `p` adjusted for how many policies are compared, where
    there are several.
    """

    diff_mean: float | None
    diff_ci95: list[float] | None
    ratio: float | None
    ratio_ci95: list[float] | None
    win_share: float | None
    n: int
    p: NotRequired[float | None]
    p_holm: NotRequired[float | None]


class Verdict(NamedTuple):
    """What the interval carries: "lower", "higher" or "not resolved", and then about how many more worlds it takes.

    `more_worlds` is None when nothing is missing, and when no number can be given (no difference seen, or too small a
    one for any number of worlds that can be run).
    """

    answer: str
    more_worlds: int | None


def summarise(values: npt.ArrayLike) -> Summary:
    """Mean, 95 % interval of the mean, median and 95 % quantile over worlds; None and NaN are left out."""
    defined = _numbers(values)
    defined = defined[np.isfinite(defined)]
    if not len(defined):
        return Summary(mean=None, ci95=None, p50=None, p95=None, n=0, p50_ci95=None, p95_ci95=None)
    mean = mean_interval(defined)
    p50, p95 = (float(quantile) for quantile in np.quantile(defined, (0.5, 0.95)))
    ends50, ends95 = (list(quantile_interval(defined, q)) if len(defined) > 1 else None for q in (0.5, 0.95))
    return Summary(
        mean=mean.estimate, ci95=_ends(mean), p50=p50, p95=p95, n=len(defined), p50_ci95=ends50, p95_ci95=ends95
    )


def paired(candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, lower_is_better: bool | None = True) -> Paired:
    """Compare two policies world by world; `candidate[i]` and `baseline[i]` (shape n) come from the same world i.

    Worlds in which either is undefined are left out. The ratio is None unless both means are positive. A tie is not
    won; with `lower_is_better` None there is nothing to win.
    """
    ours, theirs = _numbers(candidate), _numbers(baseline)
    if ours.shape != theirs.shape:
        raise ValueError(f"candidate and baseline differ in their worlds: {len(ours)} and {len(theirs)}")
    defined = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[defined], theirs[defined]
    if not len(ours):
        return Paired(diff_mean=None, diff_ci95=None, ratio=None, ratio_ci95=None, win_share=None, n=0)
    difference = mean_interval(ours - theirs)
    ratio, ratio_ends = _ratio(ours, theirs)
    return Paired(
        diff_mean=difference.estimate,
        diff_ci95=_ends(difference),
        ratio=ratio,
        ratio_ci95=ratio_ends,
        win_share=_win_share(ours, theirs, lower_is_better),
        n=len(ours),
        p=_known(paired_p(ours - theirs)),
    )


def verdict(pair: Paired) -> Verdict:
    """Whether the candidate is lower or higher than the baseline, said only if the interval of the difference says so.

    Where several policies are compared, `p_holm` must say so too. Where all worlds differ by the same amount there is
    no spread to make an interval from; the sign test decides.
    """
    difference, ends, worlds = pair["diff_mean"], pair["diff_ci95"], pair["n"]
    if difference is None or ends is None:
        return Verdict("not resolved", None)
    low, high = ends
    comparisons = _comparisons(pair)
    if low == high:
        return _verdict_without_spread(difference, worlds, comparisons)
    p_holm = pair.get("p_holm")
    if (low > 0.0 or high < 0.0) and (p_holm is None or p_holm <= ALPHA):
        return Verdict("lower" if high < 0.0 else "higher", None)
    towards_zero = difference - low if difference > 0.0 else high - difference
    return Verdict("not resolved", _more_worlds(abs(difference), towards_zero, worlds, comparisons))


def _comparisons(pair: Paired) -> float:
    """By how many the p-value was multiplied for the number of policies."""
    p, p_holm = pair.get("p"), pair.get("p_holm")
    return max(1.0, p_holm / p) if p and p_holm is not None else 1.0


def _verdict_without_spread(difference: float, worlds: int, comparisons: float) -> Verdict:
    if difference == 0.0:
        return Verdict("not resolved", None)
    least = LEAST_WITHOUT_SPREAD + math.ceil(math.log2(comparisons))
    if worlds < least:
        return Verdict("not resolved", least - worlds)
    return Verdict("lower" if difference < 0.0 else "higher", None)


def _more_worlds(difference: float, half_width: float, worlds: int, comparisons: float = 1.0) -> int | None:
    """How many worlds more make the half width, which shrinks as Student's t / sqrt(n), smaller than the difference.

    With several comparisons the quantile is Bonferroni's for as many.
    """
    from scipy.special import stdtrit

    spread = half_width * math.sqrt(worlds) / student_quantile(worlds - 1)

    def resolved(count: int) -> bool:
        quantile = float(stdtrit(count - 1, 1.0 - ALPHA / 2 / comparisons))
        return quantile * spread / math.sqrt(count) < difference

    if not resolved(MOST_WORLDS):
        return None
    unresolved, enough = worlds, MOST_WORLDS  # the interval and the p-value may differ a little: at least one more
    while enough - unresolved > 1:
        middle = (unresolved + enough) // 2
        if resolved(middle):
            enough = middle
        else:
            unresolved = middle
    return enough - worlds


def _numbers(values: npt.ArrayLike) -> Array:
    """One number per world; None becomes NaN."""
    numbers = np.array(values, dtype=np.float64)  # numpy reads None as NaN here
    if numbers.ndim != 1:
        raise ValueError(f"one number per world is needed, not an array of shape {numbers.shape}")
    return numbers


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ends(interval: Interval) -> list[float] | None:
    return None if interval.low is None or interval.high is None else [interval.low, interval.high]


def _ratio(ours: Array, theirs: Array) -> tuple[float | None, list[float] | None]:
    """The ratio of the means; its interval is made on the log, so that it is positive and that of 1 / ratio agrees."""
    above, below = float(ours.mean()), float(theirs.mean())
    if below <= 0.0 or above <= 0.0:
        return (0.0 if above == 0.0 and below > 0.0 else None), None
    ends = _ends(log_ratio_interval(ours, theirs))
    return above / below, None if ends is None else [math.exp(end) for end in ends]


def _win_share(ours: Array, theirs: Array, lower_is_better: bool | None) -> float | None:
    if lower_is_better is None:
        return None
    return float(np.mean(ours < theirs if lower_is_better else ours > theirs))
