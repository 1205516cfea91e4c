"""An instance that somebody launched and tagged: each time that it gets the stack's tag it becomes a worker, and serves
the queue until there is nothing to do. It is not ours: nobody protects or terminates it.

The tag `spotbed:pool` says of which pool it is, and so what it can run; with a single pool it is of that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws import workers
from aws.control import OWN, Control
from aws.store import packed
from scheduler.events import Ready

TAGGED = "Tag Change on Resource"
POOL, OF_A_GROUP = "spotbed:pool", "spotbed:team"  # which the groups of a team give to their instances
_MOST = 1000  # times that one instance may be tagged; a slot has three digits


def tagged(control: Control, event: Mapping[str, Any]) -> None:
    """EventBridge tells that instances have the stack's tag now. Auto Scaling itself tells of those in groups."""
    tags = event["detail"].get("tags", {})
    if OF_A_GROUP in tags:
        return
    pool = tags.get(POOL, "" if len(control.pools) > 1 else next(iter(control.pools), ""))
    for arn in event["resources"]:
        instance = str(arn).rpartition("/")[2]
        if pool in control.pools:
            serve(control, instance, pool)
        else:
            why = f"its tag {POOL} is {pool!r}, and the pools are {', '.join(control.pools)}"
            control.messages.ended(instance, "refused", why)


def serve(control: Control, instance: str, pool: str) -> None:
    """Make a worker of the instance, unless one serves already. Its agent is there: who tags has seen it run."""
    for number in range(_MOST):
        name = f"{instance}#{number}"
        row = control.store.worker(name)
        if row is None and workers.create(control, name, pool, OWN, ""):
            booting = (
                control.store.counted(f"{kind}#{key}", booting=1) for kind, key in (("pool", pool), ("class", ""))
            )
            control.store.write(*booting)
        if row is None or row.record.phase == "booting":
            workers.deliver(control, name, f"{name}/ready", packed(Ready(control.now_ms())))
        if row is None or row.record.phase != "gone":
            return
