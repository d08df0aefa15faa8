"""`styx check` for AWS: one clear line for each thing that is missing."""

from __future__ import annotations

import asyncio

import pytest
from aws_proxy import AwsProxy, Error, Fault, Gateway, Held, Lost
from aws_world import AwsWorld, context

from styx.providers.aws import make
from styx.providers.aws.check import LIMIT
from styx.providers.base import Check


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is what is said, and a busy machine may take longer to find it out."""
    monkeypatch.setattr("styx.providers.aws.check.LIMIT", 60.0)


async def ready(world: AwsWorld) -> None:
    """moto takes its seconds for the first question in each region."""
    provider = world.provider()
    for region in world.regions:
        await provider._clients.call("ec2", region, "describe_images", ImageIds=["ami-076f415166b04f5fe"])
        await provider._clients.call("sts", region, "get_caller_identity")
    world.proxy.calls.clear()


def lines(said: Check) -> str:
    assert all("\n" not in line and len(line) < 400 for line in (*said.problems, *said.hints))
    return " | ".join((*said.problems, *said.hints))


def test_all_is_well() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            await ready(world)
            said = await world.provider().check()
            assert said.usable, lines(said)
            assert said.identity.startswith("arn:aws:")
            assert (said.problems, said.hints) == ((), ())
            assert await world.alive() == set(), "a check brings nothing up"
            groups = await world.ask("us-east-1", Action="DescribeSecurityGroups")
            assert "styx" not in [name.text for name in groups.iter("groupName")], "and makes nothing"

    asyncio.run(scenario())


def test_no_region() -> None:
    said = asyncio.run(make({}, context({})).check())
    assert not said.usable
    assert said.problems == ("no region of AWS is set",)
    assert "AWS_REGION" in said.hints[0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InvalidClientTokenId", "access key"),
        ("SignatureDoesNotMatch", "secret key is wrong"),
        ("ExpiredToken", "aws sso login"),
    ],
)
def test_credentials_that_are_wrong_are_one_line(code: str, words: str) -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            await ready(world)
            world.faults.always("", Error(code, 403, "The security token included in the request is no good"))
            said = await world.provider().check()
            assert not said.usable
            assert len(said.problems) == 1
            assert code in said.problems[0]
            assert words in said.hints[0]

    asyncio.run(scenario())


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")

    async def scenario() -> None:
        async with AwsWorld() as world:
            await ready(world)
            said = await world.provider({}).check()
            assert not said.usable
            assert len(said.problems) == 1
            assert "no credentials were found" in said.problems[0]
            assert "aws configure" in said.hints[0]

    asyncio.run(scenario())


def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")

    async def scenario() -> None:
        provider = make({"regions": ["us-east-1"], "profile": "absent"}, context())
        said = await provider.check()
        assert not said.usable
        assert "absent" in said.problems[0]
        assert "profile" in said.hints[0]
        await provider.close()

    asyncio.run(scenario())


def test_no_network() -> None:
    async def scenario() -> None:
        async with AwsProxy("") as proxy:
            url = proxy.url
        provider = make({"regions": ["us-east-1"], "endpoint_url": url}, context())
        said = await provider.check()
        assert not said.usable
        assert "Could not connect" in said.problems[0]
        assert "network" in lines(said)
        await provider.close()

    asyncio.run(scenario())


def test_a_region_that_is_not_enabled_is_named_and_the_others_can_be_used() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            await ready(world)
            denied = Error("AuthFailure", 401, "AWS was not able to validate the provided access credentials")
            world.faults.always("", denied, region="us-west-2", service="ec2")
            said = await world.provider().check()
            assert said.usable
            assert len(said.problems) == 1
            assert "us-west-2 is not enabled" in said.hints[0]

    asyncio.run(scenario())


def test_what_the_policy_does_not_allow_is_named() -> None:
    async def scenario() -> None:
        async with AwsWorld(("us-east-1",)) as world:
            await ready(world)
            world.faults.always(
                "TryRunInstances", Error("UnauthorizedOperation", 403, "not authorized to perform: ec2:RunInstances")
            )
            said = await world.provider().check()
            assert not said.usable
            assert "ec2:RunInstances" in said.problems[0]
            assert "aws.md" in said.hints[0]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault", [Error("RequestLimitExceeded", 503), Gateway(), Lost()], ids=["throttled", "gateway", "lost"]
)
def test_what_passes_by_itself_is_told_and_keeps_nobody_from_trying(fault: Fault) -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            await ready(world)
            world.faults.always("TryRunInstances", fault)
            said = await world.provider().check()
            assert said.usable
            assert len(said.problems) == 2
            world.faults.clear()
            world.faults.always("GetCallerIdentity", fault)
            assert not (await world.provider().check()).usable

    asyncio.run(scenario())


def test_what_gives_no_answer_is_named_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIMIT < 3
    monkeypatch.setattr("styx.providers.aws.check.LIMIT", 4.0)

    async def scenario() -> None:
        async with AwsWorld() as world:
            await ready(world)
            held = Held()
            world.faults.always("TryDescribeInstances", held, region="us-west-2")
            said = await world.provider().check()
            held.release()
            assert "EC2 in us-west-2 gave no answer within 4 seconds" in said.problems
            assert said.usable == bool(said.identity), "one that is merely slow has not said no"

    asyncio.run(scenario())
