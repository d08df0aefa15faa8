"""What every Provisioner promises, as tests. A test file subclasses ProvisionerContract and says how to open a world:

    class TestFake(ProvisionerContract):
        def world(self): ...        # an async context manager that yields a CloudWorld

A cloud that can be broken passes FaultyProvisionerContract, which asks for faults by name. A cloud that does not know idempotency tokens
overrides the one test about them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, ClassVar, Protocol

import pytest

from styx.core.offers import Offer
from styx.providers.base import Kind, Machine, MachineState, Order, Promises, Provisioner, Refused, Unsure

__all__ = ["CLUSTER", "CloudWorld", "FaultyProvisionerContract", "ProvisionerContract"]

CLUSTER = "c0ffee00c0ffee00"


class CloudWorld(Protocol):
    """A cloud with a provisioner in front, and the means to break it."""

    @property
    def provisioner(self) -> Provisioner: ...

    @property
    def promises(self) -> Promises: ...

    def offer(self) -> Offer:
        """One that exists there and has room for one more machine."""
        ...

    async def alive(self) -> set[str]:
        """The refs of what really exists and costs, whatever listings show."""
        ...

    def fault(self, call: str, what: str) -> None:
        """Break the next "launch" (of the last offer), "terminate" or "listing": by a Kind, "lost" (done, no answer), "dropped" (not done,
        no answer), or for a listing "partial"."""
        ...

    async def settle(self) -> None:
        """Until listings show what happened before."""
        ...

    def user_data(self, token: str) -> str:
        """What a machine there can be started with."""
        ...


class ProvisionerContract:
    """`many` are as many machines as a world has room for at once, where that is little."""

    many: ClassVar[int] = 12

    def world(self) -> AbstractAsyncContextManager[CloudWorld]:
        raise NotImplementedError

    def run(self, body: Callable[[CloudWorld], Awaitable[None]]) -> None:
        async def opened() -> None:
            async with asyncio.timeout(60), self.world() as world:
                await body(world)

        asyncio.run(opened())

    def test_a_machine_is_marked_listed_found_and_ended(self) -> None:
        async def body(world: CloudWorld) -> None:
            cloud, order = world.provisioner, order_for(world, "a")
            assert await cloud.find(order) is None
            machine = await cloud.launch(order)
            assert (machine.token, machine.cluster) == (order.token, CLUSTER)
            assert machine.instance_type == order.offer.instance_type
            assert await world.alive() == {machine.ref}
            await world.settle()
            (listed,) = _living((await cloud.listing(CLUSTER)).machines)
            assert (listed.ref, listed.token, listed.cluster) == (machine.ref, order.token, CLUSTER)
            found = await cloud.find(order)
            assert found is not None
            assert found.ref == machine.ref
            await cloud.terminate([machine.ref])
            await world.settle()
            assert await world.alive() == set()
            listing = await cloud.listing(CLUSTER)
            assert listing.complete
            assert not _living(listing.machines)
            assert await cloud.find(order) is None

        self.run(body)

    def test_another_cluster_is_not_listed_and_everyone_is_when_asked_for(self) -> None:
        async def body(world: CloudWorld) -> None:
            cloud = world.provisioner
            mine = await cloud.launch(order_for(world, "a"))
            other = await cloud.launch(order_for(world, "a", cluster="0123456789abcdef"))
            assert mine.ref != other.ref
            await world.settle()
            assert [machine.ref for machine in (await cloud.listing(CLUSTER)).machines] == [mine.ref]
            everyone = await cloud.listing("")
            assert {machine.ref for machine in everyone.machines} == {mine.ref, other.ref}
            await cloud.terminate([mine.ref, other.ref])

        self.run(body)

    def test_the_same_order_again_is_the_same_machine(self) -> None:
        async def body(world: CloudWorld) -> None:
            order = order_for(world, "a")
            first = await world.provisioner.launch(order)
            again = await asyncio.gather(*(world.provisioner.launch(order) for _ in range(3)))
            assert {machine.ref for machine in again} == {first.ref}
            assert await world.alive() == {first.ref}

        self.run(body)

    def test_the_same_order_several_times_at_once_is_one_machine(self) -> None:
        async def body(world: CloudWorld) -> None:
            order = order_for(world, "a")
            machines = await asyncio.gather(*(world.provisioner.launch(order) for _ in range(3)))
            assert {machine.ref for machine in machines} == await world.alive()
            assert len(await world.alive()) == 1

        self.run(body)

    def test_many_at_once(self) -> None:
        async def body(world: CloudWorld) -> None:
            orders = [order_for(world, f"n-{number}") for number in range(self.many)]
            machines = await asyncio.gather(*map(world.provisioner.launch, orders))
            refs = {machine.ref for machine in machines}
            assert len(refs) == len(orders)
            assert await world.alive() == refs
            await world.settle()
            listing = await world.provisioner.listing(CLUSTER)
            assert {machine.ref for machine in _living(listing.machines)} == refs
            await world.provisioner.terminate(sorted(refs))
            await world.settle()
            assert await world.alive() == set()

        self.run(body)


class FaultyProvisionerContract(ProvisionerContract):
    """The same, and what holds when calls fail, for a cloud that can be broken on purpose. `kinds` are the answers it has."""

    kinds: ClassVar[tuple[Kind, ...]] = (Kind.CAPACITY, Kind.QUOTA, Kind.THROTTLED, Kind.DENIED)

    def test_a_no_is_told_apart_and_leaves_nothing(self) -> None:
        async def body(world: CloudWorld) -> None:
            for kind in self.kinds:
                order = order_for(world, f"a-{kind}")
                world.fault("launch", kind)
                with pytest.raises(Refused) as refused:
                    await world.provisioner.launch(order)
                assert refused.value.kind is kind
                assert refused.value.message
                assert await world.alive() == set()

        self.run(body)

    def test_an_answer_that_was_lost_is_found_by_looking_and_by_asking_again(self) -> None:
        async def body(world: CloudWorld) -> None:
            order = order_for(world, "a")
            world.fault("launch", "lost")
            with pytest.raises(Unsure):
                await world.provisioner.launch(order)
            (ref,) = await world.alive()
            await world.settle()
            found = await world.provisioner.find(order)
            assert found is not None
            assert found.ref == ref
            if world.promises.idempotent:
                assert (await world.provisioner.launch(order)).ref == ref
            assert await world.alive() == {ref}

        self.run(body)

    def test_a_call_that_never_arrived_is_unsure_too_and_leaves_nothing(self) -> None:
        async def body(world: CloudWorld) -> None:
            order = order_for(world, "a")
            world.fault("launch", "dropped")
            with pytest.raises(Unsure):
                await world.provisioner.launch(order)
            assert await world.alive() == set()
            machine = await world.provisioner.launch(order)
            assert await world.alive() == {machine.ref}

        self.run(body)

    def test_ending_twice_is_fine_whether_or_not_the_answer_came(self) -> None:
        async def body(world: CloudWorld) -> None:
            cloud = world.provisioner
            one, two = await cloud.launch(order_for(world, "a")), await cloud.launch(order_for(world, "b"))
            await cloud.terminate([one.ref])
            await cloud.terminate([one.ref])
            world.fault("terminate", "lost")
            with suppress(Unsure):  # or it asked once more by itself, which is as good
                await cloud.terminate([two.ref])
            await cloud.terminate([one.ref, two.ref])
            await world.settle()
            assert await world.alive() == set()

        self.run(body)

    def test_half_an_answer_is_no_complete_listing(self) -> None:
        async def body(world: CloudWorld) -> None:
            machine = await world.provisioner.launch(order_for(world, "a"))
            await world.settle()
            world.fault("listing", "partial")
            try:
                listing = await world.provisioner.listing(CLUSTER)
            except (Refused, Unsure):
                pass
            else:
                assert not listing.complete
                assert listing.problems
            whole = await world.provisioner.listing(CLUSTER)
            assert whole.complete
            assert [listed.ref for listed in _living(whole.machines)] == [machine.ref]

        self.run(body)


def order_for(world: CloudWorld, name: str, **more: Any) -> Order:
    more.setdefault("cluster", CLUSTER)
    token = f"styx-{more['cluster']}-{name}"
    return Order(token=token, offer=world.offer(), user_data=world.user_data(token), **more)


def _living(machines: tuple[Machine, ...]) -> list[Machine]:
    return [machine for machine in machines if machine.state is not MachineState.ENDED]
