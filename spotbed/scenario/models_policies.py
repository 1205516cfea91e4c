"""The models of `policies` and `gates`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from spotbed.scenario.models_base import Name, OneOrMore, Section, Several, Shorthand, Text, as_written, known, refuse
from spotbed.scenario.units import Duration, Rate, Span, UsdPerHour

POINTS = ("order", "place", "scale", "retry", "protect", "move")
Parameters = Annotated[dict[Name, Any], Field(max_length=200)]
NAMED = {"type": "string", "description": "a name, or path.py:Class"}


class Part(Section):
    """What fills one point of a policy."""

    use: Text = Field(description="a name, or path.py:Class")
    with_: Parameters = Field({}, alias="with", description="its parameters")


PartOrName = Annotated[Part, Shorthand(lambda name: {"use": name}, NAMED)]


class Failure(Section):
    """A failure of the head node."""

    at: Duration = Field(description="when, from the start")
    for_: Span = Field(alias="for", description="for how long nothing is dispatched")


class Central(Section):
    """The head node of the architecture `central`."""

    price: UsdPerHour = Field(as_written("0 USD/h"), description="of the head node")
    dispatch_rate: Rate | None = Field(None, description="jobs that it starts per time; by default without limit")
    fails: Several[Failure] = Field((), description="when it is down")


class PolicyEntry(Section):
    """A policy that is compared: one by name, any of its six points replaced, or one composed of points."""

    use: Text | None = Field(None, description="a name, or path.py:Class")
    label: Name = Field("", validate_default=False, description="what it is called; by default the name after `use`")
    with_: Parameters = Field({}, alias="with", description="the parameters of `use`")
    order: PartOrName | None = Field(None, description="which waiting job next?")
    place: PartOrName | None = Field(None, description="where does new capacity come from?")
    scale: PartOrName | None = Field(None, description="how many workers?")
    retry: PartOrName | None = Field(None, description="an attempt ended: what now?")
    protect: PartOrName | None = Field(None, description="when to checkpoint, what to do on notice or rebalance?")
    move: PartOrName | None = Field(None, description="should a running attempt go elsewhere?")
    architecture: Literal["decoupled", "legacy-2019", "central"] | None = Field(
        None, description="by default what the policy is made for"
    )
    central: Central | None = Field(None, description="the head node, with architecture: central")

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.use is None and not any(True for _ in self.parts()):
            raise refuse("names no policy", f"Write `use: NAME`, or fill a point: {', '.join(POINTS)}.")
        if self.use is None and self.with_:
            raise refuse(
                "has nothing to apply to", "Give the parameters to a point: `scale: {use: ..., with: ...}`.", "with"
            )
        if self.central is not None and (self.architecture or self.use) != "central":
            raise refuse("describes a head node", "Add `architecture: central`, or remove it.", "central")
        if self.label:
            return self
        if self.use is None:
            raise refuse("has no label", "A policy composed of points needs one: `label: my-mix`.")
        return self.model_copy(update={"label": default_label(self.use)})

    def parts(self) -> Iterator[tuple[str, Part]]:
        """The points that the entry fills itself."""
        for point in POINTS:
            part = getattr(self, point)
            if part is not None:
                yield point, part


def default_label(use: str) -> str:
    """The name after the last / and the colon: ../policies/hedge.py:Hedge is called Hedge."""
    name = re.split(r"[/\\:]", use)[-1].removesuffix(".py")
    return re.sub(r"[^A-Za-z0-9._+@-]", "-", name).lstrip(".+@-") or "policy"


class Gate(Section):
    """A rule that policies must keep; `compare` exits with 3 if one does not."""

    rule: Annotated[Text, known("rule")] = Field(description="METRIC.STAT (<=|<|>=|>) NUMBER [* baseline]")
    for_: Annotated[Several[Name], OneOrMore] = Field(
        (), alias="for", description="labels of the candidates; by default all but the baseline"
    )


GateOrRule = Annotated[
    Gate, Shorthand(lambda rule: {"rule": rule}, {"type": "string", "description": "a rule for all but the baseline"})
]
