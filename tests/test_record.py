"""`@record` is `dataclass(frozen=True, slots=True)` with a faster constructor: nothing else that one sees differs.

The tests guard their records, as `policy check` does; what a run without a guard does is tried in a process of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.record import record


@record
class Point:
    x: int
    y: int = 2
    label: str = ""
    sides: ClassVar[int] = 4


@dataclass(frozen=True, slots=True)
class Plain:
    x: int
    y: int = 2
    label: str = ""


@record
class Weighted(Point):
    """A record that inherits fields, as policies do."""

    weight: float = 0.5


@record
class Nothing:
    """A record without fields."""


def shown(value: object) -> str:
    return repr(value).replace(type(value).__name__, "_")


@given(st.integers(), st.integers(), st.text())
def test_equality_hash_and_repr_are_those_of_the_dataclass(x: int, y: int, label: str) -> None:
    ours, plain = Point(x, y, label), Plain(x, y, label)
    assert ours == Point(x, y=y, label=label)
    assert hash(ours) == hash(plain)
    assert shown(ours) == shown(plain)
    assert ours != plain
    assert ours != Point(x + 1, y, label)


def test_fields_and_defaults_are_those_that_are_written() -> None:
    assert [field.name for field in fields(Point)] == ["x", "y", "label"]
    assert Point(1) == Point(1, 2, "")
    assert fields(Weighted)[-1].name == "weight"
    assert Weighted(1).weight == 0.5
    assert Nothing() == Nothing()


@pytest.mark.parametrize("arguments", [(), (1, 2, "", 4)])
def test_missing_and_surplus_arguments_are_errors(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__\(\)"):
        Point(*arguments)


def test_an_unknown_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="z"):
        Point(1, z=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("made", [Point(1), Weighted(1, 2, "a", 0.25)])
def test_a_record_cannot_be_changed(made: Point) -> None:
    before = hash(made)
    with pytest.raises(FrozenInstanceError):
        made.x = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.x
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        made.other = 3  # type: ignore[attr-defined]
    assert hash(made) == before


def test_a_record_has_no_dictionary() -> None:
    assert not hasattr(Point(1), "__dict__")
    assert not hasattr(Weighted(1), "__dict__")


@pytest.mark.parametrize("made", [Point(1, 5, "a"), Weighted(1, 5, "a", 0.25), Nothing()])
def test_copies_are_equal(made: Any) -> None:
    assert replace(made) == made
    assert copy.copy(made) == made
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_replace_changes_what_it_names_only() -> None:
    assert replace(Weighted(1, 2, "a", 0.25), y=9) == Weighted(1, 9, "a", 0.25)
    assert dataclasses.asdict(Weighted(1)) == {"x": 1, "y": 2, "label": "", "weight": 0.5}


def test_a_record_takes_part_in_matching() -> None:
    match Point(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)
        case _:
            pytest.fail("not matched")


UNGUARDED = """
import copy, pickle
from dataclasses import FrozenInstanceError, replace
from scheduler.events import Ready, TimerFired
from scheduler.policies.order import Fifo
from spotbed.guard import guarded
event, fired = Ready(1), TimerFired(1, "boot")
event.at_ms = 2  # cheap, and wrong: the type checker says so
guarded(Fifo(), None)
event.at_ms = 3
assert copy.copy(fired) == pickle.loads(pickle.dumps(fired)) == replace(fired) == TimerFired(1, "boot")
assert hash(event) == hash(Ready(3))
class Mine(Fifo): pass
guarded(Mine(), None)
try:
    event.at_ms = 4
except FrozenInstanceError:
    print("frozen", event, Ready(5), copy.copy(fired), pickle.loads(pickle.dumps(fired)))
"""


def test_records_are_frozen_wherever_a_policy_of_a_user_takes_part() -> None:
    said = subprocess.run([sys.executable, "-c", UNGUARDED], check=True, capture_output=True, text=True).stdout
    fired = "TimerFired(at_ms=1, name='boot')"
    assert said == f"frozen Ready(at_ms=3) Ready(at_ms=5) {fired} {fired}\n"
