"""The price book: known bills, a user's own file, overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotbed.catalogue import Catalogue
from spotbed.errors import InputError
from spotbed.pricebook import PriceBook

SHIPPED = Path(__file__).parent.parent / "spotbed" / "data" / "pricebook-us-east-1.csv"
MONTH_S = 730 * 3600
BILL_ITEMS = (  # of the contract; ec2.spot and ec2.on-demand are priced by pool, fixed.NAME and penalty.late by users
    "ec2.head-node", "ebs.gp3", "stepfunctions.transition", "lambda.request", "lambda.gb-second", "sqs.request",
    "dynamodb.write", "dynamodb.read", "s3.put", "s3.get", "eventbridge.event", "cloudwatch.logs-gb",
    "cloudwatch.metric", "network.nat-hour", "network.gb",
)  # fmt: skip


@pytest.fixture
def book() -> PriceBook:
    return PriceBook.load()


def test_prices_every_item_of_the_bill(book: PriceBook) -> None:
    for item in BILL_ITEMS:
        line = book.line(item)
        assert book.usd(item) == line.usd / line.per > 0
        assert line.source
        assert line.date


def test_every_assumed_price_has_a_range_around_it(book: PriceBook) -> None:
    assert [line.item for line in book.assumed()] == ["ssm.command", "ec2.head-node"]
    for line in book.assumed():
        assert line.low <= line.usd <= line.high
        assert line.note


@pytest.mark.parametrize(
    ("usd", "bill"),
    [  # as the price pages of AWS and the bills of the original state them
        (25.0, {"stepfunctions.transition": 1e6}),
        (0.20 + 16.6667 * 0.5 * 0.1, {"lambda.request": 1e6, "lambda.gb-second": 1e6 * 0.5 * 0.1}),
        (0.40, {"sqs.request": 1e6}),
        (0.625 + 0.125, {"dynamodb.write": 1e6, "dynamodb.read": 1e6}),
        (5.694, {"dynamodb.rcu-hour": 7300, "dynamodb.wcu-hour": 7300}),  # the original's idle table, a month
        (8.00, {"ebs.gp3": 100 * MONTH_S}),  # its 100 GB root volume, a month
        (0.30, {"cloudwatch.metric": MONTH_S}),
        (32.85, {"network.nat-hour": 730}),
        (5.0 + 0.4, {"s3.put": 1e6, "s3.get": 1e6}),
        (0.02, {"network.gb": 1}),  # one GB between zones, both directions
        (0.0, {"stepfunctions.history-event": 1e6, "eventbridge.aws-event": 1e6, "ssm.command": 1e6}),
    ],
)
def test_known_bills(book: PriceBook, usd: float, bill: dict[str, float]) -> None:
    assert sum(units * book.usd(item) for item, units in bill.items()) == pytest.approx(usd, rel=1e-9, abs=1e-12)


def test_the_head_node_is_priced_as_the_type_it_names(book: PriceBook) -> None:
    line = book.line("ec2.head-node")
    catalogue = Catalogue()
    assert line.usd == catalogue.on_demand_usd_per_hour("m5.2xlarge")
    assert line.low == catalogue.on_demand_usd_per_hour("t3.large")
    assert line.high == catalogue.on_demand_usd_per_hour("m5.8xlarge")


def test_billing_rules(book: PriceBook) -> None:
    assert (book.rules.minimum_s, book.rules.first_hour_free) == (60, True)
    assert (book.rules_by_os["windows"].minimum_s, book.rules_by_os["windows"].first_hour_free) == (60, True)
    switched = book.with_overrides({"ec2.first_hour_free": 0, "ec2.minimum_s": 0})
    assert (switched.rules.minimum_s, switched.rules.first_hour_free) == (0, False)
    assert switched.sha256 != book.sha256
    assert book.rules.first_hour_free


def test_the_date_is_the_newest_of_its_lines(book: PriceBook) -> None:
    assert book.date == max(line.date for line in book.lines.values()) == "2026-11"


@given(st.floats(0, 1e6, allow_nan=False))
def test_overrides_are_per_unit(usd: float) -> None:
    changed = PriceBook.load().with_overrides({"sqs.request": usd})
    assert changed.usd("sqs.request") == usd
    assert changed.usd("s3.get") == PriceBook.load().usd("s3.get")
    assert (changed.sha256 == PriceBook.load().sha256) == (usd == PriceBook.load().line("sqs.request").usd == 0)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"sqs.requests": 1.0}, "no price for 'sqs.requests'. Did you mean 'sqs.request'?"),
        ({"sqs.request": -1.0}, "sqs.request: -1.0 must be a number of at least 0."),
        ({"sqs.request": float("nan")}, "must be a number of at least 0."),
    ],
)
def test_impossible_overrides(book: PriceBook, overrides: dict[str, float], said: str) -> None:
    with pytest.raises(InputError) as error:
        book.with_overrides(overrides)
    assert said in str(error.value)


def test_an_unknown_region_says_how_to_add_it(cache: Path) -> None:
    with pytest.raises(InputError) as error:
        PriceBook.load("eu-west-1")
    own = cache / "pricebook-eu-west-1.csv"
    assert f"copy {SHIPPED} to {own}" in str(error.value)
    cache.mkdir()
    own.write_text(SHIPPED.read_text().replace("sqs.request,0.40", "sqs.request,0.50"))
    assert PriceBook.load("eu-west-1").usd("sqs.request") == pytest.approx(5e-7, rel=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sqs.request,0.40", "sqs.request,cheap", "error: usd: 'cheap' is not a number."),
        ("request,1000000", "request,0", "error: per: '0' must be a number above 0."),
        ("sqs.request", "lambda.request", "error: item: stands twice in the price book."),
        ("sqs.request,", "mine.request,", "no line for sqs.request. Copy it from the shipped book."),
        ("true,0.0832", "yes,0.0832", "error: assumed: 'yes' is neither true nor false."),
        ("true,0.0832", "true,0.5", "error: usd: 0.384 lies outside its range 0.5 to 1.536."),
        ("2024-11-01", "", "item, unit, source and date must not be empty."),
        ("item,usd", "item,eur", "column 'usd' is missing."),
    ],
)
def test_faults_in_a_users_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = SHIPPED.read_text()
    path = tmp_path / "mine.csv"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        PriceBook.load(path=path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_fault_names_its_line(tmp_path: Path) -> None:
    text = SHIPPED.read_text()
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("sqs.request"))
    path = tmp_path / "mine.csv"
    path.write_text(text.replace("sqs.request,0.40", "sqs.request,-0.40"))
    with pytest.raises(InputError, match=rf"mine\.csv:{line}: error: usd: '-0\.40' must be a number of at least 0"):
        PriceBook.load(path=path)
