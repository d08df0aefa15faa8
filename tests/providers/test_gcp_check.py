"""Whether Google Cloud can be used from here, as whom, and what is missing: one clear line each, and soon."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_faults import Dropped, Error, Gateway, Held
from gcp_world import ACCOUNT, PROJECT, GcpWorld, context

from styx.providers.base import Check, Refused
from styx.providers.gcp import make


def checked(tmp_path: Path, environ: Mapping[str, str] | None = None, **settings: Any) -> Check:
    async def scenario() -> Check:
        async with GcpWorld(tmp_path) as world:
            return await world.provider(environ, **settings).check()

    return asyncio.run(scenario())


def lines(check: Check, *, usable: bool = False) -> str:
    assert check.usable is usable
    for line in (*check.problems, *check.hints):
        assert line.strip()
        assert "\n" not in line
        assert "Traceback" not in line
    return " | ".join((*check.problems, *check.hints))


def test_with_a_key_all_is_well(tmp_path: Path) -> None:
    check = checked(tmp_path)
    assert check == Check(True, f"{ACCOUNT} in {PROJECT}")
    assert checked(tmp_path, project=PROJECT, network="closed", subnetworks={"europe-west4": "workers"}).usable


def test_the_key_is_found_where_other_tools_find_it(tmp_path: Path) -> None:
    key = str(tmp_path / "key.json")
    assert checked(tmp_path, {"GOOGLE_APPLICATION_CREDENTIALS": key}, credentials=None).usable
    usual = tmp_path / ".config" / "gcloud"
    usual.mkdir(parents=True)

    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            login = {
                "type": "authorized_user",
                "client_id": "a",
                "client_secret": "b",
                "refresh_token": "good",
                "quota_project_id": PROJECT,
                "token_uri": f"{world.fake.url}/token",
            }
            (usual / "application_default_credentials.json").write_text(json.dumps(login))
            check = await world.provider({"HOME": str(tmp_path)}, credentials=None).check()
            assert check == Check(True, f"a person's login in {PROJECT}")
            (usual / "application_default_credentials.json").write_text(json.dumps({**login, "refresh_token": "old"}))
            said = lines(await world.provider({"CLOUDSDK_CONFIG": str(usual)}, credentials=None).check())
            assert "expired or revoked" in said
            assert "gcloud auth application-default login" in said

    asyncio.run(scenario())


def test_on_a_machine_of_googles_its_own_account_is_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            host = world.fake.url.removeprefix("http://")
            environ = {"HOME": "/nonexistent", "GCE_METADATA_HOST": host}
            check = await world.provider(environ, credentials=None, project=PROJECT).check()
            assert check == Check(True, f"the account of this machine in {PROJECT}")

    asyncio.run(scenario())


def test_no_credentials(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        environ = {"HOME": "/nonexistent", "GCE_METADATA_HOST": f"127.0.0.1:{nobody.getsockname()[1]}"}
        said = lines(checked(tmp_path, environ, credentials=None, project=PROJECT))
    assert "none were found" in said
    assert "GOOGLE_APPLICATION_CREDENTIALS" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("not json", "is no JSON"),
        ("[]", "has no `type`"),
        ('{"type": "service_account"}', "lacks `client_email`, `private_key`"),
        ('{"type": "gdch_service_account"}', "which cannot be used"),
        ('{"type": "service-account"}', "did you mean 'service_account'?"),
    ],
)
def test_a_file_that_is_no_key(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    assert words in lines(checked(tmp_path, credentials=str(path)))


def test_a_key_that_is_damaged_or_not_the_accounts(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            path = tmp_path / "other.json"
            path.write_text(json.dumps({**world.key_file(), "private_key": "-----BEGIN PRIVATE KEY-----\nAAAA"}))
            assert "is damaged" in lines(await world.provider(credentials=str(path)).check())
            wrong = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
            path.write_text(json.dumps(world.key_file(wrong)))
            began = time.monotonic()
            provider = world.provider(credentials=str(path))
            said = lines(await provider.check())
            assert "Invalid JWT Signature" in said
            assert "make a new key" in said
            assert time.monotonic() - began < 3, "a refusal is not repeated"
            path.write_text(json.dumps(world.key_file()))
            assert (await provider.check()).usable, "a file that is put right is read again"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Error(401, "authError", "Invalid Credentials"), "look at the key file"),
        (Error(403, "forbidden", "Required 'compute.zones.list' permission"), "docs/providers/gcp.md"),
        (Error(403, "accessNotConfigured", "API has not been used"), "gcloud services enable compute.googleapis.com"),
        (Error(403, "forbidden", "API has not been used", "SERVICE_DISABLED"), "gcloud services enable"),
        (Error(403, "forbidden", "billing", "BILLING_DISABLED"), "billing account"),
        (Error(404, "notFound", "The resource 'projects/other-project' was not found"), "`project`"),
    ],
    ids=lambda value: value.detail or value.reason if isinstance(value, Error) else "",
)
def test_what_google_says_no_to_is_said_once(tmp_path: Path, error: Error, words: str) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            world.faults.always("", error)
            world.faults.next("token", None, None)
            check = await world.provider().check()
            assert words in lines(check)
            assert len(check.problems) == 1

    asyncio.run(scenario())


def test_a_project_or_a_zone_that_is_not_set_or_not_there(tmp_path: Path) -> None:
    assert "`project`" in lines(checked(tmp_path, project="nobodys-project"))
    said = lines(checked(tmp_path, zones=["europe-west4-a", "europe-west44-a", "us-central1-z"]), usable=True)
    assert "no zone europe-west44-a" in said
    assert "no zone us-central1-z" in said
    assert "did you mean 'europe-west4-" in said
    assert "no zone us-central1-z" in lines(checked(tmp_path, zones=["us-central1-z"]))
    assert "no zone of Google Cloud is set" in lines(checked(tmp_path, zones=None))

    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            nameless = {key: value for key, value in world.key_file().items() if key != "project_id"}
            (tmp_path / "other.json").write_text(json.dumps(nameless))
            assert "no project" in lines(await world.provider(credentials=str(tmp_path / "other.json")).check())
            world.fake.engine.zones["us-central1-b"] = "DOWN"
            assert "us-central1-b is down" in lines(await world.provider().check(), usable=True)

    asyncio.run(scenario())


def test_a_network_that_is_not_there(tmp_path: Path) -> None:
    assert "`network`" in lines(checked(tmp_path, network="nowhere"))
    assert "`subnetworks`" in lines(checked(tmp_path, subnetworks={"europe-west4": "nowhere"}))

    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            world.faults.always("networks.get", Error(403, "forbidden"))
            assert (await world.provider().check()).usable, "one need not be allowed to look at a network to use it"

    asyncio.run(scenario())


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        said = lines(checked(tmp_path, endpoint=f"http://127.0.0.1:{nobody.getsockname()[1]}"))
    assert "Cannot connect" in said
    assert "look at the network" in said


@pytest.mark.parametrize("fault", [Dropped(), Gateway(502)], ids=str)
def test_a_broken_way_to_the_tokens(tmp_path: Path, fault: Any) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            world.faults.next("token", fault)
            assert "access token" in lines(await world.provider().check())

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["token", "zones.list"])
def test_silence_ends_within_three_seconds(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.providers.gcp.check._LIMIT", 0.2)

    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            held = Held()
            world.faults.next(method, held)
            assert "no answer within 0.2 seconds" in lines(await world.provider().check())
            held.release()

    asyncio.run(scenario())


def test_tokens_are_renewed_in_time_and_when_they_are_not_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            provider = world.provider()
            await provider.check()
            await provider.check()
            assert world.fake.granted == 1
            world.fake.tokens.clear()  # revoked
            assert (await provider.check()).usable
            assert world.fake.granted == 2
            await provider.provisioner.listing("")
            assert world.fake.granted == 2
            credentials = provider._api.credentials
            assert 3_000_000 < credentials._until - time.time() * 1_000 < 3_300_000, "a while before its end"
            credentials._until = 0
            await asyncio.gather(*(provider.provisioner.listing("") for _ in range(5)))
            assert world.fake.granted == 3

    asyncio.run(scenario())


def test_without_credentials_nothing_is_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            world.faults.always("token", Error(400, "invalid_grant", "Invalid JWT Signature."))
            with pytest.raises(Refused, match="Invalid JWT Signature"):
                await world.provider().provisioner.listing("")
            assert {call.method for call in world.fake.calls} == {"token"}

    asyncio.run(scenario())


def test_nothing_set_at_all() -> None:
    async def scenario() -> None:
        provider = make({}, context({"GCE_METADATA_HOST": "127.0.0.1:1"}))
        assert "no project" in lines(await provider.check())
        await provider.close()

    asyncio.run(scenario())
