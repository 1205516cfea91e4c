"""`spotbed init`: a folder to start from."""

from __future__ import annotations

import json
from pathlib import Path

from spotbed.errors import InputError, Problem
from spotbed.files import write_text
from spotbed.scenario.problems import shown, suggestion
from spotbed.scenario.schema import scenario_schema

_TEMPLATES = Path(__file__).with_name("templates")
_COMMON = "common"
SCHEMA_FILE = "scenario.schema.json"
POLICY_FILE = "my_policy.py"


def templates() -> list[str]:
    """What a folder may start from."""
    return sorted(path.name for path in _TEMPLATES.iterdir() if path.is_dir() and path.name != _COMMON)


def scaffold(directory: Path, template: str = "minimal") -> list[Path]:
    """Write a scenario, a policy, a notebook and the schema for editors into `directory`; return their paths.

    Nothing is overwritten. Raises InputError before anything is written.
    """
    from spotbed.policies import scaffold as write_policy

    if template not in templates():
        raise InputError(Problem(f"there is no template {shown(template)}.", hint=suggestion(template, templates())))
    texts = {
        str(file.relative_to(_TEMPLATES / folder)): file.read_text("utf-8")
        for folder in (_COMMON, template)
        for file in (_TEMPLATES / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    texts[SCHEMA_FILE] = schema_text()
    _refuse_to_overwrite(directory, [*texts, POLICY_FILE])
    for name, text in texts.items():
        write_text(directory / name, text)
    write_policy(directory / POLICY_FILE, test=False)
    return [directory / name for name in sorted([*texts, POLICY_FILE])]


def schema_text() -> str:
    """The JSON Schema as it is written to files."""
    return json.dumps(scenario_schema(), indent=2, ensure_ascii=False) + "\n"


def _refuse_to_overwrite(directory: Path, names: list[str]) -> None:
    if directory.exists() and not directory.is_dir():
        raise InputError(Problem("is a file, not a folder.", str(directory), hint="Choose another name."))
    taken = [name for name in names if (directory / name).exists()]
    if taken:
        hint = "Choose another folder, or remove them."
        raise InputError(Problem(f"has {', '.join(sorted(taken))} already.", str(directory), hint=hint))
