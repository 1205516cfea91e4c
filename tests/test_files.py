"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spotbed import files
from spotbed.errors import InputError, OutsideError


def fill(folder: Path, content: str = "new") -> None:
    (folder / files.MARK).write_text("{}")
    (folder / "table.csv").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "reports" / "run"
    with files.new_folder(target) as part:
        fill(part)
        assert not target.exists()
        assert part.parent == target.parent, "a rename must not cross file systems"
    assert names(target) == [files.MARK, "table.csv"]
    assert names(target.parent) == ["run"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError("no"), ValueError("ours")])
def test_a_failure_leaves_no_trace(tmp_path: Path, error: BaseException | type[BaseException]) -> None:
    target = tmp_path / "deep" / "reports" / "run"
    with pytest.raises((KeyboardInterrupt, InputError, ValueError)), files.new_folder(target) as part:
        fill(part)
        raise error
    assert names(tmp_path) == []


def test_a_failure_keeps_the_older_folder(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with files.new_folder(target) as part:
        fill(part, "old")
    with pytest.raises(ValueError, match="stop"), files.new_folder(target) as part:
        fill(part, "new")
        raise ValueError("stop")
    assert (target / "table.csv").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_success_replaces_the_older_folder_wholly(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with files.new_folder(target) as part:
        fill(part)
        (part / "leftover").touch()
    with files.new_folder(target) as part:
        fill(part, "newer")
    assert names(target) == [files.MARK, "table.csv"]
    assert (target / "table.csv").read_text() == "newer"
    assert names(tmp_path) == ["run"]


def test_a_failed_swap_puts_the_older_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "run"
    with files.new_folder(target) as part:
        fill(part, "old")
    rename = Path.rename

    def refuse_the_new(self: Path, to: Path) -> Path:
        if to == target and self.parent == tmp_path:
            raise PermissionError(errno.EPERM, "refused")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(PermissionError), files.new_folder(target) as part:
        fill(part, "new")
    assert (target / "table.csv").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter.tex").write_text("years of work")
    with (
        pytest.raises(InputError, match=r"thesis: error: is not a folder of spotbed's .*--out"),
        files.new_folder(target),
    ):
        pytest.fail("nothing may be written")
    assert names(target) == ["chapter.tex"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "notes"
    target.write_text("keep")
    with pytest.raises(InputError, match="is a file"), files.new_folder(target):
        pytest.fail("nothing may be written")
    assert target.read_text() == "keep"


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    target = tmp_path / "empty"
    target.mkdir()
    with files.new_folder(target) as part:
        fill(part)
    assert files.is_ours(target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_says_what_is_kept_and_how_to_go_on(tmp_path: Path) -> None:
    target = tmp_path / "run"
    message = r"disk is full: .*run could not be written\.\nKept: nothing of this run.*\nTo go on: .*--out"
    with (
        pytest.raises(OutsideError, match=message) as caught,
        files.new_folder(target),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x")
    assert caught.value.exit_code == 1
    assert names(tmp_path) == []


def test_a_library_that_reports_a_full_disk_in_words_is_understood() -> None:
    assert files.is_disk_full(RuntimeError(f'Could not write file "x": {os.strerror(errno.ENOSPC)}'))
    assert not files.is_disk_full(OSError(errno.EACCES, os.strerror(errno.EACCES)))


def test_a_file_is_replaced_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "results.json"
    files.write_text(path, "första")
    assert path.read_bytes() == "första".encode()

    def fail(self: Path, to: Path) -> None:
        raise OSError(errno.EIO, "broken", str(to))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="broken"):
        files.write_text(path, "second")
    assert path.read_text(encoding="utf-8") == "första"
    assert names(path.parent) == ["results.json"]


def test_what_we_write_has_the_usual_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    files.write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode
    usual = tmp_path / "usual"
    usual.mkdir()
    with files.new_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "folder").stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("eda-regression",), "reports/eda-regression"),
        (("eda", "div+ckpt", "7"), "reports/eda-div+ckpt-7"),
        (("../../etc", "a b/c"), "reports/etc-a-b-c"),
        (("..",), "reports/unnamed"),
    ],
)
def test_the_default_folder_stays_below_reports(parts: tuple[str, ...], expected: str) -> None:
    assert files.report_folder(*parts).as_posix() == expected
