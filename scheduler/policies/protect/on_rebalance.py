"""Leave already when EC2 recommends to ("EC2 instance rebalance recommendations", Amazon EC2 User Guide): earlier than
the notice, and sometimes for nothing.

Needs: rebalance recommendations and notices. Can be deployed.
"""

from __future__ import annotations

from scheduler.policies.protect.on_notice import OnNotice
from scheduler.policy import CHECKPOINT
from scheduler.record import record


@record
class OnRebalance(OnNotice):
    """A checkpoint on the rebalance recommendation, and the job goes elsewhere. It has more time than after the notice;
    on a notice it does what `on-notice` does."""

    rebalance: str = CHECKPOINT
