"""The shell of the command line: what is common to all commands."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from spotbed.cli.app import app
from spotbed.cli.app import root as root_callback
from spotbed.cli.command import command
from spotbed.cli.progress import LINE_EVERY_S, Lines, _rich
from spotbed.cli.tables import Table, to_csv, to_json, to_markdown, to_records, to_text
from spotbed.cli.terminal import Terminal
from spotbed.errors import InputError, OutsideError, Problem

runner = CliRunner()
COMMANDS = [
    *["init", "demo", "validate", "run", "compare", "sweep", "search", "explain", "report", "doctor"],
    *["data list", "data get", "data fit", "data prices"],
    *["policy list", "policy new", "policy check", "schema scenario", "schema results"],
    *["plan", "schema plan", "schema target"],
    *["apply", "status", "submit", "jobs", "logs", "fetch", "cancel", "drain", "destroy", "verify", "rebuild"],
]


def spotbed(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The command line as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "spotbed", *arguments], capture_output=True, text=True, check=False, **more
    )


def app_of(work: Callable[..., int | None]) -> typer.Typer:
    """A command line with one command, `work`, and one other (a single command would lose its name)."""
    small = typer.Typer()
    command(small, "work")(work)
    command(small, "other")(lambda terminal: None)
    return small


def outcome_of(error: BaseException | None, *options: str) -> Any:
    def work(terminal: Terminal) -> int | None:
        if error is not None:
            raise error
        return None

    return runner.invoke(app_of(work), ["work", *options])


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_of_the_contract_explains_itself(words: str) -> None:
    result = runner.invoke(app, [*words.split(), "--help"])
    assert result.exit_code == 0
    assert "--output" in result.stdout
    assert "--no-color" in result.stdout


def test_an_unknown_command_and_option_are_answered_with_a_suggestion() -> None:
    result = runner.invoke(app, ["comprae"])
    assert result.exit_code == 2
    assert "Did you mean 'compare'" in result.stderr
    result = runner.invoke(app, ["run", "x.yaml", "--sed", "7"])
    assert result.exit_code == 2
    assert "--seed" in result.stderr


def test_help_loads_nothing_heavy() -> None:
    heavy = (
        "boto3 botocore cloudpickle duckdb jinja2 joblib matplotlib numpy pandas plotly pooch pydantic scipy simpy yaml"
    )
    code = f"""
import sys
sys.argv = ["spotbed", "--help"]
from spotbed.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
print("LOADED", *sorted(set(sys.modules) & set({heavy.split()!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_version_is_one_line() -> None:
    done = spotbed("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("spotbed ")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (None, 0, ""),
        (
            InputError([Problem("unknown key.", "no.yaml", 7, 5, "pools.1.x")]),
            2,
            "no.yaml:7:5: error: pools.1.x: unknown key.",
        ),
        (OutsideError("no network", "all worlds", "try again"), 1, "no network\nKept: all worlds\nTo go on: try again"),
        (OutsideError("no credentials", "-", "-", exit_code=4), 4, "no credentials"),
        (KeyboardInterrupt(), 130, "Interrupted.\nKept: every file and folder that was complete"),
        (KeyboardInterrupt("5 of 9 worlds"), 130, "Kept: 5 of 9 worlds.\nTo go on: give the same command again.\n"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 1, "error: /root/x: Permission denied"),
        (MemoryError(), 1, "out of memory"),
        (KeyError("gone"), 1, "this is our fault, not yours: KeyError: 'gone' at test_cli.py:"),
    ],
)
def test_errors_become_words_and_exit_codes(error: BaseException | None, code: int, words: str) -> None:
    result = outcome_of(error)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in outcome_of(KeyError("gone"), "--debug").stderr


def test_several_problems_are_all_told_and_counted() -> None:
    result = outcome_of(InputError([Problem("first"), Problem("second")]))
    assert result.stderr == "error: first\nerror: second\n2 problems\n"


def test_an_exit_code_of_a_command_is_kept() -> None:
    assert runner.invoke(app_of(lambda terminal: 3), ["work"]).exit_code == 3


def test_common_options_stand_before_or_after_the_command() -> None:
    def work(terminal: Terminal) -> None:
        terminal.note("by the way")
        terminal.result(Table(["a"], [[1]]))

    small = app_of(work)
    small.callback()(root_callback)
    for arguments in (["-o", "json", "-q", "work"], ["work", "-o", "json", "-q"], ["-q", "work", "--output", "json"]):
        result = runner.invoke(small, arguments)
        assert json.loads(result.stdout) == {"schema_version": 1, "rows": [{"a": 1}]}
        assert result.stderr == ""
    assert runner.invoke(small, ["work"]).stderr == "by the way\n"


def test_a_reader_that_goes_away_is_not_an_error_worth_words() -> None:
    code = """
from spotbed.cli.command import run_guarded
from spotbed.cli.terminal import Terminal
def work(terminal):
    input()
    terminal.text("too late")
raise SystemExit(run_guarded(Terminal(), work, {}))
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


TABLE = Table(["name", "cost_usd", "won", "n"], [["a|b", 1234.5, True, 12345], ["é, x", 0.03412, False, None]])


def test_the_four_formats() -> None:
    assert to_csv(TABLE) == 'name,cost_usd,won,n\na|b,1234.5,true,12345\n"é, x",0.03412,false,'
    assert to_markdown(TABLE).splitlines() == [
        "| name | cost_usd | won | n |",
        "| --- | ---: | --- | ---: |",
        "| a\\|b | 1,234 | yes | 12,345 |",
        "| é, x | 0.03412 | no |  |",
    ]
    lines = to_text(TABLE, width=None, color=False).splitlines()
    assert lines[0].split() == ["name", "cost_usd", "won", "n"]
    assert lines[2].split() == ["a|b", "1,234", "yes", "12,345"]
    assert all(line == line.rstrip() for line in lines)


def test_a_table_on_a_pipe_is_never_folded_and_never_coloured() -> None:
    text = to_text(Table(["x"], [["long " * 100], ["[red]not markup[/red]"]]), width=None, color=False)
    assert "long " * 99 in text
    assert "[red]not markup[/red]" in text
    assert "\x1b" not in text
    assert "\x1b" in to_text(Table(["x"], [["y"]]), width=40, color=True)


def test_a_mapping_in_a_cell_is_words_for_people_and_an_object_in_json() -> None:
    table = Table(["with"], [[{"base": {"cap": "15m"}, "share": 0.5}]])
    assert to_markdown(table).splitlines()[-1] == "| base (cap 15m), share 0.5 |"
    assert to_csv(table).splitlines()[-1] == '"base (cap 15m), share 0.5"'
    assert json.loads(to_json(to_records(table))) == [{"with": {"base": {"cap": "15m"}, "share": 0.5}}]


def test_json_has_numbers_booleans_and_no_nan() -> None:
    assert json.loads(to_json({"a": float("nan"), "b": (1, True), "c": Path("x")})) == {
        "a": None,
        "b": [1, True],
        "c": "x",
    }


def test_progress_elsewhere_than_on_a_terminal_is_a_line_now_and_then() -> None:
    now_s = 0.0
    written: list[str] = []
    lines = Lines("compare x", written.append, lambda: now_s)
    for done in range(1, 41):
        now_s = float(done)
        lines.update(done, 60, "world 1")
    assert [line.split(",")[0] for line in written] == ["compare x: 15/60", "compare x: 30/60"]
    assert written[0] == f"compare x: 15/60, {LINE_EVERY_S:.0f} s, about 45 s left world 1\n"


def test_no_color_reaches_the_parser_too() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "PYTHONPATH": str(Path.cwd())}
    environment.pop("NO_COLOR", None)
    assert "\x1b[3" in spotbed("comprae", env=environment).stderr
    assert "\x1b[3" not in spotbed("--no-color", "comprae", env=environment).stderr


@pytest.mark.parametrize(("wanted", "variable", "colored"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_the_progress_bar_heeds_no_color(
    monkeypatch: pytest.MonkeyPatch, wanted: bool, variable: str, colored: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", variable)
    assert _rich(Terminal(color=wanted)).console.no_color is not colored


@pytest.mark.parametrize(("width", "broken"), [(None, False), (60, False), (20, True)])
def test_a_folded_table_loses_no_column_and_breaks_words_only_where_it_must(width: int | None, broken: bool) -> None:
    table = Table(["policy", "against baseline", "interruptions"], [["uniform-progress", "0.43 [0.42, 0.44]", 17]])
    text = to_text(table, width=width, color=False)
    for word in ("policy", "baseline", "interruptions", "uniform-progress", "[0.42,"):
        assert (word in text) or broken
    assert ("uniform-progress" not in text) == broken
    squeezed = "".join(text.split())
    assert all(character in squeezed for character in "p[017")
    assert max(map(len, text.splitlines())) <= (width or 1000)
