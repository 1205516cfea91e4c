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
# # Choose a policy, with statistics
#
# Two policies differ in every comparison. Is it the policies, or these worlds? And how many more worlds would it take to know?

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from spotbed.api import compare_scenario
from spotbed.stats.several import against_baseline
from spotbed.stats.summary import paired, summarise, verdict

# %% [markdown]
# ## One comparison
#
# A world is one seed's work and weather. All policies see the same twelve worlds.

# %%
labels = ["spot-only", "diversified", "fallback", "uniform-progress"]
compared = compare_scenario(
    "../scenarios/demo.yaml",
    replications=12,
    jobs=1,
    policies=labels,
    overrides=["gates="],
    out=Path("reports/choose-a-policy"),
)
worlds = pd.read_csv(compared.path / "worlds.csv")
cost = worlds.pivot_table(index="world", columns="policy", values="cost_usd")
cost.head(4).round(2)

# %% [markdown]
# ## Paired, not side by side
#
# Worlds differ far more than policies do: a world with long jobs is dear for everybody. Side by side, the intervals overlap. World
# by world, what the worlds share drops out, and the same numbers tell much more.

# %%
rival = cost[labels].mean().idxmin()
alone = {label: summarise(cost[label]) for label in labels}
against = {label: paired(cost[label], cost[rival]) for label in labels if label != rival}

figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for row, label in enumerate(labels):
    low, high = alone[label]["ci95"]
    axes[0].plot([low, high], [row, row], linewidth=3, color="tab:grey")
    axes[0].plot(alone[label]["mean"], row, "o", color="black")
for label, pair in against.items():
    low, high = pair["diff_ci95"]
    row = labels.index(label)
    axes[1].plot([low, high], [row, row], linewidth=3, color="tab:red" if low > 0 else "tab:grey")
    axes[1].plot(pair["diff_mean"], row, "o", color="black")
axes[1].plot(0, labels.index(rival), "o", color="tab:blue")
axes[1].axvline(0, color="tab:blue", linewidth=1)
axes[0].set_title("side by side")
axes[0].set_xlabel("cost, USD: mean and 95 % interval")
axes[1].set_title("world by world")
axes[1].set_xlabel(f"cost less that of {rival}, USD")
for side in axes:
    side.set_yticks(range(len(labels)), labels)
    side.set_ylim(-0.6, len(labels) - 0.4)
    side.invert_yaxis()

# %% [markdown]
# ## What the intervals carry
#
# A difference is called one only if its interval lies on one side of zero. Where it does not, `more worlds` says about how many
# would tell a difference of this size. Whoever looks at several comparisons at once finds something by chance: Holm's p-values
# keep that at 5 % for all of them together.

# %%
together = against_baseline({label: cost[label] for label in labels}, rival)
pd.DataFrame(
    {
        label: {
            "difference": pair["diff_mean"],
            "from": pair["diff_ci95"][0],
            "to": pair["diff_ci95"][1],
            f"against {rival}": verdict(pair).answer,
            "more worlds": verdict(pair).more_worlds,
            "Holm's p": together[label],
            "dearer in": f"{(cost[label] > cost[rival]).sum()} of {len(cost)}",
        }
        for label, pair in against.items()
    }
).T

# %% [markdown]
# ## How many worlds would it take?
#
# The half width of an interval shrinks with the root of the number of worlds. So from the spread of the differences follows what
# a given number of worlds can tell apart.

# %%
spread = pd.Series({label: (cost[label] - cost[rival]).std() for label in against})
numbers = pd.Index([12, 30, 100, 300, 1000], name="worlds")
pd.DataFrame({label: 1.96 * spread[label] / np.sqrt(numbers) for label in against}, index=numbers).round(3)

# %% [markdown]
# Each cell is the smallest difference in dollars that so many worlds resolve, of a run that costs about as much as the first table
# shows. A difference smaller than matters to you needs no more worlds: take whichever policy is simpler.
#
# ## And how far from the best that is possible?
#
# No policy that does all this work can be below the bound. What is above it is the regret: at most so much is left to gain.

# %%
bound = compared.results["bounds"]["cost_usd"]
regret = pd.DataFrame({"cost_usd": cost.mean(), "regret_usd": cost.mean() - bound, "regret": cost.mean() / bound - 1})
print(f"No policy can do this work below {bound:.2f} USD.")
regret.loc[[compared.results["baseline"], *labels]].round(3)

# %% [markdown]
# ## Cheap is not all
#
# A choice weighs more than one number. The same intervals hold for every metric of `results.json`.

# %%
late = worlds.pivot_table(index="world", columns="policy", values="deadline_missed")
pd.DataFrame({label: paired(late[label], late[rival]) for label in against}).T[["diff_mean", "diff_ci95", "win_share"]]

# %% [markdown]
# ## Next
#
# What the intervals are, and how often they hold the truth as measured: `docs/statistics.md`. `spotbed compare` prints the same
# verdicts, and its report shows them as a page.
