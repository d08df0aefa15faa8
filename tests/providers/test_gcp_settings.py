"""What `[providers.gcp]` may say, what an instance is called, and that reading all that imports no library of Google's."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.errors import SpecError
from styx.providers.base import Order
from styx.providers.gcp.blueprint import instance, name_of
from styx.providers.gcp.kinds import ACCELERATORS, ATTACHABLE, Kind, attached, parse
from styx.providers.gcp.operations import request_id
from styx.providers.gcp.settings import IMAGES, Settings, read, region_of


def test_all_that_may_be_set() -> None:
    settings = read(
        {
            "project": "my-project-1",
            "zones": ["europe-west4-a", "us-central1-f", "europe-west4-a"],
            "credentials": "key.json",
            "images": {"arm64": "projects/mine/global/images/arm-3"},
            "disk": "200GiB",
            "network": "projects/host/global/networks/shared",
            "subnetworks": {"europe-west4": "workers"},
            "external_ip": True,
            "service_account": "w@my-project-1.iam.gserviceaccount.com",
            "network_tags": ["a"],
            "labels": {"team": "search"},
            "endpoint": "http://127.0.0.1:5000/",
        },
        {},
    )
    assert settings.zones == ("europe-west4-a", "us-central1-f")
    assert dict(settings.images) == {**IMAGES, "arm64": "projects/mine/global/images/arm-3"}
    assert settings.disk == 200 << 30
    assert settings.subnetworks == (("europe-west4", "workers"),)
    assert settings.endpoint == "http://127.0.0.1:5000"
    assert read({}, {}) == Settings()


def test_what_other_tools_use_is_the_default() -> None:
    environ = {"GOOGLE_CLOUD_PROJECT": "from-there", "CLOUDSDK_COMPUTE_ZONE": "us-central1-a"}
    settings = read({}, environ)
    assert (settings.project, settings.zones) == ("from-there", ("us-central1-a",))
    settings = read({"project": "my-project-1", "zones": "europe-west4-b"}, environ)
    assert (settings.project, settings.zones) == ("my-project-1", ("europe-west4-b",))
    assert read({}, {"GOOGLE_CLOUD_PROJECT": "no such, $thing"}).project == ""


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"zone": "europe-west4-a"}, "$.providers.gcp.zone", "did you mean 'zones'?"),
        ({"zones": ["europe-west4"]}, "$.providers.gcp.zones[0]", "is a region"),
        ({"zones": ["Belgium"]}, "$.providers.gcp.zones[0]", "a zone such as"),
        ({"zones": []}, "$.providers.gcp.zones", "a list of zones"),
        ({"zones": 3}, "$.providers.gcp.zones", "a list of zones"),
        ({"project": "My Project"}, "$.providers.gcp.project", "a project's id"),
        ({"project": 12}, "$.providers.gcp.project", "a project's id"),
        ({"disk": "lots"}, "$.providers.gcp.disk", "a size"),
        ({"disk": "1GB"}, "$.providers.gcp.disk", "from 10GiB"),
        ({"images": {"sparc": "projects/a/global/images/b"}}, "$.providers.gcp.images", "keyed by"),
        ({"images": {"arm64": "debian"}}, "$.providers.gcp.images.arm64", "an image such as"),
        ({"subnetworks": {"europe-west4-a": "x"}}, "$.providers.gcp.subnetworks", "keyed by regions"),
        ({"subnetworks": {"europe-west4": "X Y"}}, "$.providers.gcp.subnetworks.europe-west4", "a subnetwork"),
        ({"external_ip": "yes"}, "$.providers.gcp.external_ip", "true or false"),
        ({"service_account": "me"}, "$.providers.gcp.service_account", "a service account"),
        ({"network_tags": "styx"}, "$.providers.gcp.network_tags", "a list"),
        ({"network_tags": ["Styx"]}, "$.providers.gcp.network_tags[0]", "a network tag"),
        ({"labels": {"styx-token": "x"}}, "$.providers.gcp.labels", "Styx's own"),
        ({"labels": {"team": "Search"}}, "$.providers.gcp.labels.team", "lower-case"),
        ({"labels": {"Team": "x"}}, "$.providers.gcp.labels", "lower-case"),
        ({"endpoint": "127.0.0.1"}, "$.providers.gcp.endpoint", "a URL"),
        ({"credentials": ""}, "$.providers.gcp.credentials", "a file"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(given: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(SpecError) as wrong:
        read(given, {})
    [problem] = wrong.value.problems
    assert problem.path == path
    assert words in f"{problem.message} {problem.hint}"


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(SpecError) as wrong:
        read({"zone": "a", "disk": True, "labels": 3}, {})
    assert len(wrong.value.problems) == 3


def test_making_the_provider_imports_no_library_of_googles() -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from styx.providers.base import Context\n"
        "from styx.providers.gcp import make\n"
        "provider = make({'zones': ['us-central1-a']}, Context(Path('.'), {}, int, None))\n"
        "assert provider.catalog()[0]\n"
        "print([name for name in sys.modules if name.partition('.')[0] in {'gcloud', 'google', 'googleapiclient', 'jwt', 'aiohttp'}])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


TOKENS = st.from_regex(re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII), fullmatch=True)
CLUSTERS = st.text("0123456789abcdef", min_size=16, max_size=32)


def _order(token: str, cluster: str) -> Order:
    return Order(
        token, cluster, Offer("gcp", "us-central1", "us-central1-a", "e2-standard-4", False, 1, Resources()), ""
    )


@given(TOKENS, CLUSTERS)
def test_every_order_has_a_name_that_google_takes(token: str, cluster: str) -> None:
    order = _order(token, cluster)
    assert re.fullmatch(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", name_of(order))
    assert name_of(order).startswith(token)
    assert request_id(order) == request_id(order) != request_id(order, 1)
    labels = instance(order, Settings(zones=("us-central1-a",)))["labels"]
    assert all(re.fullmatch(r"[a-z0-9_-]{0,63}", value) for value in labels.values())


@given(TOKENS, CLUSTERS, CLUSTERS)
def test_two_clusters_never_share_a_name_or_a_request(token: str, one: str, other: str) -> None:
    if one[:16] == other[:16]:
        return
    assert name_of(_order(token, one)) != name_of(_order(token, other))
    assert request_id(_order(token, one)) != request_id(_order(token, other))


def test_an_attachment_is_written_and_read_alike() -> None:
    for name, counts in ATTACHABLE.items():
        for count in counts:
            written = attached("n1-standard-8", [(ACCELERATORS[name], count)])
            assert written == f"n1-standard-8+{name}:{count}"
            assert parse(written) == Kind("n1-standard-8", ACCELERATORS[name], count)
    assert attached("a2-highgpu-1g", [("nvidia-tesla-a100", 1)]) == "a2-highgpu-1g", "it belongs to the type"
    assert parse("n2-standard-8") == Kind("n2-standard-8")
    for wrong in (
        "",
        "n1-standard-8+T4",
        "n1-standard-8+T4:0",
        "n1-standard-8+T5:1",
        "a2-highgpu-1g+T4:1",
        "N1",
        "n1 8",
    ):
        assert parse(wrong) is None


@pytest.mark.parametrize(
    ("name", "arch", "disk_type", "migrates", "accelerated"),
    [
        ("e2-medium", "x86_64", "pd-balanced", True, False),
        ("t2a-standard-1", "arm64", "pd-balanced", True, False),
        ("c4a-standard-8", "arm64", "hyperdisk-balanced", True, False),
        ("n4-standard-8", "x86_64", "hyperdisk-balanced", True, False),
        ("h3-standard-88", "x86_64", "pd-balanced", False, False),
        ("z3-highmem-88", "x86_64", "pd-balanced", False, False),
        ("c3-standard-192-metal", "x86_64", "hyperdisk-balanced", False, False),
        ("a3-highgpu-8g", "x86_64", "pd-balanced", False, True),
        ("a3-ultragpu-8g", "x86_64", "hyperdisk-balanced", False, True),
        ("g2-standard-4", "x86_64", "pd-balanced", False, True),
    ],
)
def test_families_ask_for_different_things(
    name: str, arch: str, disk_type: str, migrates: bool, accelerated: bool
) -> None:
    kind = parse(name)
    assert kind is not None
    assert (kind.arch, kind.disk_type, kind.migrates, kind.accelerated) == (arch, disk_type, migrates, accelerated)


def test_a_zones_region() -> None:
    assert region_of("europe-west4-a") == "europe-west4"
    assert region_of("northamerica-northeast1-c") == "northamerica-northeast1"
    assert region_of("") == ""
