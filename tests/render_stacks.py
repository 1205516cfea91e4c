"""Writes every variant of the rendered stacks into a folder, for checkers that live in an environment of their own:
`python tests/render_stacks.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aws_stacks import KINDS, rendered

from aws.render import as_yaml


def write(folder: Path) -> list[Path]:
    """The files that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{kind.replace(' ', '-')}.yaml" for kind in KINDS]
    for kind, path in zip(KINDS, paths, strict=True):
        path.write_text(as_yaml(rendered(kind)), "utf-8")
    return paths


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
