"""spotbed: a testbed for batch and HPC jobs on EC2 Spot. `spotbed.load(RUN)` gives a run's tables as DataFrames."""

from __future__ import annotations

from typing import Any


def load(path: Any) -> dict[str, Any]:
    """A run's folder as DataFrames by name, with `journal`, `results` and `provenance`. Raises InputError."""
    from spotbed.api import load as load_folder

    return load_folder(path)
