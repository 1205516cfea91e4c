"""What the documents show is what happens: console blocks are run, links and make targets exist.

In a ```console block a line "$ command" is run by bash, and the lines below it are what it prints (stdout and stderr,
as they come). A line "..." stands for any lines. A block runs in one shell, in a scratch folder with the repository's
inputs. `<!-- slow -->` above a block moves it to `make test-all`. This file as a program writes the outputs anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
INPUTS = ("scenarios", "policies", "schemas", "reports/example")
BLOCK = re.compile(r"^(?P<slow><!-- slow -->\n+)?```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
TARGET = re.compile(r"`make ([a-z-]+)`")
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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
    parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", block, flags=re.MULTILINE)
    assert parts[0].strip() == "", "a console block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def shows(expected: str, printed: str) -> bool:
    """Whether `printed` is what `expected` shows, "..." standing for any lines and trailing blanks aside."""
    patterns = [
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + r"[ ]*\n"
        for line in expected.splitlines()
    ]
    return re.fullmatch("".join(patterns) + r"\s*", printed) is not None


def link_inputs(folder: Path) -> Path:
    """Give a folder links to the inputs that a clone has."""
    for name in INPUTS:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(ROOT / name)
    return folder


def outputs(block: str, folder: Path) -> list[str]:
    """What each command of a block prints."""
    script = "".join(f"{command}\nlast=$?; printf '\\n{END}\\n'; (exit $last)\n" for command, _ in steps(block))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, text=True, check=False, **pipes)
    printed = done.stdout.split(f"\n{END}\n")
    assert len(printed) == len(steps(block)) + 1, done.stdout
    return printed[:-1]


@pytest.mark.parametrize("block", blocks())
def test_a_console_block_prints_what_it_shows(block: str, tmp_path: Path) -> None:
    for (command, expected), output in zip(steps(block), outputs(block, link_inputs(tmp_path)), strict=True):
        assert shows(expected, output + "\n"), f"$ {command}\n{output}"


def test_readme_has_console_blocks() -> None:
    assert any(
        document.name == "README.md" and BLOCK.search(document.read_text(encoding="utf-8")) for document in DOCUMENTS
    )


def test_the_record_that_is_deployed_is_not_overwritten_by_a_block_before_it() -> None:
    """`plan --record reports/demo` takes the demo as `make demo` and the first block leave it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    compared = [
        command
        for match in BLOCK.finditer(text)
        for command, _ in steps(match["text"])
        if "compare scenarios/demo.yaml" in command
    ]
    changed = [command for command in compared if re.search(r"--(set|replications|precision|seed)", command)]
    assert changed, "the README shows a gate"
    assert [command for command in changed if not re.search(r"--out reports/(?!demo\b)\S", command)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    named = set(TARGET.findall(text))
    named |= {target for block in SHELL.findall(text) for target in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)}
    assert named <= targets


def test_the_comparison_itself_can_fail() -> None:
    assert shows("a\n...\nc\n", "a\nb\nb2\nc\n")
    assert shows("a  \n", "a\n\n")
    assert not shows("a\n...\nc\n", "a\nb\n")
    assert not shows("a\n", "a\nb\n")
    assert not shows("", "surprise\n")


def update() -> None:
    """Write into the documents what the commands print now; what is shown in part ("...") is left to a person."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        document.write_text(BLOCK.sub(lambda match: match[0].replace(match["text"], updated(match["text"])), text))


def updated(block: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        printed = outputs(block, link_inputs(Path(folder)))
    parts = []
    for (command, expected), output in zip(steps(block), printed, strict=True):
        lines = [line.rstrip() for line in output.rstrip().splitlines()]
        parts += [f"$ {command}", *(expected.splitlines() if "..." in expected.splitlines() else lines)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    update()
