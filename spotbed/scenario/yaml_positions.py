"""YAML with the position of every key and value, and without the traps of YAML 1.1.

Events of libyaml are read one at a time into a tree of `Node`s, so nothing recurses, and a bomb is refused before it
unfolds. Scalars follow the core schema of YAML 1.2: only true and false are booleans, `1:30`, `NO` and dates stay text,
`1e-3` is a number. Keys are always text. A key given twice is an error; tags are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import dotted, printable, split_lines

Keys = tuple[str | int, ...]
MAX_BYTES = 8 * 2**20
MAX_DEPTH = 40
MAX_VALUES = 1_000_000  # written in the file
MAX_ALIASED = 100_000  # added by aliases

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,299})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is there unless PyYAML was built without it


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, both numbers from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """One value with its place; `children` are the nodes of a list, or of a mapping by key, and `keys` their places."""

    value: Any
    mark: Mark
    children: dict[Any, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)
    size: int = 1  # values, aliases unfolded


@dataclass(slots=True)
class Document:
    """A parsed file: plain `data`, the places in it, and the problems that did not stop the reading."""

    file: str
    root: Node
    data: Any  # what `root` holds, with what --set has changed
    problems: list[Problem] = field(default_factory=list)
    overridden: list[tuple[Keys, str]] = field(default_factory=list)  # what --set has changed, and its text

    def find(self, path: Keys) -> Node | None:
        """The node at `path`, or None."""
        node: Node | None = self.root
        for step in path:
            node = node.children.get(step) if node else None
        return node

    def problem(
        self, message: str, path: Keys, *, hint: str | None = None, value: object = None, of_key: bool = False
    ) -> Problem:
        """A problem with what stands at `path`: in the file, or on the command line if --set put it there."""
        for changed, text in reversed(self.overridden):
            shorter = min(len(changed), len(path))
            if path and changed[:shorter] == path[:shorter] and (len(path) >= len(changed) or self.find(path) is None):
                return Problem(message, f"--set {printable(text)}", path=dotted(path), value=value, hint=hint)
        while path and not isinstance(getattr(self.find(path[:-1]), "value", None), dict | list):
            path = path[:-1]  # below a value that stands for a whole mapping or list
        if value is None and (node := self.find(path)) is not None and not node.children:
            value = node.value
        mark = self._mark(path, of_key=of_key)
        return Problem(message, self.file, mark.line, mark.column, dotted(path) or None, value, hint)

    def _mark(self, path: Keys, *, of_key: bool) -> Mark:
        """Where the value (or the key) at `path` stands; of what is not there, where its nearest parent stands."""
        parent = self.find(path[:-1]) if of_key and path else None
        if parent and path[-1] in parent.keys:
            return parent.keys[str(path[-1])]
        while (node := self.find(path)) is None:
            path = path[:-1]
        return node.mark


def read_document(path: Path) -> Document:
    """The document in a file, refused by its size before it is read. Raises InputError."""
    name = str(path)
    try:
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "no such file"
            raise InputError(Problem(f"{what}.", file=name, hint="Check the path."))
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(_too_big(name, size))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(Problem(f"cannot be read ({error.strerror}).", file=name)) from None
    except ValueError:  # a path with a NUL
        raise InputError(Problem("no such file.", file=printable(name))) from None
    return parse_document(data, name)


def _too_big(name: str, size: int) -> Problem:
    shown = f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
    return Problem(
        f"the file has {shown}; a scenario has at most {MAX_BYTES // 2**20} MiB.",
        file=name,
        hint="Is this the right file? Long lists of jobs belong in a CSV or Parquet file (workload.source: csv).",
    )


def parse_document(data: bytes | str, file: str) -> Document:
    """The document in `data` (UTF-8). Raises InputError with all that stopped the reading."""
    text = _decode(data, file) if isinstance(data, bytes) else data
    bad = _UNPRINTABLE.search(text)
    if bad:
        line, column = _place(text, bad.start())
        what = f"the character U+{ord(bad[0]):04X} may not stand in a text file."
        raise InputError(Problem(what, file, line, column, hint="Is this a YAML file?"))
    builder = _Builder(file)
    try:
        root = builder.build(yaml.parse(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise InputError([*builder.problems, _syntax_problem(error, file)]) from None
    return Document(file, root, root.value, builder.problems)


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        line, column = _place(before, len(before))
        what = f"not UTF-8 text: byte 0x{data[error.start]:02x}."
        raise InputError(Problem(what, file, line, column, hint="Is this a YAML file? Save it as UTF-8.")) from None


def _place(text: str, index: int) -> tuple[int, int]:
    lines = split_lines(text[:index])
    return len(lines), len(lines[-1]) + 1


_HINTS = {
    "mapping values are not allowed": "Put text that contains ': ' in quotes, and check the indentation.",
    "found character that cannot start any token": "Put text that starts with @, ` or % in quotes; indent with spaces.",
    "tab": "Indent with spaces.",
    "did not find expected ',' or": "Is a comma, ] or } missing?",
    "did not find expected key": "Check the indentation of this line and the one above.",
    "did not find expected '-' indicator": "Check the indentation of this line and the one above.",
    "did not find expected node content": "Is a value, ] or } missing?",
    "could not find expected ':'": "A line of a mapping is `key: value`.",
    "unexpected end of stream": "Is a closing quote missing?",
}


def _syntax_problem(error: yaml.YAMLError, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed")
    hint = next((hint for start, hint in _HINTS.items() if start in said), None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(f"not valid YAML: {printable(said)}.", file, line, column, hint=hint)


def scalar_of(text: str) -> Any:
    """The value of a plain scalar: None, a boolean, an int, a float or the text itself."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not _leading_zero(text) and math.isfinite(float(text)):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _leading_zero(text: str) -> bool:
    """Whether it looks like an identifier such as 0123, in which the zero matters."""
    return text.isdigit() and text.startswith("0")


@dataclass(slots=True)
class _Open:
    """A list or mapping that is not closed yet."""

    node: Node
    anchor: str | None
    is_map: bool
    key: str = ""
    key_mark: Mark | None = None  # of the key whose value comes next
    is_merge: bool = False  # the key is <<
    merges: list[Node] = field(default_factory=list)

    @property
    def awaits_key(self) -> bool:
        return self.is_map and self.key_mark is None

    @property
    def step(self) -> str | int:
        return self.key if self.is_map else len(self.node.children)


class _Builder:
    """Makes nodes of events. One `_Open` per level stands on the stack."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node | None] = {}  # None: still open
        self.values = 0
        self.aliased = 0
        self.documents = 0
        self.root: Node | None = None

    def build(self, events: Iterable[Any]) -> Node:
        for event in events:
            self._take(event)
        if self.root is None:
            self._refuse("the file is empty.", Mark(1, 1), "`spotbed init DIR` writes a scenario to start from.")
        return self.root

    def _refuse(self, what: str, mark: Mark, hint: str | None = None) -> NoReturn:
        raise InputError([*self.problems, Problem(what, self.file, mark.line, mark.column, hint=hint)])

    def _take(self, event: Any) -> None:
        mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.ScalarEvent():
                self._scalar(event, mark)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event, mark)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(str(event.anchor), mark)
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self._refuse("a second document starts here.", mark, "A scenario is one document: remove the ---.")

    def _count(self, event: Any, mark: Mark) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            self._refuse(f"more than {MAX_VALUES:,} values.", mark, "Long lists belong in a CSV or Parquet file.")
        if event.tag is not None:
            self._refuse(
                f"the tag '{printable(event.tag)}': tags are not supported.", mark, "Remove it; put text in quotes."
            )

    def _scalar(self, event: Any, mark: Mark) -> None:
        self._count(event, mark)
        parent = self.stack[-1] if self.stack else None
        plain = event.implicit[0]
        if parent and parent.awaits_key:
            if event.anchor:
                self._refuse("an anchor on a key.", mark, "Put the anchor on the value.")
            self._key(parent, event.value, mark, merge=plain and event.value == "<<")
            return
        node = Node(scalar_of(event.value) if plain else event.value, mark)
        if event.anchor:
            self.anchors[event.anchor] = node
        self._add(node)

    def _key(self, parent: _Open, key: str, mark: Mark, *, merge: bool) -> None:
        parent.key, parent.key_mark, parent.is_merge = key, mark, merge
        if merge or key not in parent.node.keys:
            return
        first = parent.node.keys[key]
        self.problems.append(
            Problem(
                f"given twice, first at {first.line}:{first.column}.",
                self.file,
                mark.line,
                mark.column,
                dotted(frame.step for frame in self.stack),
                hint="Keep one of the two.",
            )
        )

    def _open(self, event: Any, mark: Mark) -> None:
        self._count(event, mark)
        is_map = isinstance(event, yaml.MappingStartEvent)
        parent = self.stack[-1] if self.stack else None
        if parent and parent.awaits_key:
            self._refuse("a list or a mapping as a key.", mark, "A key is text.")
        if len(self.stack) >= MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} deep.", mark)
        self.stack.append(_Open(Node({} if is_map else [], mark), event.anchor, is_map))
        if event.anchor:
            self.anchors[event.anchor] = None

    def _close(self) -> None:
        done = self.stack.pop()
        for merged in done.merges:
            self._merge(done.node, merged)
        if done.anchor:
            self.anchors[done.anchor] = done.node
        self._add(done.node)

    def _alias(self, name: str, mark: Mark) -> None:
        if name not in self.anchors:
            self._refuse(f"the anchor '{printable(name)}' is not defined above.", mark)
        node = self.anchors[name]
        if node is None:
            self._refuse(f"'{printable(name)}' contains itself.", mark)
        parent = self.stack[-1] if self.stack else None
        if parent and parent.awaits_key:
            self._refuse("an alias as a key.", mark, "A key is text.")
        self.aliased += node.size
        if self.aliased > MAX_ALIASED:
            self._refuse(f"aliases unfold to more than {MAX_ALIASED:,} values.", mark, "Write the values out.")
        self._add(node)

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if not parent.is_map:
            parent.node.children[len(parent.node.value)] = node
            parent.node.value.append(node.value)
        elif parent.is_merge:
            self._collect_merge(parent, node)
        elif parent.key_mark is not None:
            self._put(parent.node, parent.key, parent.key_mark, node)
        parent.node.size += node.size
        parent.key_mark = None

    def _collect_merge(self, parent: _Open, node: Node) -> None:
        sources = list(node.children.values()) if isinstance(node.value, list) else [node]
        if any(not isinstance(source.value, dict) for source in sources):
            self._refuse("<< takes a mapping or a list of mappings.", node.mark, "Write <<: *name.")
        parent.merges += sources

    def _merge(self, into: Node, source: Node) -> None:
        for key, child in source.children.items():
            if key not in into.children:
                self._put(into, key, source.keys[key], child)

    @staticmethod
    def _put(parent: Node, key: str, key_mark: Mark, node: Node) -> None:
        if key not in parent.children:  # of a key given twice, the first counts
            parent.children[key] = node
            parent.keys[key] = key_mark
            parent.value[key] = node.value
