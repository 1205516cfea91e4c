"""Colours. One per policy everywhere, after Okabe and Ito (2008), who chose eight that colour-blind readers tell apart
(https://jfly.uni-koeln.de/color/, read 2026-11-23). No meaning rests on colour alone: names, symbols or
order repeat it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spotbed.report.marks import Dash, Symbol

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
)
BASELINE = "#6E7781"  # in the place of Okabe and Ito's black, which a dark page would swallow
FAINT = "#B7BEC6"
RULE = "#8A929B"

_POLICY_COLORS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW)
_SYMBOLS: tuple[Symbol, ...] = ("circle", "square", "diamond", "triangle-up", "cross", "star")
_DASHES: tuple[Dash, ...] = ("solid", "dash", "dot")

_SPOT = (BLUE, SKY, GREEN, PURPLE, "#66AAD1", "#66C5AB", "#9AD2F2", "#E0AFCA")  # cool: Spot
_ON_DEMAND = (ORANGE, VERMILLION, YELLOW, "#F0C566", "#E69E66")  # warm: on-demand
OTHER = "#AEB6BE"

CAUSES: Mapping[str, str] = {
    "useful": "#2F6F8F",
    "lost": "#D1495B",
    "failed": "#7A2E4D",
    "checkpoint": "#EDAE49",
    "boot": "#B9C4CC",
    "idle": "#8996A0",
    "minimum": "#59636C",
    "control": "#7B61A8",
    "fixed": "#4E5B8C",
}
CAUSE_WORDS: Mapping[str, str] = {
    "useful": "useful work",
    "lost": "lost work",
    "failed": "failed attempts",
    "checkpoint": "checkpoints",
    "boot": "boot",
    "idle": "idle",
    "minimum": "minimum charge",
    "control": "control plane",
    "fixed": "fixed lines",
}
PHASES: Mapping[str, str] = {"busy": "#2F6F8F", "idle": "#8996A0", "booting": "#EDAE49"}
ENDS: Mapping[str, str] = {
    "done": "#2F6F8F",
    "checkpointed": "#EDAE49",
    "released": "#7FB4CC",
    "moved": "#7FB4CC",
    "interrupted": "#D1495B",
    "lease-lost": "#E58A95",
    "unstarted": "#9AA5AE",
    "failed": "#7A2E4D",
    "string-missing": "#A5658A",
    "timeout": "#59636C",
}
EVENTS: Mapping[str, tuple[str, Symbol, str, str]] = {  # colour, symbol, one, many
    "interruption": (VERMILLION, "x", "interruption", "interruptions"),
    "notice": (ORANGE, "triangle-up", "notice", "notices"),
    "rebalance": (SKY, "diamond", "rebalance recommendation", "rebalance recommendations"),
    "launch_failed": (BASELINE, "triangle-down", "failed launch", "failed launches"),
    "budget": (PURPLE, "star", "launch stopped by the budget", "launches stopped by the budget"),
    "outage": (BLUE, "square", "outage of a zone", "outages of a zone"),
}


@dataclass(frozen=True, slots=True)
class Style:
    """How one policy looks in every chart."""

    color: str
    symbol: Symbol
    dash: Dash


def policy_styles(labels: Sequence[str], baseline: str | None) -> dict[str, Style]:
    """A style for each policy by its place; the baseline is grey. Beyond seven, symbols and dashes change."""
    styles: dict[str, Style] = {}
    others = [label for label in labels if label != baseline]
    for place, label in enumerate(others):
        turn, color = divmod(place, len(_POLICY_COLORS))
        styles[label] = Style(_POLICY_COLORS[color], _SYMBOLS[place % len(_SYMBOLS)], _DASHES[turn % len(_DASHES)])
    if baseline in labels:
        styles[str(baseline)] = Style(BASELINE, "circle", "solid")
    return styles


def pool_colors(pools: Sequence[tuple[str, str]]) -> dict[str, str]:
    """A colour for each (pool, purchase option): cool ones for Spot, warm ones for on-demand."""
    colors: dict[str, str] = {}
    used = {"spot": 0, "on-demand": 0}
    for pool, purchase in pools:
        family = _ON_DEMAND if purchase == "on-demand" else _SPOT
        key = "on-demand" if purchase == "on-demand" else "spot"
        colors[pool] = family[used[key] % len(family)]
        used[key] += 1
    return colors
