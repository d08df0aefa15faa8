"""The offers that come with the program, and those that the APIs show."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from aws_proxy import Error
from aws_world import AwsWorld
from hypothesis import given
from hypothesis import strategies as st

from styx.core.resources import Resources
from styx.providers.aws.catalog import book, builtin, known_regions, prices
from styx.providers.aws.kinds import InstanceType, described, image_kind, usable_memory
from styx.providers.aws.offers import _product, micros, offered
from styx.providers.aws.settings import IMAGES
from styx.providers.base import Unsure

GIB = 1 << 30
DISK = 100 * GIB


def test_each_type_counts_against_a_quota_that_ec2_has() -> None:
    found = {(offer.instance_type, offer.spot): offer.quota for offer in builtin(["us-east-1"], DISK)[0]}
    both = {
        "Standard": ["m5.large", "c7g.large", "r6i.large", "t3.micro", "i4i.large", "im4gn.large", "d3.xlarge", "h1.2xlarge", "z1d.large"],
        "G and VT": ["g4dn.xlarge", "g5.xlarge", "gr6.4xlarge"], "Inf": ["inf2.xlarge"], "Trn": ["trn1.2xlarge"], "X": ["x1e.xlarge"],
        "P": ["p4d.24xlarge"],
    }  # fmt: skip
    for quota, names in both.items():
        for name in names:
            assert {found[name, spot] for spot in (False, True) if (name, spot) in found} == {quota}, name
    assert (found["p5.48xlarge", False], found["p5.48xlarge", True]) == ("P", "P5")
    known = {"Standard", "G and VT", "Inf", "Trn", "X", "P", "P5", "F", "DL", "HPC", "High Memory", "Mac"}
    assert set(found.values()) <= known, "a family that is new: of which group is it?"


def test_known_machines_are_as_everyone_knows_them() -> None:
    offers, source = builtin(["us-east-1"], DISK)
    assert re.match(r"20\d\d-\d\d-\d\d: ", source)
    assert "estimate" in source, "spot prices are marked as such"
    found = {(o.instance_type, o.zone, o.spot): o for o in offers}
    assert len(found) == len(offers)
    plain = found["m5.large", "us-east-1a", False]
    assert (plain.price, plain.arch, plain.resources.cpus) == (96_000, "x86_64", 2_000)
    assert found["m5.large", "us-east-1a", True].price < plain.price
    assert found["m7g.xlarge", "us-east-1b", False].arch == "arm64"
    names = {
        "p4d.24xlarge": ("A100", 8), "p4de.24xlarge": ("A100-80GB", 8), "p5.48xlarge": ("H100", 8), "g4dn.xlarge": ("T4", 1),
        "g6.xlarge": ("L4", 1), "g5.12xlarge": ("A10G", 4), "p3dn.24xlarge": ("V100-32GB", 8), "g6e.xlarge": ("L40S", 1),
        "trn1.32xlarge": ("Trainium", 16), "inf2.xlarge": ("Inferentia2", 1), "inf1.6xlarge": ("Inferentia", 4),
    }  # fmt: skip
    for name, accelerator in names.items():
        assert found[name, "us-east-1a", False].resources.accelerators == (accelerator,), name


def test_every_offer_of_every_region_holds_together() -> None:
    assert len(book().types) > 1_350
    for region in known_regions():
        offers, _ = builtin([region], DISK)
        assert offers, region
        for offer in offers:
            assert offer.provider == "aws"
            assert offer.region == region
            assert offer.zone.startswith(region)
            assert 1_000 < offer.price < 1_000_000_000
            assert offer.arch in {"x86_64", "arm64"}
            assert offer.resources.cpus >= 1_000
            assert offer.resources.memory > 0
            assert image_kind(offer.arch, offer.resources.accelerators) in IMAGES
    assert builtin(["xx-nowhere-1"], DISK)[0] == []


def test_a_type_without_a_price_is_no_offer() -> None:
    priced = set(prices("us-east-1"))
    unpriced = set(book().types) - priced
    assert unpriced, "there are always newer types than prices"
    assert not unpriced & {offer.instance_type for offer in builtin(["us-east-1"], DISK)[0]}


def test_memory_is_what_a_system_will_see() -> None:
    # MemTotal of real machines: m5.xlarge 15.3 GiB, t3.micro 0.91 GiB, c5.24xlarge 184 GiB.
    assert 15 * GIB <= usable_memory(16 * 1_024) < 15.3 * GIB
    assert usable_memory(1_024) < 0.91 * GIB
    assert usable_memory(192 * 1_024) < 184 * GIB
    for size in (4, 8, 16, 32, 64, 128, 256):
        assert Resources(memory=size * 10**9).memory <= usable_memory(size * 1_024), (
            "a task may ask for the decimal size"
        )


def test_what_cannot_run_an_agent_is_left_out() -> None:
    def said(**more: Any) -> dict[str, Any]:
        plain = {"InstanceType": "x.y", "VCpuInfo": {"DefaultVCpus": 4}, "MemoryInfo": {"SizeInMiB": 8_192}}
        return {**plain, "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]}, **more}

    assert described(said()) == InstanceType("x.y", 4, 8_192, "x86_64")
    assert described(said(ProcessorInfo={"SupportedArchitectures": ["arm64_mac"]})) is None
    assert described(said(ProcessorInfo={"SupportedArchitectures": ["i386", "x86_64"]})) is not None
    part = {"Gpus": [{"Name": "L4", "Count": 0, "MemoryInfo": {"SizeInMiB": 2_861}}]}
    assert described(said(GpuInfo=part)) is None, "a part of a GPU cannot be counted"
    two = {"Gpus": [{"Name": "V100", "Count": 2, "MemoryInfo": {"SizeInMiB": 16_384}}]}
    kind = described(said(GpuInfo=two))
    assert kind is not None
    assert kind.accelerators == (("V100", 2),)


def test_prices_of_the_price_list() -> None:
    entry = {
        "product": {"attributes": {"instanceType": "m5.large"}},
        "terms": {
            "OnDemand": {"A": {"priceDimensions": {"B": {"unit": "Hrs", "pricePerUnit": {"USD": "0.0960000000"}}}}}
        },
    }
    assert _product(json.loads(json.dumps(entry))) == ("m5.large", 96_000)
    assert _product({"product": {"attributes": {}}, "terms": {}}) == ("", 0)


@given(st.integers(0, 10**9), st.integers(0, 10**12 - 1))
def test_amounts_are_never_rounded_down(whole: int, part: int) -> None:
    exact = whole * 10**12 + part
    got = micros(f"{whole % 10**9}.{part:012}")
    assert 0 <= got * 10**6 - (exact % (10**9 * 10**12)) < 10**6


@pytest.mark.parametrize("text", ["", "-1", "1e3", "nan", "free", "1.2.3"])
def test_what_is_no_amount_is_no_price(text: str) -> None:
    assert micros(text) == 0


def test_offers_are_of_zones_that_have_the_type_at_their_own_spot_price() -> None:
    types = {
        "m5.large": InstanceType("m5.large", 2, 8_192, "x86_64"),
        "new.large": InstanceType("new.large", 2, 8_192, "arm64"),
    }
    zones = {
        ("m5.large", "us-east-1a"),
        ("m5.large", "us-east-1b"),
        ("new.large", "us-east-1a"),
        ("mac.metal", "us-east-1a"),
    }
    spot = {("m5.large", "us-east-1b"): 31_000, ("new.large", "us-east-1a"): 12_000}
    offers = offered("us-east-1", types, zones, spot, {"m5.large": 96_000}, DISK)
    assert [(o.instance_type, o.zone, o.spot, o.price) for o in offers] == [
        ("m5.large", "us-east-1a", False, 96_000),
        ("m5.large", "us-east-1b", False, 96_000),
        ("m5.large", "us-east-1b", True, 31_000),
        ("new.large", "us-east-1a", True, 12_000),
    ]


def test_a_survey_through_the_apis_falls_back_to_built_in_prices_and_hides_no_region() -> None:
    async def scenario() -> None:
        async with AwsWorld(("us-west-1",)) as world:
            ec2 = world.provider().provisioner
            world.faults.always("GetProducts", Error("AccessDeniedException", 400))
            offers = await ec2.offers()
            demand = {(o.instance_type, o.zone): o.price for o in offers if not o.spot}
            assert set(demand.values()) <= set(prices("us-west-1").values())
            assert demand["m5.large", "us-west-1a"] == 112_000
            assert any(offer.spot for offer in offers)
            assert len({offer.instance_type for offer in offers}) > 300
            world.faults.always("DescribeSpotPriceHistory", Error("InternalError", 500))
            with pytest.raises(Unsure):
                await ec2.offers()

    asyncio.run(scenario())
