"""`spotbed data prices`: fetch a region's on-demand and Spot prices from AWS into the file that the catalogue overlays.

On-demand prices come from the Price List API (GetProducts), Spot prices from EC2 (DescribeSpotPriceHistory from now on,
which answers with the price in force of every type and zone). The file appears whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.catalogue import OPERATING_SYSTEMS, PRICE_COLUMNS, Catalogue, prices_path, refresh_command
from spotbed.csv_table import read_table
from spotbed.errors import InputError, OutsideError, Problem
from spotbed.files import write_text

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_PRICING_REGION = "us-east-1"  # the Price List API answers for all regions from here
_ON_DEMAND_SOURCE = "AWS Price List API"
_SPOT_SOURCE = "EC2 DescribeSpotPriceHistory"
_OS_NAME = {"linux": "Linux", "windows": "Windows"}
_SPOT_PRODUCT = {"linux": "Linux/UNIX", "windows": "Windows"}
_OPERATION = {"linux": "RunInstances", "windows": "RunInstances:0002"}
_LOG_IN = "log in to AWS (`aws sso login`, or AWS_PROFILE, or access keys in the environment)."

PriceRow = tuple[str, ...]  # the cells of PRICE_COLUMNS


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What one refresh wrote, and how many answers of AWS were no hourly price of an instance."""

    path: Path
    on_demand: int
    spot: int
    skipped: int


def refresh_prices(
    region: str,
    os: str,
    pricing_client: Any,
    ec2_client: Any | None = None,
    out_path: Path | None = None,
    *,
    now: datetime | None = None,
) -> Refreshed:
    """Fetch the prices of `region` and `os`, and write them to `out_path` (default: where the catalogue looks).

    Without `ec2_client` no Spot prices are fetched and the earlier ones stay. Raises InputError for an unknown region
    or os, and OutsideError (exit code 4) when AWS does not answer: if only the Spot prices fail, the new on-demand
    prices are written all the same, and the error says so.
    """
    _check(region, os)
    path = out_path or prices_path(region, os)
    on_demand, skipped = _on_demand(region, os, pricing_client, path)
    if ec2_client is None:
        _write(path, on_demand + _earlier_spot(path))
        return Refreshed(path, len(on_demand), 0, skipped)
    try:
        spot = _spot(region, os, ec2_client, now or datetime.now(UTC))
    except _aws_errors() as error:
        earlier_spot = _earlier_spot(path)
        _write(path, on_demand + earlier_spot)
        kept = f"the new on-demand prices of {len(on_demand)} types"
        kept += f" and the Spot prices of {earlier_spot[0][-1]}" if earlier_spot else ", and no Spot prices"
        raise _outside("Spot prices", error, f"{kept}, in {path}", region, os) from error
    _write(path, on_demand + spot)
    return Refreshed(path, len(on_demand), len(spot), skipped)


def clients(region: str) -> tuple[Any, Any]:
    """The Price List and EC2 clients for `refresh_prices`, from the user's AWS configuration.

    Raises InputError for an unknown region, and OutsideError (exit code 4) if that configuration is unusable; missing
    credentials show at the first call.
    """
    _known_region(region)
    import boto3
    from botocore.config import Config

    patient = Config(retries={"mode": "adaptive", "max_attempts": 8})
    try:
        session = boto3.Session()
        pricing = session.client("pricing", region_name=_PRICING_REGION, config=patient)
        return pricing, session.client("ec2", region_name=region, config=patient)
    except _aws_errors() as error:
        raise OutsideError(f"AWS is not usable: {error}", "everything as it was", _LOG_IN, exit_code=4) from error


def _known_region(region: str) -> None:
    """Ask the shipped tables, not `Catalogue.load`: a broken cached file is about to be replaced."""
    Catalogue().availability_zones(region)


def _check(region: str, os: str) -> None:
    _known_region(region)
    if os not in OPERATING_SYSTEMS:
        hint = f"It is one of {', '.join(OPERATING_SYSTEMS)}."
        raise InputError(Problem(f"unknown os {os!r}.", path="--os", value=os, hint=hint))


def _on_demand(region: str, os: str, client: Any, path: Path) -> tuple[list[PriceRow], int]:
    """The on-demand rows, one per type and sorted, and the number of answers that were none."""
    kept = f"{path} as it was" if path.exists() else "the prices that spotbed ships"
    try:
        products = list(_products(region, os, client))
    except _aws_errors() as error:
        raise _outside("on-demand prices", error, kept, region, os) from error
    prices: dict[str, tuple[float, str]] = {}
    for product in products:
        found = _hourly(product)
        if found is not None:
            name, usd_per_hour, date = found
            prices[name] = min(prices.get(name, (usd_per_hour, date)), (usd_per_hour, date))
    if not prices:
        what = f"AWS has no on-demand prices for {os} in {region}."
        raise OutsideError(what, kept, "check the region, and that your partition has a price list.", exit_code=4)
    rows: list[PriceRow] = [
        (region, os, "on-demand", "", name, f"{usd:.10g}", _ON_DEMAND_SOURCE, date)
        for name, (usd, date) in sorted(prices.items())
    ]
    return rows, len(products) - len(rows)


def _products(region: str, os: str, client: Any) -> Iterator[dict[str, Any]]:
    wanted = {
        "regionCode": region,
        "operatingSystem": _OS_NAME[os],
        "operation": _OPERATION[os],
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    pages = client.get_paginator("get_products").paginate(
        ServiceCode="AmazonEC2", Filters=filters, FormatVersion="aws_v1"
    )
    for page in pages:
        for text in page["PriceList"]:
            yield json.loads(text)


def _hourly(product: dict[str, Any]) -> tuple[str, float, str] | None:
    """Type, USD per hour and day of publication; None for what is not an instance with an hourly price."""
    name = product.get("product", {}).get("attributes", {}).get("instanceType")
    dimensions = [
        dimension
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term.get("priceDimensions", {}).values()
        if dimension.get("unit") == "Hrs" and float(dimension.get("pricePerUnit", {}).get("USD", 0)) > 0
    ]
    if not name or not dimensions:
        return None
    return name, float(dimensions[0]["pricePerUnit"]["USD"]), product.get("publicationDate", "")[:10]


def _spot(region: str, os: str, client: Any, now: datetime) -> list[PriceRow]:
    """The Spot rows in force at `now`, one per type and zone, sorted."""
    pages = client.get_paginator("describe_spot_price_history").paginate(
        StartTime=now, ProductDescriptions=[_SPOT_PRODUCT[os]]
    )
    latest: dict[tuple[str, str], tuple[datetime, str]] = {}
    for page in pages:
        for entry in page["SpotPriceHistory"]:
            key = (entry["InstanceType"], entry["AvailabilityZone"])
            latest[key] = max(latest.get(key, (entry["Timestamp"], "")), (entry["Timestamp"], entry["SpotPrice"]))
    date = now.date().isoformat()
    return [
        (region, os, "spot", az, name, f"{float(usd):.10g}", _SPOT_SOURCE, date)
        for (name, az), (_, usd) in sorted(latest.items())
    ]


def _earlier_spot(path: Path) -> list[PriceRow]:
    """The Spot rows of the file that is about to be replaced."""
    if not path.exists():
        return []
    rows = read_table(path, PRICE_COLUMNS)
    return [tuple(row.cells[column] for column in PRICE_COLUMNS) for row in rows if row.cells["purchase"] == "spot"]


def _write(path: Path, rows: Sequence[PriceRow]) -> None:
    text = io.StringIO()
    text.write(
        "# Written by `spotbed data prices`; USD per hour. `az` is empty where the price holds for the region.\n"
    )
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PRICE_COLUMNS)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _aws_errors() -> tuple[type[BotoCoreError], type[ClientError]]:
    """What botocore raises, imported only where AWS is called."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _outside(what: str, error: Exception, kept: str, region: str, os: str) -> OutsideError:
    advice = f"{_advice(error)} Then run `{refresh_command(region, os)}` again."
    return OutsideError(f"The {what} of {region} could not be fetched: {error}", kept, advice, exit_code=4)


def _advice(error: Exception) -> str:
    """What a user can do about an error of AWS."""
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", type(error).__name__)
    if "Credentials" in code or "Token" in code or code == "UnrecognizedClientException":
        return _LOG_IN
    if "AccessDenied" in code or code == "UnauthorizedOperation":
        return "allow pricing:GetProducts and ec2:DescribeSpotPriceHistory to your role."
    if "Throttl" in code or code == "RequestLimitExceeded":
        return "wait a minute."
    return "check the network and the region."
