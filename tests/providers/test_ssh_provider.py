"""The Provisioner of machines by SSH, against a real sshd and a real server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boot_kit import BootedMachine
from sshd_kit import Sshd, needs_sshd, sshd

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.errors import SpecError, UsageError
from styx.providers.base import Context, Kind, MachineState, Order, Refused, Unsure
from styx.providers.bootstrap import BootstrapOrder, order_of, user_data
from styx.providers.bootstrap.bundle import build, own
from styx.providers.ssh import make
from styx.providers.ssh.settings import Target, target_of
from styx.testing.cluster import Cluster, eventually, free_port

CLUSTER = "c" * 32


def context(home: Path) -> Context:
    return Context(home, os.environ, lambda: int(time.time() * 1_000), asyncio.sleep)


def test_how_a_machine_is_named() -> None:
    assert target_of("ada@gpu-1:2222") == Target("gpu-1", "ada", 2222)
    assert target_of("gpu-1") == Target("gpu-1")
    assert target_of("a@[::1]:22") == Target("::1", "a", 22)
    for text in ("ada@gpu-1:2222", "gpu-1", "a@[::1]:22", "host:1"):
        assert str(target_of(text)) == text
    for text in ("", "a b", "-x", "u@-oProxyCommand=x", "host:0", "host:99999", "a@b@c", "h;ls"):
        with pytest.raises(UsageError):
            target_of(text)


def test_settings(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        make(
            {"hosts": ["ok", "ok", "a b", 3], "identity": "/no/such/file", "known_hosts": 5, "host": "x"},
            context(tmp_path),
        )
    assert [problem.path.removeprefix("$.providers.ssh.") for problem in caught.value.problems] == [
        "host", "hosts[1]", "hosts[2]", "hosts[3]", "identity", "known_hosts",
    ]  # fmt: skip
    with pytest.raises(SpecError):
        make({"hosts": "ok"}, context(tmp_path))
    provider = make({}, context(tmp_path))
    assert not asyncio.run(provider.check()).usable
    assert provider.catalog()[0] == []


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(
        tmp_path / "server", env={"STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "1s", "STYX_LOST": "20s"}
    ) as made:
        made.start_server()
        yield made


def order(cluster: Cluster, offer: Offer, token: str) -> Order:
    body = {"name": token, "role": "join", "ttl": 600, "single_use": True}
    secret = cluster.api("POST", "/api/v1/tokens", body)[1]["secret"]
    made = build(cluster.home / "bootstrap", *own())
    script = user_data(BootstrapOrder(cluster.url, secret, ((*own(), made.sha256),), token=token))
    assert order_of(script).end_command == "shutdown -h now"  # which must never be run on a machine of one's own
    return Order(token, CLUSTER, offer, script)


@needs_sshd
@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_a_host_is_launched_listed_and_given_back(cluster: Cluster, there: Sshd) -> None:
    silent = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "hosts": [there.target],
        "identity": str(there.key),
        "known_hosts": str(there.known_hosts),
    }

    async def main() -> None:
        provider = make(settings, context(cluster.home))
        assert (await provider.check()).usable
        machines = provider.provisioner
        assert machines is not None
        (offer,) = await machines.offers()
        assert (offer.instance_type, offer.price) == (there.target, 0)
        assert offer.resources.cpus >= 1_000
        assert list(provider.catalog()[0]) == [offer]  # kept for planning
        one = order(cluster, offer, "styx-one")
        assert await machines.find(one) is None
        machine = await machines.launch(one)
        assert (machine.token, machine.cluster, machine.state) == ("styx-one", CLUSTER, MachineState.RUNNING)
        assert await machines.launch(one) == machine
        assert await machines.find(one) == machine
        listed = await machines.listing(CLUSTER)
        assert listed.complete
        assert listed.machines == (machine,)
        assert (await machines.listing("d" * 32)).machines == ()
        await asyncio.to_thread(eventually, "its agent is up", lambda: cluster.agents_up(1))
        with pytest.raises(Refused) as refused:
            await machines.launch(order(cluster, offer, "styx-two"))
        assert refused.value.kind is Kind.CAPACITY
        # what would end a cloud's machine ends the agent, and nothing else
        with BootedMachine(there.home / f".styx/machines/{CLUSTER}.styx-one") as inside:
            assert len(inside.agents()) == 1
            assert "boot' end" in (inside.folder / "end").read_text()
            await machines.terminate([machine.ref])
            assert inside.processes() == []
            assert not inside.folder.exists()
        assert (await machines.listing(CLUSTER)).machines == ()
        await machines.terminate([machine.ref])  # it is gone already

        # one host that does not answer: what is known is known, and what is not is not
        both = make({**settings, "hosts": [there.target, silent]}, context(cluster.home)).provisioner
        assert both is not None
        half = await both.listing(CLUSTER)
        assert not half.complete
        assert silent in half.problems[0]
        there.stop()
        for call in (both.listing(CLUSTER), both.offers(), machines.launch(one)):
            with pytest.raises(Refused) as away:
                await call
            assert away.value.kind is Kind.UNREACHABLE
        with pytest.raises(Unsure):
            await machines.find(one)

    asyncio.run(main())


def test_a_host_that_is_not_configured_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        machines = make({"hosts": ["known"]}, context(tmp_path)).provisioner
        assert machines is not None
        offer = Offer("ssh", "x", "", "unknown", False, 0, Resources())
        with pytest.raises(Refused, match="no host of"):
            await machines.launch(Order("styx-a", CLUSTER, offer, ""))

    asyncio.run(main())
