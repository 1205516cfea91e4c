"""The scenario as a whole: what a file says, in seconds, GiB and USD, with its defaults filled in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from spotbed.errors import Problem
from spotbed.scenario.models_base import InputPath, Section, Several, Shorthand, Text, as_written
from spotbed.scenario.models_policies import NAMED, GateOrRule, PolicyEntry
from spotbed.scenario.models_search import Search, Sweep
from spotbed.scenario.models_work import Swf, Workload
from spotbed.scenario.models_world import Capacity, Checkpoint, Costs, Market, Services
from spotbed.scenario.units import Span
from spotbed.scenario.yaml_positions import Document, Keys

SCHEMA = "spotbed/scenario/v1"
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$", max_length=100)]
PolicyOrName = Annotated[PolicyEntry, Shorthand(lambda name: {"use": name}, NAMED)]


class Scenario(Section):
    """A scenario for spotbed."""

    schema_: Literal["spotbed/scenario/v1"] = Field(
        as_written(SCHEMA), alias="schema", description="the version of this format"
    )
    name: FileName = Field("scenario", description="what results are called; by default the name of the file")
    description: Text | None = Field(None, description="for people")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(1, description="of all randomness")
    replications: Annotated[int, Field(ge=1, le=1_000_000)] = Field(30, description="worlds that each policy sees")
    horizon: Span | None = Field(None, description="when arrivals stop; the run then drains")
    workload: Workload = Field(description="the jobs")
    capacity: Capacity = Field(description="what they may run on")
    market: Market = Field(as_written({}), description="what EC2 does")
    checkpoint: Checkpoint = Field(as_written({}), description="what keeping progress costs")
    services: Services = Field(as_written({}), description="the AWS services around the instances")
    costs: Costs = Field(as_written({}), description="further lines of the bill")
    policies: Several[PolicyOrName] = Field(min_length=1, max_length=1000, description="what is compared")
    baseline: Text = Field(
        "",
        validate_default=False,
        description="label of the policy that the others are compared with; by default the first",
    )
    gates: Several[GateOrRule] = Field((), description="rules that policies must keep")
    sweep: Sweep = Field({}, description="values that `spotbed sweep` tries, by the dotted path of a key")
    search: Search | None = Field(None, description="what `spotbed search` tunes")

    _source_path: Path | None = PrivateAttr(None)
    _positions: Document | None = PrivateAttr(None)
    _warnings: tuple[Problem, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _completed(self) -> Self:
        labels = [policy.label for policy in self.policies]
        baseline = self.baseline or labels[0]
        others = tuple(dict.fromkeys(label for label in labels if label != baseline)) or (baseline,)
        gates = tuple(gate if gate.for_ else gate.model_copy(update={"for_": others}) for gate in self.gates)
        workload = self.workload
        if isinstance(workload, Swf) and workload.slots is None:
            workload = workload.model_copy(update={"slots": "require" if self.capacity.cluster else "as-one"})
        return self.model_copy(update={"baseline": baseline, "gates": gates, "workload": workload})

    def attach(self, path: Path, positions: Document, warnings: Sequence[Problem]) -> None:
        """Remember where it came from; done once, by whoever has read it."""
        self._source_path, self._positions, self._warnings = path, positions, tuple(warnings)

    @property
    def source_path(self) -> Path | None:
        """The file that it was read from."""
        return self._source_path

    @property
    def positions(self) -> Document | None:
        """Where each key stands in the file."""
        return self._positions

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is odd about it, and stops nothing."""
        return self._warnings

    @property
    def base_dir(self) -> Path:
        """The folder that relative paths start at."""
        return self._source_path.parent if self._source_path else Path()

    @property
    def canonical(self) -> str:
        """The whole scenario as one line of JSON, defaults included: equal for files that mean the same."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def sha256(self) -> str:
        """The hash of `canonical`. The files that it names have hashes of their own in a run's provenance."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    def label_of(self, policy: PolicyEntry) -> str:
        """What the policy is called in tables, gates and files."""
        return policy.label

    def policy(self, label: str) -> PolicyEntry:
        """The policy of that label. Raises KeyError."""
        for entry in self.policies:
            if entry.label == label:
                return entry
        raise KeyError(label)

    def input_paths(self) -> list[InputPath]:
        """Every path to data that it names, in the order of its keys."""
        return [path for _, path in self.placed_paths()]

    def placed_paths(self) -> list[tuple[Keys, InputPath]]:
        """The same, each with the keys that lead to it."""
        return list(_paths_in(self, ()))


def _paths_in(value: Any, keys: Keys) -> Iterator[tuple[Keys, InputPath]]:
    if isinstance(value, InputPath):
        yield keys, value
        return
    for key, inner in _parts_of(value):
        yield from _paths_in(inner, (*keys, key))


def _parts_of(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, BaseModel):
        aliases = {name: info.alias or name for name, info in type(value).model_fields.items()}
        return [(aliases.get(name, name), inner) for name, inner in value]
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, tuple) else ()
