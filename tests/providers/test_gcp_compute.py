"""Instances of Compute Engine through the adapter over HTTP, against the fake that holds every byte against Google's own description."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gcp_faults import Cut, Dropped, Error, Fails, Fault, Gateway, Held, Lost, Partial, Slow, Stale
from gcp_world import GcpWorld, context

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG, Kind, Machine, MachineState, Order, Refused, Unsure
from styx.providers.gcp import make
from styx.providers.gcp.blueprint import name_of
from styx.providers.gcp.operations import request_id

CLUSTER = "c0ffee11" * 2
OTHER = "0" * 16
GONE = "11111111-1111-1111-1111-111111111111"


def order(token: str = "n-1", zone: str = "europe-west4-a", kind: str = "n2-standard-8", **more: object) -> Order:
    offer = Offer("gcp", zone.rpartition("-")[0], zone, kind, False, 380_000, Resources())
    fields = {"offer": offer, "cluster": CLUSTER, "user_data": "#!/bin/sh\necho hello\n", **more}
    return Order(token, **fields)  # type: ignore[arg-type]


def spot(token: str = "n-1", zone: str = "europe-west4-b", kind: str = "t2a-standard-4", **more: object) -> Order:
    offer = Offer("gcp", zone.rpartition("-")[0], zone, kind, True, 30_000, Resources(), "arm64")
    return order(token, offer=offer, **more)


def asked(world: GcpWorld, method: str) -> list[dict[str, str]]:
    return [call.query for call in world.fake.calls if call.method == method]


def sent(world: GcpWorld) -> list[dict[str, object]]:
    return [call.body for call in world.fake.calls if call.method == "instances.insert"]


def test_a_machine_carries_all_that_keeps_it_from_leaking_from_its_first_moment(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider(labels={"team": "search"}).provisioner
            machine = await compute.launch(order(disk=50 << 30, lifetime=3_600))
            assert machine.ref == f"europe-west4-a/{name_of(order())}"
            assert (machine.token, machine.cluster) == ("n-1", CLUSTER)
            assert (machine.region, machine.zone) == ("europe-west4", "europe-west4-a")
            assert machine.state is MachineState.RUNNING
            assert machine.instance_type == "n2-standard-8"
            assert not machine.spot
            assert machine.launched_at > 1_600_000_000_000
            real = world.machine(machine.ref)
            assert real["labels"] == {CLUSTER_TAG: CLUSTER, TOKEN_TAG: "n-1", "team": "search"}
            assert await world.user_data(machine.ref) == "#!/bin/sh\necho hello\n"
            [body] = sent(world)
            [disk] = body["disks"]  # type: ignore[misc]
            assert disk["autoDelete"] is True
            assert disk["initializeParams"]["diskSizeGb"] == "65", "room for work, a file system and the image"
            assert disk["initializeParams"]["labels"] == real["labels"], "a disk can be found without its machine"
            assert body["scheduling"] == {
                "provisioningModel": "STANDARD",
                "onHostMaintenance": "MIGRATE",
                "automaticRestart": False,
                "maxRunDuration": {"seconds": "3600"},
                "instanceTerminationAction": "DELETE",
            }
            assert body["networkInterfaces"] == [{"network": "global/networks/default"}], (
                "no address that can be reached"
            )
            assert body["tags"] == {"items": ["styx"]}
            assert "serviceAccounts" not in body, "the machine has no right in the project"
            assert asked(world, "instances.insert") == [{"requestId": request_id(order())}]

    asyncio.run(scenario())


def test_a_spot_machine_is_gone_when_it_is_taken_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            machine = await world.provider().provisioner.launch(spot())
            assert machine.spot
            [body] = sent(world)
            assert body["scheduling"] == {
                "provisioningModel": "SPOT",
                "preemptible": True,
                "onHostMaintenance": "TERMINATE",
                "automaticRestart": False,
                "instanceTerminationAction": "DELETE",
            }
            [disk] = body["disks"]  # type: ignore[misc]
            assert disk["initializeParams"]["sourceImage"].endswith("debian-12-arm64")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("kind", "accelerators", "disk_type"),
    [
        ("n1-standard-8+T4:2", [{"acceleratorType": "nvidia-tesla-t4", "acceleratorCount": 2}], "pd-balanced"),
        ("n1-standard-8+V100:1", [{"acceleratorType": "nvidia-tesla-v100", "acceleratorCount": 1}], "pd-balanced"),
        ("a2-highgpu-1g", [], "pd-balanced"),
        ("g2-standard-4", [], "pd-balanced"),
        ("c4-standard-8", None, "hyperdisk-balanced"),
    ],
)
def test_accelerators_and_families_ask_for_what_they_need(
    tmp_path: Path, kind: str, accelerators: list[dict[str, object]] | None, disk_type: str
) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            machine = await compute.launch(order(kind=kind))
            assert machine.instance_type == kind
            [body] = sent(world)
            zone = "zones/europe-west4-a"
            given = [
                {**g, "acceleratorType": f"{zone}/acceleratorTypes/{g['acceleratorType']}"} for g in accelerators or []
            ]
            assert body.get("guestAccelerators", []) == given
            [disk] = body["disks"]  # type: ignore[misc]
            assert disk["initializeParams"]["diskType"] == f"{zone}/diskTypes/{disk_type}"
            assert ("nvidia" in disk["initializeParams"]["sourceImage"]) == (accelerators is not None)
            assert body["scheduling"]["onHostMaintenance"] == ("MIGRATE" if accelerators is None else "TERMINATE")  # type: ignore[index]
            [listed] = (await compute.listing(CLUSTER)).machines
            assert listed == machine

    asyncio.run(scenario())


def test_what_the_settings_ask_for_is_in_the_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider(
                external_ip=True,
                subnetworks={"europe-west4": "workers"},
                service_account="w@x.iam.gserviceaccount.com",
                network_tags=["a", "b"],
                disk="20GiB",
                images={"x86_64": "projects/my-images/global/images/worker-7"},
            ).provisioner
            await compute.launch(order())
            [body] = sent(world)
            assert body["networkInterfaces"] == [
                {
                    "subnetwork": "regions/europe-west4/subnetworks/workers",
                    "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}],
                }
            ]
            assert body["serviceAccounts"] == [
                {"email": "w@x.iam.gserviceaccount.com", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
            ]
            assert body["tags"] == {"items": ["a", "b"]}
            [disk] = body["disks"]  # type: ignore[misc]
            assert disk["initializeParams"]["sourceImage"] == "projects/my-images/global/images/worker-7"
            assert disk["initializeParams"]["diskSizeGb"] == "32"

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", [Lost(), Gateway(502, done=True), Cut()], ids=["lost", "gateway", "cut"])
def test_an_answer_lost_after_success_gives_the_same_machine_when_asked_again(tmp_path: Path, fault: Fault) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            world.faults.next("instances.insert", fault)
            with pytest.raises(Unsure):
                await compute.launch(order())
            assert len(asked(world, "instances.insert")) == 1, "nothing is repeated by itself"
            [ref] = await world.alive()
            found = await compute.find(order())
            assert found is not None
            assert found.ref == ref
            again = await compute.launch(order())
            assert again.ref == ref
            assert await world.alive() == {ref}
            assert world.double() == set()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault", [Dropped(), Gateway(503), Error(500, "internalError"), Error(503, "backendError")], ids=str
)
def test_where_nobody_knows_what_happened_nothing_is_promised(tmp_path: Path, fault: Fault) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            world.faults.next("instances.insert", fault)
            with pytest.raises(Unsure):
                await compute.launch(order())
            assert await compute.find(order()) is None
            assert await world.alive() == set()
            await compute.launch(order())
            assert len(await world.alive()) == 1

    asyncio.run(scenario())


def test_orders_at_once_with_the_same_token_make_one_machine(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            one, two = world.provider().provisioner, world.provider().provisioner
            machines = await asyncio.gather(*(compute.launch(order()) for compute in (one, two, one, two)))
            assert len({machine.ref for machine in machines}) == 1
            assert len(await world.alive()) == 1
            assert world.double() == set()

    asyncio.run(scenario())


def test_a_name_that_is_taken_is_ours_or_it_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            machine = await compute.launch(order())
            world.fake.engine.requests.clear()  # Google forgets request ids; the name is still there
            assert (await compute.launch(order())).ref == machine.ref
            world.machine(machine.ref)["labels"] = {"made": "by-hand"}
            with pytest.raises(Refused, match="not of this order") as refused:
                await compute.launch(order())
            assert refused.value.kind is Kind.INVALID
            assert await compute.find(order()) is None

    asyncio.run(scenario())


def test_one_token_of_two_clusters_makes_two_machines(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            ours, theirs = await compute.launch(order()), await compute.launch(order(cluster=OTHER))
            assert ours.ref != theirs.ref
            assert [machine.ref for machine in (await compute.listing(OTHER)).machines] == [theirs.ref]
            assert len((await compute.listing("")).machines) == 2
            own = order(f"styx-{CLUSTER}-7")
            assert (await compute.launch(own)).ref == f"europe-west4-a/styx-{CLUSTER}-7", (
                "a token that is unique is the name"
            )

    asyncio.run(scenario())


def test_what_the_cloud_refuses_is_told_apart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            faults = world.faults
            faults.always("instances.insert", Fails("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"), zone="europe-west4-a")
            faults.always("instances.insert", Fails("ZONE_RESOURCE_POOL_EXHAUSTED", waits=3), zone="europe-west4-b")
            faults.always("instances.insert", Fails("QUOTA_EXCEEDED", 403), zone="us-central1-a")
            faults.always("instances.insert", Error(403, "quotaExceeded"), zone="us-central1-b")
            kinds = {}
            for zone in ("europe-west4-a", "europe-west4-b", "us-central1-a", "us-central1-b"):
                with pytest.raises(Refused) as refused:
                    await compute.launch(order(f"n-{zone}", zone))
                kinds[zone] = refused.value.kind
                assert "made up by the test" in refused.value.message
                with pytest.raises(Refused) as again:
                    await compute.launch(order(f"n-{zone}", zone))
                assert again.value.kind is refused.value.kind, "the same order has the same answer"
            assert kinds == {
                "europe-west4-a": Kind.CAPACITY,
                "europe-west4-b": Kind.CAPACITY,
                "us-central1-a": Kind.QUOTA,
                "us-central1-b": Kind.QUOTA,
            }
            assert (await compute.launch(order("n-f", "us-central1-f"))).zone == "us-central1-f"
            assert len(await world.alive()) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault",
    [
        Error(403, "rateLimitExceeded", retry_after="7"),
        Error(429, "RESOURCE_EXHAUSTED", detail="RATE_LIMIT_EXCEEDED", retry_after="7"),
        Fails("RESOURCE_OPERATION_RATE_EXCEEDED", 403),
    ],
    ids=["403", "429", "late"],
)
def test_after_being_throttled_the_same_order_succeeds(tmp_path: Path, fault: Fault) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            world.faults.next("instances.insert", fault, fault)
            for _ in range(2):
                with pytest.raises(Refused) as refused:
                    await compute.launch(order())
                assert refused.value.kind is Kind.THROTTLED
                assert refused.value.retry_after >= 7
            assert await world.alive() == set()
            machine = await compute.launch(order())
            assert await world.alive() == {machine.ref}
            assert (await compute.launch(order())).ref == machine.ref

    asyncio.run(scenario())


def test_what_does_not_exist_is_invalid_and_says_what_to_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            for wrong, words in (
                (order(kind="n2-gigantic-8"), "machine type"),
                (order(kind="n1-standard-8+T4:3"), "n1-standard-8+T4:1"),
                (order(kind="n2-standard-8+T4:1"), "n1-standard-8+T4:1"),
                (order(kind="n1-standard-8+P100:1"), "accelerator"),
                (order(image="projects/debian-cloud/global/images/family/debian-3"), "`images`"),
                (order(zone="asia-east1-a"), "`zones`"),
                (order(offer=Offer("gcp", "europe-west4", "", "n2-standard-8", False, 1, Resources())), "`zones`"),
            ):
                with pytest.raises(Refused) as refused:
                    await compute.launch(wrong)
                assert refused.value.kind is Kind.INVALID, refused.value.message
                assert words in refused.value.hint
            with pytest.raises(Refused, match="was not found") as refused:
                await world.provider(network="nowhere").provisioner.launch(order())
            assert "`network`" in refused.value.hint
            with pytest.raises(Refused, match="no zone"):
                await make({}, context()).provisioner.launch(order())  # type: ignore[union-attr]
            assert await world.alive() == set()

    asyncio.run(scenario())


def test_a_zone_that_does_not_say_whether_it_has_room_leaves_it_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            provider = world.provider()
            compute = provider.provisioner
            provider._compute._operations.patience = 0.2  # type: ignore[attr-defined]
            world.faults.next("instances.insert", Slow(waits=10_000_000))
            with pytest.raises(Unsure, match="whether it has room"):
                await compute.launch(order())
            found = await compute.find(order())
            assert found is not None
            assert found.state is MachineState.PENDING
            [ref] = await world.alive()
            assert (await compute.launch(order())).ref == ref
            world.faults.next("instances.insert", Slow(waits=10_000_000, granted=True))
            granted = await compute.launch(order("n-2"))
            assert granted.state is MachineState.PENDING, "what it waits for now is only its start"

    asyncio.run(scenario())


def test_an_operation_that_fails_late_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            world.faults.next("instances.insert", Fails("INTERNAL_ERROR", 500, waits=4))
            with pytest.raises(Refused, match="INTERNAL_ERROR") as refused:
                await compute.launch(order())
            assert refused.value.kind is Kind.CAPACITY, "nothing is there, and another zone may do better"
            assert await world.alive() == set()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault",
    [Error(503, "backendError"), Error(403, "rateLimitExceeded"), Dropped(), Gateway(502), Cut()],
    ids=str,
)
def test_what_goes_wrong_while_waiting_is_no_answer_to_the_order(tmp_path: Path, fault: Fault) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            world.faults.next("zoneOperations.wait", fault, fault)
            machine = await compute.launch(order())
            assert machine.state is MachineState.RUNNING
            world.faults.next(
                "instances.get", fault, fault
            )  # twice: a broken connection is tried anew when nothing is changed
            with pytest.raises(Unsure):
                await compute.launch(order("n-2"))
            assert len(await world.alive()) == 2

    asyncio.run(scenario())


def test_an_insert_under_way_is_not_denied(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            provider = world.provider()
            compute = provider.provisioner
            provider._compute._operations.patience = 0.0  # type: ignore[attr-defined]
            world.faults.next("instances.insert", Slow(waits=1_000))
            with pytest.raises(Unsure):
                await compute.launch(order())
            hidden = world.fake.engine.instances.copy()
            world.fake.engine.instances.clear()  # accepted, and not shown yet
            with pytest.raises(Unsure, match="under way"):
                await compute.find(order())
            world.fake.engine.instances.update(hidden)
            assert await compute.find(order()) is not None

    asyncio.run(scenario())


def test_a_machine_that_was_made_for_an_order_and_is_gone_is_not_made_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            machine = await compute.launch(order())
            await compute.terminate([machine.ref])
            assert await world.alive() == set()
            again = await compute.launch(order())
            assert (again.ref, again.state) == (machine.ref, MachineState.ENDED)
            assert await world.alive() == set()

    asyncio.run(scenario())


def test_a_listing_is_whole_or_says_what_it_lacks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            refs = {(await compute.launch(order(f"n-{at}", zone))).ref for at, zone in enumerate(world.zones)}
            listing = await compute.listing(CLUSTER)
            assert {machine.ref for machine in listing.machines} == refs
            assert listing.complete
            assert listing.problems == ()
            world.fake.page = 2  # several pages, and several of one zone
            refs |= {(await compute.launch(order(f"m-{at}", "us-central1-a"))).ref for at in range(3)}
            listing = await compute.listing(CLUSTER)
            assert {machine.ref for machine in listing.machines} == refs
            assert len(listing.machines) == len(refs), "each is shown once"
            assert listing.complete
            for warning in (False, True):
                world.faults.next("instances.aggregatedList", Partial("us-central1-a", warning))
                listing = await compute.listing(CLUSTER)
                assert not listing.complete
                assert "us-central1-a" in listing.problems[0]
            world.faults.next("instances.aggregatedList", None, Gateway(502))
            listing = await compute.listing(CLUSTER)
            assert not listing.complete, "the first page is not the whole"
            assert {machine.ref for machine in listing.machines} == refs, "each zone was asked on its own"

    asyncio.run(scenario())


def test_zones_that_answer_are_shown_while_another_is_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            for zone in ("europe-west4-a", "us-central1-a"):
                await compute.launch(order(f"n-{zone}", zone))
            world.faults.always("instances.aggregatedList", Error(503, "backendError"))
            world.faults.always("instances.list", Error(503, "backendError", "zone down"), zone="us-central1-a")
            listing = await compute.listing(CLUSTER)
            assert [machine.zone for machine in listing.machines] == ["europe-west4-a"]
            assert not listing.complete
            assert any("zone down" in problem for problem in listing.problems)
            world.faults.always("instances.list", Error(503, "backendError"))
            with pytest.raises(Unsure):
                await compute.listing(CLUSTER)
            world.faults.clear()
            world.faults.always("instances.aggregatedList", Error(403, "forbidden"))
            with pytest.raises(Refused):
                await compute.listing(CLUSTER)

    asyncio.run(scenario())


def test_ended_machines_are_gone_and_ending_them_again_is_fine(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            refs = [(await compute.launch(order(f"n-{at}", zone))).ref for at, zone in enumerate(world.zones)]
            await compute.terminate([*refs[:3], f"us-central1-a/styx-{GONE}"])
            assert await world.alive() == set(refs[3:])
            await compute.terminate(refs[:3])
            await compute.terminate([])
            listing = await compute.listing(CLUSTER)
            assert {machine.ref for machine in listing.machines} == set(refs[3:])
            assert listing.complete
            ids = [query["requestId"] for query in asked(world, "instances.delete")]
            assert len(set(ids)) == len(ids), "an earlier failure must not be repeated for a new request"

    asyncio.run(scenario())


def test_every_machine_is_asked_for_before_the_first_error_is_raised(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            refs = [(await compute.launch(order(f"n-{at}", zone))).ref for at, zone in enumerate(world.zones)]
            world.faults.always("instances.delete", Error(500, "internalError"), zone="us-central1-a")
            with pytest.raises(Unsure):
                await compute.terminate(refs)
            assert await world.alive() == {ref for ref in refs if ref.startswith("us-central1-a/")}
            world.faults.clear()
            world.faults.next("instances.delete", Fails("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", 400))
            [ref] = await world.alive()
            await compute.terminate([ref])  # accepted; that it fails is for a listing to say
            assert await world.alive() == {ref}
            await compute.terminate([ref])
            assert await world.alive() == set()
            for wrong in ("us-central1-a", "i-0abc", "us-central1-a/", "a/b/c"):
                with pytest.raises(Refused, match="names no machine"):
                    await compute.terminate([wrong])

    asyncio.run(scenario())


def test_a_machine_that_is_being_made_cannot_be_ended_yet_and_that_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            provider = world.provider()
            provider._compute._operations.patience = 0.0  # type: ignore[attr-defined]
            world.faults.next("instances.insert", Slow(waits=1_000, granted=True))
            machine = await provider.provisioner.launch(order())
            with pytest.raises(Refused) as refused:
                await provider.provisioner.terminate([machine.ref])
            assert refused.value.kind is Kind.THROTTLED
            assert refused.value.retry_after > 0
            await world.alive()
            await provider.provisioner.terminate([machine.ref])
            assert await world.alive() == set()

    asyncio.run(scenario())


def test_stopped_machines_are_shown_as_stopped_and_start_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            machine = await compute.launch(order())

            async def state() -> MachineState:
                [one] = (await compute.listing(CLUSTER)).machines
                return one.state

            await compute.stop([machine.ref])
            assert await state() is MachineState.STOPPED
            assert asked(world, "instances.stop")[0]["discardLocalSsd"] == "true"
            await compute.start([machine.ref])
            assert await state() is MachineState.RUNNING
            await world.power_off(machine.ref)
            assert await state() is MachineState.STOPPED, "its disk still costs"
            await compute.terminate([machine.ref])
            with pytest.raises(Refused, match="was not found"):
                await compute.start([machine.ref])

    asyncio.run(scenario())


def test_a_machine_seen_by_an_old_listing_is_no_harm(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            machine = await compute.launch(order())
            before = await compute.listing(CLUSTER)
            await compute.terminate([machine.ref])
            world.faults.next("instances.aggregatedList", Stale())
            assert await compute.listing(CLUSTER) == before
            world.faults.next("instances.aggregatedList", Stale(empty=True))
            assert (await compute.listing(CLUSTER)).machines == ()

    asyncio.run(scenario())


def test_a_hundred_machines_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            compute = world.provider().provisioner
            orders = [order(f"n-{at}", world.zones[at % len(world.zones)]) for at in range(100)]
            machines: list[Machine] = await asyncio.gather(*(compute.launch(one) for one in orders))
            assert len({machine.ref for machine in machines}) == 100
            assert world.fake.granted == 1, "one access token serves all"
            await compute.terminate([machine.ref for machine in machines])
            assert await world.alive() == set()

    asyncio.run(scenario())


def test_a_call_that_is_cancelled_or_closed_leaves_nothing_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            provider = world.provider()
            held = Held()
            world.faults.next("instances.insert", held)
            call = asyncio.ensure_future(provider.provisioner.launch(order()))
            await held.reached.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            held.release()
            assert await provider.provisioner.find(order()) is not None
            await provider.close()
            with pytest.raises(Refused, match="closed"):
                await provider.provisioner.listing(CLUSTER)

    asyncio.run(scenario())
