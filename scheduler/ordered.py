"""A sorted sequence that is never changed: adding and removing give a new one, which shares most of the old.

Entries are records with a `place` by which they are sorted; no two have the same. They lie in tuples of at most 512, so
that a queue of a million costs two short copies for each change, and a queue of ten costs one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, TypeAlias

from scheduler.record import record

_MOST = 512
_place = attrgetter("place")
Chunk: TypeAlias = tuple[Any, ...]


def _last_place(chunk: Chunk) -> Any:
    return chunk[-1].place


@record
class Ordered:
    """The entries in order. `chunks` holds no empty tuple."""

    chunks: tuple[Chunk, ...] = ()
    size: int = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        for chunk in self.chunks:
            yield from chunk

    @property
    def first(self) -> Any:
        """The entry with the lowest place, None when there is none."""
        return self.chunks[0][0] if self.chunks else None

    def add(self, entry: Any) -> Ordered:
        """With the entry at its place."""
        chunks, place = self.chunks, entry.place
        if not chunks:
            return Ordered(((entry,),), 1)
        number = bisect_left(chunks, place, key=_last_place) if place < chunks[-1][-1].place else len(chunks) - 1
        chunk = chunks[number]
        position = bisect_right(chunk, place, key=_place)
        grown = (*chunk[:position], entry, *chunk[position:])
        return Ordered((*chunks[:number], *_split(grown), *chunks[number + 1 :]), self.size + 1)

    def remove(self, entry: Any) -> Ordered:
        """Without the entry that has this one's place. Raises KeyError when there is none."""
        chunks, place = self.chunks, entry.place
        number = bisect_left(chunks, place, key=_last_place)
        chunk = chunks[number] if number < len(chunks) else ()
        position = bisect_left(chunk, place, key=_place)
        if position == len(chunk) or chunk[position].place != place:
            raise KeyError(place)
        rest = chunk[:position] + chunk[position + 1 :]
        kept = (rest,) if rest else ()
        return Ordered((*chunks[:number], *kept, *chunks[number + 1 :]), self.size - 1)


def _split(chunk: Chunk) -> tuple[Chunk, ...]:
    """A chunk that has grown too long becomes two halves."""
    half = len(chunk) // 2
    return (chunk,) if len(chunk) <= _MOST else (chunk[:half], chunk[half:])
