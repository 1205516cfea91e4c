"""Which driver runs which architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.inputs import WorldInputs


def driver_of(architecture: str, inputs: WorldInputs) -> Callable[..., Any]:
    """The class of the driver. A fixed cluster has one of its own."""
    if inputs.cluster_slots:
        from sim.cluster import ClusterWorld

        return ClusterWorld
    if architecture == "legacy-2019":
        from sim.legacy import LegacyWorld

        return LegacyWorld
    if architecture == "central":
        from sim.central import CentralWorld

        return CentralWorld
    from sim.decoupled import DecoupledWorld

    return DecoupledWorld
