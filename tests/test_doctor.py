"""What doctor finds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spotbed import doctor
from spotbed.cli.app import app


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def finding(what: str) -> doctor.Finding:
    return next(found for found in doctor.examine() if found.what == what)


def test_a_sound_machine_passes_and_json_says_so() -> None:
    result = CliRunner().invoke(app, ["doctor", "-o", "json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["schema_version"] == 1
    assert document["passed"] is True
    assert {"python", "numpy", "catalogue", "price book", "disk"} <= {found["what"] for found in document["findings"]}


def test_a_missing_package_is_an_error_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["no-such-thing>=1", "numpy>=2", "tool; extra == 'dev'"])
    assert finding("no-such-thing").level == "error"
    assert finding("numpy").level == "ok"
    assert "tool" not in [found.what for found in doctor.examine()]
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 1


def test_credentials_are_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding("aws credentials").level == "note"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = finding("aws credentials")
    assert (found.level, found.found) == ("ok", "from env")


def test_a_profile_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    found = finding("aws credentials")
    assert found.level == "warning"
    assert "gone" in found.found


def test_data_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPOTBED_DATA", str(tmp_path / "absent"))
    assert finding("SPOTBED_DATA").level == "warning"
    monkeypatch.setenv("SPOTBED_DATA", str(tmp_path))
    assert finding("SPOTBED_DATA").level == "ok"
    monkeypatch.setattr(doctor, "LITTLE_DISK_GIB", 1e9)
    assert finding("disk").level == "warning"


def test_a_broken_price_file_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPOTBED_CACHE", str(tmp_path))
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "us-east-1-linux.csv").write_text("not,a,price,file\n")
    found = finding("prices")
    assert found.level == "error"
    assert "us-east-1-linux.csv" in found.found
    assert finding("cache").found == f"{tmp_path}: 1 files, 0.0 MiB"


def test_old_prices_are_a_warning() -> None:
    today = datetime.now(UTC).date()
    assert doctor.dated("prices", str(today), "refresh").level == "ok"
    old = doctor.dated("prices", str(today - timedelta(days=400)), "refresh")
    assert (old.level, old.hint) == ("warning", "refresh")
    assert "400 days old" in old.found
    assert doctor.dated("prices", "2019-11", "refresh").level == "warning"
