"""The table is the machine: what holds for every role, whatever it decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import pytest

from scheduler import fleet, job, worker
from scheduler.events import FleetEvent, JobEvent, WorkerEvent
from scheduler.table import Machine, Row, UnknownTransition, stay

ROLES = {"worker": (worker.MACHINE, WorkerEvent), "job": (job.MACHINE, JobEvent), "fleet": (fleet.MACHINE, FleetEvent)}
machines = pytest.mark.parametrize("machine", [role[0] for role in ROLES.values()], ids=ROLES)


@dataclass(frozen=True)
class Door:
    phase: str = "shut"


@dataclass(frozen=True)
class Pushed:
    at_ms: int = 0


@dataclass(frozen=True)
class Locked:
    at_ms: int = 0


def opened(door: Door, event: Pushed, policy: Any) -> tuple[Door, tuple[str, ...]]:
    return Door("open"), ("creak", policy)


DOOR = Machine("door", "shut", {"shut": {Pushed: Row(opened, ("open",))}, "open": {Pushed: Row(stay, ("open",))}})


def test_a_step_looks_the_handler_up_and_returns_what_it_says() -> None:
    assert DOOR.step(Door(), Pushed(), "oil") == (Door("open"), ("creak", "oil"))


def test_stay_keeps_the_state_itself_and_orders_nothing() -> None:
    door = Door("open")
    state, commands = DOOR.step(door, Pushed(), None)
    assert state is door
    assert commands == ()


@pytest.mark.parametrize("door", [Door("shut"), Door("ajar")])
def test_an_unknown_pair_is_a_named_error_that_says_machine_phase_and_event(door: Door) -> None:
    with pytest.raises(UnknownTransition) as raised:
        DOOR.step(door, Locked(7), None)
    assert (raised.value.machine, raised.value.phase, raised.value.event) == ("door", door.phase, Locked(7))
    assert str(raised.value) == f"door: no transition from phase {door.phase!r} on Locked(at_ms=7)"
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_an_error_inside_a_handler_is_not_taken_for_an_unknown_pair() -> None:
    def broken(state: Any, event: Any, policy: Any) -> Any:
        return {}["no such key"]

    machine: Machine[Door] = Machine("broken", "shut", {"shut": {Pushed: Row(broken, ("shut",))}})
    with pytest.raises(KeyError, match="no such key"):
        machine.step(Door(), Pushed(), None)


@machines
def test_phases_that_a_row_lists_are_phases_of_the_table(machine: Machine[Any]) -> None:
    listed = {phase for rows in machine.table.values() for row in rows.values() for phase in row.to}
    assert listed <= machine.table.keys()
    assert machine.initial in machine.table


@machines
def test_every_phase_can_be_reached(machine: Machine[Any]) -> None:
    reached, open_phases = {machine.initial}, [machine.initial]
    while open_phases:
        for row in machine.table[open_phases.pop()].values():
            open_phases += set(row.to) - reached
            reached |= set(row.to)
    assert reached == machine.table.keys()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_hears_what_its_union_of_events_says(role: str) -> None:
    machine, events = ROLES[role]
    assert {kind for rows in machine.table.values() for kind in rows} == set(get_args(events))


@machines
def test_a_handler_says_the_event_that_it_handles(machine: Machine[Any]) -> None:
    for phase, rows in machine.table.items():
        for kind, row in rows.items():
            if row.handler is not stay:
                said = get_type_hints(row.handler)["event"]
                assert kind in (get_args(said) or (said,)), (phase, kind, row.handler)


@machines
def test_a_row_that_stays_lists_its_own_phase(machine: Machine[Any]) -> None:
    for phase, rows in machine.table.items():
        assert all(row.to == (phase,) for row in rows.values() if row.handler is stay)
