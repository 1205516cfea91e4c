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
# # Fit a market from traces
#
# How long does an instance live, and how long does a pool have room? From recordings of your own, or public ones, come the lines
# `market:` of a scenario, and how good they are.

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from spotbed.api import compare_scenario
from spotbed.fit import fit_lifetimes, fit_path
from spotbed.traces.lifetimes import kaplan_meier

# %% [markdown]
# ## Lifetimes
#
# A small recording, made here: 300 instances whose true lifetimes are Weibull with shape 0.6, so what has lived long lives
# longer. A third of them were stopped by us after a while. That they lived *at least* so long is told to the fit: it is
# censoring, and leaving those instances out would make the market look worse than it is.

# %%
generator = np.random.default_rng(5)
true_s = 6 * 3600 * generator.weibull(0.6, 300)
watched_s = np.where(generator.random(300) < 0.35, generator.uniform(0, 12 * 3600, 300), 24 * 3600)
duration_s, taken = np.minimum(true_s, watched_s), true_s <= watched_s
lifetimes = fit_lifetimes(duration_s, taken)
columns = ["model", "parameters", "bic", "distance", "inside_band", "recommended"]
pd.DataFrame(lifetimes.rows())[columns].round(3)

# %% [markdown]
# An exponential model, the usual assumption, does not stay inside the confidence band of what was seen.

# %%
print("\n".join(lifetimes.verdicts()))

# %% [markdown]
# ## Spells of a pool
#
# Whether a pool has room, asked every five minutes for twenty days: spells with and without room that alternate.

# %%
gap_s = 300
up_s, down_s = 4 * 3600 * generator.weibull(0.7, 120), 3600 * generator.weibull(0.8, 120)
spells = np.maximum(1, np.column_stack([up_s, down_s]).ravel() // gap_s).astype(int)
room = np.repeat(np.arange(len(spells)) % 2 == 0, spells)[: 20 * 86400 // gap_s]
recording = Path("reports/pool.json")
recording.parent.mkdir(exist_ok=True)
recording.write_text(json.dumps({"metadata": {"gap_seconds": gap_s}, "data": room.astype(int).tolist()}))
made = fit_path(recording)
print(made.to_yaml())

# %% [markdown]
# ## A public recording
#
# Nine zones of p3.2xlarge in February 2023 (skypilot-org/spot-traces), if `$SPOTBED_DATA` names a folder with public data.
# `spotbed data get aws-2023-02-p3-9az` brings them into a cache.

# %%
public = Path(os.environ.get("SPOTBED_DATA", "nowhere")) / "availability" / "aws-2023-02-p3-9az"
recorded = fit_path(public) if public.is_dir() else made
print("nine public zones" if public.is_dir() else "the public recording is not here: again the one above")
pd.DataFrame(recorded.rows())[["sample", *columns]].round(3)

# %% [markdown]
# ## How good is it?
#
# The curve of what was seen (Kaplan and Meier) and the models. Where even the best model leaves it, the recording itself can be
# the market: `source: trace` or `source: lifetimes`.

# %%
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
at_s, survival = kaplan_meier(duration_s, taken)
axes.step(at_s / 3600, survival, where="post", color="black", linewidth=2, label="seen")
sample = lifetimes.sample("lifetime")
for model in sample.models:
    if model.bic is not None:
        axes.plot(at_s / 3600, 1 - model.cdf(at_s), label=f"{model.name} (BIC {model.bic:,.0f})")
axes.set_xlabel("hours")
axes.set_ylabel("instances that still live")
axes.set_ylim(0, 1)
axes.legend(frameon=False)
# %% [markdown]
# ## What does it change?
#
# The fitted spells as the market of the demo, on three worlds, beside the market that the demo assumes.

# %%
interruptions = next(line for line in made.to_yaml().splitlines() if "interruptions:" in line).split(": ", 1)[1]
markets = {"as assumed": [], "as fitted": [f"market.interruptions={interruptions}"]}
usual = {"replications": 3, "jobs": 1, "policies": ["diversified", "fallback"]}
pd.DataFrame(
    {
        (name, policy["label"]): {
            metric: policy["metrics"][metric]["mean"]
            for metric in ("cost_usd", "interruptions", "lost_work_s", "wait_s")
        }
        for name, market in markets.items()
        for policy in compare_scenario(
            "../scenarios/demo.yaml", overrides=["gates=", *market], out=Path("reports/fit-a-market"), **usual
        ).results["policies"]
    }
).T.round(1)

# %% [markdown]
# ## Next
#
# `spotbed data fit PATH` does the same from the command line, `--from-stack NAME` from what a deployed stack has run. The sources
# of a market are in `docs/market.md`.
