"""`policy new`: a policy of about 15 lines to start from, and its test."""

from __future__ import annotations

import re
from pathlib import Path

from spotbed.errors import InputError, Problem
from spotbed.files import write_text
from spotbed.policies.beginnings import BEGINNINGS, TEST
from spotbed.scenario.problems import shown, suggestion


def class_name(path: Path) -> str:
    """my_policy.py holds the class MyPolicy."""
    words = re.split(r"[^A-Za-z0-9]+", path.stem)
    name = "".join(word[:1].upper() + word[1:] for word in words if word)
    return name if name[:1].isalpha() else f"Policy{name}"


def file_of_test(path: Path) -> Path:
    """Where the test of a policy's file goes."""
    return path.with_name(f"test_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}.py")


def scaffold(path: Path, point: str = "place", *, test: bool = True) -> list[Path]:
    """Write a policy that fills a point, and its test beside it; return the files. None of them may exist.

    `mine` stands for `mine.py`. Raises InputError before anything is written.
    """
    path = path if path.suffix else path.with_name(f"{path.name}.py")
    if path.suffix != ".py":
        raise InputError(Problem("a policy is a file of Python.", str(path), hint="Give it a name that ends in .py."))
    if point not in BEGINNINGS:
        raise InputError(Problem(f"there is no point {shown(point)}.", value=point, hint=suggestion(point, BEGINNINGS)))
    texts = _texts(path, point)
    if not test:
        del texts[file_of_test(path)]
    for file in texts:
        if file.exists():
            raise InputError(Problem("exists already.", str(file), hint="Choose another name, or remove it."))
    for file, text in texts.items():
        write_text(file, text)
    return list(texts)


def _texts(path: Path, point: str) -> dict[Path, str]:
    name, beginning = class_name(path), BEGINNINGS[point]
    names = {"name": name, "file": path.name}
    test = TEST.format(**names, imports=beginning.imports, test=beginning.test.format(**names))
    return {path: beginning.source.format(**names), file_of_test(path): test}
