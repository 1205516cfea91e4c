"""YAML with positions: the traps of YAML 1.1, bombs, sizes, and where everything stands."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotbed.errors import InputError, Problem
from spotbed.scenario import yaml_positions
from spotbed.scenario.yaml_positions import Mark, parse_document, read_document


def data(text: str) -> Any:
    return parse_document(text, "x.yaml").data


def refusal(text: str | bytes) -> Problem:
    with pytest.raises(InputError) as caught:
        parse_document(text, "x.yaml")
    return caught.value.problems[-1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("1e-3", 0.001),
        ("1.5e3", 1500.0),
        ("-7", -7),
        ("+7", 7),
        (".5", 0.5),
        ("5.", 5.0),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("007", "007"),
        ("010", "010"),
        ("2026-03-02", "2026-03-02"),
        ("2026-03-02T08:00Z", "2026-03-02T08:00Z"),
        ("~", None),
        ("null", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("=", "="),
        ("5" * 400, "5" * 400),
        ("1e999", "1e999"),
        (".inf", math.inf),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = data(f"key: {text}")["key"]
    assert (type(found), found) == (type(value), value)


def test_not_a_number_is_one() -> None:
    assert math.isnan(data("key: .nan")["key"])


def test_keys_are_text() -> None:
    assert data("{1: a, on: b, null: c, 1.0: d, true: e}") == {
        "1": "a",
        "on": "b",
        "null": "c",
        "1.0": "d",
        "true": "e",
    }


def test_anchors_aliases_and_merges() -> None:
    text = """
base: &base {a: 1, b: 2}
other: &other {b: 3, c: 4}
one: {<<: *base, b: 5}
two: {<<: [*base, *other], d: 6}
three: *base
"""
    assert data(text) == {
        "base": {"a": 1, "b": 2},
        "other": {"b": 3, "c": 4},
        "one": {"a": 1, "b": 5},
        "two": {"a": 1, "b": 2, "c": 4, "d": 6},
        "three": {"a": 1, "b": 2},
    }
    assert data('{"<<": {a: 1}}') == {"<<": {"a": 1}}


def test_positions_of_keys_and_values() -> None:
    document = parse_document("a:\n  - {b: 1,\n     c: [2, é, 3]}\n", "x.yaml")
    node = document.find(("a", 0))
    assert node is not None
    assert node.mark == Mark(2, 5)
    assert node.keys["c"] == Mark(3, 6)
    assert [child.mark for child in node.children["c"].children.values()] == [Mark(3, 10), Mark(3, 13), Mark(3, 16)]
    assert document.find(("a", 1)) is None
    problem = document.problem("is missing.", ("a", 0, "x"))
    assert (problem.line, problem.column, problem.path) == (2, 5, "a.0.x")
    problem = document.problem("is wrong.", ("a", 0, "b", "y"))
    assert (problem.line, problem.column, problem.path, problem.value) == (2, 9, "a.0.b", 1)


def test_a_merged_value_stands_where_it_is_written() -> None:
    document = parse_document("base: &base {a: 1}\none: {<<: *base}\n", "x.yaml")
    found = document.find(("one", "a"))
    assert found is not None
    assert found.mark == Mark(1, 17)


def test_a_key_given_twice_is_told_with_both_places() -> None:
    document = parse_document("a:\n  b: 1\n  c: 2\n  b: 3\nlist:\n  - {x: 1, x: 2}\n", "x.yaml")
    assert document.data == {"a": {"b": 1, "c": 2}, "list": [{"x": 1}]}
    assert [str(problem) for problem in document.problems] == [
        "x.yaml:4:3: error: a.b: given twice, first at 2:3. Keep one of the two.",
        "x.yaml:6:12: error: list.0.x: given twice, first at 6:6. Keep one of the two.",
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the file is empty."),
        ("# nothing\n", 1, 1, "the file is empty."),
        ("a:\n\t- b\n", 2, 1, "not valid YAML: found character"),
        ("a: 1\n\tb: 2", 2, 1, "not valid YAML: found"),
        ("a: [1, 2\nb: 3\n", 2, 2, "not valid YAML"),
        ("a: b: c", 1, 5, "not valid YAML: mapping values are not allowed"),
        ("a: 'x\n", 2, 1, "not valid YAML: found unexpected end of stream"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a second document starts here."),
        ("a: !!python/name:os.system\n", 1, 4, "the tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("a: !own {b: 1}\n", 1, 4, "the tag '!own'"),
        ("a: *b\n", 1, 4, "the anchor 'b' is not defined above."),
        ("a: &a [*a]\n", 1, 8, "'a' contains itself."),
        ("a: &a {b: {c: *a}}\n", 1, 15, "'a' contains itself."),
        ("? [1, 2]\n: 3\n", 1, 3, "a list or a mapping as a key."),
        ("a: &a x\nb: {*a : 3}\n", 2, 5, "an alias as a key."),
        ("&a a: 1\n", 1, 1, "an anchor on a key."),
        ("<<: 3\n", 1, 5, "<< takes a mapping or a list of mappings."),
        ("a: \x07\n", 1, 4, "the character U+0007 may not stand in a text file."),
        ("a: 1\nb: \x00\n", 2, 4, "the character U+0000 may not stand in a text file."),
        ("[" * 50, 1, 41, "nested more than 40 deep."),
        ("[" * 200_000, 1, 41, "nested more than 40 deep."),
    ],
)
def test_refusals(text: str, line: int, column: int, message: str) -> None:
    problem = refusal(text)
    assert problem.message.startswith(message)
    assert (problem.file, problem.line, problem.column) == ("x.yaml", line, column)


def test_a_syntax_error_does_not_hide_a_key_given_twice() -> None:
    with pytest.raises(InputError) as caught:
        parse_document("a: 1\na: 2\nb: [\n", "x.yaml")
    assert [problem.line for problem in caught.value.problems] == [2, 4]


@pytest.mark.parametrize("what", ["a list", "mappings"])
def test_a_bomb_is_refused_before_it_unfolds(what: str) -> None:
    if what == "a list":
        levels = [f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, 30)]
        text = "l0: &l0 [lol, lol, lol]\n" + "\n".join(levels)
    else:
        levels = [f"l{k}: &l{k} {{a: *l{k - 1}, b: *l{k - 1}}}" for k in range(1, 60)]
        text = "l0: &l0 {a: 1}\n" + "\n".join(levels)
    problem = refusal(text)
    assert problem.message == "aliases unfold to more than 100,000 values."
    assert problem.hint


def test_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_positions, "MAX_VALUES", 100)
    problem = refusal("[" + "1, " * 200 + "1]")
    assert problem.message == "more than 100 values."
    assert "Parquet" in str(problem.hint)


@pytest.mark.parametrize(
    ("content", "line", "column", "byte"),
    [
        (b"a: 1\nb: \xff\xfe\n", 2, 4, "0xff"),
        ("a: é\n".encode("latin-1"), 1, 4, "0xe9"),
        (b"\x89PNG\r\n\x1a\n", 1, 1, "0x89"),
    ],
)
def test_what_is_not_utf_8_is_refused_with_its_place(content: bytes, line: int, column: int, byte: str) -> None:
    problem = refusal(content)
    assert (problem.line, problem.column) == (line, column)
    assert problem.message == f"not UTF-8 text: byte {byte}."


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_document(b"\xef\xbb\xbfa: 1\n", "x.yaml").data == {"a": 1}


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n", encoding="utf-8")
    assert read_document(file).data == {"a": 1}
    for path, message in [(tmp_path, "is a folder, not a file."), (tmp_path / "b.yaml", "no such file.")]:
        with pytest.raises(InputError) as caught:
            read_document(path)
        assert caught.value.problems[0].message == message


def test_a_file_of_2_gb_is_refused_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "big.yaml"
    with file.open("wb") as stream:
        os.truncate(stream.fileno(), 2 * 10**9)  # sparse: it takes no room
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("the file was opened"))
    with pytest.raises(InputError) as caught:
        read_document(file)
    problem = caught.value.problems[0]
    assert problem.message == "the file has 1.9 GiB; a scenario has at most 8 MiB."
    assert "workload.source: csv" in str(problem.hint)


def test_the_python_loader_reads_the_same(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    text = (root / "scenarios" / "tenants-1x10-10x1.yaml").read_text("utf-8")
    fast = parse_document(text, "x.yaml")
    monkeypatch.setattr(yaml_positions, "_Loader", yaml.SafeLoader)
    slow = parse_document(text, "x.yaml")
    assert slow.root == fast.root
