"""Where the files are that a scenario names: beside it, or among public data (`data:NAME`)."""

from __future__ import annotations

import os
from pathlib import Path

from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import printable, suggestion

DATA = "data:"


def locate(text: str, base_dir: Path) -> Path:
    """The existing file that `text` names. Raises InputError."""
    try:
        return _data(text.removeprefix(DATA)) if text.startswith(DATA) else _file(text, base_dir)
    except (OSError, ValueError) as error:  # a name too long, a NUL
        raise InputError(Problem(f"not a path: {error}.", value=text)) from None


def _file(text: str, base_dir: Path) -> Path:
    path = base_dir / Path(text).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(Problem("is a folder, not a file.", value=text, hint="Name a file in it."))
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = suggestion(path.name, siblings)
    hint = near if near.startswith("Did") else "A relative path starts at the scenario's folder."
    raise InputError(Problem(f"no such file: {printable(path)}.", value=text, hint=hint))


def _data(name: str) -> Path:
    found = _under_data_folder(name)
    if found is not None:
        return found
    from spotbed import datasets  # only a scenario with public data needs it

    return datasets.resolve(name)


def _under_data_folder(name: str) -> Path | None:
    """NAME as a path under $SPOTBED_DATA, or as the last parts of the path of a file anywhere below it."""
    value, wanted = os.environ.get("SPOTBED_DATA"), Path(name).parts
    if not value or not wanted or ".." in wanted:
        return None
    folder = Path(value)
    if (folder / name).is_file():
        return folder / name
    files = sorted(path for path in folder.rglob("*") if path.parts[-len(wanted) :] == wanted)
    return next((path for path in files if path.is_file()), None)
