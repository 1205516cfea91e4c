"""What all models of a scenario share: strictness, names, input paths, shorthands, unions told apart by one key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from spotbed.scenario.paths import locate

T = TypeVar("T")
DEFAULTS = json.loads(Path(__file__).with_name("defaults.json").read_text("utf-8"))


def default(key: str) -> Any:
    """The default of a model parameter, as it would be written in a scenario; its source stands in defaults.json."""
    return DEFAULTS[key]["value"]


def as_written(value: Any) -> Any:
    """A default as it would be written in a scenario: validation makes the model's type of it."""
    return value


Lookup = Callable[[str], tuple[str, str] | None]
"""Says of a name that is not known (message, hint)."""


@dataclass(slots=True)
class Reading:
    """The context of one validation: where relative paths start, what names are known, which model read which value."""

    base_dir: Path = field(default_factory=Path)
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    model_of: dict[int, type[Section]] = field(default_factory=dict)  # by id() of the mapping that was read


class Section(BaseModel):
    """A mapping of the scenario. Unknown keys are errors, values are not converted, instances do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _remember(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, Reading):
            info.context.model_of[id(data)] = cls
        return data

    @classmethod
    def keys(cls) -> list[str]:
        """The keys that a scenario may use here."""
        return [info.alias or name for name, info in cls.model_fields.items()]


def known(kind: str) -> AfterValidator:
    """Refuse a name that the lookup `kind` of the context does not know."""

    def check(value: str, info: ValidationInfo) -> str:
        lookup = info.context.lookups.get(kind) if isinstance(info.context, Reading) else None
        complaint = lookup(value) if lookup else None
        if complaint:
            raise PydanticCustomError("unit", "{text}", {"text": complaint[0], "hint": complaint[1]})
        return value

    return AfterValidator(check)


def refuse(message: str, hint: str = "", key: str = "") -> PydanticCustomError:
    """The error of a validator: what is wrong, how to mend it, and at which key of the mapping it stands."""
    return PydanticCustomError("refused", "{text}", {"text": message, "hint": hint, "key": key})


def _printable(text: str) -> str:
    if not all(character.isprintable() or character == "\n" for character in text):
        raise refuse("holds a character that cannot be printed", "Write plain text.")
    return text


NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._+@:-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=128)]
Text = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
WholeNumber = Annotated[int, Field(ge=0, le=1_000_000_000)]
Shape = Annotated[float, Field(ge=0.05, le=100)]  # of a Weibull distribution; beyond it, its mean is no number
Positive = Annotated[float, Field(gt=0, le=1e12)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
Probability = Annotated[float, Field(ge=0, le=1)]
Several = Annotated[tuple[T, ...], Strict(False)]  # YAML has lists, models have tuples


class InputPath(str):
    """A path as the scenario has it: relative to the scenario's folder, or `data:NAME`."""

    base_dir: Path

    def locate(self) -> Path:
        """The file, which exists. Raises InputError, naming the command that fetches missing data."""
        return locate(self, self.base_dir)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(cls._read, handler(Text))

    @classmethod
    def _read(cls, text: str, info: ValidationInfo) -> InputPath:
        path = cls(text)
        path.base_dir = info.context.base_dir if isinstance(info.context, Reading) else Path()
        return path


class Shorthand:
    """Annotation: a value of `types` stands for the mapping that `unfold` makes of it."""

    def __init__(self, unfold: Callable[[Any], Any], schema: Mapping[str, Any], *types: type) -> None:
        self.unfold = unfold
        self.schema = schema
        self.types = types or (str,)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [dict(self.schema), handler(schema)]}

    def _read(self, value: Any) -> Any:
        return self.unfold(value) if isinstance(value, self.types) and not isinstance(value, bool) else value


def told_by(key: str, *, otherwise: Callable[[Mapping[str, Any]], str | None] = lambda _: None) -> Discriminator:
    """The members of a union are told apart by the text of `key`; without it by `otherwise`."""

    def tag(value: Any) -> str | None:
        if isinstance(value, Mapping):
            named = value.get(key)
            return str(named) if named is not None else otherwise(value)
        return getattr(value, key, None)

    tag.__name__ = key
    return Discriminator(tag)


def one_or_each(one: str, each: str) -> Discriminator:
    """Tells a mapping (tag `each`) from a single value (tag `one`)."""
    return Discriminator(lambda value: each if isinstance(value, Mapping | BaseModel) else one)


OneOrMore = Shorthand(lambda value: [value], {"type": "string"})
"""Annotation of a list of texts: one text stands for a list of it."""
