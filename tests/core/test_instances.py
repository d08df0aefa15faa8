"""Machines that providers bring up, as dialogues: what is ordered, what is made of answers, silence and listings, and what it costs."""

from __future__ import annotations

from typing import Any

from styx.core.effects import EndInstances, EndMachines, LaunchInstance, ListMachines, StopAttempts
from styx.core.events import (
    AgentLost,
    AgentSuspected,
    CatalogKnown,
    DownRequested,
    InstanceLaunched,
    InstanceRefusedByCloud,
    InstanceUnsure,
    MachineSeen,
    MachinesListed,
)
from styx.core.explain import explain
from styx.core.offers import Catalog, Offer, Spot
from styx.core.records import InstanceCharged, InstanceIntended, InstanceRefused
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import Choice
from styx.core.states import Outcome
from styx.testing.dialogue import Dialogue, job, task

GB = 1 << 30
CLOUD = "cloud"


def offer(kind: str, cpus: int, price: int, *, zone: str = "r1a", spot: bool = False, **more: Any) -> Offer:
    resources = more.pop("resources", Resources(cpus * 1_000, cpus * 4 * GB))
    return Offer(more.pop("provider", CLOUD), zone[:-1], zone, kind, spot, price, resources, **more)


SMALL = offer("s.2", 2, 100_000)
OFFERS = (SMALL, offer("s.2", 2, 110_000, zone="r1b"), offer("l.8", 8, 300_000), offer("s.2", 2, 120_000, zone="r2a"))


class Cloudy(Dialogue):
    """A dialogue with a cloud that is told what to answer."""

    def __init__(self, *offers: Offer, **settings: Any) -> None:
        super().__init__(settings=CoreSettings(cluster="c0ffee", **settings))
        self.say(CatalogKnown(Catalog(offers or OFFERS, frozenset({CLOUD}))))
        assert self.take(ListMachines).provider == CLOUD, "a start begins with a look"

    def take(self, kind: type[Any]) -> Any:
        return self._take(kind)

    def drop(self, kind: type[Any]) -> list[Any]:
        found = [effect for effect in self.effects if isinstance(effect, kind)]
        self.effects = [effect for effect in self.effects if not isinstance(effect, kind)]
        return found

    def expect_launch(self, kind: str = "", zone: str = "", *, again: bool = False) -> int:
        effect = self.take(LaunchInstance)
        node = self.world.nodes[effect.node]
        assert node.instance.offer.instance_type.startswith(kind), node.instance.offer
        assert not zone or node.instance.offer.zone == zone, node.instance.offer
        assert effect.again is again
        return int(effect.node)

    def launched(self, node: int) -> None:
        self.say(InstanceLaunched(node, f"m-{node}"))

    def arrives(self, node: int, **options: Any) -> None:
        """The agent of a node's machine says hello."""
        instance = self.world.nodes[node].instance
        options.setdefault("capacity", instance.offer.resources)
        assert self.connect(instance.token, labels=(("pool", instance.token),), **options) == node

    def up(self, kind: str = "", **options: Any) -> int:
        node = self.expect_launch(kind)
        self.launched(node)
        self.arrives(node, **options)
        return node

    def listing(self, *machines: MachineSeen, complete: bool = True) -> None:
        self.say(MachinesListed(CLOUD, self.now, complete, machines))

    def shows(self, node: int, **more: Any) -> MachineSeen:
        instance = self.world.nodes[node].instance
        return MachineSeen(instance.ref or f"m-{node}", instance.token, more.pop("ended", False), **more)

    def state(self, node: int) -> str:
        return str(self.world.nodes[node].state.value)

    def why(self, serial: int, ordinal: int = 0) -> Any:
        return explain(self.world, serial, ordinal, 0, self.now, self.engine.settings, self.engine.places)


def test_from_a_task_that_nothing_holds_to_a_machine_that_is_gone() -> None:
    talk = Cloudy(idle_timeout=60_000)
    number = talk.submit(job("j", task("x")))
    node = talk.expect_launch("s.2", "r1a")
    assert talk.state(node) == "REQUESTED"
    assert talk.world.nodes[node].instance.token == f"styx-c0ffee-{node}"
    assert [type(record) for record in talk.records if isinstance(record, InstanceIntended)] == [InstanceIntended]
    talk.launched(node)
    assert talk.state(node) == "BOOTING"
    talk.sleep(30_000)
    talk.arrives(node)
    (attempt,) = talk.expect_start(node)
    talk.ended(attempt)
    talk.expect_forget(node, attempt)
    talk.expect_job(number, "SUCCEEDED")
    talk.sleep(59_000)
    assert talk.state(node) == "UP", "the next task may come"
    talk.sleep(4_000)
    assert talk.take(EndInstances).nodes == (node,)
    assert talk.state(node) == "RELEASING"
    talk.drop(ListMachines)
    talk.listing(talk.shows(node))
    assert talk.take(EndInstances).nodes == (node,), "it is still there, so it is told again"
    talk.suspect(node)
    talk.sleep(61_000)
    talk.drop(ListMachines)
    talk.listing()
    assert talk.state(node) == "RELEASING", "one listing is not enough"
    talk.listing()
    assert talk.state(node) == "GONE"
    talk.nothing_else()


def test_one_machine_for_many_and_no_more_than_are_wanted() -> None:
    talk = Cloudy()
    talk.submit(job("j", task("x", array=16)))
    nodes = [talk.expect_launch("l.8"), talk.expect_launch("l.8")]
    talk.nothing_else()
    for node in nodes:
        talk.launched(node)
    talk.sleep(20_000)
    assert not talk.drop(LaunchInstance), "machines that are coming count"


def test_tasks_of_a_graph_share_a_large_machine_where_that_is_cheaper() -> None:
    talk = Cloudy()
    talk.submit(job("j", *(task(f"t{at}") for at in range(8))))
    node = talk.up("l.8")
    talk.expect_start(node, 8)
    talk.nothing_else()


def test_a_limit_on_machines_and_on_what_they_cost() -> None:
    talk = Cloudy(max_instances=2)
    number = talk.submit(job("j", task("x", cpus=8, array=5)))
    talk.expect_launch("l.8")
    talk.expect_launch("l.8")
    talk.nothing_else()
    assert "max_instances is 2" in talk.why(number).reason
    talk = Cloudy(hourly_cap=650_000)
    number = talk.submit(job("j", task("x", cpus=8, array=5)))
    assert len(talk.drop(LaunchInstance)) == 2
    assert "hourly cap of $0.65" in talk.why(number).reason


def test_what_somebody_started_is_waited_for() -> None:
    talk = Cloudy()
    talk.connect("own", cpus=1)
    talk.submit(job("j", task("x"), task("y")))
    talk.expect_start(1)
    talk.nothing_else()
    talk.submit(job("k", task("far", labels=(("zone", "r2a"),))))
    talk.expect_launch("s.2", "r2a")


def test_capacity_and_quota_refused_lead_to_the_third_choice() -> None:
    talk = Cloudy()
    number = talk.submit(job("j", task("x", cpus=2)))
    talk.say(InstanceRefusedByCloud(talk.expect_launch("s.2", "r1a"), "capacity", "no s.2 left in r1a"))
    talk.say(InstanceRefusedByCloud(talk.expect_launch("s.2", "r1b"), "quota", "no more s in r1"))
    third = talk.expect_launch("s.2", "r2a")
    talk.nothing_else()
    refused = [record for record in talk.records if isinstance(record, InstanceRefused)]
    assert [(record.kind, record.job) for record in refused] == [("capacity", number), ("quota", number)]
    told = " ".join(talk.why(number).evidence)
    assert "no s.2 left in r1a" in told
    assert "no more s in r1" in told
    talk.say(InstanceRefusedByCloud(third, "capacity", "none in r2a"))
    talk.expect_launch("l.8", "r1a")


def test_a_quota_is_of_all_that_count_against_it_and_of_none_that_is_smaller() -> None:
    """EC2 counts vCPUs by groups of families: what is left of one may still bear a smaller machine, of whichever family."""
    talk = Cloudy(
        offer("m.8", 8, 100_000, quota="Standard"),
        offer("c.16", 16, 110_000, quota="Standard"),
        offer("c.4", 4, 150_000, quota="Standard"),
        offer("g.8", 8, 400_000, quota="G"),
        offer("m.8", 8, 500_000, zone="r2a", quota="Standard"),
    )
    talk.submit(job("j", task("x", cpus=8)))
    talk.say(InstanceRefusedByCloud(talk.expect_launch("m.8", "r1a"), "quota", "no more than 4 vCPUs are left"))
    talk.expect_launch("g.8")  # not c.16, which counts against the same
    talk.submit(job("k", task("y", cpus=4)))
    talk.expect_launch("c.4")
    talk.nothing_else()


def test_when_all_is_refused_it_is_said_and_asked_again_later() -> None:
    talk = Cloudy(SMALL)
    number = talk.submit(job("j", task("x")))
    talk.say(InstanceRefusedByCloud(talk.expect_launch(), "capacity", "none left"))
    talk.nothing_else()
    assert "none left" in talk.why(number).reason
    talk.sleep(605_000)
    talk.drop(ListMachines)
    talk.expect_launch("s.2", "r1a")
    talk.nothing_else()


def test_throttled_is_asked_again_with_the_same_machine() -> None:
    talk = Cloudy()
    talk.submit(job("j", task("x")))
    node = talk.expect_launch()
    talk.say(InstanceRefusedByCloud(node, "throttled", "slow down", 5_000))
    talk.sleep(4_000)
    assert not talk.drop(LaunchInstance)
    talk.sleep(3_000)
    assert talk.expect_launch() == node
    talk.launched(node)
    talk.drop(ListMachines)
    talk.nothing_else()


def test_a_lost_answer_is_asked_again_and_bound_once() -> None:
    talk = Cloudy()
    talk.submit(job("j", task("x")))
    node = talk.expect_launch()
    talk.say(InstanceUnsure(node, "the answer was lost"))
    talk.sleep(3_000)
    assert talk.expect_launch(again=True) == node
    talk.listing(talk.shows(node))
    assert talk.world.nodes[node].instance.ref == f"m-{node}", "a listing binds it too"
    talk.say(InstanceLaunched(node, "m-other"))
    assert talk.take(EndMachines).refs == ("m-other",), "two for one intent: one has to go"
    talk.drop(ListMachines)
    talk.nothing_else()


def test_a_token_that_another_form_of_the_order_has_spent_is_given_up_and_another_taken() -> None:
    """After an upgrade of the server its orders are not what they were, and the cloud compares."""
    talk = Cloudy(SMALL)
    talk.submit(job("j", task("x")))
    node = talk.expect_launch()
    talk.say(InstanceUnsure(node, "the token came with other parameters", spent=True))
    talk.sleep(3_000)
    assert talk.expect_launch(again=True) == node, "what it had made may not be shown yet"
    talk.sleep(58_000)
    talk.drop(ListMachines)
    talk.say(InstanceUnsure(node, "the token came with other parameters", spent=True))
    assert talk.state(node) == "RELEASING"
    other = talk.expect_launch()
    assert talk.world.nodes[other].instance.token != talk.world.nodes[node].instance.token
    talk.launched(other)
    talk.listing(talk.shows(node), talk.shows(other))
    assert talk.take(EndInstances).nodes == (node,), "there was one after all, and it goes"
    talk.listing(talk.shows(node, ended=True), talk.shows(other))
    assert talk.state(node) == "GONE"
    talk.drop(ListMachines)
    talk.nothing_else()


def test_a_refusal_after_a_lost_answer_waits_for_listings() -> None:
    talk = Cloudy(SMALL)
    talk.submit(job("j", task("x")))
    node = talk.expect_launch()
    talk.say(InstanceUnsure(node, "lost"))
    talk.sleep(3_000)
    talk.say(InstanceRefusedByCloud(talk.expect_launch(again=True), "capacity", "none left"))
    assert talk.state(node) == "RELEASING", "the first call may have brought it up"
    talk.sleep(70_000)
    talk.drop(ListMachines)
    talk.listing(talk.shows(node))
    assert talk.take(EndInstances).nodes == (node,), "and it had"
    talk.listing(talk.shows(node, ended=True))
    assert talk.state(node) == "GONE"
    talk.nothing_else()


def test_a_restart_remembers_intents_and_looks_before_it_believes() -> None:
    talk = Cloudy()
    talk.submit(job("j", task("x", cpus=8, array=2)))
    first, second = talk.expect_launch(), talk.expect_launch()
    talk.launched(first)
    again = rebuilt(talk)
    again.say(CatalogKnown(Catalog(OFFERS, frozenset({CLOUD}))))
    again.take(ListMachines)
    again.nothing_else()
    assert (again.state(first), again.state(second)) == ("BOOTING", "REQUESTED")
    again.sleep(2_000)
    assert again.expect_launch(again=True) == second, "nobody knows whether it had been asked for"
    again.nothing_else()


def test_a_stranger_with_our_mark_is_ended_when_seen_twice_and_old() -> None:
    talk = Cloudy()
    young = MachineSeen("m-young", "styx-c0ffee-77", False, talk.now)
    foreign = MachineSeen("m-foreign", "styx-other-1", False, 1, ours=False)
    old = MachineSeen("m-old", "styx-c0ffee-78", False, talk.now - 3_600_000)
    talk.listing(young, foreign, old)
    talk.nothing_else()
    talk.listing(young, foreign, complete=False)
    talk.listing(young, foreign, old)
    assert talk.take(EndMachines).refs == ("m-old",)
    talk.nothing_else()
    talk.sleep(301_000)
    talk.drop(ListMachines)
    talk.listing(young, foreign)
    assert talk.take(EndMachines).refs == ("m-young",)
    talk.nothing_else()


def test_a_machine_that_an_incomplete_listing_leaves_out_is_believed_in() -> None:
    talk = Cloudy()
    talk.submit(job("j", task("x")))
    node = talk.expect_launch()
    talk.launched(node)
    talk.sleep(120_000)
    for _ in range(5):
        talk.listing(complete=False)
    assert talk.state(node) == "BOOTING"
    talk.listing()
    talk.listing(talk.shows(node))
    talk.listing()
    assert talk.state(node) == "BOOTING", "seen again in between"
    talk.listing()
    assert talk.state(node) == "GONE"


def test_work_on_a_machine_that_the_cloud_took_back_runs_elsewhere_at_once() -> None:
    spot = offer("s.2", 2, 30_000, spot=True)
    talk = Cloudy(spot, SMALL)
    labels = (("spot", "true"),)
    number = talk.submit(job("j", task("x", exclusive=True, spot=Spot.PREFER, labels=labels)))
    node = talk.up("s.2")
    assert talk.world.nodes[node].instance.offer.spot
    (attempt,) = talk.expect_start(node)
    talk.started(attempt)
    talk.suspect(node)
    talk.listing(talk.shows(node, ended=True, detail="Server.SpotInstanceTermination"))
    assert talk.state(node) == "GONE"
    assert talk.states(number) == {"x": ["READY"]}
    assert talk.up("s.2") != node
    talk.expect_start(node + 1)


def test_a_machine_that_ended_itself_and_is_only_stopped_is_ended_for_good() -> None:
    talk = Cloudy()
    number = talk.submit(job("j", task("x")))
    node = talk.up()
    (attempt,) = talk.expect_start(node)
    talk.started(attempt)
    talk.listing(talk.shows(node, stopped=True))
    assert talk.state(node) == "UP", "its agent is here, so the listing is behind"
    talk.suspect(node)
    talk.listing(talk.shows(node, stopped=True))
    assert talk.take(EndInstances).nodes == (node,)
    assert talk.states(number) == {"x": ["READY"]}
    talk.expect_launch()
    talk.nothing_else()


def test_ordinary_tasks_stay_off_spot_machines() -> None:
    talk = Cloudy(offer("s.2", 2, 30_000, spot=True), SMALL)
    talk.submit(job("j", task("x", spot=Spot.YES, labels=(("spot", "true"),))))
    node = talk.up()
    talk.expect_start(node)
    talk.submit(job("k", task("plain")))
    other = talk.up()
    assert not talk.world.nodes[other].instance.offer.spot
    talk.expect_start(other)
    talk.nothing_else()


def test_an_agent_that_never_comes_and_one_that_falls_silent() -> None:
    talk = Cloudy(boot_limit=300_000, silent_limit=600_000)
    talk.submit(job("j", task("x", cpus=2)))
    node = talk.expect_launch("s.2", "r1a")
    talk.launched(node)
    talk.sleep(302_000)
    assert talk.take(EndInstances).nodes == (node,)
    second = talk.expect_launch("s.2", "r2a")
    talk.launched(second)
    talk.arrives(second)
    talk.expect_start(second)
    talk.say(AgentSuspected(second))
    talk.say(AgentLost(second))
    talk.drop(LaunchInstance)
    talk.sleep(602_000)
    assert (second,) in [effect.nodes for effect in talk.drop(EndInstances)]


def test_a_machine_smaller_than_it_was_sold_is_not_ordered_over_and_over() -> None:
    talk = Cloudy(SMALL)
    talk.submit(job("j", task("x", cpus=2)))
    node = talk.expect_launch()
    talk.launched(node)
    talk.arrives(node, capacity=Resources(1_000, 4 * GB))
    talk.sleep(30_000)
    assert not talk.drop(LaunchInstance)


def test_down_drains_and_force_stops() -> None:
    talk = Cloudy()
    number = talk.submit(job("j", task("x")))
    node = talk.up()
    (attempt,) = talk.expect_start(node)
    talk.started(attempt)
    assert talk.say(DownRequested((node,))) == 1
    assert talk.state(node) == "DRAINING"
    talk.drop(ListMachines)
    talk.nothing_else()
    talk.ended(attempt)
    talk.expect_forget(node, attempt)
    talk.expect_job(number, "SUCCEEDED")
    talk.sleep(3_000)
    assert talk.take(EndInstances).nodes == (node,)
    number = talk.submit(job("k", task("x")))
    node = talk.up()
    (attempt,) = talk.expect_start(node)
    talk.started(attempt)
    assert talk.say(DownRequested((node, node), force=True)) == 2
    stop = talk.take(StopAttempts)
    assert stop.attempts == (attempt,)
    talk.ended(attempt, outcome=Outcome.KILLED, node=node)
    assert talk.states(number)["x"] in (["READY"], ["ASSIGNED"]), "stopped for its machine's sake, so it runs again"


def test_alternatives_are_taken_by_price_or_in_order() -> None:
    gpu = offer("g.1", 4, 900_000, resources=Resources(4_000, 16 * GB, 0, (("A100", 1),)))
    cheap = offer("t.1", 4, 400_000, resources=Resources(4_000, 16 * GB, 0, (("T4", 1),)))
    first, second = Resources(1_000, 0, 0, (("A100", 1),)), Resources(1_000, 0, 0, (("T4", 1),))
    talk = Cloudy(gpu, cheap)
    talk.submit(job("j", task("x", resources=first, others=(Choice(second),))))
    node = talk.up("t.1")
    (attempt,) = talk.expect_start(node)
    assert talk.world.attempts[attempt].shape.resources == second
    talk.nothing_else()
    talk = Cloudy(gpu, cheap)
    talk.submit(job("j", task("x", resources=first, others=(Choice(second),), ordered=True)))
    talk.up("g.1")


def test_an_array_with_alternatives_runs_each_element_once() -> None:
    talk = Dialogue()
    one, two = Resources(1_000), Resources(500, 0, 0, (("T4", 1),))
    number = talk.submit(job("j", task("x", array=6, resources=one, others=(Choice(two),))))
    a = talk.connect("a", cpus=2)
    b = talk.connect("b", capacity=Resources(4_000, 8 * GB, 0, (("T4", 2),)))
    started = []
    for _ in range(12):
        starts = [effect for effect in talk.effects if hasattr(effect, "attempts")]
        talk.effects.clear()
        for effect in starts:
            for attempt in effect.attempts:
                if attempt in talk.world.attempts:
                    started.append(talk.world.attempts[attempt].index)
                    talk.ended(attempt)
    talk.expect_job(number, "SUCCEEDED")
    assert sorted(started) == list(range(6))
    assert not talk.world.nodes[a].held
    assert not talk.world.nodes[b].held


def test_what_a_machine_costs_is_shared_by_what_each_takes() -> None:
    talk = Cloudy(offer("l.8", 8, 3_600_000), charge_every=10_000, idle_timeout=100_000)  # a thousand micros a second
    one = talk.submit(job("one", task("x", cpus=4, array=1)))
    node = talk.up()
    talk.expect_start(node)
    two = talk.submit(job("two", task("y", cpus=2)))
    talk.expect_start(node)
    talk.sleep(100_000)
    spent: dict[int, int] = {}
    for record in talk.records:
        if isinstance(record, InstanceCharged):
            for payer, micros in record.shares:
                spent[payer] = spent.get(payer, 0) + micros
    assert abs(spent[one] - 75_000) <= 50, "half of it, and the quarter that is idle: it was brought up for this one"
    assert abs(spent[two] - 25_000) <= 50
    assert talk.world.jobs[one].cost == spent[one]
    assert rebuilt(talk).world.jobs[one].cost == spent[one]


def test_a_job_is_stopped_before_its_budget_is_overdrawn() -> None:
    talk = Cloudy(offer("l.8", 8, 3_600_000), idle_timeout=30_000)
    number = talk.submit(job("j", task("x", cpus=8, grace=10_000), budget=200_000))
    node = talk.up()
    (attempt,) = talk.expect_start(node)
    talk.started(attempt)
    talk.sleep(100_000)
    assert not talk.drop(StopAttempts)
    talk.sleep(60_000)
    assert talk.take(StopAttempts).attempts == (attempt,)
    talk.ended(attempt, outcome=Outcome.KILLED, node=node)
    ended = talk.expect_job(number, "CANCELLED")
    assert "budget of $0.20 is nearly used up" in ended.reason
    talk.sleep(34_000)
    assert talk.take(EndInstances).nodes == (node,)
    assert talk.world.nodes[node].instance.cost <= 200_000


def test_a_budget_that_bears_no_machine() -> None:
    talk = Cloudy(offer("l.8", 8, 3_600_000))
    number = talk.submit(job("j", task("x"), budget=1_000))
    assert not talk.drop(LaunchInstance)
    assert "budget" in talk.why(number).reason
    talk.sleep(3_000)
    assert "does not bear a machine at $3.60 an hour" in talk.expect_job(number, "CANCELLED").reason


def rebuilt(talk: Dialogue) -> Cloudy:
    """The same world as a new process has it: what a store keeps, told again."""
    from styx.testing.walk import DERIVED

    again: Any = Cloudy.__new__(Cloudy)
    Dialogue.__init__(again, settings=talk.engine.settings)
    again.now = talk.now
    kept = [record for record in talk.records if not isinstance(record, DERIVED)]
    again.engine.recover(kept)
    world = talk.world
    again.engine.recovered((world.last_job, world.last_attempt, world.last_node), talk.now)
    again.settle()
    return again  # type: ignore[no-any-return]
