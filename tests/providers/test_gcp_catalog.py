"""The offers that come with the program, and those that the project's own APIs show."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from gcp_engine import TYPES
from gcp_faults import Error
from gcp_schema import billing
from gcp_world import GcpWorld

from styx.core.offers import Offer
from styx.providers.base import Refused, Unsure
from styx.providers.gcp.catalog import book, builtin, known_zones
from styx.providers.gcp.kinds import ACCELERATORS, ATTACHABLE, parse
from styx.providers.gcp.offers import Prices
from styx.providers.gcp.settings import region_of

GB = 1 << 30


def test_each_type_counts_against_a_quota_of_its_project() -> None:
    found = by_type("us-central1-a", spot=False)
    names = {
        "e2-medium": "CPUS", "n1-standard-8": "CPUS", "n1-standard-8+T4:1": "T4_GPUS", "n2-highmem-16": "N2_CPUS",
        "c2-standard-8": "C2_CPUS", "a2-highgpu-1g": "A100_GPUS",
    }  # fmt: skip
    assert {name: found[name].quota for name in names} == names


def by_type(zone: str, *, spot: bool) -> dict[str, Offer]:
    return {offer.instance_type: offer for offer in builtin([zone], 0)[0] if offer.spot is spot}


@pytest.mark.parametrize(
    ("zone", "name", "dollars"),
    [
        # as Google's pages show whole types
        ("us-central1-a", "e2-medium", 0.03351),
        ("us-central1-a", "e2-standard-4", 0.13402),
        ("us-central1-a", "n1-standard-8", 0.38),
        ("us-central1-a", "n1-standard-8+T4:1", 0.38 + 0.35),
        ("us-central1-a", "n1-standard-8+V100:2", 0.38 + 2 * 2.48),
        ("us-central1-a", "n2-highmem-16", 1.0481),
        ("us-central1-a", "c2-standard-8", 0.4176),
        ("us-central1-a", "g2-standard-4", 0.70683),
        ("us-central1-a", "a2-highgpu-8g", 29.38708),
        ("us-central1-a", "a2-ultragpu-8g", 40.5504),
        ("us-central1-a", "a3-highgpu-8g", 88.49),
        ("europe-west4-a", "e2-standard-4", 0.14756),
    ],
)
def test_prices_come_out_as_google_shows_them(zone: str, name: str, dollars: float) -> None:
    assert by_type(zone, spot=False)[name].price == pytest.approx(dollars * 1_000_000, rel=0.002)


def test_every_offer_is_whole() -> None:
    offers, source = builtin(known_zones(), 100 * GB)
    assert len(offers) > 30_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\d: .+", source)
    assert len({(o.zone, o.instance_type, o.spot) for o in offers}) == len(offers)
    for offer in offers:
        assert offer.provider == "gcp"
        assert offer.region == region_of(offer.zone)
        assert 500 < offer.price < 200_000_000, offer
        assert offer.resources.cpus >= 250
        assert offer.resources.disk == 100 * GB
        kind = parse(offer.instance_type)
        assert kind is not None
        assert kind.arch == offer.arch
        assert bool(offer.resources.accelerators) == kind.accelerated, offer
        assert all(name in ACCELERATORS for name, _ in offer.resources.accelerators)


def test_spot_is_cheaper_and_not_given_away() -> None:
    for zone in ("us-central1-a", "europe-west4-b", "asia-southeast1-c"):
        demand, spot = by_type(zone, spot=False), by_type(zone, spot=True)
        both = demand.keys() & spot.keys()
        assert len(both) > 150
        for name in both:
            assert 0.05 < spot[name].price / demand[name].price < 0.9, (zone, name)


def test_all_families_and_accelerators_are_there() -> None:
    families = {name.partition("-")[0] for name in book().types}
    assert families == {
        *("e2", "n1", "n2", "n2d", "n4", "c2", "c2d", "c3", "c3d", "c4", "c4a", "t2d", "t2a", "m1", "m2", "m3"),
        *("a2", "a3", "g2", "h3", "z3"),
    }
    offered = {offer.instance_type.partition("-")[0] for offer in builtin(known_zones(), 0)[0]}
    assert offered == families, "each of them can be had somewhere"
    cards = {name for offer in builtin(known_zones(), 0)[0] for name, _ in offer.resources.accelerators}
    assert cards >= {"A100", "A100-80GB", "H100", "L4", "T4", "V100", "P100", "P4"}


def test_what_may_be_attached_is_bounded_by_the_machine() -> None:
    offers = by_type("us-central1-c", spot=False)
    assert "n1-standard-8+V100:1" in offers
    assert "n1-standard-16+V100:1" not in offers, "one V100 takes a machine of at most 12 vCPUs"
    assert "n1-standard-16+V100:2" in offers
    assert "n1-standard-96+T4:4" in offers
    assert "n1-standard-96+T4:1" not in offers
    assert not any("+" in name and not name.startswith("n1-") for name in offers)
    four = offers["n1-standard-8+T4:4"]
    assert four.resources.accelerators == (("T4", 4),)
    assert set(ATTACHABLE) < set(ACCELERATORS)


def test_what_is_not_sold_that_way_is_no_offer() -> None:
    demand, spot = by_type("us-central1-a", spot=False), by_type("us-central1-a", spot=True)
    assert "a3-highgpu-1g" in spot, "sold as spot alone"
    assert "a3-highgpu-1g" not in demand
    assert "c3-standard-192-metal" not in spot
    assert not any(name.startswith("h3-") for name in spot)


def test_memory_is_what_the_machine_will_see() -> None:
    offer = by_type("us-central1-a", spot=False)["n2-standard-8"]
    assert 30 * GB == offer.resources.memory < 32 * GB
    assert offer.resources.memory > 32_000_000_000, "which is more than 32 GB"
    micro = by_type("us-central1-a", spot=False)["e2-micro"]
    assert micro.resources.cpus == 250, "it shows two CPUs and has a quarter of one"


def test_a_zone_that_is_not_known_has_no_offers() -> None:
    assert builtin(["atlantis-east1-a"], 0)[0] == []


# what the APIs show


def sku(
    text: str, dollars: float, regions: list[str], usage: str = "OnDemand", unit: str = "h", family: str = "Compute"
) -> Any:
    return {
        "name": "services/6F81-5844-456A/skus/0000-0000-0000",
        "skuId": "0000-0000-0000",
        "description": text,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": family,
            "resourceGroup": "CPU",
            "usageType": usage,
        },
        "serviceRegions": regions,
        "pricingInfo": [
            {
                "effectiveTime": "2026-11-01T00:00:00Z",
                "pricingExpression": {
                    "usageUnit": unit,
                    "displayQuantity": 1,
                    "tieredRates": [
                        {
                            "startUsageAmount": 0,
                            "unitPrice": {
                                "currencyCode": "USD",
                                "units": str(int(dollars)),
                                "nanos": round((dollars - int(dollars)) * 10**9),
                            },
                        }
                    ],
                },
            }
        ],
    }


HERE = ["us-central1"]
SKUS = [
    sku("N2 Instance Core running in Americas", 0.04, [*HERE, "us-east1"]),
    sku("N2 Instance Ram running in Americas", 0.005, HERE, unit="GiBy.h"),
    sku("Spot Preemptible N2 Instance Core running in Americas", 0.01, HERE, "Preemptible"),
    sku("Spot Preemptible N2 Instance Ram running in Americas", 0.001, HERE, "Preemptible", "GiBy.h"),
    sku("N2 Custom Instance Core running in Americas", 9.0, HERE),
    sku("N2 Sole Tenancy Instance Core running in Americas", 9.0, HERE),
    sku("Commitment v1: N2 Cpu in Americas for 1 Year", 0.001, HERE, "Commit1Yr"),
    sku("N1 Predefined Instance Core running in Americas", 0.03, HERE),
    sku("N1 Predefined Instance Ram running in Americas", 0.004, HERE, unit="GiBy.h"),
    sku("Nvidia Tesla T4 GPU running in Americas", 0.5, HERE),
    sku("Nvidia Tesla T4 Virtual Workstation GPU running in Americas", 9.0, HERE),
    sku("A2 Instance Core running in Americas", 0.03, HERE),
    sku("A2 Instance Ram running in Americas", 0.004, HERE, unit="GiBy.h"),
    sku("Nvidia Tesla A100 GPU running in Americas", 3.0, HERE),
    sku("Nvidia Tesla A100 80GB GPU running in Americas", 9.0, HERE),
    sku("SSD backed Local Storage", 0.08, HERE, unit="GiBy.mo", family="Storage"),
    sku("Compute optimized Core running in Americas", 0.07, HERE),
    sku("Memory-optimized Instance Ram running in Americas", 0.006, HERE, unit="GiBy.h"),
    sku("M3 Memory-optimized Instance Core running in Americas", 0.02, HERE),
    sku("N2D AMD Instance Core running in Americas", 0.02, HERE),
    sku("T2A Arm Instance Core running in Americas", 0.015, HERE),
    sku("Network Egress", 0.1, HERE, family="Network"),
    {"description": "odd"},
    {"description": "odder", "category": {"resourceFamily": "Compute", "usageType": "OnDemand"}, "pricingInfo": [{}]},
]


def test_skus_are_understood_by_their_descriptions() -> None:
    prices = Prices()
    for one in SKUS:
        prices.read(one)
    assert prices.cores == {
        ("n2", "us-central1", False): 40_000_000,
        ("n2", "us-east1", False): 40_000_000,
        ("n2", "us-central1", True): 10_000_000,
        ("n1", "us-central1", False): 30_000_000,
        ("a2", "us-central1", False): 30_000_000,
        ("c2", "us-central1", False): 70_000_000,
        ("m3", "us-central1", False): 20_000_000,
        ("n2d", "us-central1", False): 20_000_000,
        ("t2a", "us-central1", False): 15_000_000,
    }
    assert prices.memory["m1", "us-central1", False] == 6_000_000
    assert prices.cards == {
        ("T4", "us-central1", False): 500_000_000,
        ("A100", "us-central1", False): 3_000_000_000,
        ("A100-80GB", "us-central1", False): 9_000_000_000,
    }
    assert prices.ssd == {("us-central1", False): 80_000_000 // 730}


def test_the_skus_of_the_test_are_of_googles_form() -> None:
    found = billing().find("GET", "v1/services/6F81-5844-456A/skus")
    assert found is not None
    assert billing().wrong_answer(found[0], {"skus": SKUS}) == []


def survey(
    tmp_path: Path, *, zones: tuple[str, ...] = ("us-central1-a",), faults: dict[str, Error] | None = None
) -> list[Offer]:
    async def scenario() -> list[Offer]:
        async with GcpWorld(tmp_path) as world:
            world.fake.skus = SKUS
            world.fake.page = 3
            for method, fault in (faults or {}).items():
                world.faults.always(method, fault)
            return await world.provider(zones=list(zones)).provisioner.offers()

    return asyncio.run(scenario())


def test_what_is_there_now_and_what_it_costs(tmp_path: Path) -> None:
    offers = {(offer.instance_type, offer.spot): offer for offer in survey(tmp_path)}
    assert {name.partition("+")[0] for name, _ in offers} == set(TYPES), "the types of this zone, and no others"
    assert offers["n2-standard-8", False].price == 8 * 40_000 + 32 * 5_000
    assert offers["n2-standard-8", True].price == 8 * 10_000 + 32 * 1_000
    assert offers["n1-standard-8", False].price == 8 * 30_000 + 30 * 4_000
    assert offers["n1-standard-8+T4:2", False].price == offers["n1-standard-8", False].price + 1_000_000
    assert offers["a2-highgpu-1g", False].price == 12 * 30_000 + 85 * 4_000 + 3_000_000
    assert (
        offers["n1-standard-8+V100:1", False].price
        == by_type("us-central1-a", spot=False)["n1-standard-8+V100:1"].price
    )
    assert ("n1-standard-8+P100:1", False) not in offers, "the zone has none"
    known = by_type("us-central1-a", spot=False)["e2-standard-4"]
    assert offers["e2-standard-4", False].price == known.price, "the built-in price where none is listed"
    assert offers["t2a-standard-4", False].arch == "arm64"
    assert offers["n2-standard-8", False].resources.disk == 100 * GB


def test_without_the_price_list_the_built_in_prices_count(tmp_path: Path) -> None:
    for fault in (Error(403, "forbidden", detail="SERVICE_DISABLED"), Error(503, "backendError")):
        offers = {(o.instance_type, o.spot): o.price for o in survey(tmp_path, faults={"skus.list": fault})}
        assert offers["n2-standard-8", False] == by_type("us-central1-a", spot=False)["n2-standard-8"].price


def test_a_zone_that_does_not_answer_hides_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unsure):
        survey(tmp_path, faults={"machineTypes.list": Error(503, "backendError")})
    with pytest.raises(Refused):
        survey(
            tmp_path,
            zones=("us-central1-a", "us-central1-b"),
            faults={"acceleratorTypes.list": Error(403, "forbidden")},
        )
