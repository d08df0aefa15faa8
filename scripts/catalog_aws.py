"""Makes src/styx/providers/aws/catalog.json.gz, the offers of EC2 that come with the program. Facts only, from:

- what types hold, which regions and zones have them, and which can be had as spot: the answers of DescribeInstanceTypes and
  DescribeInstanceTypeOfferings as the package `moto` keeps them (`moto/ec2/resources`);
- prices on demand (Linux, shared tenancy): AWS's public price list of the day given in the file, as `pricing.json` of the package
  `apache-libcloud` keeps it. That file has one price for a type and region, and it may be the one for dedicated tenancy (6 to 10 %
  more) or of a reservation (0). Within a family prices are proportional to a weight: the vCPUs, or the prices in us-east-1 of BASE
  below where they are not. So the rate of a family in a region is the lowest on which two of its sizes agree within 2 %; a size
  that is within 2 % of it keeps its own price, the others get weight times rate, and a family without such a rate gets no price;
- BASE: prices of AWS's page "Amazon EC2 On-Demand Pricing" for us-east-1, of families that are not proportional to vCPUs; those of
  P4, P5 and P6 as they are since June 2025 (AWS announced up to 45 % less for them then).

    pip download --no-deps apache-libcloud && unzip -o apache_libcloud-*.whl
    .venv/bin/python scripts/catalog_aws.py libcloud/data/pricing.json
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import moto

from styx.providers.aws.kinds import described

HERE = Path(__file__).resolve().parent.parent
TARGET = HERE / "src/styx/providers/aws/catalog.json.gz"
MOTO = Path(moto.__file__).parent / "ec2/resources"
SAME = 0.02  # dedicated tenancy costs at least 6 % more
HOME = "us-east-1"
PRICED_ALIKE = ("us-east-2", "us-west-2")  # AWS's pages show the prices of us-east-1 there for every family of BASE

BASE: dict[str, float] = {
    "t2.nano": 0.0058, "t2.micro": 0.0116, "t2.small": 0.023, "t2.medium": 0.0464, "t2.large": 0.0928, "t2.xlarge": 0.1856,
    "t2.2xlarge": 0.3712,
    "t3.nano": 0.0052, "t3.micro": 0.0104, "t3.small": 0.0208, "t3.medium": 0.0416, "t3.large": 0.0832, "t3.xlarge": 0.1664,
    "t3.2xlarge": 0.3328,
    "t3a.nano": 0.0047, "t3a.micro": 0.0094, "t3a.small": 0.0188, "t3a.medium": 0.0376, "t3a.large": 0.0752,
    "t3a.xlarge": 0.1504, "t3a.2xlarge": 0.3008,
    "t4g.nano": 0.0042, "t4g.micro": 0.0084, "t4g.small": 0.0168, "t4g.medium": 0.0336, "t4g.large": 0.0672,
    "t4g.xlarge": 0.1344, "t4g.2xlarge": 0.2688,
    "g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g4dn.4xlarge": 1.204, "g4dn.8xlarge": 2.176, "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352, "g4dn.metal": 7.824,
    "g5.xlarge": 1.006, "g5.2xlarge": 1.212, "g5.4xlarge": 1.624, "g5.8xlarge": 2.448, "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096, "g5.24xlarge": 8.144, "g5.48xlarge": 16.288,
    "g5g.xlarge": 0.42, "g5g.2xlarge": 0.556, "g5g.4xlarge": 0.828, "g5g.8xlarge": 1.372, "g5g.16xlarge": 2.744,
    "g5g.metal": 2.744,
    "g6.xlarge": 0.8048, "g6.2xlarge": 0.9776, "g6.4xlarge": 1.3232, "g6.8xlarge": 2.0144, "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968, "g6.24xlarge": 6.6752, "g6.48xlarge": 13.3504,
    "gr6.4xlarge": 1.5392, "gr6.8xlarge": 2.4464,
    "g6e.xlarge": 1.861, "g6e.2xlarge": 2.24208, "g6e.4xlarge": 3.00424, "g6e.8xlarge": 4.52856, "g6e.12xlarge": 10.49264,
    "g6e.16xlarge": 7.57719, "g6e.24xlarge": 15.06559, "g6e.48xlarge": 30.13118,
    "inf1.xlarge": 0.228, "inf1.2xlarge": 0.362, "inf1.6xlarge": 1.18, "inf1.24xlarge": 4.721,
    "inf2.xlarge": 0.7582, "inf2.8xlarge": 1.96786, "inf2.24xlarge": 6.49063, "inf2.48xlarge": 12.98127,
    "trn1.2xlarge": 1.34375, "trn1.32xlarge": 21.5,
    "p3dn.24xlarge": 31.212, "p4d.24xlarge": 21.957642, "p4de.24xlarge": 27.447053, "p5.4xlarge": 6.88, "p5.48xlarge": 55.04,
    "p5en.48xlarge": 63.296, "p6-b200.48xlarge": 113.9328, "p6-b300.48xlarge": 142.416,
}  # fmt: skip

ALONE: dict[str, dict[str, float]] = {
    # Families of one size, whose price no other size confirms: as AWS's page and the price list both had them.
    "p3dn": {"ap-northeast-1": 42.783, "eu-west-1": 33.711},
    "p4d": {
        region: price * 0.67  # the reduction of June 2025 was the same everywhere
        for region, price in {
            "ap-northeast-1": 44.92215, "ap-northeast-2": 45.38848, "ap-south-1": 39.32, "ap-southeast-2": 42.60438,
            "eu-central-1": 40.94475, "eu-west-1": 35.39655,
        }.items()
    },
}  # fmt: skip

SPOT = {"accelerated": 300, "other": 400}
"""Thousandths of the price on demand: rough medians over zones in published samples of 2025, an estimate and marked as one."""


def packed(name: str) -> Any:
    return json.loads(gzip.decompress((MOTO / name).read_bytes()))


def family(name: str) -> str:
    return name.partition(".")[0]


def agreed(rates: list[float]) -> float:
    """The lowest that two agree on, 0 if none do."""
    ordered = sorted(rates)
    for low, high in pairwise(ordered):
        if high <= low * (1 + SAME):
            return low
    return 0.0


def main(price_file: str) -> None:
    raw = packed("instance_types.json.gz")
    kinds = {name: kind for name, said in sorted(raw.items()) if (kind := described(said)) is not None}
    listed = json.loads(Path(price_file).read_text())
    quoted: dict[str, dict[str, float]] = listed["compute"]["ec2_linux"]
    regions = sorted(
        path.name.removesuffix(".json.gz") for path in (MOTO / "instance_type_offerings/region").glob("*.gz")
    )
    zones: dict[str, list[str]] = {}
    prices: dict[str, dict[str, int]] = {}
    for region in regions:
        there = {offer["InstanceType"] for offer in packed(f"instance_type_offerings/region/{region}.json.gz")}
        by_zone = packed(f"instance_type_offerings/availability-zone/{region}.json.gz")
        zones[region] = sorted({offer["Location"] for offer in by_zone})[:3]
        prices[region] = priced(region, {name for name in there if name in kinds}, kinds, quoted)
    types = {
        name: [
            kind.vcpus,
            kind.memory,
            kind.arch == "arm64",
            kind.accelerators,
            SPOT["accelerated" if kind.accelerators else "other"]
            if "spot" in raw[name].get("SupportedUsageClasses", [])
            else 0,
        ]
        for name, kind in kinds.items()
    }
    day = datetime.fromtimestamp(listed["updated"], UTC).date().isoformat()
    source = (
        "AWS's public price list for Linux on demand, P4, P5 and P6 as since June 2025; "
        "prices of spot machines are estimates (30 % of the price on demand with accelerators, 40 % without)"
    )
    book = {"date": day, "source": source, "types": types, "zones": zones, "prices": prices}
    text = json.dumps(book, separators=(",", ":")).encode()
    TARGET.write_bytes(gzip.compress(text, 9, mtime=0))
    count = sum(map(len, prices.values()))
    left_out = sorted(set(raw) - set(kinds))
    print(
        f"{len(types)} types, {len(regions)} regions, {count} prices, {TARGET.stat().st_size} bytes; left out: {left_out}"
    )
    unpriced = sorted({family(name) for name in kinds} - {family(name) for name in prices[HOME]})
    print(f"{len(prices[HOME])} types with a price in {HOME}; families without: {' '.join(unpriced)}")


def priced(region: str, there: set[str], kinds: Any, quoted: dict[str, dict[str, float]]) -> dict[str, int]:
    families: dict[str, list[str]] = defaultdict(list)
    for name in sorted(there):
        families[family(name)].append(name)
    found: dict[str, float] = {}
    for kin, members in families.items():
        by_base = any(name in BASE for name in members)
        names = [name for name in members if name in BASE] if by_base else members
        weights = {name: BASE[name] if by_base else float(kinds[name].vcpus) for name in names}
        own = {name: quoted.get(name, {}).get(region, 0.0) for name in names}
        rate = agreed([own[name] / weights[name] for name in names if own[name]])
        if by_base and region in {HOME, *PRICED_ALIKE}:
            rate = 1.0
        for name in names:
            price = ALONE.get(kin, {}).get(region, 0.0) or fitting(own[name], rate, weights[name], exact=by_base)
            if price:
                found[name] = price
    return {name: round(price * 1_000_000) for name, price in sorted(found.items())}


def fitting(own: float, rate: float, weight: float, *, exact: bool) -> float:
    if not rate:
        return 0.0
    if own and abs(own / weight / rate - 1) <= SAME:
        return own
    if own and own / weight < rate * (1 - SAME):
        return own  # the largest size of some old families has more vCPUs than its share, and costs less for each
    if not exact and weight in {36.0, 72.0}:
        return 0.0  # such a one, perhaps: no price is known
    return rate * weight


if __name__ == "__main__":
    main(sys.argv[1])
