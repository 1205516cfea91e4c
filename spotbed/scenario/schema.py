"""The JSON Schema of a scenario, for editors: made of the models, never written by hand."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from spotbed import quantities
from spotbed.scenario.models import Scenario

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# name in the schema, pattern, examples and words of each kind of quantity
QUANTITIES = {
    "duration": (quantities.DURATION_PATTERN, ["45s", "90m", "1h30m", "2d"]),
    "money": (quantities.MONEY_PATTERN, ["500 USD"]),
    "price": (quantities.PRICE_PATTERN, ["0.97 USD/h"]),
    "rate": (quantities.RATE_PATTERN, ["25/h", "3/s"]),
    "size": (quantities.SIZE_PATTERN, ["8 GiB", "500 MB"]),
    "moment": (quantities.TIMESTAMP_PATTERN, ["2026-03-02T08:00Z"]),
}


class _Schema(GenerateJsonSchema):
    """Without a title on every key: editors would show it instead of the description."""

    schema_dialect = DIALECT

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def scenario_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a scenario file."""
    return schema_of(Scenario, "spotbed scenario", QUANTITIES)


def schema_of(model: type[BaseModel], title: str, quantities: Collection[str] = ()) -> dict[str, Any]:
    """JSON Schema 2020-12 of a model that uses these of `QUANTITIES`."""
    schema: dict[str, Any] = model.model_json_schema(by_alias=True, schema_generator=_Schema)
    schema = _tidy(schema)
    for name in quantities:
        pattern, examples = QUANTITIES[name]
        schema.setdefault("$defs", {})[name] = {"type": "string", "pattern": pattern, "examples": examples}
    return {"$schema": DIALECT, **schema, "title": title}


def _tidy(part: Any) -> Any:
    """Quantities refer to one definition each; a default of null is none."""
    if isinstance(part, list):
        return [_tidy(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    tidy = {key: _tidy(inner) for key, inner in part.items() if not (key == "default" and inner is None)}
    kind = next((name for name, (pattern, _) in QUANTITIES.items() if tidy.get("pattern") == pattern), None)
    if kind is None:
        return tidy
    kept = {key: inner for key, inner in tidy.items() if key in {"description", "default"}}
    return {"$ref": f"#/$defs/{kind}", **kept}
