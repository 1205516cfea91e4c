"""Public data: the catalogue, fetching with checksums from a server of our own, and finding by name."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spotbed import datasets
from spotbed.errors import InputError, OutsideError

CONTENT = {"log.swf.gz": b"a job log", "one.json": b"[1]", "two.json": b"[2]", "wrong.json": b"[3]"}
HEADER = "name,file,served,url,sha256,size_bytes,licence,what,made\n"


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT below any folder and counts what was asked for."""

    asked: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        body = CONTENT.get(name)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name for it
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as one:
        one.asked = []
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def row(name: str, file: str, url: str, *, served: str = "true", content: bytes | None = None) -> str:
    body = CONTENT[file] if content is None else content
    return f"{name},{file},{served},{url},{hashlib.sha256(body).hexdigest()},{len(body)},MIT,words,pack it\n"


@pytest.fixture
def table(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of our own, an empty cache and no data folder; returns the cache."""
    home = f"http://127.0.0.1:{server.server_port}/x"
    path = tmp_path / "datasets.csv"
    path.write_text(
        "# a comment\n" + HEADER
        + row("log.swf.gz", "log.swf.gz", f"{home}/log.swf.gz")
        + row("pair", "one.json", f"{home}/one.json")
        + row("pair", "two.json", f"{home}/two.json")
        + row("wrong.json", "wrong.json", f"{home}/wrong.json", content=b"not that")
        + row("absent.json", "absent.json", f"{home}/absent.json", content=b"?")
        + row("made.csv.gz", "made.csv.gz", f"{home}/origin", served="false", content=b"?")
    )  # fmt: skip
    cache = tmp_path / "cache" / "data"
    monkeypatch.setattr(datasets, "TABLE", path)
    monkeypatch.setenv("SPOTBED_CACHE", str(cache.parent))
    monkeypatch.delenv("SPOTBED_DATA", raising=False)
    return cache


class Notes:
    def __init__(self) -> None:
        self.notes: list[tuple[int, int, str]] = []

    def update(self, done: int, total: int, note: str = "") -> None:
        self.notes.append((done, total, note))


def test_a_file_is_fetched_once_and_found(table: Path, server: Server) -> None:
    path = datasets.get("log.swf.gz")
    assert path == table / "log.swf.gz" == datasets.resolve("log.swf.gz")
    assert path.read_bytes() == CONTENT["log.swf.gz"]
    assert datasets.get("log.swf.gz") == path
    assert server.asked == ["log.swf.gz"]


def test_a_damaged_file_in_the_cache_is_fetched_again(table: Path, server: Server) -> None:
    datasets.get("log.swf.gz").write_bytes(b"damaged")
    assert datasets.get("log.swf.gz").read_bytes() == CONTENT["log.swf.gz"]
    assert server.asked == ["log.swf.gz"] * 2


def test_a_folder_is_fetched_with_all_its_files(table: Path) -> None:
    notes = Notes()
    folder = datasets.get("pair", notes)
    assert folder == table / "pair" == datasets.resolve("pair")
    assert sorted(path.name for path in folder.iterdir()) == ["one.json", "two.json"]
    assert datasets.resolve("pair/two.json").read_bytes() == b"[2]"
    assert notes.notes == [(0, 2, "pair: one.json"), (1, 2, "pair: two.json"), (2, 2, "pair")]


@pytest.mark.parametrize(("name", "said"), [("wrong.json", "hash"), ("absent.json", "404")])
def test_a_fetch_that_fails_says_how_to_go_on(table: Path, name: str, said: str) -> None:
    with pytest.raises(OutsideError) as error:
        datasets.get(name)
    assert error.value.exit_code == 1
    assert said in str(error.value)
    assert re.search(r"fetched from http://127\.0\.0\.1:\d+/x/", str(error.value))
    assert f"put it into {table}" in str(error.value)
    assert not list(table.glob("*.json"))


def test_no_server_at_all(table: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = datasets.TABLE.read_text().replace(f":{server.server_port}/", ":1/")
    datasets.TABLE.write_text(gone)
    with pytest.raises(OutsideError, match="could not be fetched"):
        datasets.get("log.swf.gz")


def test_what_is_not_served_says_how_to_make_it(table: Path, server: Server) -> None:
    with pytest.raises(OutsideError, match=r"made from http.*origin[\s\S]*pack it[\s\S]*made\.csv\.gz"):
        datasets.get("made.csv.gz")
    assert server.asked == []
    table.mkdir(parents=True)
    (table / "made.csv.gz").write_bytes(b"by hand")
    assert datasets.get("made.csv.gz") == table / "made.csv.gz"


def test_the_data_folder_comes_before_the_cache(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.get("log.swf.gz")
    data = tmp_path / "data"
    (data / "jobs").mkdir(parents=True)
    (data / "jobs" / "log.swf.gz").write_bytes(b"mine")
    monkeypatch.setenv("SPOTBED_DATA", str(data))
    for name in ("log.swf.gz", "jobs/log.swf.gz", "log.swf"):
        assert datasets.resolve(name) == data / "jobs" / "log.swf.gz"
    assert datasets.resolve("jobs") == data / "jobs"
    found = {line["name"]: line["found"] for line in datasets.listing()}
    assert found["log.swf.gz"] == str(data / "jobs" / "log.swf.gz")
    assert found["pair"] == ""


def test_a_name_that_means_two_files_is_refused(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "zone.json.gz").touch()
    monkeypatch.setenv("SPOTBED_DATA", str(tmp_path / "data"))
    with pytest.raises(InputError, match=r"more than one file: a/zone\.json\.gz, b/zone\.json\.gz"):
        datasets.resolve("zone.json")
    assert datasets.resolve("b/zone.json") == tmp_path / "data" / "b" / "zone.json.gz"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pair", "spotbed data get pair"),
        ("pair/one.json.gz", "spotbed data get pair"),
        ("availability/pair/one.json", "spotbed data get pair"),
        ("log.swf", "spotbed data get log.swf.gz"),
        ("log.sfw.gz", "Did you mean log.swf.gz?"),
        ("nothing of the kind", "spotbed data list"),
    ],
)
def test_what_is_missing_names_the_command(table: Path, name: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        datasets.resolve(name)
    assert hint in str(error.value)
    assert error.value.problems[0].value == name


def test_an_unknown_name_cannot_be_fetched(table: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean log\.swf\.gz"):
        datasets.get("log.swf.zip")


def test_names_do_not_lead_out_of_the_folder(table: Path, tmp_path: Path) -> None:
    table.mkdir(parents=True)
    (tmp_path / "secret").touch()
    for name in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(InputError, match="no public data"):
            datasets.resolve(name)


# ---- the catalogue that is shipped


def test_every_entry_of_the_shipped_catalogue_is_complete() -> None:
    known = datasets.catalogue()
    assert len(known) >= 15
    for name, dataset in known.items():
        assert dataset.licence, name
        assert dataset.what, name
        for file in dataset.files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256), file.name
            assert file.url.startswith("https://"), file.name
            assert bool(file.made) != file.served, file.name
            assert not file.served or re.search("/[0-9a-f]{40}/", file.url), f"{file.name} is not pinned to a commit"


def test_the_checksums_are_those_of_the_public_data(spotbed_data: Path) -> None:
    """Of files that are packed here and not at their home, the content is compared."""
    import gzip
    import json

    seen = 0
    for dataset in datasets.catalogue().values():
        for file in dataset.files:
            path = datasets.resolve(f"{dataset.name}/{file.name}" if dataset.is_folder else file.name)
            content = path.read_bytes()
            if path.suffix == ".gz" and not file.name.endswith(".gz"):
                content = gzip.decompress(content)
            if path.name.endswith(".json.gz"):
                content = json.dumps(json.loads(content)).encode()  # the home has a space after each comma
            assert hashlib.sha256(content).hexdigest() == file.sha256, file.name
            assert len(content) == file.size_bytes, file.name
            seen += 1
    assert seen >= 30
