"""EC2 through the SDK over HTTP, against moto behind the fault proxy."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest
from aws_proxy import ARM_IMAGE, AwsProxy, Cut, Dropped, Error, Fault, Gateway, Held, Lost, Stale
from aws_world import AwsWorld, context

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.providers.aws import make
from styx.providers.aws.clients import Clients
from styx.providers.aws.ec2 import Ec2, client_token
from styx.providers.aws.errors import AwsRefused
from styx.providers.aws.ground import Ground
from styx.providers.aws.settings import read
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG, Kind, MachineState, Order, Refused, Unsure

CLUSTER = "c0ffee" * 5 + "00"
OTHER = "0" * 32


def order(token: str = "n-1", zone: str = "us-east-1a", kind: str = "m5.large", **more: object) -> Order:
    offer = Offer("aws", zone[:-1] if zone else "us-east-1", zone, kind, False, 96_000, Resources())
    fields = {"offer": offer, "cluster": CLUSTER, "user_data": "#!/bin/sh\necho hello\n", **more}
    return Order(token, **fields)  # type: ignore[arg-type]


def spot(token: str) -> Order:
    return order(token, offer=Offer("aws", "us-west-2", "us-west-2b", "m6g.large", True, 40_000, Resources(), "arm64"))


def test_a_machine_carries_all_that_keeps_it_from_leaking_from_its_first_moment() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider(tags={"team": "search"}).provisioner
            machine = await ec2.launch(order(disk=50 << 30))
            assert (machine.token, machine.cluster) == ("n-1", CLUSTER)
            assert machine.region == "us-east-1"
            assert machine.zone == "us-east-1a"
            assert machine.state in {MachineState.PENDING, MachineState.RUNNING}
            assert machine.launched_at > 1_600_000_000_000
            tags = (await world.machines())[machine.ref][1]
            assert tags == {CLUSTER_TAG: CLUSTER, TOKEN_TAG: "n-1", "Name": "styx-n-1", "team": "search"}
            assert await world.user_data(machine.ref) == "#!/bin/sh\necho hello\n"
            [asked] = [call.fields for call in world.proxy.calls if call.action == "RunInstances"]
            assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
            assert asked["MetadataOptions.HttpTokens"] == "required"
            assert asked["MetadataOptions.HttpPutResponseHopLimit"] == "1"
            assert asked["BlockDeviceMapping.1.Ebs.VolumeSize"] == "70", "50, a tenth more, and the image's 15"
            assert asked["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
            assert {asked[f"TagSpecification.{n}.ResourceType"] for n in (1, 2)} == {"instance", "volume"}
            assert len(asked["ClientToken"]) <= 64
            assert not any(key.startswith("InstanceMarketOptions") for key in asked)
            group = await world.ask(
                "us-east-1", Action="DescribeSecurityGroups", **{"GroupId.1": asked["SecurityGroupId.1"]}
            )
            assert group.find("securityGroupInfo/item/ipPermissions/item") is None, "nothing may come in"
            volumes = await world.ask("us-east-1", Action="DescribeVolumes")
            assert "n-1" in [tag.text for tag in volumes.iter("value")]

    asyncio.run(scenario())


def test_a_spot_machine_is_asked_for_once_and_ends_when_it_is_taken_back() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            machine = await world.provider().provisioner.launch(spot("n-1"))
            assert machine.spot
            assert machine.zone == "us-west-2b"
            [asked] = [call.fields for call in world.proxy.calls if call.action == "RunInstances"]
            assert asked["ImageId"] == ARM_IMAGE, "the image is for the machine's architecture"
            assert asked["InstanceMarketOptions.MarketType"] == "spot"
            assert asked["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
            assert asked["InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior"] == "terminate"

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", [Lost(), Gateway(502, done=True), Cut()], ids=["lost", "gateway", "cut"])
def test_an_answer_lost_after_success_gives_the_same_machine_when_asked_again(fault: Fault) -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            world.faults.next("RunInstances", fault)
            with pytest.raises(Unsure):
                await ec2.launch(order())
            asked = [call for call in world.proxy.calls if call.action == "RunInstances"]
            assert len(asked) == 1, "the SDK does not repeat it by itself"
            [ref] = await world.alive()
            found = await ec2.find(order())
            assert found is not None
            assert found.ref == ref
            again = await ec2.launch(order())
            assert again.ref == ref
            assert await world.alive() == {ref}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault", [Dropped(), Gateway(503), Error("InternalError", 500)], ids=["dropped", "gateway", "500"]
)
def test_where_nobody_knows_what_happened_nothing_is_promised(fault: Fault) -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            world.faults.next("RunInstances", fault)
            with pytest.raises(Unsure):
                await ec2.launch(order())
            assert await ec2.find(order()) is None
            assert await world.alive() == set()
            await ec2.launch(order())
            assert len(await world.alive()) == 1

    asyncio.run(scenario())


def test_orders_at_once_with_the_same_token_make_one_machine() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            one, two = world.provider().provisioner, world.provider().provisioner
            machines = await asyncio.gather(*(ec2.launch(order()) for ec2 in (one, two, one, two)))
            assert len({machine.ref for machine in machines}) == 1
            assert len(await world.alive()) == 1

    asyncio.run(scenario())


def test_one_token_of_two_clusters_makes_two_machines() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            ours, theirs = await ec2.launch(order()), await ec2.launch(order(cluster=OTHER))
            assert ours.ref != theirs.ref
            assert [machine.ref for machine in (await ec2.listing(OTHER)).machines] == [theirs.ref]

    asyncio.run(scenario())


def test_a_token_spent_by_an_earlier_form_of_the_order_leads_to_its_machine() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            before = await world.provider().provisioner.launch(order())
            # The newest image is another one by the time of the second call.
            changed = world.provider(images={"x86_64": "ami-0b301ce3ce347599c"}).provisioner
            assert (await changed.launch(order())).ref == before.ref
            # And a server that was upgraded names another archive.
            upgraded = order(user_data="#!/bin/sh\n# another archive\n")
            assert (await world.provider().provisioner.launch(upgraded)).ref == before.ref
            world.faults.always("DescribeInstances", Stale(empty=True))
            with pytest.raises(Unsure, match="IdempotentParameterMismatch") as doubt:
                await world.provider(disk="31GiB").provisioner.launch(order())
            assert doubt.value.spent
            assert await world.alive() == {before.ref}

    asyncio.run(scenario())


def test_what_the_cloud_refuses_is_told_apart() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            faults = world.faults
            faults.always("RunInstances", Error("InsufficientInstanceCapacity", 500), zone="us-east-1a")
            faults.always("RunInstances", Error("Unsupported", 400), zone="us-east-1b")
            faults.always("RunInstances", Error("VcpuLimitExceeded", 400), region="us-west-2")
            kinds = {}
            for zone in ("us-east-1a", "us-east-1b", "us-west-2a"):
                with pytest.raises(Refused) as refused:
                    await ec2.launch(order(f"n-{zone}", zone))
                kinds[zone] = refused.value.kind
                assert "made up by the test" in refused.value.message
            assert kinds == {"us-east-1a": Kind.CAPACITY, "us-east-1b": Kind.INVALID, "us-west-2a": Kind.QUOTA}
            assert (await ec2.launch(order("n-c", "us-east-1c"))).zone == "us-east-1c"
            faults.next("RunInstances", Error("RequestLimitExceeded", 503, retry_after="7"))
            with pytest.raises(Refused) as refused:
                await ec2.launch(order("n-d", "us-east-1c"))
            assert (refused.value.kind, refused.value.retry_after) == (Kind.THROTTLED, 7)
            assert len(await world.alive()) == 1

    asyncio.run(scenario())


def test_what_does_not_exist_is_invalid_and_says_what_to_set() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            for wrong in (
                order(kind="m5.gigantic"),
                order(image="ami-00000000000000000"),
                order(image="/no/such/parameter"),
                order(image=ARM_IMAGE),
                order(offer=Offer("aws", "eu-west-1", "", "m5.large", False, 1, Resources())),
            ):
                with pytest.raises(Refused) as refused:
                    await ec2.launch(wrong)
                assert refused.value.kind is Kind.INVALID, refused.value.message
            with pytest.raises(Refused, match="no region") as refused:
                await make({}, context({})).provisioner.launch(order())  # type: ignore[union-attr]
            assert "regions" in refused.value.hint
            assert await world.alive() == set()

    asyncio.run(scenario())


def test_a_group_that_was_deleted_is_made_again_and_two_servers_make_one() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2, other = world.provider().provisioner, world.provider().provisioner
            machines = await asyncio.gather(ec2.launch(order("n-1")), other.launch(order("n-2")))
            groups = await world.ask("us-east-1", Action="DescribeSecurityGroups")
            assert [name.text for name in groups.iter("groupName")].count("styx") == 1
            [group] = [
                item.findtext("groupId", "")
                for item in groups.iterfind("securityGroupInfo/item")
                if item.findtext("groupName") == "styx"
            ]
            await ec2.terminate([machine.ref for machine in machines])
            await world.ask("us-east-1", Action="DeleteSecurityGroup", GroupId=group)
            await ec2.launch(order("n-3"))
            assert len(await world.alive()) == 1

    asyncio.run(scenario())


def small_pages(world: AwsWorld) -> tuple[Ec2, Clients]:
    settings = read(world.settings, {})
    clients = Clients(settings, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    return Ec2(clients, settings, Ground(clients, settings, lambda: 0), page=5), clients


def test_a_listing_has_every_page_of_every_region_and_what_ended_too() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2, clients = small_pages(world)
            made = [await ec2.launch(order(f"n-{n}", zone)) for n in range(6) for zone in ("us-east-1a", "us-west-2a")]
            await ec2.launch(order("n-x", cluster=OTHER))
            await ec2.terminate([made[0].ref, made[1].ref])
            listing = await ec2.listing(CLUSTER)
            assert listing.complete
            assert not listing.problems
            assert {machine.ref for machine in listing.machines} == {machine.ref for machine in made}
            states = {machine.ref: machine.state for machine in listing.machines}
            assert {ref for ref, state in states.items() if state is MachineState.ENDED} == {made[0].ref, made[1].ref}
            assert len((await ec2.listing("")).machines) == 13
            assert sum(call.action == "DescribeInstances" for call in world.proxy.calls) > 4, "it did page"
            await clients.close()

    asyncio.run(scenario())


def test_an_error_in_one_region_or_on_a_later_page_makes_a_listing_incomplete() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2, clients = small_pages(world)
            for number in range(7):
                await ec2.launch(order(f"n-{number}"))
            await ec2.launch(order("n-w", "us-west-2a"))
            world.faults.always("DescribeInstances", Error("InternalError", 500), region="us-west-2")
            listing = await ec2.listing(CLUSTER)
            assert not listing.complete
            assert len(listing.machines) == 7
            assert "us-west-2" in listing.problems[0]
            world.faults.always("DescribeInstances", Dropped())
            with pytest.raises(Unsure):
                await ec2.listing(CLUSTER)
            await clients.close()

    asyncio.run(scenario())


def test_a_second_page_that_fails_is_not_taken_for_the_end() -> None:
    async def scenario() -> None:
        async with AwsWorld(("us-east-1",)) as world:
            ec2, clients = small_pages(world)
            for number in range(7):
                await ec2.launch(order(f"n-{number}"))
            for fault in (Error("RequestLimitExceeded", 503), Gateway(), Cut(), Dropped()):
                world.faults.next("DescribeInstances", fault, when=lambda asked: "NextToken" in asked.fields)
                first = sum(call.action == "DescribeInstances" for call in world.proxy.calls)
                # The first page passes, since the fault waits for the second.
                with pytest.raises((Refused, Unsure)):
                    await ec2.listing(CLUSTER)
                assert sum(call.action == "DescribeInstances" for call in world.proxy.calls) == first + 2
            await clients.close()

    asyncio.run(scenario())


def test_ending_leaves_out_what_is_gone_and_asks_every_region() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            east, west = await ec2.launch(order()), await ec2.launch(order("n-2", "us-west-2a"))
            gone = "us-east-1/i-0123456789abcdef0"
            world.faults.next(
                "TerminateInstances", Error("RequestLimitExceeded", 503), when=lambda a: a.region == "us-east-1"
            )
            with pytest.raises(Refused) as refused:
                await ec2.terminate([gone, east.ref, west.ref])
            assert refused.value.kind is Kind.THROTTLED
            assert await world.alive() == {east.ref}, "the other region was asked all the same"
            await ec2.terminate([gone, east.ref, west.ref])
            assert await world.alive() == set()
            await ec2.terminate([gone, east.ref])
            await ec2.terminate([])
            for wrong in ("i-1", "us-east-1/vol-1", ""):
                with pytest.raises(Refused):
                    await ec2.terminate([wrong])
            assert await ec2.find(order()) is None, "it has ended"

    asyncio.run(scenario())


def test_a_machine_that_is_protected_keeps_no_other_alive() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            refs = [(await ec2.launch(order(f"n-{number}"))).ref for number in range(3)]
            protected = refs[1].partition("/")[2]
            world.faults.always(
                "TerminateInstances", Error("OperationNotPermitted", 400), when=lambda a: protected in a.fields.values()
            )
            with pytest.raises(Refused) as refused:
                await ec2.terminate(refs)
            assert refused.value.kind is Kind.DENIED
            assert await world.alive() == {refs[1]}

    asyncio.run(scenario())


def test_a_question_before_the_launch_that_fails_leaves_no_doubt() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            for action in ("DescribeImages", "DescribeVpcs", "DescribeSecurityGroups", "CreateSecurityGroup"):
                world.faults.next(action, Dropped())
                with pytest.raises(Refused) as refused:
                    await ec2.launch(order())
                assert refused.value.kind is Kind.THROTTLED
            await ec2.launch(order())
            assert len(await world.alive()) == 1

    asyncio.run(scenario())


def test_an_end_whose_answer_was_lost_is_unsure_and_may_be_repeated() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            machine = await ec2.launch(order())
            world.faults.next("TerminateInstances", Lost())
            with pytest.raises(Unsure):
                await ec2.terminate([machine.ref])
            await ec2.terminate([machine.ref])
            assert await world.alive() == set()

    asyncio.run(scenario())


def test_stopping_and_starting_keeps_the_machine() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            machine = await ec2.launch(order())
            await ec2.stop([machine.ref])
            [stopped] = (await ec2.listing(CLUSTER)).machines
            assert stopped.state is MachineState.STOPPED
            await ec2.start([machine.ref])
            found = await ec2.find(order())
            assert found is not None
            assert (found.ref, found.state) == (machine.ref, MachineState.RUNNING)
            with pytest.raises(Refused) as refused:
                await ec2.start(["us-east-1/i-0123456789abcdef0"])
            assert refused.value.kind is Kind.INVALID

    asyncio.run(scenario())


def test_a_machine_whose_tags_were_taken_off_is_found_by_the_client_token() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            machine = await ec2.launch(order())
            fields = {"ResourceId.1": machine.ref.partition("/")[2], "Tag.1.Key": TOKEN_TAG}
            await world.ask("us-east-1", Action="DeleteTags", **fields)
            found = await ec2.find(order())
            assert found is not None
            assert found.ref == machine.ref
            world.faults.next("DescribeInstances", Dropped())
            with pytest.raises(Unsure):
                await ec2.find(order())

    asyncio.run(scenario())


def test_an_answer_that_does_not_come_is_unsure() -> None:
    async def scenario() -> None:
        async with AwsWorld() as world:
            clients = Clients(read(world.settings, {}), {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
            await clients.call("ec2", "us-east-1", "describe_vpcs")
            held = Held()
            world.faults.next("DescribeVpcs", held)
            with pytest.raises(Unsure):
                await clients.call("ec2", "us-east-1", "describe_vpcs", limit=0.2)
            held.release()
            await clients.close()

    asyncio.run(scenario())


def test_where_nobody_listens_nothing_was_sent() -> None:
    async def scenario() -> None:
        async with AwsProxy("http://127.0.0.1:1") as proxy:
            url = proxy.url
        provider = make({"regions": ["us-east-1"], "endpoint_url": url}, context())
        for call in (
            lambda e: e.launch(order()),
            lambda e: e.listing(CLUSTER),
            lambda e: e.terminate(["us-east-1/i-1"]),
        ):
            with pytest.raises(Refused) as refused:
                await call(provider.provisioner)
            assert refused.value.kind is Kind.UNREACHABLE
        await provider.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(6))
def test_whatever_goes_wrong_one_order_is_one_machine_and_none_is_left(seed: int) -> None:
    """The caller's part as the contract has it: look, and call again with the same token; end what a listing shows."""

    async def settle(ec2: Ec2, asked: Order) -> str | None:
        for _ in range(12):
            try:
                return (await ec2.launch(asked)).ref
            except Refused as error:
                if error.kind in {Kind.CAPACITY, Kind.QUOTA, Kind.INVALID}:
                    return None
            except Unsure:
                try:
                    found = await ec2.find(asked)
                except (Refused, Unsure):
                    continue
                if found is not None:
                    return found.ref
        raise AssertionError("no end of it")

    async def scenario() -> None:
        dice = random.Random(seed)
        pool: list[Fault] = [
            Lost(), Dropped(), Gateway(), Gateway(504, done=True), Cut(), Error("InternalError", 500),
            Error("RequestLimitExceeded", 503), Error("InsufficientInstanceCapacity", 500), Stale(),
        ]  # fmt: skip
        async with AwsWorld() as world:
            ec2 = world.provider().provisioner
            for action in ("RunInstances", "DescribeInstances", "TerminateInstances", "DescribeSecurityGroups"):
                usable = [f for f in pool if not isinstance(f, Stale) or action == "DescribeInstances"]
                world.faults.next(action, *dice.choices(usable, k=dice.randrange(4)))
            orders = [order(f"n-{n}", dice.choice(("us-east-1a", "us-west-2b"))) for n in range(3)]
            refs = await asyncio.gather(*(settle(ec2, asked) for asked in orders))
            alive = await world.alive()
            assert {ref for ref in refs if ref} <= alive
            by_token = [tags[TOKEN_TAG] for ref, (_, tags) in (await world.machines()).items() if ref in alive]
            assert len(by_token) == len(set(by_token)), "no order has two machines"
            for _ in range(12):
                try:
                    listing = await ec2.listing(CLUSTER)
                    await ec2.terminate([m.ref for m in listing.machines if m.state is not MachineState.ENDED])
                except (Refused, Unsure):
                    continue
                if listing.complete and not await world.alive():
                    break
            assert await world.alive() == set()

    asyncio.run(scenario())


def test_client_tokens_fit_and_differ() -> None:
    long = "n-" + "9" * 37
    orders = [order(), order(cluster=OTHER), order(f"{long}1"), order(f"{long}2"), order(f"{long}2", cluster=OTHER)]
    tokens = {client_token(asked) for asked in orders}
    assert len(tokens) == 5
    assert all(len(token) <= 64 and token.isascii() for token in tokens)


def test_a_refusal_carries_the_code_of_aws() -> None:
    error = AwsRefused(Kind.CAPACITY, "none left", aws="InsufficientInstanceCapacity")
    assert (error.kind, error.aws, error.code) == (Kind.CAPACITY, "InsufficientInstanceCapacity", "refused-by-provider")
    assert msgspec.json.encode(error.kind) == b'"capacity"'
