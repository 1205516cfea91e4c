"""`protect`: when to write checkpoints, and what to do on a notice or a rebalance recommendation."""

from scheduler.policies.protect.age_aware import AgeAware
from scheduler.policies.protect.continuous import MODEL_ONLY, Continuous
from scheduler.policies.protect.daly import Daly, daly_interval_ms
from scheduler.policies.protect.none import NoProtection
from scheduler.policies.protect.on_notice import OnNotice
from scheduler.policies.protect.on_rebalance import OnRebalance
from scheduler.policies.protect.periodic import Periodic
from scheduler.policies.protect.young import Young, young_interval_ms

__all__ = [
    "MODEL_ONLY",
    "AgeAware",
    "Continuous",
    "Daly",
    "NoProtection",
    "OnNotice",
    "OnRebalance",
    "Periodic",
    "Young",
    "daly_interval_ms",
    "young_interval_ms",
]
