"""The JSON Schema of `results.json`; `schemas/results.schema.json` is a copy of it for editors and scripts."""

from __future__ import annotations

from typing import Any

from spotbed.metric_names import METRICS, Metric

SCHEMA_VERSION = 1
BILL_COLUMNS = ("item", "cause", "usage", "unit", "usd")
CAUSES = ("useful", "lost", "checkpoint", "failed", "boot", "idle", "minimum", "control", "fixed")

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "number"}
_MAYBE: dict[str, Any] = {"type": ["number", "null"]}
_SHA256: dict[str, Any] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_INTERVAL: dict[str, Any] = {
    "description": "ends of the 95 % interval; null with fewer than two worlds, or where the value is null",
    "type": ["array", "null"],
    "items": _NUMBER,
    "minItems": 2,
    "maxItems": 2,
}
_WORLDS: dict[str, Any] = {"description": "worlds in which it is defined", "type": "integer", "minimum": 0}


def results_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "spotbed results",
        "description": "Policies compared on the same worlds. Numbers are numbers; what is undefined is null.",
        **_object(
            schema_version={"const": SCHEMA_VERSION},
            scenario=_TEXT,
            scenario_sha256=_SHA256,
            replications={"description": "number of worlds", "type": "integer", "minimum": 1},
            baseline={"description": "label of the policy that the others are compared with", "type": "string"},
            policies={"type": "array", "items": _policy(), "minItems": 1},
            bounds={"description": "no policy has less", **_by_metric(_MAYBE, required=False)},
            gates={"type": "array", "items": _gate()},
        ),
        "$defs": {"summary": _summary(), "paired": _paired()},
    }


def _policy() -> dict[str, Any]:
    optional = {
        "does_not_converge": {
            "description": "metric -> why its mean over worlds means nothing and is null",
            "type": "object",
            "additionalProperties": _TEXT,
        },
        "regret": {
            "description": "mean / bound - 1, of policies that did the whole work",
            **_by_metric(_NUMBER, required=False),
        },
        "saving": {
            "description": "1 - cost / the useful instance time at the on-demand list price, or that less `discount`",
            **_object(list_usd=_NUMBER, of_list=_NUMBER, of_commitment=_NUMBER, discount=_NUMBER),
        },
    }
    return _object(
        optional,
        label=_TEXT,
        architecture={"enum": ["decoupled", "legacy-2019", "central"]},
        policy_sha256=_SHA256,
        metrics=_by_metric({"$ref": "#/$defs/summary"}),
        bill={"description": "mean over worlds", "type": "array", "items": _bill_line()},
        vs_baseline={
            "description": "candidate against baseline, world by world; empty for the baseline itself",
            "anyOf": [_by_metric({"$ref": "#/$defs/paired"}), {"type": "object", "maxProperties": 0}],
        },
    )


def _summary() -> dict[str, Any]:
    optional = {
        f"{name}_ci95": {
            "description": "ends of a 95 % interval by order statistics; null where so few worlds give none",
            "type": ["array", "null"],
            "items": _MAYBE,
            "minItems": 2,
            "maxItems": 2,
        }
        for name in ("p50", "p95")
    }
    return _object(optional, mean=_MAYBE, ci95=_INTERVAL, p50=_MAYBE, p95=_MAYBE, n=_WORLDS)


def _paired() -> dict[str, Any]:
    optional = {
        "p": {"description": "of no difference: Student's t on the differences of the worlds", **_MAYBE},
        "p_holm": {"description": "the same, adjusted for the number of policies compared (Holm)", **_MAYBE},
    }
    return _object(
        optional,
        diff_mean=_MAYBE,
        diff_ci95=_INTERVAL,
        ratio={"description": "of the means; null unless both are positive or ours alone is zero", **_MAYBE},
        ratio_ci95=_INTERVAL,
        win_share={"description": "share of worlds in which ours is better; ties are not", **_MAYBE},
        n=_WORLDS,
    )


def _bill_line() -> dict[str, Any]:
    return _object(item=_TEXT, cause={"enum": list(CAUSES)}, usage=_NUMBER, unit=_TEXT, usd=_NUMBER)


def _gate() -> dict[str, Any]:
    return _object(
        rule=_TEXT,
        policy={"description": "label", "type": "string"},
        value={"description": "of the statistic; for a rule with `* baseline`, its ratio to the baseline's", **_MAYBE},
        limit=_NUMBER,
        passed={"type": "boolean"},
    )


def _by_metric(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    shape = _object(**{metric.name: {"description": _described(metric), **schema} for metric in METRICS})
    if not required:
        del shape["required"]
    return shape


def _described(metric: Metric) -> str:
    return f"{metric.description} [{metric.unit}]"


def _object(optional: dict[str, Any] | None = None, /, **properties: Any) -> dict[str, Any]:
    """An object with exactly these properties, and perhaps the optional ones."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }
