"""How long work tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a caller of long work may pass in."""

    def update(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` pieces are finished; `note` names what is going on."""


class Silent:
    """Nobody listens."""

    def update(self, done: int, total: int, note: str = "") -> None:
        pass
