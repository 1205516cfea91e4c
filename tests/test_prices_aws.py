"""`data prices`: what is asked of AWS, what is written, and what is kept when AWS does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from botocore.stub import ANY, Stubber

from spotbed.catalogue import Catalogue, prices_path
from spotbed.errors import InputError, OutsideError
from spotbed.prices_aws import clients, refresh_prices

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SHIPPED = "m5.large"  # 0.096 USD per hour in the shipped table


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No credentials, no configuration and no cache of this machine's user."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("SPOTBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def product(name: str | None, usd: str, *, unit: str = "Hrs", sku: str = "ABC") -> str:
    """One entry of a price list, shaped as AWS sends it: a JSON text."""
    attributes = {"instanceType": name, "regionCode": "eu-west-1", "operatingSystem": "Linux", "tenancy": "Shared"}
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}, "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7"}
    return json.dumps(
        {
            "serviceCode": "AmazonEC2",
            "product": {"productFamily": "Compute Instance", "sku": sku, "attributes": attributes if name else {}},
            "terms": {
                "OnDemand": {f"{sku}.JRTCKXETXF": {"priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7": dimension}}},
                "Reserved": {},
            },
            "publicationDate": "2026-11-20T18:30:00Z",
            "version": "20261120183000",
        }
    )


def quote(name: str, az: str, usd: str, hour: int = 9, description: str = "Linux/UNIX") -> dict[str, Any]:
    """One entry of a Spot price history."""
    when = datetime(2026, 11, 23, hour, tzinfo=UTC)
    return {
        "InstanceType": name,
        "AvailabilityZone": az,
        "SpotPrice": usd,
        "ProductDescription": description,
        "Timestamp": when,
    }


@contextmanager
def stubs() -> Iterator[tuple[Any, Any, Stubber, Stubber]]:
    pricing = boto3.client("pricing", region_name="us-east-1")
    ec2 = boto3.client("ec2", region_name="eu-west-1")
    with Stubber(pricing) as pricing_stub, Stubber(ec2) as ec2_stub:
        yield pricing, ec2, pricing_stub, ec2_stub
        pricing_stub.assert_no_pending_responses()
        ec2_stub.assert_no_pending_responses()


def page(*products: str, token: str | None = None) -> dict[str, Any]:
    return {"FormatVersion": "aws_v1", "PriceList": list(products)} | ({"NextToken": token} if token else {})


def test_pages_are_followed_and_the_catalogue_finds_the_prices(cache: Path) -> None:
    with stubs() as (pricing, ec2, pricing_stub, ec2_stub):
        pricing_stub.add_response("get_products", page(product("m5.large", "0.1070000000"), token="more"))
        pricing_stub.add_response(
            "get_products",
            page(product("c6i.xlarge", "0.1824000000"), product(None, "0.01"), product("m5.xlarge", "0.0000000000")),
        )
        ec2_stub.add_response(
            "describe_spot_price_history",
            {"SpotPriceHistory": [quote("m5.large", "eu-west-1a", "0.041200")], "NextToken": "more"},
        )
        ec2_stub.add_response(
            "describe_spot_price_history",
            {
                "SpotPriceHistory": [
                    quote("m5.large", "eu-west-1a", "0.040000", hour=8),
                    quote("m5.large", "eu-west-1b", "0.050000"),
                ],
                "NextToken": "",
            },
        )
        done = refresh_prices("eu-west-1", "linux", pricing, ec2, now=NOW)
    assert done.path == prices_path("eu-west-1", "linux") == cache / "prices" / "eu-west-1-linux.csv"
    assert (done.on_demand, done.spot, done.skipped) == (2, 2, 2)
    assert done.path.read_text().splitlines()[1:] == [
        "region,os,purchase,az,instance_type,usd_per_hour,source,date",
        "eu-west-1,linux,on-demand,,c6i.xlarge,0.1824,AWS Price List API,2026-11-20",
        "eu-west-1,linux,on-demand,,m5.large,0.107,AWS Price List API,2026-11-20",
        "eu-west-1,linux,spot,eu-west-1a,m5.large,0.0412,EC2 DescribeSpotPriceHistory,2026-11-23",
        "eu-west-1,linux,spot,eu-west-1b,m5.large,0.05,EC2 DescribeSpotPriceHistory,2026-11-23",
    ]
    catalogue = Catalogue.load()
    assert catalogue.on_demand_usd_per_hour("m5.large", "eu-west-1") == 0.107
    assert catalogue.spot_usd_per_hour("m5.large", "eu-west-1", az="eu-west-1a") == 0.0412
    assert catalogue.on_demand_usd_per_hour(SHIPPED) == 0.096


@pytest.mark.parametrize(
    ("os", "name", "operation", "description"),
    [("linux", "Linux", "RunInstances", "Linux/UNIX"), ("windows", "Windows", "RunInstances:0002", "Windows")],
)
def test_what_is_asked(os: str, name: str, operation: str, description: str) -> None:
    wanted = {
        "regionCode": "eu-west-1",
        "operatingSystem": name,
        "operation": operation,
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    with stubs() as (pricing, ec2, pricing_stub, ec2_stub):
        pricing_stub.add_response(
            "get_products",
            page(product("m5.large", "0.2")),
            {"ServiceCode": "AmazonEC2", "Filters": filters, "FormatVersion": "aws_v1"},
        )
        ec2_stub.add_response(
            "describe_spot_price_history",
            {"SpotPriceHistory": [quote("m5.large", "eu-west-1a", "0.1", description=description)]},
            {"StartTime": NOW, "ProductDescriptions": [description]},
        )
        refresh_prices("eu-west-1", os, pricing, ec2, now=NOW)
    assert Catalogue.load().spot_usd_per_hour("m5.large", "eu-west-1", os) == 0.1


def test_without_an_ec2_client_the_earlier_spot_prices_stay() -> None:
    first_refresh()
    with stubs() as (pricing, _, pricing_stub, _):
        pricing_stub.add_response("get_products", page(product("m5.large", "0.3")))
        done = refresh_prices("eu-west-1", "linux", pricing)
    assert (done.on_demand, done.spot) == (1, 0)
    catalogue = Catalogue.load()
    assert catalogue.on_demand_usd_per_hour("m5.large", "eu-west-1") == 0.3
    assert catalogue.spot_usd_per_hour("m5.large", "eu-west-1") == 0.1


def first_refresh() -> str:
    """An earlier file with both kinds of prices; returns its text."""
    with stubs() as (pricing, ec2, pricing_stub, ec2_stub):
        pricing_stub.add_response("get_products", page(product("m5.large", "0.2")))
        ec2_stub.add_response(
            "describe_spot_price_history", {"SpotPriceHistory": [quote("m5.large", "eu-west-1a", "0.1")]}
        )
        return refresh_prices("eu-west-1", "linux", pricing, ec2, now=NOW).path.read_text()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("ThrottlingException", "wait a minute. Then run `spotbed data prices --region eu-west-1` again."),
        ("AccessDeniedException", "allow pricing:GetProducts and ec2:DescribeSpotPriceHistory to your role."),
        ("ExpiredTokenException", "log in to AWS"),
        ("UnrecognizedClientException", "log in to AWS"),
        ("InternalErrorException", "check the network and the region."),
    ],
)
def test_a_failure_on_a_later_page_keeps_the_file(code: str, advice: str) -> None:
    before = first_refresh()
    with stubs() as (pricing, ec2, pricing_stub, _):
        pricing_stub.add_response("get_products", page(product("m5.large", "0.9"), token="more"))
        pricing_stub.add_client_error("get_products", code)
        with pytest.raises(OutsideError) as error:
            refresh_prices("eu-west-1", "linux", pricing, ec2, now=NOW)
    path = prices_path("eu-west-1", "linux")
    assert path.read_text() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert error.value.exit_code == 4
    assert f"Kept: {path} as it was\n" in str(error.value)
    assert advice in str(error.value)


def test_a_first_failure_keeps_the_shipped_prices(cache: Path) -> None:
    with stubs() as (pricing, ec2, pricing_stub, _):
        pricing_stub.add_client_error("get_products", "ThrottlingException")
        with pytest.raises(OutsideError, match="Kept: the prices that spotbed ships"):
            refresh_prices("eu-west-1", "linux", pricing, ec2, now=NOW)
    assert not cache.exists()


@pytest.mark.parametrize("with_earlier", [False, True])
def test_when_only_spot_fails_the_on_demand_prices_are_written(with_earlier: bool) -> None:
    if with_earlier:
        first_refresh()
    with stubs() as (pricing, ec2, pricing_stub, ec2_stub):
        pricing_stub.add_response("get_products", page(product("m5.large", "0.3")))
        ec2_stub.add_client_error("describe_spot_price_history", "UnauthorizedOperation")
        with pytest.raises(OutsideError) as error:
            refresh_prices("eu-west-1", "linux", pricing, ec2, now=NOW)
    assert error.value.exit_code == 4
    spot = " and the Spot prices of 2026-11-23" if with_earlier else ", and no Spot prices"
    assert f"Kept: the new on-demand prices of 1 types{spot}, in " in str(error.value)
    assert "allow pricing:GetProducts" in str(error.value)
    catalogue = Catalogue.load()
    assert catalogue.on_demand_usd_per_hour("m5.large", "eu-west-1") == 0.3
    if with_earlier:
        assert catalogue.spot_usd_per_hour("m5.large", "eu-west-1") == 0.1
    else:
        with pytest.raises(InputError, match="no Spot price"):
            catalogue.spot_usd_per_hour("m5.large", "eu-west-1")


def test_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    pricing, ec2 = clients("eu-west-1")
    with pytest.raises(OutsideError, match="log in to AWS") as error:
        refresh_prices("eu-west-1", "linux", pricing, ec2, now=NOW)
    assert isinstance(error.value.__cause__, NoCredentialsError)
    assert error.value.exit_code == 4


def test_an_unusable_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(OutsideError, match="AWS is not usable: The config profile") as error:
        clients("eu-west-1")
    assert error.value.exit_code == 4


def test_an_empty_price_list_writes_nothing(cache: Path) -> None:
    with stubs() as (pricing, ec2, pricing_stub, _):
        pricing_stub.add_response("get_products", page(), {"ServiceCode": ANY, "Filters": ANY, "FormatVersion": ANY})
        with pytest.raises(OutsideError, match="AWS has no on-demand prices for linux in eu-west-1"):
            refresh_prices("eu-west-1", "linux", pricing, ec2, now=NOW)
    assert not cache.exists()


def test_a_type_listed_twice_takes_the_lower_price(tmp_path: Path) -> None:
    with stubs() as (pricing, _, pricing_stub, _):
        pricing_stub.add_response(
            "get_products", page(product("m5.large", "0.2", sku="A"), product("m5.large", "0.1", sku="B"))
        )
        done = refresh_prices("eu-west-1", "linux", pricing, out_path=tmp_path / "mine.csv")
    assert (done.on_demand, done.skipped) == (1, 1)
    assert Catalogue.load(tmp_path / "mine.csv").on_demand_usd_per_hour("m5.large", "eu-west-1") == 0.1


def test_nothing_is_asked_for_an_unknown_region_or_os() -> None:
    with stubs() as (pricing, ec2, _, _):
        with pytest.raises(InputError, match=r"unknown region 'eu-wst-1'\. Did you mean"):
            refresh_prices("eu-wst-1", "linux", pricing, ec2)
        with pytest.raises(InputError, match="unknown os 'beos'"):
            refresh_prices("eu-west-1", "beos", pricing, ec2)
    with pytest.raises(InputError, match="unknown region 'no where'"):
        clients("no where")


def test_a_broken_cached_file_is_replaced(cache: Path) -> None:
    path = prices_path("eu-west-1", "linux")
    path.parent.mkdir(parents=True)
    path.write_text("nonsense")
    first_refresh()
    assert Catalogue.load().on_demand_usd_per_hour("m5.large", "eu-west-1") == 0.2
