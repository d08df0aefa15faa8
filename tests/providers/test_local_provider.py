"""This machine as a place, with a real server: agents come up as child processes, are found again, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from styx.core.offers import Offer
from styx.errors import SpecError
from styx.providers.base import Context, Kind, MachineState, Order, Refused
from styx.providers.bootstrap import BootstrapOrder, user_data
from styx.providers.local import make
from styx.providers.local.child import Child, born
from styx.testing.cluster import Cluster, eventually

CLUSTER = "c" * 32


def context(home: Path) -> Context:
    return Context(home, os.environ, lambda: int(time.time() * 1_000), asyncio.sleep)


def living(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(
        tmp_path / "server", env={"STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "1s", "STYX_LOST": "20s"}
    ) as made:
        made.start_server()
        try:
            yield made
        finally:
            for process in living(made.home / "providers" / "local"):
                process.kill()


def order(cluster: Cluster, offer: Offer, token: str, **more: int) -> Order:
    body = {"name": token, "role": "join", "ttl": 600, "single_use": True}
    secret = cluster.api("POST", "/api/v1/tokens", body)[1]["secret"]
    script = user_data(BootstrapOrder(cluster.url, secret, (("cp311", "x86_64", "0" * 64),), token=token, **more))
    return Order(token, CLUSTER, offer, script)


def up(cluster: Cluster) -> list[str]:
    return [a["agent_id"] for a in cluster.api("GET", "/api/v1/agents")[1]["items"] if a["state"] == "UP"]


@pytest.mark.e2e
def test_an_agent_comes_up_and_goes_with_its_programs(cluster: Cluster) -> None:
    async def main() -> None:
        provider = make({"cpus": 2, "memory": "1GB"}, context(cluster.home))
        assert (await provider.check()).usable
        (offer,) = provider.catalog()[0]
        assert (offer.price, offer.resources.cpus, offer.resources.memory) == (0, 2_000, 10**9)
        machines = provider.provisioner
        assert machines is not None
        one = order(cluster, offer, "styx-one")
        assert await machines.find(one) is None
        machine = await machines.launch(one)
        assert (machine.token, machine.cluster, machine.state) == ("styx-one", CLUSTER, MachineState.RUNNING)
        assert await machines.launch(one) == machine
        with pytest.raises(Refused) as full:
            await machines.launch(order(cluster, offer, "styx-two"))
        assert full.value.kind is Kind.CAPACITY
        await asyncio.to_thread(eventually, "its agent is up", lambda: up(cluster) == ["styx-one"])
        cluster.styx("run", "-d", "--", "sh", "-c", f"echo $$ >{cluster.home}/pid; exec sleep 600")
        await asyncio.to_thread(eventually, "it runs", (cluster.home / "pid").exists)
        # another server process finds it again
        again = make({}, context(cluster.home)).provisioner
        assert again is not None
        assert (await again.listing(CLUSTER)).machines == (machine,)
        assert (await again.listing("d" * 32)).machines == ()
        await again.terminate([machine.ref])
        assert living(cluster.home / "providers" / "local") == []
        assert not born(int((cluster.home / "pid").read_text()))
        assert (await machines.listing(CLUSTER)).machines == ()
        await machines.terminate([machine.ref, "elsewhere/nothing", f"x/{CLUSTER}.styx-none"])

    asyncio.run(main())


def ended(cluster: Cluster) -> bool:
    machines = make({}, context(cluster.home)).provisioner
    assert machines is not None
    return asyncio.run(machines.listing(CLUSTER)).machines[0].state is MachineState.ENDED


@pytest.mark.e2e
def test_one_that_died_has_ended_and_one_without_a_server_ends_itself(cluster: Cluster) -> None:
    async def main() -> None:
        provider = make({"agents": 2}, context(cluster.home))
        machines = provider.provisioner
        assert machines is not None
        (offer,) = await machines.offers()
        one = order(cluster, offer, "styx-one", idle_seconds=5)
        machine = await machines.launch(one)
        await asyncio.to_thread(eventually, "its agent is up", lambda: up(cluster) == ["styx-one"])
        for process in living(cluster.home / "providers" / "local"):
            process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(eventually, "it has ended", lambda: ended(cluster))
        assert await machines.find(one) is None
        # the same order brings up the same agent again
        assert (await machines.launch(one)).ref == machine.ref
        await asyncio.to_thread(eventually, "it is back", lambda: up(cluster) == ["styx-one"])
        (
            cluster.home / "providers" / "local" / f"{CLUSTER}.styx-one" / "process.json"
        ).unlink()  # as if the server had died
        assert await machines.find(one) is not None
        cluster.kill_server()
        await asyncio.to_thread(eventually, "it ends itself", lambda: ended(cluster))

    asyncio.run(main())


def test_settings(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        make({"cpus": "lots", "agents": 0, "memory": [], "agent": 1}, context(tmp_path))
    assert {problem.path.rpartition(".")[2] for problem in caught.value.problems} == {
        "cpus",
        "agents",
        "memory",
        "agent",
    }


def test_a_child_is_asked_twice_before_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import signal, sys, time; n = []\nsignal.signal(15, lambda *_: (n.append(1), len(n) > 1 and sys.exit(5)))\n"
    )
    script += "open('up', 'w').close()\nwhile True: time.sleep(0.02)"
    monkeypatch.chdir(tmp_path)
    child = Child([sys.executable, "-c", script], os.environ)
    assert born(child.pid) > 0
    eventually("it is up", (tmp_path / "up").exists)
    child.stop()
    assert child.wait() == 5
    assert born(child.pid) == 0
    stubborn = Child(
        ["/bin/sh", "-c", "trap '' TERM; echo up >&2; while :; do sleep 0.1; done"], os.environ, log=tmp_path / "log"
    )
    eventually("it is up", lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text() == "up\n")
    stubborn.stop(grace=0.1, patience=0.2)
    assert stubborn.wait() == -signal.SIGKILL
