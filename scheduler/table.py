"""Transition tables. The table is the machine; the code is a lookup; nothing else changes a state.

A table maps phase -> event type -> Row. An unknown pair is an `UnknownTransition`: it changes nothing. Events that come
late or twice are expected on AWS, so they have rows of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

S = TypeVar("S")
Handler: TypeAlias = Callable[[Any, Any, Any], tuple[Any, tuple[Any, ...]]]
Handlers: TypeAlias = dict[str, dict[type[Any], Handler]]


class UnknownTransition(Exception):
    """The table has no row for this phase and event. The state is unchanged."""

    def __init__(self, machine: str, phase: str, event: object) -> None:
        self.machine, self.phase, self.event = machine, phase, event
        super().__init__(f"{machine}: no transition from phase {phase!r} on {event!r}")


class Row(NamedTuple):
    """One row: what handles the event, and in which phases it may end (asserted by the tests, drawn in the docs)."""

    handler: Handler
    to: tuple[str, ...]
    note: str = ""


Table: TypeAlias = Mapping[str, Mapping[type[Any], Row]]


class Machine(Generic[S]):
    """A role: its name, its first phase, its table, and the step that looks events up in it.

    `handlers[phase][kind]` is what `step` calls: a driver that delivers millions of events may look it up itself. A
    pair without a row is there too, and refuses.
    """

    def __init__(self, name: str, initial: str, table: Table) -> None:
        self.name = name
        self.initial = initial
        self.table = table
        kinds = {kind for rows in table.values() for kind in rows}
        self.handlers: Handlers = {
            phase: {**dict.fromkeys(kinds, self._refuse), **{kind: row.handler for kind, row in rows.items()}}
            for phase, rows in table.items()
        }

    def step(self, state: S, event: object, policy: object) -> tuple[S, tuple[Any, ...]]:
        """Apply one event. Raises UnknownTransition, in which case nothing has changed."""
        rows = self.handlers.get(state.phase, {})  # type: ignore[attr-defined]
        handler: Handler = rows.get(event.__class__, self._refuse)
        result: tuple[S, tuple[Any, ...]] = handler(state, event, policy)
        return result

    def _refuse(self, state: Any, event: object, policy: object) -> NoReturn:
        raise UnknownTransition(self.name, state.phase, event)


def stay(state: S, event: object, policy: object) -> tuple[S, tuple[Any, ...]]:
    """The event is late, doubled or of no interest in this phase."""
    return state, ()
