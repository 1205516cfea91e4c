"""What a fit says: a table, plain data, and the lines to paste into a scenario."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sim.inputs import Float64
from spotbed.fit.models import FAMILIES, Parameters
from spotbed.quantities import format_duration

SCHEMA_VERSION = 1
EMPIRICAL = "empirical"
_SUBJECTS = {"lifetime": "how long instances live", "up": "spells with room", "down": "spells without room"}
_SAFE = {"lifetime": "the empirical curve (source: lifetimes)"}
_REPLAY = "replaying the recording (source: trace)"


@dataclass(frozen=True, slots=True)
class Model:
    """One fitted model. Likelihood, AIC and BIC are None for the empirical curve, which has none to compare."""

    name: str
    parameters: Parameters
    log_likelihood: float | None
    aic: float | None
    bic: float | None
    distance: float  # the largest to the Kaplan-Meier curve, within the follow-up
    r_squared: float
    inside_band: float  # share of events at which the model lies inside the confidence band

    @property
    def adequate(self) -> bool:
        """Whether the model lies inside the band over the whole follow-up."""
        return self.inside_band == 1.0

    def cdf(self, at_s: Float64) -> Float64:
        """The distribution function at times in seconds; not for the empirical curve."""
        return FAMILIES[self.name].cdf(self.parameters, at_s)


@dataclass(frozen=True, slots=True)
class SampleFit:
    """The models of one sample of durations, best first, the empirical curve last."""

    subject: str  # lifetime | up | down
    size: int
    events: int
    follow_up_s: float
    median_s: float | None
    mean_s: float  # none counted for longer than the follow-up
    models: tuple[Model, ...]

    @property
    def best(self) -> Model:
        """The parametric model with the least BIC.

        By AIC the bathtub, with its four parameters, would win one time in four on lifetimes that are exponential.
        """
        return self.models[0]

    @property
    def recommended(self) -> str:
        """The best model's name if it is adequate, else the empirical curve."""
        return self.best.name if self.best.adequate else EMPIRICAL

    def model(self, name: str) -> Model:
        """The model of that name."""
        return next(model for model in self.models if model.name == name)

    def verdict(self) -> str:
        """One sentence: which model is best, by how much, and whether it is good enough."""
        others = [model for model in self.models[1:] if model.bic is not None]
        lead = ""
        if others and self.best.bic is not None and others[0].bic is not None:
            lead = f" (BIC {others[0].bic - self.best.bic:.0f} below {others[0].name})"
        good = (
            "it stays inside the confidence band of what was seen"
            if self.best.adequate
            else f"it leaves the confidence band of what was seen at {1 - self.best.inside_band:.0%} of the events,"
            f" by up to {self.best.distance:.2f}; {_SAFE.get(self.subject, _REPLAY)} is the safe choice"
        )
        return f"{_SUBJECTS[self.subject]}: {self.best.name} fits best{lead}, R2 {self.best.r_squared:.3f}; {good}."


@dataclass(frozen=True, slots=True)
class PriceSummary:
    """One series of a price history, averaged over time."""

    instance_type: str
    az: str
    days: float
    mean_usd_per_hour: float
    least_usd_per_hour: float
    most_usd_per_hour: float
    changes_per_day: float


@dataclass(frozen=True, slots=True)
class FitReport:
    """The outcome of `data fit` for one file or folder: samples of durations, or series of prices."""

    kind: str  # lifetimes | spells | prices
    path: str | None
    samples: tuple[SampleFit, ...] = ()
    prices: tuple[PriceSummary, ...] = ()

    def sample(self, subject: str) -> SampleFit:
        """The sample of that subject: lifetime, up or down."""
        return next(sample for sample in self.samples if sample.subject == subject)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each model of each sample, or for each price series: the table."""
        if self.prices:
            return [asdict(summary) for summary in self.prices]
        return [_row(sample, model) for sample in self.samples for model in sample.models]

    def verdicts(self) -> list[str]:
        """What to conclude, in one sentence for each sample."""
        return [sample.verdict() for sample in self.samples]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "path": self.path,
            "samples": [_plain(sample) for sample in self.samples],
            "prices": [asdict(summary) for summary in self.prices],
            "scenario": self.to_yaml(),
        }

    def to_yaml(self) -> str:
        """The block `market:` of a scenario that uses what was found, with what was found as comments."""
        lines = [f"# {verdict}" for verdict in self.verdicts()]
        path = self.path or f"{self.kind}.csv"
        if self.kind == "prices":
            return "\n".join([*lines, "market:", f"  prices: {{source: trace, path: {_quoted(path)}}}", ""])
        return "\n".join([*lines, "market:", f"  interruptions: {self._interruptions(path)}", ""])

    def _interruptions(self, path: str) -> str:
        if self.kind == "spells":
            up, down = (_weibull(self.sample(subject).model("weibull")) for subject in ("up", "down"))
            return f"{{source: weibull, up: {up}, down: {down}}}"
        if self.sample("lifetime").recommended == "exponential":
            mean_s = self.sample("lifetime").best.parameters["mean_s"]
            return f"{{source: exponential, mean: {_duration(mean_s)}}}"
        return f"{{source: lifetimes, path: {_quoted(path)}}}"


def _row(sample: SampleFit, model: Model) -> dict[str, Any]:
    return {
        "sample": sample.subject,
        "model": model.name,
        "parameters": ", ".join(f"{name} {value:.4g}" for name, value in model.parameters.items()),
        "aic": model.aic,
        "bic": model.bic,
        "distance": model.distance,
        "r_squared": model.r_squared,
        "inside_band": model.inside_band,
        "recommended": model.name == sample.recommended,
    }


def _plain(sample: SampleFit) -> dict[str, Any]:
    plain = asdict(sample)
    plain["best"] = sample.best.name
    plain["best_is_adequate"] = sample.best.adequate
    plain["recommended"] = sample.recommended
    return plain


def _weibull(model: Model) -> str:
    return f"{{shape: {model.parameters['shape']:.4g}, scale: {_duration(model.parameters['scale_s'])}}}"


def _duration(seconds: float) -> str:
    return format_duration(float(max(1, round(seconds))))


def _quoted(text: str) -> str:
    """A path as a YAML scalar: JSON's quotes are YAML's too."""
    import json

    return json.dumps(text, ensure_ascii=False)
