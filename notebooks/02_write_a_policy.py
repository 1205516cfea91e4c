# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Write a policy
#
# A policy answers one question from what it is given: here, may this waiting job run on Spot? It is a frozen dataclass in a
# file of your own, with a default for every parameter. Nothing has to be registered.
#
# `spotbed policy new NAME` writes one to start from, and its test.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from spotbed import policies
from spotbed.api import compare_scenario
from spotbed.policies.examples import HOUR, a_job, a_ticket

# %% [markdown]
# ## The idea
#
# Losing a job once costs little; losing it again and again costs its deadline. So every job begins on Spot. One that was
# interrupted goes to on-demand, unless it has more slack than `slack` times the work that it has left.

# %%
file = Path("reports/second_chance.py")
file.parent.mkdir(exist_ok=True)
file.write_text(
    '''
from dataclasses import dataclass

from scheduler.policies.place import PriceCapacityOptimized
from scheduler.policy import Routing


@dataclass(frozen=True)
class SecondChance(PriceCapacityOptimized):
    """Spot at first; on-demand for a job that was interrupted and has less slack than `slack` times its work."""

    slack: float = 1.0

    def route(self, job, now_ms):
        ticket = job.ticket
        if not job.interruptions or ticket.deadline_ms < 0 or ticket.estimate_ms < 0:
            return Routing("spot")
        work_ms = ticket.estimate_ms - job.progress_ms
        spare_ms = ticket.deadline_ms - now_ms - work_ms
        return Routing("spot" if spare_ms > self.slack * work_ms else "on-demand")
'''
)
SecondChance = policies.load_class(f"{file}:SecondChance", Path())

# %% [markdown]
# ## A decision by hand
#
# Two hours of work, due in eight, interrupted once. After three hours, three are to spare: more than the work, so Spot. After
# five hours one is to spare, and the job goes where nobody takes it.

# %%
interrupted = a_job(ticket=a_ticket(estimate_ms=2 * HOUR, deadline_ms=8 * HOUR), interruptions=1)
assert SecondChance().route(interrupted, 3 * HOUR).purchase == "spot"
assert SecondChance().route(interrupted, 5 * HOUR).purchase == "on-demand"

# %% [markdown]
# ## Does it keep the contract?
#
# Is it pure, does it answer at the edges, does it repeat itself, does it look into the future, can it be deployed?

# %%
report = policies.check(f"{file}:SecondChance")
pd.DataFrame(
    [(check.name, check.passed, check.detail) for check in report.checks], columns=["check", "passed", "detail"]
)

# %% [markdown]
# ## Is it any good?
#
# The demo's jobs with tighter deadlines, on Spot that is taken more often, in five worlds. Spot alone is cheap and late,
# on-demand dear and in time. `slack` moves the policy between them.

# %%
mine = [
    {"use": f"{file.resolve()}:SecondChance", "label": f"slack-{slack:g}", "with": {"slack": slack}}
    for slack in (0.0, 0.5, 2.0)
]
entries = ["on-demand-only", "spot-only", "spot-fallback", *mine]
tight = ["workload.classes.unit.deadline=90m", "workload.classes.regress.deadline=4h"]
harsh = (
    "market.interruptions={source: weibull, up: {shape: 0.6, scale: 60m}, down: {shape: 0.7, scale: 40m}, burst: 3m}"
)
changes = [f"policies={json.dumps(entries)}", "baseline=on-demand-only", "gates=", *tight, harsh]
compared = compare_scenario(
    "../scenarios/demo.yaml", replications=5, jobs=1, overrides=changes, out=Path("reports/write-a-policy")
)
found = pd.DataFrame(
    {
        policy["label"]: {
            name: policy["metrics"][name]["mean"] for name in ("cost_usd", "deadline_missed", "lost_work_s", "wait_s")
        }
        for policy in compared.results["policies"]
    }
).T
found.round(1)

# %%
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
ours = found.index.str.startswith("slack")
axes.scatter(found["cost_usd"][~ours], found["deadline_missed"][~ours], s=60, color="grey", label="shipped")
axes.plot(found["cost_usd"][ours], found["deadline_missed"][ours], "o-", markersize=8, label="SecondChance")
for label, row in found.iterrows():
    offset = (9, 4) if label.startswith("slack") else (-6, -16)
    axes.annotate(label, (row["cost_usd"], row["deadline_missed"]), textcoords="offset points", xytext=offset)
axes.set_xlabel("cost, USD")
axes.set_ylabel("deadlines missed, of 200 jobs")
axes.margins(x=0.25, y=0.15)
axes.legend(loc="upper right")

# %% [markdown]
# Five worlds show where to look; whether a difference is one, [notebook 04](04_choose_a_policy.py) tells.
#
# ## Next
#
# What each of the six points is asked and what the shipped policies do: `docs/policies.md`. What `spotbed plan` needs to deploy
# a policy of your own: `docs/plan.md`.
