"""A user's policy: one file with a class, given as `path.py:Class`, or a stdlib entry point. No registration."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from scheduler.policy import POINTS
from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import suggestion

ENTRY_POINTS = "spotbed.policies"

# point -> the methods that fill it
METHODS = {
    "order": ("key",),
    "place": ("route", "choose"),
    "scale": ("desired",),
    "retry": ("delay_ms",),
    "protect": ("checkpoint_every_ms", "on_notice", "on_rebalance"),
    "move": ("target",),
}
assert tuple(METHODS) == POINTS


def is_path(name: str) -> bool:
    """Whether a policy is named by its file."""
    return ".py:" in name or name.endswith(".py")


def load_class(name: str, base_dir: Path) -> type:
    """The class that `path.py:Class` names, relative to `base_dir`. Raises InputError with file and line."""
    file_name, _, class_name = name.rpartition(":")
    if not file_name:
        file_name, class_name = name, ""
    path = (base_dir / file_name).resolve()
    if not class_name:
        raise InputError(Problem(f"{name!r} names no class.", value=name, hint=f"Write {file_name}:ClassName."))
    if not path.is_file():
        raise InputError(Problem(f"there is no file {file_name!r}.", value=name, hint="Paths start at the scenario."))
    module = load_module(path)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        raise InputError(Problem(f"no class {class_name!r} in it.", str(path), hint=suggestion(class_name, classes)))
    return found


def load_module(path: Path) -> ModuleType:
    """Import a file under a name of its own; the same file is imported once."""
    name = f"spotbed_policy_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(Problem("cannot be imported.", str(path), hint="A policy is a file of Python."))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(_import_problem(path, error)) from error
    return module


def _import_problem(path: Path, error: Exception) -> Problem:
    if isinstance(error, SyntaxError):
        return Problem(f"is no Python: {error.msg}.", str(path), error.lineno, error.offset)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else None
    return Problem(f"cannot be imported: {type(error).__name__}: {error}.", str(path), line)


def entry_point_classes() -> dict[str, type]:
    """Policies that installed distributions offer, by name."""
    return {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}


def filled_points(kind: type) -> list[str]:
    """The points that a class fills: those of which it has the first method. Raises InputError when it lacks others."""
    points = []
    for point, methods in METHODS.items():
        if not any(callable(getattr(kind, method, None)) for method in methods):
            continue
        missing = [method for method in methods if not callable(getattr(kind, method, None))]
        if missing:
            text = f"{kind.__name__} fills {point!r} but has no method {missing[0]!r}."
            hint = f"`{point}` needs {', '.join(methods)}; a base class of scheduler.policies.{point} has them."
            raise InputError(Problem(text, _file_of(kind), _line_of(kind), hint=hint))
        points.append(point)
    if not points:
        text = f"{kind.__name__} fills no point of a policy."
        hint = "It needs the methods of one: " + "; ".join(
            f"{point}: {', '.join(names)}" for point, names in METHODS.items()
        )
        raise InputError(Problem(text, _file_of(kind), _line_of(kind), hint=f"{hint}."))
    return points


def _file_of(kind: type) -> str | None:
    module = sys.modules.get(kind.__module__)
    return getattr(module, "__file__", None)


def _line_of(kind: type) -> int | None:
    import inspect

    try:
        return inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        return None
