"""What this machine has and lacks. Every finding says what was found and, where something is amiss, what to do."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from spotbed.errors import InputError

if TYPE_CHECKING:
    from spotbed.catalogue import Catalogue

OLDEST_PYTHON = (3, 11)
LITTLE_DISK_GIB = 2.0  # a comparison with journals of 30 worlds of 100,000 jobs takes about 1 GiB
OLD_PRICES_DAYS = 365
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True, slots=True)
class Finding:
    """`level` is ok, note (works without it), warning, or error (spotbed cannot work)."""

    level: str
    what: str
    found: str
    hint: str = ""


def examine() -> list[Finding]:
    """All findings, in an order that does not change. Makes no network call and writes nothing."""
    return [finding for check in _CHECKS for finding in check()]


def _python() -> Iterator[Finding]:
    fits = sys.version_info >= OLDEST_PYTHON
    hint = "" if fits else "Install Python 3.11 or newer."
    yield Finding("ok" if fits else "error", "python", platform.python_version(), hint)


def _packages() -> Iterator[Finding]:
    try:
        wanted = metadata.requires("spotbed") or []
    except metadata.PackageNotFoundError:
        yield Finding("warning", "spotbed", "not installed", "Run `make demo`, or `pip install -e .`.")
        return
    yield Finding("ok", "spotbed", metadata.version("spotbed"))
    for requirement in sorted(wanted):
        if "extra ==" not in requirement:
            yield _package(re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0])


def _package(name: str) -> Finding:
    try:
        return Finding("ok", name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding("error", name, "not installed", f"pip install {name}")


def _data() -> Iterator[Finding]:
    folder = os.environ.get("SPOTBED_DATA")
    if not folder:
        yield Finding("note", "SPOTBED_DATA", "not set", "Only needed for public data kept outside of the cache.")
    elif Path(folder).is_dir():
        yield Finding("ok", "SPOTBED_DATA", folder)
    else:
        yield Finding("warning", "SPOTBED_DATA", f"{folder} is not a folder", "Set it to the folder of public data.")


def _cache() -> Iterator[Finding]:
    from spotbed.catalogue import cache_folder

    folder = cache_folder()
    files = [path for path in folder.rglob("*") if path.is_file()]
    size_mib = sum(path.stat().st_size for path in files) / 2**20
    yield Finding("ok", "cache", f"{folder}: {len(files)} files, {size_mib:.1f} MiB")


def _prices() -> Iterator[Finding]:
    from spotbed.catalogue import HOME_REGION, Catalogue, refresh_command
    from spotbed.pricebook import PriceBook

    try:
        catalogue, book = Catalogue.load(), PriceBook.load()
    except InputError as error:
        yield Finding("error", "prices", str(error), "Mend or remove that file.")
        return
    refresh = f"Refresh them: {refresh_command(HOME_REGION, 'linux')}"
    yield dated("catalogue", _newest_price(catalogue), refresh)
    yield dated("price book", book.date, "Take a newer version of spotbed.")


def _newest_price(catalogue: Catalogue) -> str:
    dates = []
    for name in catalogue.names():
        with contextlib.suppress(InputError):  # no price is known in the home region
            dates.append(catalogue.on_demand(name).date)
    return max(dates)


def _browser() -> Iterator[Finding]:
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found:
        yield Finding("ok", "browser", found)
    else:
        yield Finding("note", "browser", "no chromium", "Only the tests of the report need it: apt install chromium.")


def _disk() -> Iterator[Finding]:
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    level, hint = ("ok", "") if free_gib >= LITTLE_DISK_GIB else ("warning", "Make room before long runs.")
    yield Finding(level, "disk", f"{free_gib:.1f} GiB free here", hint)


def _credentials() -> Iterator[Finding]:
    from botocore.exceptions import BotoCoreError

    try:
        method = _credential_method()
    except BotoCoreError as error:
        yield Finding("warning", "aws credentials", str(error), "Mend or unset the profile; simulation needs none.")
        return
    if method is None:
        yield Finding("note", "aws credentials", "none", "Not needed: only `data prices` talks to AWS.")
    else:
        yield Finding("ok", "aws credentials", f"from {method}")


def _credential_method() -> str | None:
    """How botocore finds credentials on this machine; None if it finds none without asking the network."""
    from botocore.session import Session

    session = Session()
    resolver = session.get_component("credential_provider")
    for asks_the_network in ("container-role", "iam-role"):
        resolver.remove(asks_the_network)
    credentials = session.get_credentials()
    return None if credentials is None else credentials.method


def dated(what: str, day: str, hint: str) -> Finding:
    """A finding about data that ages; `day` is YYYY-MM-DD, or YYYY-MM for a fact known to the month."""
    since = date.fromisoformat(day if day.count("-") == 2 else f"{day}-01")
    age_days = (datetime.now(UTC).date() - since).days
    if age_days > OLD_PRICES_DAYS:
        return Finding("warning", what, f"{day} ({age_days} days old)", hint)
    return Finding("ok", what, day)


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _data,
    _cache,
    _prices,
    _browser,
    _disk,
    _credentials,
)
