"""A user's policy: one file with a class, given as `path.py:Class`, or a stdlib entry point. No registration."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from importlib.abc import SourceLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from scheduler.policy import POINTS
from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import shown, suggestion
from spotbed.sources import line_of, source_file

ENTRY_POINTS = "spotbed.policies"
_MOST_BYTES = 1 << 20  # of a file with a policy

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


def file_of(name: str) -> str:
    """The file in `path.py:Class`."""
    before, _, after = name.rpartition(":")
    return before or after


def load_class(name: str, base_dir: Path) -> type:
    """The class that `path.py:Class` names, relative to `base_dir`. Raises InputError with file and line."""
    file_name = file_of(name)
    class_name = name.removeprefix(file_name).removeprefix(":")
    if not class_name:
        raise InputError(Problem(f"{shown(name)} names no class.", value=name, hint=f"Write {file_name}:ClassName."))
    file = base_dir / file_name
    if not _is_file(file):
        raise InputError(Problem(f"there is no file {shown(file_name)}.", value=name, hint=_nearest(file)))
    module = load_module(file)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        message = f"there is no class {shown(class_name)} in it."
        raise InputError(
            Problem(message, str(file), 1, value=class_name, hint=suggestion(class_name, list(_classes_of(module))))
        )
    return found


def with_class(name: str) -> str:
    """`path.py` as `path.py:Class` where the file has exactly one class that fills a point; else as it is. Imports the
    file. Raises InputError."""
    if not name.endswith(".py") or not _is_file(Path(name)):
        return name
    kinds = [
        kind
        for kind in _classes_of(load_module(Path(name))).values()
        if any(callable(getattr(kind, method, None)) for methods in METHODS.values() for method in methods)
    ]
    return f"{name}:{kinds[0].__name__}" if len(kinds) == 1 else name


def _classes_of(module: ModuleType) -> dict[str, type]:
    """The classes that a module defines itself, by the name it has for them."""
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, a NUL
        return False


def _nearest(file: Path) -> str:
    siblings = [entry.name for entry in file.parent.glob("*.py")] if file.parent.is_dir() else []
    near = suggestion(file.name, siblings)
    return near if near.startswith("Did") else "A relative path starts at the scenario's folder."


class _Source(SourceLoader):
    """Loads a module from bytes that were read from its file; nothing is cached beside it."""

    def __init__(self, path: str, content: bytes) -> None:
        self._path = path
        self._content = content

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str) -> bytes:
        return self._content


def load_module(file: Path) -> ModuleType:
    """Import a file under a name of its own: once, and anew when it was changed."""
    path = file.resolve()
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(Problem(f"cannot be read ({error.strerror}).", str(file))) from None
    if len(content) > _MOST_BYTES:
        message = f"is larger than {_MOST_BYTES >> 20} MiB."
        raise InputError(Problem(message, str(file), hint="Is this the right file? A policy has about 15 lines."))
    digest = hashlib.sha256(f"{path}\0".encode() + content).hexdigest()[:16]
    name = f"spotbed_policy_{path.stem}_{digest}"
    try:
        return adopt(Source(name, str(path), content))
    except (Exception, SystemExit) as error:
        raise InputError(_import_problem(file, error)) from error


@dataclass(frozen=True, slots=True)
class Source:
    """A user's module that can be made on another machine too: the name it has here, its file and what stands in it."""

    name: str
    path: str
    content: bytes


def adopt(source: Source) -> ModuleType:
    """The module of a source, made if it is not there yet. Raises whatever it raises."""
    if source.name in sys.modules:
        return sys.modules[source.name]
    loader = _Source(source.path, source.content)
    spec = importlib.util.spec_from_file_location(source.name, source.path, loader=loader)
    assert spec is not None, "a loader is given"
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[source.name]
        raise
    return module


def source_carried(kind: type) -> Source | None:
    """The source of the module of a class that was loaded from a user's file; None for any other class."""
    loader = getattr(getattr(sys.modules.get(kind.__module__), "__spec__", None), "loader", None)
    if not isinstance(loader, _Source):
        return None
    return Source(kind.__module__, loader.get_filename(""), loader.get_data(""))


def _import_problem(file: Path, error: BaseException) -> Problem:
    path = str(file.resolve())
    if isinstance(error, SyntaxError) and error.filename in (path, None, "<string>"):
        return Problem(f"is no Python: {error.msg}.", str(file), error.lineno or 1, error.offset)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = frames[-1].lineno if frames else 1
    return Problem(f"cannot be imported: {type(error).__name__}: {error}.", str(file), line)


def entry_point_classes() -> dict[str, type]:
    """Policies that installed distributions offer, by name."""
    return {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}


def filled_points(kind: type, file: str | None = None) -> list[str]:
    """The points that a class fills: those of which it has a method. Raises InputError when it lacks others of them.

    `file` is how its user names the file it stands in.
    """
    points = []
    for point, methods in METHODS.items():
        if not any(callable(getattr(kind, method, None)) for method in methods):
            continue
        missing = [method for method in methods if not callable(getattr(kind, method, None))]
        if missing:
            text = f"{kind.__name__} fills {point!r} but has no method {missing[0]!r}."
            hint = f"`{point}` needs {', '.join(methods)}; a base class of scheduler.policies.{point} has them."
            raise InputError(Problem(text, file, line_of(kind), value=kind.__name__, hint=hint))
        points.append(point)
    if not points:
        text = f"{kind.__name__} fills no point of a policy."
        hint = "It needs the methods of one: " + "; ".join(
            f"{point}: {', '.join(names)}" for point, names in METHODS.items()
        )
        raise InputError(Problem(text, file, line_of(kind), value=kind.__name__, hint=f"{hint}."))
    return points


def source_of(kind: type) -> bytes:
    """The whole file that a class was read from, as it was then."""
    loader = getattr(getattr(sys.modules.get(kind.__module__), "__spec__", None), "loader", None)
    file = source_file(kind)
    if isinstance(loader, _Source):
        return loader.get_data("")
    return Path(file).read_bytes() if file else b""
