"""What the documents show is what happens: console blocks are run, links and make targets exist.

In a ```console block a line "$ command" is run by bash, and the lines below it are what it prints (stdout and stderr,
as they come). A line "..." stands for any lines. A block runs in one shell, in a scratch folder with the repository's
inputs. `<!-- slow -->` above a block moves it to `make test-all`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
INPUTS = ("scenarios", "policies", "schemas", "reports/example")
BLOCK = re.compile(r"^(?P<slow><!-- slow -->\n+)?```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
TARGET = re.compile(r"`make ([a-z-]+)`|^make ([a-z-]+)", re.MULTILINE)
END = "\x1e"  # after each command's output, on a line of its own


def blocks() -> list[object]:
    """Every console block, named by its document and line."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            place = f"{document.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
            marks = [pytest.mark.slow] if match["slow"] else []
            found.append(pytest.param(match["text"], id=place, marks=marks))
    return found


def steps(block: str) -> list[tuple[str, str]]:
    """Commands and the output that the document shows for each."""
    parts = re.split(r"^\$ (.*(?:\\\n.*)*)\n", block, flags=re.MULTILINE)
    assert parts[0].strip() == "", "a console block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def shows(expected: str, printed: str) -> bool:
    """Whether `printed` is what `expected` shows, "..." standing for any lines and trailing blanks aside."""
    patterns = [
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + r"[ ]*\n"
        for line in expected.splitlines()
    ]
    return re.fullmatch("".join(patterns) + r"\s*", printed) is not None


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder with links to the inputs that a clone has."""
    for name in INPUTS:
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("block", blocks())
def test_a_console_block_prints_what_it_shows(block: str, scratch: Path) -> None:
    wanted = steps(block)
    script = "".join(f"{command}\nlast=$?; printf '\\n{END}\\n'; (exit $last)\n" for command, _ in wanted)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=scratch,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    printed = done.stdout.split(f"\n{END}\n")
    assert len(printed) == len(wanted) + 1, done.stdout
    for (command, expected), output in zip(wanted, printed, strict=False):
        assert shows(expected, output + "\n"), f"$ {command}\n{output}"


def test_readme_has_console_blocks() -> None:
    assert any(
        document.name == "README.md" and BLOCK.search(document.read_text(encoding="utf-8")) for document in DOCUMENTS
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {first or second for first, second in TARGET.findall(document.read_text(encoding="utf-8"))}
    assert named <= targets


def test_the_comparison_itself_can_fail() -> None:
    assert shows("a\n...\nc\n", "a\nb\nb2\nc\n")
    assert shows("a  \n", "a\n\n")
    assert not shows("a\n...\nc\n", "a\nb\n")
    assert not shows("a\n", "a\nb\n")
    assert not shows("", "surprise\n")
