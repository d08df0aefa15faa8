"""Offers, machines, checks and costs of a control plane with a provider behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from runtime_kit import run

from styx.compose import ControlPlane
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import AmbiguousId, NoFit, NotFound, SpecError, UsageError
from styx.protocol.places import InstanceView, OffersQuery
from styx.providers.base import Machine, Order, Provider
from styx.providers.catalogs import Catalogs, Known
from styx.providers.fake import FakeCloud, FakeProvider
from styx.runtime.clock import BootClock, VirtualClock
from styx.runtime.offering import KEPT
from styx.runtime.provisioner import Provisioner
from styx.runtime.shell import ShellSettings
from styx.runtime.vault import Vault

MOMENT = 0.005
GPU = Resources(1_000, 0, 0, (("A100", 1),))


class Behind:
    """A plane, and the cloud behind it."""

    def __init__(self, plane: ControlPlane, cloud: FakeCloud, provider: FakeProvider) -> None:
        self.plane = plane
        self.cloud = cloud
        self.provider = provider

    async def until(self, what: Callable[[list[InstanceView]], bool], *, gone: bool = False) -> list[InstanceView]:
        """The instances, once they are so."""
        while not what(found := await self.plane.instances(gone=gone)):  # noqa: ASYNC110 - the cloud gives no event
            await asyncio.sleep(MOMENT)
        return found


async def until(what: Callable[[], object]) -> None:
    while not what():  # noqa: ASYNC110 - neither the core nor the cloud gives an event of it
        await asyncio.sleep(MOMENT)


async def _archives() -> tuple[tuple[str, str, str], ...]:
    return (("cp311", "x86_64", "0" * 64),)


@asynccontextmanager
async def behind(home: Path, *, url: str = "http://styx", unusable: str = "") -> AsyncIterator[Behind]:
    clock = BootClock()
    cloud = FakeCloud(clock.now, asyncio.sleep)
    provider = FakeProvider(cloud)
    provider.unusable = unusable

    def put(plane: ControlPlane, vault: Vault) -> None:
        Provisioner.open(plane.shell, {"fake": provider}, home, vault, _archives, public_url=url)

    core = CoreSettings(list_every=20, list_soon=10, list_idle=20, tend_every=10, settle=0)
    async with ControlPlane.open(
        home, agent=False, places=put, clock=clock, settings=ShellSettings(core=core)
    ) as plane:
        found = Behind(plane, cloud, provider)
        places = plane.shell.engine.places
        await until(lambda: places.catalog.offers or places.catalog.barred)
        yield found


def with_a_cloud(body: Callable[[Behind], Coroutine[Any, Any, None]], home: Path, **options: Any) -> None:
    async def main() -> None:
        async with behind(home, **options) as found:
            await body(found)

    run(main())


def gpu_job(**more: Any) -> JobSpec:
    return JobSpec("train", (TaskSpec("a", ("true",), resources=GPU),), **more)


def test_a_machine_is_shown_from_its_order_to_its_end(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        made = await b.plane.submit_spec(gpu_job(budget=50_000_000))
        (up,) = await b.until(lambda found: bool(found) and found[0].cloud == "running")
        assert (up.provider, up.instance_type, up.zone, up.spot, up.price) == ("fake", "gpu", "fake-1a", False, 3.0)
        assert (up.state, up.job_id, up.job_name, up.orphan) == ("BOOTING", made.job_id, "train", False)
        assert up.ref in b.cloud.alive
        assert up.age >= 0
        nodes = await b.plane.nodes()
        assert [(n.node_id, n.kind, n.state, n.where) for n in nodes] == [
            (up.instance_id, "machine", "BOOTING", "fake fake-1a")
        ]
        assert await b.plane.agents() == []
        cost = await b.plane.cost(made.job_id)
        assert cost.hourly == 3.0
        assert cost.jobs[0].budget == 50.0
        assert (await b.plane.job(made.job_id)).budget == 50.0
        await b.plane.cancel(made.job_id)
        assert await b.plane.down([up.ref]) == 1
        assert await b.plane.down([up.instance_id]) == 0
        (gone,) = await b.until(lambda found: bool(found) and found[0].state == "GONE", gone=True)
        assert gone.instance_id == up.instance_id
        assert gone.cost >= 0
        assert await b.plane.instances() == []
        assert b.cloud.alive == {}
        cost = await b.plane.cost(made.job_id)
        everything = await b.plane.cost()
        assert cost.cost == pytest.approx(gone.cost, abs=1e-6)
        assert cost.hourly == everything.hourly == 0
        assert everything.cost == pytest.approx(gone.cost, abs=1e-6)

    with_a_cloud(body, tmp_path)


def test_machines_are_named_in_several_ways_and_unknown_names_are_refused(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        spec = TaskSpec("a", ("true",), array=3, resources=GPU)
        made = await b.plane.submit_spec(JobSpec("three", (spec,)))
        found = await b.until(lambda found: len(found) == 3 and all(one.ref for one in found))
        await b.plane.cancel(made.job_id)
        with pytest.raises(NotFound):
            await b.plane.down([found[0].ref, "i-nothing"])
        with pytest.raises(UsageError):
            await b.plane.down()
        assert all(one.state == "BOOTING" for one in await b.plane.instances())
        assert await b.plane.down([found[0].ref.rpartition("/")[2]]) == 1
        assert await b.plane.down(everything=True) == 2
        await b.until(lambda found: not found)

    with_a_cloud(body, tmp_path)


def test_orphans_of_others_are_shown_and_left_alone(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        ours = await _stray(b, b.plane.shell.incarnation, "styx-stray-1")
        theirs = await _stray(b, "f" * 32, "styx-stray-2")
        found = await b.until(lambda found: len(found) == 2)
        assert {(one.ref, one.state, one.orphan) for one in found} == {
            (ours.ref, "ORPHAN", True),
            (theirs.ref, "FOREIGN", True),
        }
        assert await b.plane.down(everything=True) == 0
        assert await b.plane.down(orphans=True) == 1
        await b.until(lambda found: [one.ref for one in found] == [theirs.ref])
        assert list(b.cloud.alive) == [theirs.ref]
        assert await b.plane.down([theirs.ref]) == 1  # named by a person, it goes
        await b.until(lambda found: not found)
        assert b.cloud.alive == {}

    with_a_cloud(body, tmp_path)


async def _stray(b: Behind, cluster: str, token: str) -> Machine:
    offer = b.provider.catalog()[0][0]
    return await b.cloud.launch(Order(token, cluster, offer, ""))


def test_an_order_under_way_is_no_orphan(tmp_path: Path) -> None:
    """The cloud has the machine already, and its answer was lost: only the token says whose it is."""

    async def body(b: Behind) -> None:
        b.cloud.faults.launch.append("lost")
        await b.plane.submit_spec(gpu_job())
        await until(lambda: b.cloud.alive)
        provisioner = b.plane.shell.provisioner
        assert provisioner is not None
        await until(lambda: any(listing.machines for listing in provisioner.carrier.listings.values()))
        assert provisioner.orphans() == []
        assert await b.plane.down(orphans=True) == 0

    with_a_cloud(body, tmp_path)


def test_a_plan_marks_what_would_be_taken_and_what_was_refused(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        assert (await b.plane.health()).provisions
        plan = await b.plane.plan(gpu_job(), usable=True)
        (ranked,) = plan.rankings
        assert (ranked.fitting, ranked.free, plan.fits) == (6, False, True)
        assert [(offer.instance_type, offer.zone, offer.chosen) for offer in ranked.offers[:2]] == [
            ("gpu", "fake-1a", True),
            ("gpu", "fake-1b", False),
        ]
        b.cloud.faults.no_capacity = {("fake-1a", ""), ("fake-1b", "")}
        made = await b.plane.submit_spec(gpu_job())
        await b.until(lambda found: any(one.zone == "fake-2a" for one in found))
        plan = await b.plane.plan(gpu_job(), usable=True)
        offers = {offer.zone: offer for offer in plan.rankings[0].offers if offer.instance_type == "gpu"}
        assert "refused lately: there is no capacity" in offers["fake-1a"].why
        assert offers["fake-2a"].chosen
        assert offers["fake-2a"].why == ""
        shown = await b.plane.offers(OffersQuery(provider="fake", accelerators="A100:1", spot="false", limit=1_000))
        assert {offer.zone: bool(offer.why) for offer in shown.items if offer.instance_type == "gpu"} == {
            "fake-1a": True, "fake-1b": True, "fake-2a": False,
        }  # fmt: skip
        await b.plane.cancel(made.job_id)
        await b.plane.down(everything=True)

    with_a_cloud(body, tmp_path)


def test_a_provider_that_cannot_be_used_says_why_everywhere(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        (check,) = [one for one in await b.plane.check() if one.provider == "fake"]
        assert (check.usable, check.configured, check.problems) == (False, True, ["the credentials have expired"])
        (ranked,) = (await b.plane.plan(gpu_job(), usable=True)).rankings
        assert {offer.why for offer in ranked.offers} == {"the credentials have expired"}, "it may be taken later"
        assert (await b.plane.health()).provisions
        plan = await b.plane.plan(gpu_job(), offers=0)
        mine = [offer for offer in plan.rankings[0].offers if offer.provider == "fake"]
        assert {offer.why for offer in mine} == {"the credentials have expired"}
        assert "fake" in (await b.plane.offers()).barred

    with_a_cloud(body, tmp_path, unusable="the credentials have expired")


def test_a_provider_that_is_nothing_without_settings_is_named_all_the_same(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        found = {one.provider: one for one in await b.plane.check()}
        assert found.keys() == {"aws", "fake", "gcp", "kubernetes", "ssh"}
        pods = found["kubernetes"]
        assert (pods.usable, pods.configured) == (False, False)
        assert pods.problems == ["[providers.kubernetes] is not in styx.toml"]
        assert pods.hints[1] == 'write contexts = [{context = "NAME", namespace = "NAMESPACE"}]'

    with_a_cloud(body, tmp_path)


def test_what_only_a_provider_in_an_outage_could_hold_is_accepted_and_waits(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        with pytest.raises(NoFit) as caught:
            await b.plane.submit_spec(JobSpec("j", (TaskSpec("a", ("true",), resources=Resources(999_000_000)),)))
        assert "no provider that is set up offers a machine for it" in caught.value.message
        assert "has 96 CPUs" in caught.value.message
        made = await b.plane.submit_spec(gpu_job())
        why = await b.plane.why(made.job_id)
        assert (why.status, why.code) == ("READY", "provider-barred")
        assert why.reason == "fake could hold it, and cannot be used now"
        (said,) = why.evidence
        assert "fake cannot be used for " in said
        assert ": the credentials have expired (asked again in " in said
        assert why.change[0] == "get new ones"
        b.provider.unusable = ""
        (check,) = [one for one in await b.plane.check() if one.provider == "fake"]
        assert check.usable
        await b.until(lambda found: bool(found) and found[0].cloud == "running")
        assert (await b.plane.why(made.job_id)).code == "coming"
        b.provider.unusable = "the network is away"
        await b.plane.check()
        again = await b.plane.submit_spec(gpu_job())
        while "the network is away" not in " ".join((await b.plane.why(again.job_id)).evidence):  # noqa: ASYNC110
            await asyncio.sleep(MOMENT)

    with_a_cloud(body, tmp_path, unusable="the credentials have expired")


def test_without_a_public_url_nothing_can_be_brought_up(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        (check,) = [one for one in await b.plane.check() if one.provider == "fake"]
        assert "public_url" in check.problems[0]
        assert not (await b.plane.health()).provisions
        waiting = await b.plane.submit_spec(gpu_job())  # no place is known: an agent may be to come
        why = await b.plane.why(waiting.job_id)
        assert why.code == "provider-barred"
        assert "fake cannot be used as this server is set up" in why.evidence[0]
        assert why.change == ["set [places] public_url in styx.toml"]

    with_a_cloud(body, tmp_path, url="")


def test_refreshed_offers_are_kept_and_found_again(tmp_path: Path) -> None:
    async def dearer() -> list[Any]:
        return [
            one for one in FakeProvider(FakeCloud(lambda: 0, asyncio.sleep)).catalog()[0] if one.instance_type == "gpu8"
        ]

    async def body(b: Behind) -> None:
        b.provider.offers = dearer  # type: ignore[method-assign]
        (answer,) = await b.plane.refresh_offers()
        assert (answer.provider, answer.offers, answer.problem) == ("fake", 6, "")
        places = b.plane.shell.engine.places
        await until(lambda: {one.instance_type for one in places.catalog.offers} == {"gpu8"})

    async def later(b: Behind) -> None:
        assert {one.instance_type for one in b.plane.shell.engine.places.catalog.offers} == {"gpu8"}
        assert "fake: asked 20" in (await b.plane.offers(OffersQuery(provider="fake"))).source

    with_a_cloud(body, tmp_path)
    assert (tmp_path / "offers" / "fake.json").is_file()
    with_a_cloud(later, tmp_path)


def test_what_is_asked_for_must_be_readable(tmp_path: Path) -> None:
    async def main() -> None:
        async with ControlPlane.open(agent=False) as plane:
            for query in (OffersQuery(cpus="lots"), OffersQuery(accelerators="8"), OffersQuery(max_hourly_cost="-1")):
                with pytest.raises(UsageError):
                    await plane.offers(query)
            plane.offering.tables = {"nowhere": {}}
            with pytest.raises(SpecError, match="there is no provider 'nowhere'"):
                await plane.check()

    run(main())


def test_a_name_that_fits_two_machines_is_ambiguous(tmp_path: Path) -> None:
    async def body(b: Behind) -> None:
        one = await _stray(b, "e" * 32, "styx-stray-1")
        await b.until(lambda found: len(found) == 1)
        made = await b.plane.submit_spec(gpu_job())
        found = await b.until(lambda found: len(found) == 2 and all(each.ref for each in found))
        names = {each.ref.rpartition("/")[2] for each in found}
        assert len(names) == 2
        await b.plane.cancel(made.job_id)
        provisioner = b.plane.shell.provisioner
        assert provisioner is not None
        listing = provisioner.carrier.listings["fake"]
        twin = Machine(f"other/{one.ref.rpartition('/')[2]}", "t", "e" * 32, one.state)
        provisioner.carrier.listings["fake"] = type(listing)((*listing.machines, twin), True)
        with pytest.raises(AmbiguousId):
            await b.plane.down([one.ref.rpartition("/")[2]])
        await b.plane.down(everything=True)

    with_a_cloud(body, tmp_path)


def test_tables_of_offers_are_read_once_and_dropped_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def load(catalogs: Catalogs, provider: Provider) -> Known:
        read.append(provider.name)
        return Known()

    monkeypatch.setattr(Catalogs, "load", load)

    async def main() -> None:
        clock = VirtualClock()
        async with ControlPlane.open(agent=False, clock=clock) as plane:
            await plane.offers()
            first = list(read)
            assert "aws" in first
            assert not {"fake", "local"}.intersection(first)
            await plane.offers()
            assert read == first
            clock.advance(KEPT)
            await plane.offers()
            assert read == first * 2

    run(main())
