"""The catalogue: specifications and prices against their sources, overlays, and what a user is told."""

from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spotbed.catalogue import PRICE_COLUMNS, Catalogue, cache_folder, prices_path
from spotbed.csv_table import read_table
from spotbed.errors import InputError

HEADER = ",".join(PRICE_COLUMNS)
DATA = Path(__file__).parent.parent / "spotbed" / "data"


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue.load()


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as stream:
        return list(csv.DictReader(stream))


def prices_file(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def test_covers_current_types_of_many_families(catalogue: Catalogue) -> None:
    types = [catalogue.find(name) for name in catalogue.names()]
    assert sum(found.current for found in types) >= 1000
    assert len({found.family for found in types}) >= 150
    assert {"c", "m", "r", "t", "g", "p", "x", "i", "d", "f", "z"} <= {found.family[0] for found in types}
    assert {
        "c5n",
        "c6a",
        "c7a",
        "g4dn",
        "g5",
        "g6",
        "hpc6a",
        "hpc6id",
        "hpc7a",
        "hpc7g",
        "inf2",
        "p3",
        "p4d",
        "trn1",
    } <= {found.family for found in types}


def test_every_row_is_whole(catalogue: Catalogue) -> None:
    assert list(catalogue.names()) == [row.cells["instance_type"] for row in read_table(DATA / "catalogue.csv", ())]
    header = (DATA / "catalogue.csv").read_text()
    sources = {line.split()[2].rstrip(":") for line in header.splitlines() if line.startswith("# source")}
    for row in read_table(DATA / "catalogue.csv", ()):
        found = catalogue.find(row.cells["instance_type"])
        assert found.arch in {"x86_64", "arm64"}
        assert bool(found.gpus) == bool(found.gpu_model) == bool(found.gpu_memory_gib)
        assert found.source in sources
        assert bool(row.cells["usd_per_hour"]) == bool(row.cells["price"])
        assert row.cells["price"] in sources | {""}


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib", "gpus", "usd_per_hour"),
    [  # as everybody who uses EC2 knows them
        ("c5.xlarge", 4, 8, 0, 0.17),
        ("c6i.xlarge", 4, 8, 0, 0.17),
        ("m5.xlarge", 4, 16, 0, 0.192),
        ("r5.4xlarge", 16, 128, 0, 1.008),
        ("r6i.4xlarge", 16, 128, 0, 1.008),
        ("c7g.xlarge", 4, 8, 0, 0.145),
        ("t3.medium", 2, 4, 0, 0.0416),
        ("t2.large", 2, 8, 0, 0.0928),
        ("p3.2xlarge", 8, 61, 1, 3.06),
        ("p3.16xlarge", 64, 488, 8, 24.48),
        ("g4dn.xlarge", 4, 16, 1, 0.526),
        ("f1.2xlarge", 8, 122, 0, 1.65),
    ],
)
def test_known_types(
    catalogue: Catalogue, name: str, vcpus: int, memory_gib: float, gpus: int, usd_per_hour: float
) -> None:
    found = catalogue.find(name)
    assert (found.vcpus, found.memory_gib, found.gpus) == (vcpus, memory_gib, gpus)
    assert catalogue.on_demand_usd_per_hour(name) == usd_per_hour


@pytest.mark.parametrize("family", ["c5", "c6i", "c7g", "m5", "m6i", "r5", "r6i"])
def test_prices_grow_with_vcpus_within_a_family(catalogue: Catalogue, family: str) -> None:
    sizes = [name for name in catalogue.names() if name.partition(".")[0] == family]
    per_vcpu = {round(catalogue.on_demand_usd_per_hour(size) / catalogue.find(size).vcpus, 6) for size in sizes}
    assert len(sizes) >= 8
    assert max(per_vcpu) / min(per_vcpu) < 1.003  # c7g rounds its prices to 0.1 cent


def test_spot_is_on_demand_less_the_advisors_saving(catalogue: Catalogue) -> None:
    for name, saving, bucket in (("c6i.xlarge", 60, 3), ("m5.xlarge", 66, 4), ("p3.2xlarge", 80, 4)):
        assert catalogue.advice(name).savings_percent == saving
        assert catalogue.interruption_bucket(name) == bucket
        assert catalogue.spot_usd_per_hour(name) == pytest.approx(
            catalogue.on_demand_usd_per_hour(name) * (1 - saving / 100), rel=1e-12
        )
    assert catalogue.spot("c6i.xlarge").date == "2025-06-28"
    assert catalogue.spot_usd_per_hour("p3.2xlarge", "us-west-2") == pytest.approx(3.06 * 0.29, rel=1e-12)
    assert (catalogue.advice("c7g.xlarge").monthly_low, catalogue.advice("c7g.xlarge").monthly_high) == (0.0, 0.05)


def test_every_advised_type_has_a_spot_price_below_on_demand(catalogue: Catalogue) -> None:
    advised = [
        row.cells["instance_type"]
        for row in read_table(DATA / "spot_advisor.csv", ())
        if (row.cells["region"], row.cells["os"]) == ("us-east-1", "linux")
    ]
    assert len(advised) > 800
    for name in advised:
        assert 0.1 < catalogue.spot_usd_per_hour(name) / catalogue.on_demand_usd_per_hour(name) < 0.85


def test_zones(catalogue: Catalogue) -> None:
    assert catalogue.availability_zones("us-east-1") == tuple(f"us-east-1{letter}" for letter in "abcdef")
    assert catalogue.region_of("us-west-2d") == "us-west-2"
    assert len(catalogue.regions()) >= 25
    nine = ["us-east-1a", "us-east-1c", "us-east-1d", "us-east-1f", "us-east-2a", "us-east-2b", "us-west-2a"]
    for az in nine:  # of the public p3 traces
        assert catalogue.on_demand_usd_per_hour("p3.2xlarge", catalogue.region_of(az)) == 3.06


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: c.find("c6i.xlrge"), "unknown instance type 'c6i.xlrge'. Did you mean 'c6i.xlarge'"),
        (lambda c: c.find("qqq"), "unknown instance type 'qqq'. The catalogue knows 1"),
        (lambda c: c.spot("hpc7g.4xlarge"), "hpc7g.4xlarge is not sold as Spot. Give the pool `purchase: on-demand`."),
        (
            lambda c: c.spot("m9g.large"),
            "no Spot price of m9g.large (linux) in us-east-1 is known. Run `spotbed data pr",
        ),
        (
            lambda c: c.on_demand("m5.large", "eu-west-1"),
            "Run `spotbed data prices --region eu-west-1`, or give the pool",
        ),
        (lambda c: c.on_demand("m5.large", os="windows"), "`spotbed data prices --region us-east-1 --os windows`"),
        (lambda c: c.on_demand("hpc7a.96xlarge"), "A price is known in us-east-2."),
        (lambda c: c.on_demand("m5.large", os="beos"), "unknown os 'beos'. It is one of linux, windows."),
        (lambda c: c.advice("m9g.large"), "says nothing of m9g.large (linux) in us-east-1. State the interruptions"),
        (lambda c: c.availability_zones("us-esat-1"), "unknown region 'us-esat-1'. Did you mean"),
        (
            lambda c: c.region_of("us-east-1z"),
            "unknown availability zone 'us-east-1z'. Zones are us-east-1a, us-east-1b",
        ),
        (lambda c: c.region_of("us-east-1"), "such as us-east-1a"),
        (lambda c: c.region_of(""), "such as us-east-1a"),
    ],
)
def test_what_a_user_is_told(catalogue: Catalogue, ask: Callable[[Catalogue], object], said: str) -> None:
    with pytest.raises(InputError) as error:
        ask(catalogue)
    assert said in str(error.value)


def test_refreshed_prices_win(tmp_path: Path, cache: Path) -> None:
    shipped = Catalogue.load()
    prices_file(
        cache / "prices" / "us-east-1-linux.csv",
        "us-east-1,linux,on-demand,,m5.large,0.1,AWS,2026-11-01",
        "us-east-1,linux,spot,us-east-1a,m5.large,0.03,AWS,2026-11-02",
        "us-east-1,linux,spot,us-east-1b,m5.large,0.05,AWS,2026-11-02",
    )
    found = Catalogue.load()
    assert found.on_demand("m5.large").date == "2026-11-01"
    assert found.on_demand_usd_per_hour("m5.large") == 0.1
    assert found.spot_usd_per_hour("m5.large", az="us-east-1b") == 0.05
    assert found.spot_usd_per_hour("m5.large", az="us-east-1c") == found.spot_usd_per_hour("m5.large") == 0.04
    assert found.on_demand("m5.xlarge") == shipped.on_demand("m5.xlarge")
    assert found.sha256 != shipped.sha256
    later = prices_file(tmp_path / "later.csv", "us-east-1,linux,on-demand,,m5.large,0.2,me,2026-11-03")
    assert Catalogue([*found.files[2:], later]).on_demand_usd_per_hour("m5.large") == 0.2
    assert Catalogue.load(later).on_demand_usd_per_hour("m5.large") == 0.2
    assert Catalogue.load(tmp_path).on_demand_usd_per_hour("m5.large") == 0.2


def test_refreshed_prices_add_regions_and_windows(cache: Path) -> None:
    prices_file(
        prices_path("eu-west-1", "windows"),
        "eu-west-1,windows,on-demand,,m5.large,0.2,AWS,2026-11-01",
        "eu-west-1,windows,spot,eu-west-1a,m5.large,0.13,AWS,2026-11-01",
    )
    found = Catalogue.load()
    assert found.on_demand_usd_per_hour("m5.large", "eu-west-1", "windows") == 0.2
    assert found.spot_usd_per_hour("m5.large", "eu-west-1", "windows", az="eu-west-1a") == 0.13
    with pytest.raises(InputError, match=r"no on-demand price of m5\.large .* in eu-west-1"):
        found.on_demand("m5.large", "eu-west-1")


def test_windows_spot_follows_a_refreshed_on_demand_price() -> None:
    prices_file(prices_path("us-east-1", "windows"), "us-east-1,windows,on-demand,,m5.large,0.188,AWS,2026-11-01")
    found = Catalogue.load()
    saving = found.advice("m5.large", os="windows").savings_percent
    assert found.spot_usd_per_hour("m5.large", os="windows") == pytest.approx(0.188 * (1 - saving / 100), rel=1e-12)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("us-east-1,linux,on-demand,,m5.large,free,me,2026-11-01", ":3: error: usd_per_hour: 'free' is not a number."),
        (
            "us-east-1,linux,on-demand,,m5.large,nan,me,2026-11-01",
            ":3: error: usd_per_hour: 'nan' must be a number above",
        ),
        (
            "us-east-1,linux,on-demand,,m5.large,0,me,2026-11-01",
            ":3: error: usd_per_hour: '0' must be a number above 0.",
        ),
        (
            "us-east-1,linux,on-demand,,m5.large,-1,me,2026-11-01",
            ":3: error: usd_per_hour: '-1' must be a number above",
        ),
        (
            "us-east-1,linux,reserved,,m5.large,1,me,2026-11-01",
            ":3: error: purchase: 'reserved' is neither on-demand nor",
        ),
        ("us-east-1,Linux,spot,,m5.large,1,me,2026-11-01", ":3: error: os: 'Linux' is neither linux nor windows."),
        ("us-east-1,linux,spot,m5.large,1", ":3: error: has 5 cells where the header has 8."),
        ('us-east-1,linux,spot,"m5.large,1', ":3: error: not readable as CSV"),
    ],
)
def test_broken_price_files(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(f"# mine\n{HEADER}\n{line}\n")
    with pytest.raises(InputError) as error:
        Catalogue.load(path)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "column 'region' is missing. The columns are region, os,"),
        (b"# only a comment\n", "column 'region' is missing."),
        (b"region,os\nx,y\n", ":1: error: column 'purchase' is missing."),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_files_that_are_no_price_tables(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        Catalogue.load(path)
    assert said in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        Catalogue.load(tmp_path / "absent.csv")


def test_the_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPOTBED_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "spotbed"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "spotbed"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_folder() == tmp_path / "local" / "spotbed"


def test_loads_without_heavy_libraries() -> None:
    code = (
        "import sys; from spotbed.catalogue import Catalogue; from spotbed.pricebook import PriceBook;"
        "from spotbed.services_preset import ServicesPreset; import spotbed.prices_aws;"
        "Catalogue.load().spot('m5.large'); PriceBook.load(); ServicesPreset.load();"
        "print(sorted({'pandas', 'numpy', 'scipy', 'boto3', 'botocore', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_agrees_with_its_sources(catalogue: Catalogue, spotbed_data: Path) -> None:
    reference = {
        row["instance_type"]: row for row in rows(spotbed_data / "reference" / "ec2-specs-ondemand-2026.csv.gz")
    }
    compared = 0
    for name in catalogue.names():
        found = catalogue.find(name)
        if found.source != "moto-5.2.5":
            continue
        row = reference[name]
        compared += 1
        assert (found.vcpus, found.memory_gib * 1024) == (
            int(row["vcpu"]),
            pytest.approx(int(row["memory_mib"]), rel=1e-9),
        )
        assert found.bare_metal == (row["bare_metal"] == "True")
        assert found.spot_supported == (row["spot_supported"] == "True")
        if row["usd_hour_us_east_1_linux_ondemand"]:
            assert catalogue.on_demand_usd_per_hour(name) == float(row["usd_hour_us_east_1_linux_ondemand"])
    assert compared > 1300


def test_covers_the_public_price_history_and_was_never_below_it(catalogue: Catalogue, spotbed_data: Path) -> None:
    highest: dict[str, float] = {}
    for row in rows(spotbed_data / "prices" / "aws-spot-2021a-us-east-1.csv.gz"):
        highest[row["instance_type"]] = max(highest.get(row["instance_type"], 0.0), float(row["usd_per_hour"]))
    assert len(highest) == 126
    for name, usd_per_hour in highest.items():  # Spot has not cost more than on-demand since 2017
        assert usd_per_hour <= catalogue.on_demand_usd_per_hour(name) * 1.0001
