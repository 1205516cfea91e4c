"""The randomness of a world: Philox, one counter-based substream per (purpose, entity, index).

A draw depends on (seed, world, purpose, entity, index) and on nothing else: not on the order in which draws are made,
not on the policy, not on the process. That is what makes worlds common to all policies (common random numbers).
Constructing a generator costs about 9 us, so draws are made in blocks, whose values are the same as the single ones.
"""

from __future__ import annotations

import hashlib

import numpy as np

from sim.inputs import Float64

_WORDS_PER_COUNTER = 4  # Philox4x64 gives four 64-bit words for each value of its counter


class Streams:
    """All substreams of world number `world` of a run with `seed`."""

    def __init__(self, seed: int, world: int = 0) -> None:
        self.seed = seed
        self.world = world
        self._keys: dict[str, int] = {}

    def _key(self, purpose: str) -> int:
        key = self._keys.get(purpose)
        if key is None:
            digest = hashlib.sha256(f"spotbed/{self.seed}/{self.world}/{purpose}".encode()).digest()
            key = self._keys[purpose] = int.from_bytes(digest[:16], "little")
        return key

    def per_entity(self, purpose: str, start: int, count: int) -> Float64:
        """One uniform in [0, 1) for each of the entities start, start + 1, ... (shape: count)."""
        skip, offset = divmod(start, _WORDS_PER_COUNTER)
        bits = np.random.Philox(key=self._key(purpose), counter=skip)
        return np.random.Generator(bits).random(offset + count)[offset:]

    def of_entity(self, purpose: str, entity: int, start: int, count: int) -> Float64:
        """The draws start .. start + count - 1 of the substream of one entity, uniform in [0, 1) (shape: count)."""
        skip, offset = divmod(start, _WORDS_PER_COUNTER)
        bits = np.random.Philox(key=self._key(purpose), counter=skip + ((entity + 1) << 64))
        return np.random.Generator(bits).random(offset + count)[offset:]

    def one(self, purpose: str, entity: int, index: int = 0) -> float:
        """A single uniform in [0, 1)."""
        return float(self.of_entity(purpose, entity, index, 1)[0])
