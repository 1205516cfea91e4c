"""The quantities of the scenario's models: what they take, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from spotbed.scenario import units


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (units.Duration, "0s", 5),
        (units.Span, "1s", "0s"),
        (units.Money, "1 USD", "0 USD"),
        (units.UsdPerHour, "0 USD/h", "0"),
        (units.Rate, "1/h", "0/h"),
        (units.Size, "0 GiB", 0),
    ],
)
def test_annotated_types(kind: Any, good: str, bad: object) -> None:
    adapter = TypeAdapter(kind)
    value = adapter.validate_python(good)
    assert adapter.validate_python(adapter.dump_python(value, mode="json")) == value
    with pytest.raises(ValidationError):
        adapter.validate_python(bad)
