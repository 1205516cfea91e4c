"""Runs the tests' own rules on a core with one line changed: nothing on disk changes, and no other module sees it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

_OURS = frozenset({"scheduler", "sim", "spotbed", "worlds", "watch", "reckoning", "smoke", "chaos", "faulty"})


@dataclass(frozen=True)
class Mutant:
    """One change of one module: `old`, which stands there exactly once, becomes `new`, and that breaks `rule`."""

    name: str
    rule: str
    module: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        spec = find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin)

    def source(self) -> str:
        """The changed source."""
        text = self.path.read_text("utf-8")
        found = text.count(self.old)
        assert found == 1, f"{self.name}: {self.old!r} stands {found} times in {self.path.name}"
        return text.replace(self.old, self.new)


class _Loader(SourceFileLoader):
    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(mutant.path))
        self._source = mutant.source()

    def get_code(self, fullname: str) -> CodeType:
        """The changed code; the cache of compiled files knows nothing of mutants."""
        return compile(self._source, f"<mutant of {self.path}>", "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._loader = _Loader(mutant)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return spec_from_file_location(fullname, self._loader.path, loader=self._loader)


@contextmanager
def fresh_modules(mutant: Mutant | None, also: Collection[str] = ()) -> Iterator[None]:
    """Inside, our packages are imported anew (and those of `also`), with the mutant in its place; afterwards the old
    ones are back."""
    ours = _OURS.union(also)
    finder = None if mutant is None else _Finder(mutant)  # which imports the packages around the module, unchanged
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in ours}
    if finder is not None:
        sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder is not None:
            sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
            del sys.modules[name]
        sys.modules.update(kept)
