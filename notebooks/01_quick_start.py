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
# # Quick start
#
# What would a nightly regression cost on EC2 Spot, under five policies, against on-demand? And what happened to one job?
#
# This notebook calls spotbed and defines nothing. Open it with `jupytext --to notebook notebooks/01_quick_start.py`, or
# run it cell by cell in an editor that knows the percent format.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

import spotbed
from spotbed.api import compare_scenario, run_scenario
from spotbed.explain import explain

scenario = Path("../scenarios/demo.yaml")

# %% [markdown]
# ## Compare policies on the same worlds
#
# Every policy sees the same jobs, prices and interruptions, so their differences are far more certain than their values.
# Three worlds are enough to look at; the scenario asks for 20. `ratio` is the cost against on-demand.

# %%
compared = compare_scenario(scenario, replications=3, jobs=1, out=Path("reports/quick-start"))
policies = {policy["label"]: policy for policy in compared.results["policies"]}
pd.DataFrame(
    {
        label: {
            "cost_usd": policy["metrics"]["cost_usd"]["mean"],
            "ratio": policy["vs_baseline"].get("cost_usd", {"ratio": 1.0})["ratio"],
            "flow_s": policy["metrics"]["flow_s"]["mean"],
            "deadline_missed": policy["metrics"]["deadline_missed"]["mean"],
            "interruptions": policy["metrics"]["interruptions"]["mean"],
            "jobs_lost": policy["metrics"]["jobs_lost"]["mean"],
            "jobs_failed": policy["metrics"]["jobs_failed"]["mean"],
        }
        for label, policy in policies.items()
    }
).T.round(2)

# %% [markdown]
# The report of the comparison is one offline page: `reports/quick-start/index.html`.
#
# ## Where the money went
#
# The bill by item and cause: work that counted, work that was lost, checkpoints, boot and idle time, and the control plane.

# %%
bill = pd.DataFrame(policies["diversified"]["bill"])
bill.groupby("cause")["usd"].sum().sort_values(ascending=False).round(4)

# %% [markdown]
# ## One run, all of it
#
# A run's folder loads as DataFrames: `jobs`, `attempts`, `workers`, `timeline`, `bill` and the `journal` of every event that
# the scheduler heard and every command that it gave.

# %%
run = run_scenario(scenario, policy="fallback", out=Path("reports/quick-start-fallback"))
frames = spotbed.load(run.path)
timeline = frames["timeline"]
queue = timeline[timeline["series"] == "queue_depth"]
workers = timeline[timeline["series"] == "workers"].pivot_table(index="at_s", columns=["pool", "phase"], values="value")
busy = workers.xs("busy", axis="columns", level="phase").ffill().fillna(0)

figure, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained")
axes[0].step(queue["at_s"] / 3600, queue["value"], where="post")
axes[0].set_ylabel("jobs waiting")
axes[1].stackplot(busy.index / 3600, busy.to_numpy().T, labels=busy.columns, step="post")
axes[1].set_ylabel("workers busy")
axes[1].set_xlabel("hours")
axes[1].legend(loc="upper right", fontsize="small");

# %% [markdown]
# ## Why did this job take so long?
#
# The job that was interrupted most, told from the journal.

# %%
jobs = frames["jobs"].sort_values(["interruptions", "waiting_time"], ascending=False)
print(explain(run.path, jobs["job_id"].iloc[0]).text)

# %% [markdown]
# ## Next
#
# `spotbed init DIR` writes a scenario and a policy of your own to start from. What a scenario may say is in
# `docs/scenario.md`, what each policy does in `docs/policies.md`.
