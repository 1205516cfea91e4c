"""Public data by name: where it lives, how it gets here, and where it is found (`data:NAME`, `data list`, `data get`).

None of it is part of the project. A file is looked for under $SPOTBED_DATA, then in the cache that `data get` fills.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from spotbed.catalogue import cache_folder
from spotbed.csv_table import Row, read_table
from spotbed.errors import InputError, OutsideError, Problem
from spotbed.files import disk_full, is_disk_full
from spotbed.progress import Progress, Silent

TABLE = Path(__file__).with_name("data") / "datasets.csv"
_COLUMNS = ("name", "file", "served", "url", "sha256", "size_bytes", "licence", "what", "made")
_PACKED = ".gz"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a dataset. `served` says whether `url` serves these bytes; if not, `made` says how to make them."""

    name: str
    served: bool
    url: str
    sha256: str
    size_bytes: int
    made: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file, or a folder of files, known by `name`."""

    name: str
    what: str
    licence: str
    files: tuple[DataFile, ...]

    @property
    def is_folder(self) -> bool:
        """Whether the files lie in a folder of the dataset's name."""
        return self.files[0].name != self.name

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def served(self) -> bool:
        """Whether `data get` can fetch it."""
        return all(file.served for file in self.files)


def catalogue() -> dict[str, Dataset]:
    """All datasets by name, in the order of the table."""
    rows: dict[str, list[Row]] = {}
    for row in read_table(TABLE, _COLUMNS):
        rows.setdefault(row.cells["name"], []).append(row)
    return {name: _dataset(name, group) for name, group in rows.items()}


def data_cache() -> Path:
    """Where `data get` puts files: `data` in the cache folder ($SPOTBED_CACHE, or ~/.cache/spotbed on Linux)."""
    return cache_folder() / "data"


def listing() -> list[dict[str, Any]]:
    """One row for each dataset: the table of `data list`."""
    return [
        {
            "name": dataset.name,
            "what": dataset.what,
            "files": len(dataset.files),
            "size_bytes": dataset.size_bytes,
            "licence": dataset.licence,
            "served": dataset.served,
            "found": str(_find(dataset.name) or ""),
            "url": _home(dataset),
        }
        for dataset in catalogue().values()
    ]


def get(name: str, progress: Progress | None = None) -> Path:
    """Fetch a dataset from its public home into the cache, verified by checksum; return its file or folder.

    Files that are in the cache already are verified and kept. Raises InputError for an unknown name and OutsideError
    when it cannot be fetched, which says how to go on by hand.
    """
    dataset = _known(name)
    target = data_cache() / dataset.name
    if not dataset.served:
        return _by_hand(dataset, target)
    listener = progress or Silent()
    folder = target if dataset.is_folder else target.parent
    for done, file in enumerate(dataset.files):
        listener.update(done, len(dataset.files), f"{dataset.name}: {file.name}")
        _fetch(dataset, file, folder)
    listener.update(len(dataset.files), len(dataset.files), dataset.name)
    return target


def resolve(name: str) -> Path:
    """The file or folder called `name`: a path below $SPOTBED_DATA or the cache, or the last parts of one.

    A file is found packed (.gz) and unpacked alike. Raises InputError when there is none, or more than one.
    """
    found = _find(name)
    if found is not None:
        return found
    known = catalogue()
    dataset = next((known[part] for part in _names(name) if part in known), None)
    if dataset is None:
        message = f"there is no public data called {name!r}."
        raise InputError(Problem(message, value=name, hint=_similar(name, known)))
    hint = f"Run: spotbed data get {dataset.name}"
    raise InputError(Problem(f"the public data {name!r} is not on this machine.", value=name, hint=hint))


def _find(name: str) -> Path | None:
    given = os.environ.get("SPOTBED_DATA")
    for folder in ([Path(given)] if given else []) + [data_cache()]:
        found = sorted(set(_matches(folder, name)))
        if len(found) > 1:
            places = ", ".join(path.relative_to(folder).as_posix() for path in found)
            message = f"{name!r} is more than one file: {places}."
            raise InputError(Problem(message, value=name, hint="Write the folder before the name."))
        if found:
            return found[0]
    return None


def _matches(folder: Path, name: str) -> Iterator[Path]:
    """Exactly `folder/name` if there is one; else everything below `folder` whose path ends with it."""
    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute() or not folder.is_dir():
        return
    for wanted in _spellings(name):
        if (folder / wanted).exists():
            yield folder / wanted
            return
    endings = [PurePosixPath(wanted).parts for wanted in _spellings(name)]
    for path in folder.rglob("*"):
        if any(path.parts[-len(ending) :] == ending for ending in endings):
            yield path


def _spellings(name: str) -> list[str]:
    """The name as given, then packed or unpacked."""
    return [name, name.removesuffix(_PACKED) if name.endswith(_PACKED) else name + _PACKED]


def _names(name: str) -> list[str]:
    """What in a path could be the name of a dataset: each of its parts, packed and unpacked."""
    return [spelling for part in PurePosixPath(name).parts for spelling in _spellings(part)]


def _known(name: str) -> Dataset:
    known = catalogue()
    for part in _names(name):
        if part in known:
            return known[part]
    raise InputError(Problem(f"there is no public data called {name!r}.", value=name, hint=_similar(name, known)))


def _similar(name: str, known: dict[str, Dataset]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else "spotbed data list shows what there is."


def _fetch(dataset: Dataset, file: DataFile, folder: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    whole = pooch.HTTPDownloader(stream=False)  # a refused answer that is streamed would leave its socket open
    try:
        pooch.retrieve(file.url, f"sha256:{file.sha256}", fname=file.name, path=folder, downloader=whole)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        if is_disk_full(error):
            raise disk_full(folder / file.name) from error
        what = f"{file.name} of {dataset.name} could not be fetched from {file.url}: {_short(error)}"
        kept = f"what was fetched before it, in {folder}"
        how = f"run it again, or fetch the file another way and put it into {folder}."
        raise OutsideError(what, kept, how) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def _by_hand(dataset: Dataset, target: Path) -> Path:
    """Where the user has put it; OutsideError says how to make it if it is nowhere."""
    found = _find(dataset.name)
    if found is not None:
        return found
    file = dataset.files[0]
    raise OutsideError(
        f"{dataset.name} is not served as it is used here; it is made from {file.url}",
        "everything as it was",
        f"make it ({file.made}) and put it at {target}, or below $SPOTBED_DATA.",
    )


def _home(dataset: Dataset) -> str:
    url = dataset.files[0].url
    return url.rpartition("/")[0] if dataset.is_folder else url


def _dataset(name: str, rows: list[Row]) -> Dataset:
    files = tuple(
        DataFile(
            name=row.cells["file"],
            served=row.flag("served"),
            url=row.cells["url"],
            sha256=row.cells["sha256"],
            size_bytes=int(row.number("size_bytes", positive=True)),
            made=row.cells["made"],
        )
        for row in rows
    )
    return Dataset(name, rows[0].cells["what"], rows[0].cells["licence"], files)
