"""What `[providers.aws]` may say, and that reading it imports no SDK."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from styx.errors import SpecError
from styx.providers.aws.settings import IMAGES, read

NOWHERE = {"HOME": "/nonexistent"}


def test_all_that_may_be_set() -> None:
    settings = read(
        {
            "regions": ["us-east-1", "eu-west-1", "us-east-1"],
            "profile": "work",
            "images": {"arm64": "ami-0abcdef12"},
            "disk": "100GiB",
            "subnets": {"us-east-1a": "subnet-0123abcd"},
            "security_group": "sg-0123abcd",
            "instance_profile": "arn:aws:iam::123456789012:instance-profile/workers",
            "tags": {"team": "search"},
            "endpoint_url": "http://127.0.0.1:5000",
            "functions": {"concurrency": 7},
        },
        NOWHERE,
    )
    assert settings.regions == ("us-east-1", "eu-west-1")
    assert dict(settings.images) == {**IMAGES, "arm64": "ami-0abcdef12"}
    assert settings.disk == 100 << 30
    assert settings.subnets == (("us-east-1a", "subnet-0123abcd"),)
    assert settings.concurrency == 7


def test_functions_are_used_only_when_they_are_named() -> None:
    assert read({}, NOWHERE).concurrency == 0
    assert read({"functions": {}}, NOWHERE).concurrency == 50


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"region": "us-east-1"}, "$.providers.aws.region", "did you mean 'regions'?"),
        ({"regions": ["us east"]}, "$.providers.aws.regions[0]", "a region such as us-east-1"),
        ({"regions": []}, "$.providers.aws.regions", "a list of regions"),
        ({"regions": 3}, "$.providers.aws.regions", "a list of regions"),
        ({"disk": "lots"}, "$.providers.aws.disk", "a size"),
        ({"disk": "1MB"}, "$.providers.aws.disk", "from 1GiB"),
        ({"images": {"sparc": "ami-1234"}}, "$.providers.aws.images", "keyed by"),
        ({"images": {"arm64": "debian"}}, "$.providers.aws.images.arm64", "an image id"),
        ({"subnets": {"us-east-1": "subnet-0123abcd"}}, "$.providers.aws.subnets", "keyed by zones"),
        ({"subnets": {"us-east-1a": "vpc-1"}}, "$.providers.aws.subnets.us-east-1a", "a subnet's id"),
        ({"tags": {"styx-token": "x"}}, "$.providers.aws.tags", "Styx's"),
        ({"tags": {"team": 1}}, "$.providers.aws.tags.team", "a text"),
        ({"tags": "x"}, "$.providers.aws.tags", "a mapping"),
        ({"functions": {"concurrency": 0}}, "$.providers.aws.functions.concurrency", "from 1 to 10,000"),
        ({"functions": {"limit": 1}}, "$.providers.aws.functions", "`concurrency` alone"),
        ({"endpoint_url": "localhost"}, "$.providers.aws.endpoint_url", "a URL"),
        ({"profile": 1}, "$.providers.aws.profile", "the name of a profile"),
        ({"security_group": ""}, "$.providers.aws.security_group", "security group"),
        ({"instance_profile": "a b"}, "$.providers.aws.instance_profile", "instance profile"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(given: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(SpecError) as wrong:
        read({**given, "unheard_of": 1}, NOWHERE)
    by_path = {problem.path: f"{problem.message} {problem.hint}" for problem in wrong.value.problems}
    assert words in by_path[path]
    assert "$.providers.aws.unheard_of" in by_path, "all is said at once"


def test_the_region_is_the_one_that_other_tools_would_use(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = eu-west-1\n[profile work]\nregion=eu-north-1\n[profile odd]\n"
    )
    home = {"HOME": str(tmp_path)}
    assert read({}, {"AWS_REGION": "us-west-2", **home}).regions == ("us-west-2",)
    assert read({}, {"AWS_DEFAULT_REGION": "us-west-1", **home}).regions == ("us-west-1",)
    assert read({}, home).regions == ("eu-west-1",)
    assert read({"profile": "work"}, home).regions == ("eu-north-1",)
    assert read({}, {"AWS_PROFILE": "work", **home}).regions == ("eu-north-1",)
    assert read({"profile": "odd"}, home).regions == ()
    assert read({}, {"AWS_CONFIG_FILE": str(tmp_path / ".aws/config")}).regions == ("eu-west-1",)
    assert read({}, NOWHERE).regions == ()
    (tmp_path / ".aws/config").write_bytes(b"[default\n\xff")
    assert read({}, home).regions == ()


def test_making_the_provider_and_planning_with_it_imports_no_sdk() -> None:
    program = """
import sys, asyncio, time
from pathlib import Path
from styx.providers.aws import make
from styx.providers.base import Context
provider = make({"regions": ["us-east-1"], "functions": {}}, Context(Path("."), {}, lambda: 0, asyncio.sleep))
offers, source = provider.catalog()
assert len(offers) > 1000 and source
assert list(provider.runners) == ["functions-us-east-1"]
asyncio.run(provider.close())
heavy = [name for name in sys.modules if name.split(".")[0] in {"botocore", "aiobotocore", "boto3"}]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
