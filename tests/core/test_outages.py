"""What is set up and cannot be used now is waited for, and said so; and what a place only runs is said truly."""

from __future__ import annotations

from styx.core.capacity import check_fit
from styx.core.events import CatalogKnown
from styx.core.explain import Reason, explain
from styx.core.offers import Catalog, Offer
from styx.core.outages import Outage, Outages, Promised
from styx.core.resources import Resources
from styx.testing.dialogue import Dialogue, job, task


def why(talk: Dialogue, serial: int) -> Reason:
    return explain(talk.world, serial, 0, 0, talk.now, talk.engine.settings, talk.engine.places)


def beyond(talk: Dialogue, *out: Outage, offers: tuple[Offer, ...] = (), runners: tuple[Promised, ...] = ()) -> None:
    """What the shell tells of providers of which none can be used."""
    names = frozenset(one.provider for one in out)
    talk.say(CatalogKnown(Catalog(offers), Outages(out, Catalog(offers, names), runners)))


BIG = Offer("aws", "r1", "r1a", "x.64", False, 1_000_000, Resources(64_000, 256 << 30))


def test_an_outage_does_not_make_a_task_unfit() -> None:
    talk = Dialogue()
    talk.connect("node-a", cpus=2)
    spec = job("j", task("big", cpus=64), task("huge", cpus=65))
    beyond(talk, Outage("aws", "expired", ("log in",), talk.now - 60_000, talk.now + 5_000), offers=(BIG,))
    (huge,) = check_fit(talk.world, spec, talk.engine.places)
    assert huge.message == (
        "task 'huge' asks for 65 CPUs; the largest known place, 'node-a', has 2 CPUs, and no provider that is set up offers a "
        "machine for it: the nearest, x.64 in r1a (aws), has 64 CPUs"
    )
    assert huge.hint == "ask for at most 64 CPUs; `styx offers` shows all"
    (dear,) = check_fit(talk.world, job("j", task("dear", cpus=64, max_hourly=1)), talk.engine.places)
    assert "the nearest, x.64 in r1a (aws), would hold it, and is dearer" in dear.message
    (gpu,) = check_fit(talk.world, job("j", task("gpu", resources=Resources(0, 0, 0, (("T4", 1),)))))
    assert gpu.hint == "connect an agent that has 1 x T4"
    told = why(talk, talk.submit(job("k", task("big", cpus=64))))
    assert (told.code, told.reason) == ("provider-barred", "aws could hold it, and cannot be used now")
    assert told.evidence == ("aws cannot be used for 1 min 0 s: expired (asked again in 5.0 s)",)
    assert told.change[0] == "log in"
    beyond(talk, Outage("aws", "no region", ("set it",), lasting=True), offers=(BIG,))
    big, huge = check_fit(talk.world, spec, talk.engine.places)
    assert "aws could hold it, but aws cannot be used as this server is set up: no region" in big.message
    assert big.hint == "set it"
    assert "aws" not in huge.message


def test_a_runner_that_was_not_reached_yet_is_waited_for() -> None:
    talk = Dialogue()
    talk.connect("node-a", cpus=2)
    labels = (("provider", "kubernetes"), ("runs", "image"))
    pods = Promised("kubernetes/main", Resources(64_000, 256 << 30), labels)
    image = (("runs", "image"),)
    spec = job("j", task("pod", labels=image), task("wide", labels=image, cpus=65), task("plain", cpus=64))
    beyond(talk, Outage("kubernetes", "nobody answers", (), talk.now, talk.now + 2_000), runners=(pods,))
    wide, plain = check_fit(talk.world, spec, talk.engine.places)
    assert "asks for 65 CPUs; the largest known place, 'kubernetes/main', has 64 CPUs" in wide.message
    assert "the largest known place, 'node-a', has 2 CPUs" in plain.message
    serial = talk.submit(job("k", task("pod", labels=image)))
    told = why(talk, serial)
    assert told.code == "provider-barred"
    assert told.evidence == ("kubernetes cannot be used for 0.0 s: nobody answers (asked again in 2.0 s)",)
    beyond(talk, runners=(pods,))
    assert why(talk, serial).evidence == ("kubernetes cannot be used: kubernetes/main has not been reached yet",)
    talk.connect("kubernetes/main", cpus=64, memory=256 << 30, labels=labels)
    assert why(talk, serial).code in {"assigned", "running"}


def test_what_a_place_only_runs_is_said() -> None:
    talk = Dialogue()
    talk.connect("kubernetes/main", cpus=64, labels=(("provider", "kubernetes"), ("runs", "image")))
    (plain,) = check_fit(talk.world, job("j", task("plain")))
    assert (
        plain.message
        == "task 'plain' is a plain command, and the known place 'kubernetes/main' only runs tasks with an image"
    )
    assert plain.hint == "give it an `image` or `provider: kubernetes` or connect an agent, which runs any command"
    assert check_fit(talk.world, job("j", task("named", labels=(("provider", "kubernetes"),)))) == []
    (called,) = check_fit(talk.world, job("j", task("f", labels=(("runs", "function"),))))
    assert called.message == "task 'f' names a function, and no known place calls functions"
    talk.connect("aws/r1", cpus=64, labels=(("provider", "aws"), ("runs", "function")))
    (plain,) = check_fit(talk.world, job("j", task("plain")))
    assert (
        "the known places ('aws/r1' and 'kubernetes/main') only run tasks with an image and functions" in plain.message
    )
    (spot,) = check_fit(talk.world, job("j", task("spot", labels=(("spot", "true"),))))
    assert "a plain command" in spot.message, "what takes spot machines is no container either"
    serial = talk.submit(job("k", task("plain")))
    assert (why(talk, serial).code, "only run tasks with an image" in why(talk, serial).reason) == (
        "label-mismatch",
        True,
    )
    talk.connect("own", cpus=2)
    (plain,) = check_fit(talk.world, job("j", task("plain", cpus=8)))
    assert "the largest known place, 'own', has 2 CPUs" in plain.message
