"""The fake is Google's enough for Google's own client: the same requests, made by the library that Google writes, are answered alike."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from gcp_faults import Fails
from gcp_schema import compute as description
from gcp_world import PROJECT, GcpWorld

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.providers.base import Order
from styx.providers.gcp.blueprint import instance
from styx.providers.gcp.settings import Settings

ZONE = "europe-west4-a"
CLUSTER = "beef" * 4


def order(token: str) -> Order:
    offer = Offer("gcp", "europe-west4", ZONE, "n1-standard-8+T4:1", True, 1, Resources())
    return Order(token, CLUSTER, offer, "#!/bin/sh\n", lifetime=600)


def google(world: GcpWorld) -> Any:
    """Google's client, with the service account's key that the adapter uses too."""
    from google.oauth2 import service_account
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import build_from_document

    credentials = service_account.Credentials.from_service_account_file(
        str(world.key), scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    import httplib2

    http = AuthorizedHttp(credentials, http=httplib2.Http(timeout=10))
    document = {**description().document, "rootUrl": f"{world.fake.url}/", "mtlsRootUrl": f"{world.fake.url}/"}
    return build_from_document(document, http=http)


def test_googles_own_client_and_the_adapter_see_the_same_machines(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            adapter = world.provider().provisioner
            client = await asyncio.to_thread(google, world)
            instances, operations = client.instances(), client.zoneOperations()
            place = {"project": PROJECT, "zone": ZONE}

            def insert(token: str, request: str) -> dict[str, Any]:
                body = instance(order(token), Settings(zones=(ZONE,)))
                answer: dict[str, Any] = instances.insert(**place, body=body, requestId=request).execute()
                return answer

            ids = [f"00000000-0000-4000-8000-00000000000{at}" for at in range(3)]
            accepted = await asyncio.to_thread(insert, "n-1", ids[0])
            assert accepted["status"] != "DONE"
            again = await asyncio.to_thread(insert, "n-1", ids[0])
            assert again["name"] == accepted["name"], "the request id makes it the same request"
            done = await asyncio.to_thread(operations.wait(**place, operation=accepted["name"]).execute)
            assert done["status"] == "DONE"
            found = await adapter.find(order("n-1"))
            assert found is not None
            assert found.instance_type == "n1-standard-8+T4:1"
            theirs = await adapter.launch(order("n-2"))

            def listed() -> list[str]:
                names, request = (
                    [],
                    instances.aggregatedList(
                        project=PROJECT, filter=f'labels.styx-cluster = "{CLUSTER}"', maxResults=1
                    ),
                )
                while request is not None:
                    page = request.execute()
                    names += [one["name"] for part in page["items"].values() for one in part.get("instances", [])]
                    request = instances.aggregatedList_next(request, page)
                return names

            seen = await asyncio.to_thread(listed)
            assert sorted(seen) == sorted(ref.partition("/")[2] for ref in (found.ref, theirs.ref))
            shown = await asyncio.to_thread(instances.get(**place, instance=seen[0]).execute)
            assert shown["scheduling"]["maxRunDuration"] == {"seconds": "600"}
            await asyncio.to_thread(instances.delete(**place, instance=seen[0]).execute)
            assert len((await adapter.listing(CLUSTER)).machines) == 1

    asyncio.run(scenario())


def test_googles_own_client_hears_errors_as_google_gives_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            from googleapiclient.errors import HttpError

            client = await asyncio.to_thread(google, world)
            place = {"project": PROJECT, "zone": ZONE}
            with pytest.raises(HttpError) as missing:
                await asyncio.to_thread(client.instances().get(**place, instance="none").execute)
            assert missing.value.status_code == 404
            assert missing.value.error_details[0]["reason"] == "notFound"
            body = instance(order("n-1"), Settings(zones=(ZONE,)))
            await asyncio.to_thread(client.instances().insert(**place, body=body).execute)
            with pytest.raises(HttpError) as taken:
                await asyncio.to_thread(client.instances().insert(**place, body=body).execute)
            assert (taken.value.status_code, taken.value.error_details[0]["reason"]) == (409, "alreadyExists")
            world.faults.next("instances.insert", Fails("ZONE_RESOURCE_POOL_EXHAUSTED"))
            accepted = await asyncio.to_thread(
                client.instances().insert(**place, body={**body, "name": "other"}).execute
            )
            wait = client.zoneOperations().wait(**place, operation=accepted["name"])
            done = await asyncio.to_thread(wait.execute)
            assert done["error"]["errors"][0]["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED"

    asyncio.run(scenario())


def test_what_breaks_googles_description_is_noticed(tmp_path: Path) -> None:
    """Or the other tests would prove nothing."""
    described = description()
    found = described.find("POST", f"projects/{PROJECT}/zones/{ZONE}/instances")
    assert found is not None
    method, variables = found
    assert method.id == "compute.instances.insert"
    good = instance(order("n-1"), Settings(zones=(ZONE,)))
    assert described.wrong_request(method, variables, [("requestId", "x")], good) == []
    for query, body, words in (
        ([("requestid", "x")], good, "has no parameter requestid"),
        ([], {**good, "macineType": "x"}, "has no member macineType"),
        ([], {**good, "canIpForward": "yes"}, "is no boolean"),
        ([], {**good, "status": "RUNNING"}, "output only"),
        ([], {**good, "scheduling": {"provisioningModel": "CHEAP"}}, "is none of"),
        ([], {**good, "scheduling": {"maxRunDuration": {"seconds": 3_600}}}, "is no string"),
        ([], {**good, "guestAccelerators": [{"acceleratorCount": "1"}]}, "is no integer"),
        ([], {key: value for key, value in good.items() if key != "machineType"}, ""),
        ([], None, "needs a body"),
    ):
        wrong = described.wrong_request(method, variables, query, body)
        assert not words or any(words in each for each in wrong), (words, wrong)
    assert described.wrong_request(method, {"project": PROJECT}, [], good) == ["compute.instances.insert needs zone"]
    assert described.wrong_answer(method, {"kind": "compute#operation", "status": "OVER"})
    assert described.find("POST", f"projects/{PROJECT}/zones/{ZONE}/instances/a/explode") is None
