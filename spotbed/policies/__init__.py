"""Policies by name, by `path.py:Class` and by entry point: which there are, and what a scenario's entry composes."""

from __future__ import annotations

from spotbed.policies.catalogue import PolicyInfo, known
from spotbed.policies.check import CheckReport, check
from spotbed.policies.compose import Composed, compose
from spotbed.policies.load import load_class
from spotbed.policies.scaffold import class_name, scaffold

__all__ = ["CheckReport", "Composed", "PolicyInfo", "check", "class_name", "compose", "known", "load_class", "scaffold"]
