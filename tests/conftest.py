"""What all tests share: where the repository and the public data are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from scheduler import record

if TYPE_CHECKING:
    from deployed import Deployed
    from ministack import Ministack

# The same examples every time, so that a red test is red for the next person too; `make test-all` looks for new ones.
# No deadline: it would measure the machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("SPOTBED_HYPOTHESIS", "repeatable"))
# Hypothesis also draws the numbers that stand in the modules which happen to be loaded: what a test is given would
# depend on which tests ran before it in the same process, and on every edit.
providers._get_local_constants = lambda: providers._local_constants  # type: ignore[attr-defined]

# A record that somebody changes is an error in every test.
record.guard()

ROOT = Path(__file__).resolve().parent.parent
_SLOW_S = 3600  # after which a slow test counts as hanging


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """A slow test may take longer than `timeout` of pyproject.toml."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SLOW_S))


# Processes of the tests are as many as cores: scikit-learn, when it comes, shall not have as many threads in each.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_this_machines_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads what `data get` and `data prices` have brought."""
    os.environ["SPOTBED_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _no_account_of_this_machines_user() -> None:
    """No test reaches AWS: there are no credentials, no profile, and no instance to ask for them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    os.environ.update(nowhere, AWS_EC2_METADATA_DISABLED="true")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; nothing is there yet."""
    monkeypatch.setenv("SPOTBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def spotbed_data() -> Path:
    """The folder of public data; the test is skipped where it is absent."""
    value = os.environ.get("SPOTBED_DATA")
    if not value:
        pytest.skip("public data absent: set SPOTBED_DATA to its folder")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"public data absent: SPOTBED_DATA={value} is not a folder")
    return folder


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    """An emulated account, one for each process of the tests; see tests/ministack.py."""
    from ministack import running

    with running(tmp_path_factory.mktemp("ministack")) as account:
        yield account


@pytest.fixture(scope="session")
def stack(ministack: Ministack) -> Deployed:
    """A scheduler and a team's resources in the emulated account; see tests/deployed.py."""
    from deployed import deploy

    return deploy(ministack, "eda-test")
