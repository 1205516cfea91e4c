# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Compare policies, then look closer
# A notebook as a script: VS Code runs its cells, `jupytext --to notebook first_look.py` makes an .ipynb of it.

# %%
from pathlib import Path

import pandas as pd

from spotbed import api

comparison = api.compare_scenario(Path("../scenario.yaml"), replications=10, out=Path("../reports/first_look"))
policies = comparison.results["policies"]

# %% [markdown]
# Means over the worlds.

# %%
columns = ["cost_usd", "makespan_s", "wait_s", "deadline_missed", "interruptions"]
means = {policy["label"]: [policy["metrics"][name]["mean"] for name in columns] for policy in policies}
pd.DataFrame.from_dict(means, orient="index", columns=columns).round(1)

# %% [markdown]
# Where the money goes, in USD by cause.

# %%
bill = pd.concat({policy["label"]: pd.DataFrame(policy["bill"]) for policy in policies}, names=["policy"])
bill.groupby(["policy", "cause"])["usd"].sum().unstack(fill_value=0.0).round(2)
