"""Where the files are that a scenario names: beside it, or among public data (`data:NAME`)."""

from __future__ import annotations

from pathlib import Path

from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import printable, suggestion

DATA = "data:"
_brought: dict[tuple[str, str], Path] = {}  # files that another machine has sent, by how its scenario names them


def bring(text: str, base_dir: str, file: Path) -> None:
    """Let `file` be what a scenario of another machine calls `text`."""
    _brought[text, base_dir] = file


def locate(text: str, base_dir: Path) -> Path:
    """The existing file that `text` names. Raises InputError."""
    if (text, str(base_dir)) in _brought:
        return _brought[text, str(base_dir)]
    try:
        return _file(text, base_dir) if not text.startswith(DATA) else _data(text)
    except (OSError, ValueError) as error:  # a name too long, a NUL
        raise InputError(Problem(f"not a path: {error}.", value=text)) from None


def _file(text: str, base_dir: Path) -> Path:
    path = base_dir / Path(text).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(Problem(f"{printable(path)} is a folder, not a file.", value=text, hint="Name a file in it."))
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = suggestion(path.name, siblings)
    hint = near if near.startswith("Did") else "A relative path starts at the scenario's folder."
    raise InputError(Problem(f"no such file: {printable(path)}.", value=text, hint=hint))


def _data(text: str) -> Path:
    from spotbed import datasets  # only a scenario with public data needs it

    path = datasets.resolve(text.removeprefix(DATA))
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        hint = f"Name a file in it, such as {text}/{names[0]}." if names else "It is empty."
        raise InputError(Problem(f"{text} is a folder of files.", value=text, hint=hint))
    return path
