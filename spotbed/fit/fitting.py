"""`data fit`: read a recording, fit the models that suit it, and say how good each is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.inputs import Float64, PricePath
from sim.prices import mean_usd_per_hour
from spotbed.errors import InputError, Problem
from spotbed.fit.goodness import Curve, curve_of, goodness
from spotbed.fit.models import FAMILIES, Bools, convention
from spotbed.fit.report import EMPIRICAL, FitReport, Model, PriceSummary, SampleFit
from spotbed.scenario.problems import suggestion
from spotbed.traces.availability import is_json, is_log, parsed_json, read_spells_trace
from spotbed.traces.lifetimes import read_lifetimes
from spotbed.traces.prices import Series, read_price_history
from spotbed.work.textfile import read_text

KINDS = ("auto", "lifetimes", "spells", "prices")
Edges = Literal["censor", "drop"]
_LIFETIME_MODELS = ("exponential", "weibull", "lognormal", "bathtub")
_SPELL_MODELS = ("exponential", "weibull", "lognormal")
_MS_PER_DAY = 86_400_000


def fit_path(path: Path, kind: str = "auto") -> FitReport:
    """Fit a file, or a folder of availability traces that are taken together.

    `kind` is one of `KINDS`; `auto` tells by the content: lifetimes (CSV, add/remove log), spells (availability JSON)
    or prices (price history). Raises InputError for a kind or a content that is none of these.
    """
    if kind not in KINDS:
        raise InputError(Problem(f"there is no kind of fit {kind!r}.", value=kind, hint=suggestion(kind, KINDS)))
    files = _files(path)
    chosen = _kind_of(files[0]) if kind == "auto" else kind
    if chosen == "spells":
        return fit_spells(files, path=str(path))
    if path.is_dir():
        raise InputError(Problem(f"is a folder; {chosen} are fitted from one file.", str(path)))
    if chosen == "prices":
        return fit_prices(path)
    lifetimes = read_lifetimes(path)
    return fit_lifetimes(lifetimes.duration_s, lifetimes.event, path=str(path))


def fit_lifetimes(duration_s: npt.ArrayLike, event: npt.ArrayLike, *, path: str | None = None) -> FitReport:
    """Fit lifetimes in seconds; `event` says of each whether it ended by an interruption (else it is censored).

    Whoever outlived the last interruption is counted up to that moment: there the follow-up of all models ends, as
    that of the Kaplan-Meier curve does, so all are judged by the same data.
    """
    sample = _fit("lifetime", np.asarray(duration_s, np.float64), np.asarray(event, bool), _LIFETIME_MODELS, path)
    return FitReport("lifetimes", path, (sample,))


def fit_spells(traces: Sequence[Path], *, edges: Edges = "censor", path: str | None = None) -> FitReport:
    """Fit the spells with and without room of availability traces, taken together.

    A spell that was running when a recording began or ended lasted at least as long as was seen: `edges` says whether
    it counts as censored there, or not at all.
    """
    spells = [spell for trace in traces for spell in _spells(trace) if edges == "censor" or spell[2]]
    samples = []
    for subject, is_up in (("up", True), ("down", False)):
        duration_s = np.array([length for up, length, _ in spells if up == is_up], dtype=np.float64)
        whole = np.array([complete for up, _, complete in spells if up == is_up], dtype=bool)
        samples.append(_fit(subject, duration_s, whole, _SPELL_MODELS, path))
    return FitReport("spells", path, tuple(samples))


def fit_prices(path: Path) -> FitReport:
    """Summarise every series of a price history."""
    histories = read_price_history(path)
    return FitReport("prices", str(path), prices=tuple(_summary(series, one) for series, one in histories.items()))


def _summary(series: Series, path: PricePath) -> PriceSummary:
    end_ms = int(path.at_ms[-1])
    days = end_ms / _MS_PER_DAY
    changes = int((np.diff(path.usd_per_hour) != 0).sum())
    return PriceSummary(
        instance_type=series.instance_type,
        az=series.az,
        days=days,
        mean_usd_per_hour=mean_usd_per_hour(path, 0, end_ms),
        least_usd_per_hour=float(path.usd_per_hour.min()),
        most_usd_per_hour=float(path.usd_per_hour.max()),
        changes_per_day=changes / days if days else 0.0,
    )


def _spells(trace: Path) -> list[tuple[bool, float, bool]]:
    """(up, seconds, complete) of each spell of a recording, in order."""
    at_ms, up = read_spells_trace(trace)
    lengths_s = (np.diff(at_ms) / 1000.0).tolist()
    last = len(lengths_s) - 1
    return [(bool(up[index]), length, 0 < index < last) for index, length in enumerate(lengths_s)]


def _fit(subject: str, duration_s: Float64, event: Bools, families: Sequence[str], path: str | None) -> SampleFit:
    shortest_s, fewest = convention("shortest_duration_s"), convention("fewest_events")
    if event.sum() < fewest:
        message = f"has {event.sum()} complete durations ({subject}); at least {fewest:.0f} are needed."
        raise InputError(Problem(message, path))
    end_s = float(duration_s[event].max())
    event = event & (duration_s <= end_s)
    duration_s = np.clip(duration_s, shortest_s, max(end_s, shortest_s))
    curve = curve_of(duration_s, event, convention("band_confidence"))
    models = sorted((_model(name, duration_s, event, curve) for name in families), key=_bic)
    empirical = Model(EMPIRICAL, {"steps": float(len(curve.at_s))}, None, None, None, 0.0, 1.0, 1.0)
    return SampleFit(
        subject=subject,
        size=len(duration_s),
        events=int(event.sum()),
        follow_up_s=curve.end_s,
        median_s=curve.median_s(),
        mean_s=curve.mean_s(),
        models=(*models, empirical),
    )


def _model(name: str, duration_s: Float64, event: Bools, curve: Curve) -> Model:
    family = FAMILIES[name]
    parameters, likelihood = family.fit(duration_s, event)
    good = goodness(curve, family.cdf(parameters, curve.at_s))
    return Model(
        name=name,
        parameters=parameters,
        log_likelihood=float(likelihood),
        aic=2.0 * family.parameters - 2.0 * float(likelihood),
        # Only events carry weight in the sample size of censored data (Volinsky and Raftery, Biometrics 56, 2000).
        bic=float(np.log(event.sum())) * family.parameters - 2.0 * float(likelihood),
        distance=good.distance,
        r_squared=good.r_squared,
        inside_band=good.inside_band,
    )


def _bic(model: Model) -> float:
    return np.inf if model.bic is None or np.isnan(model.bic) else model.bic


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(one for one in path.iterdir() if one.name.endswith((".json", ".json.gz")))
    if not files:
        raise InputError(Problem("has no availability trace (*.json, *.json.gz) in it.", str(path)))
    return files


def _kind_of(path: Path) -> str:
    text = read_text(path)
    if is_json(text):
        content = parsed_json(path, text)
        return "spells" if isinstance(content, dict) and "data" in content else "prices"
    if is_log(text):
        return "lifetimes"
    header = [name.strip() for name in text.partition("\n")[0].split(",")]
    return _kind_of_header(path, header)


def _kind_of_header(path: Path, header: Iterable[str]) -> str:
    names = set(header)
    if names & {"lifetime_s", "lifetime", "duration_s"}:
        return "lifetimes"
    if names & {"usd_per_hour", "SpotPrice", "spot_price"}:
        return "prices"
    hint = "Lifetimes have a column lifetime_s, price histories usd_per_hour or SpotPrice; --kind says which it is."
    raise InputError(Problem("is neither lifetimes, nor an availability trace, nor prices.", str(path), 1, hint=hint))
