"""The start-up script as machines run it: a real process, a real server, a real agent that was fetched from there."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from boot_kit import BootedMachine

from styx.providers.bootstrap import LIMIT, BootstrapOrder, user_data
from styx.providers.bootstrap.bundle import build, own
from styx.testing.cluster import Cluster, eventually, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "server", env={"STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "1s", "STYX_LOST": "5s"}) as made:
        made.start_server()
        yield made


def order(cluster: Cluster, machine: BootedMachine, **more: Any) -> BootstrapOrder:
    """What a provisioner would send: a fresh join token, and the archive that the server has."""
    status, token = cluster.api(
        "POST", "/api/v1/tokens", {"name": "a machine", "role": "join", "ttl": 600, "single_use": True}
    )
    assert status == 201, token
    made = build(cluster.home / "bootstrap", *own())
    given = {
        "server_url": cluster.url, "join_token": token["secret"], "archives": (*((made.tag, made.arch, made.sha256),),),
        "token": "styx-m1", "end_command": machine.end_command,
    }  # fmt: skip
    return BootstrapOrder(**{**given, **more})


def up(cluster: Cluster) -> list[dict[str, Any]]:
    return [agent for agent in cluster.api("GET", "/api/v1/agents")[1]["items"] if agent["state"] == "UP"]


def joined(cluster: Cluster) -> dict[str, Any]:
    eventually("the machine's agent is up", lambda: up(cluster))
    (agent,) = up(cluster)
    return agent


def test_a_machine_fetches_its_agent_joins_and_runs_a_task(cluster: Cluster, tmp_path: Path) -> None:
    with BootedMachine(tmp_path / "machine") as machine:
        script = user_data(order(cluster, machine, labels=(("zone", "b"),)))
        assert len(script) < LIMIT
        assert cluster.api("GET", "/api/v1/agents")[1]["items"] == []
        machine.boot(script)
        agent = joined(cluster)
        assert (agent["agent_id"], agent["name"], agent["labels"]["zone"]) == ("styx-m1", "styx-m1", "b")
        # what the program sees is the machine's, without the order's secrets and without the archive's libraries
        shown = cluster.styx("run", "--label", "zone=b", "--", "sh", "-c", "env; exit 3")
        assert shown.returncode == 3, shown.stderr + machine.log()
        assert "styx_join" not in shown.stdout
        assert "PYTHONPATH" not in shown.stdout
        secrets = [path for path in machine.folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
        assert [
            path for path in secrets if path.name in {"order", "order.json", "join", "credential", "join.key"}
        ] == []


def test_a_machine_that_is_started_again_is_the_same_agent(cluster: Cluster, tmp_path: Path) -> None:
    with BootedMachine(tmp_path / "machine") as machine:
        script = user_data(order(cluster, machine))
        machine.boot(script)
        first = joined(cluster)
        assert "runs already" in machine.boot(script)
        assert len(machine.agents()) == 1
        machine.power_off()
        eventually("the server has noticed", lambda: not up(cluster))
        machine.boot(script)  # its join token is spent, and its archive is there
        assert joined(cluster)["agent_id"] == first["agent_id"]
        assert machine.log().count("is here") == 1
        # from another folder the same order is another machine, and the token is spent
        with BootedMachine(tmp_path / "thief") as thief:
            thief.boot(script)
            eventually("the thief is refused", lambda: "did not let this agent join" in thief.log())


def test_an_agent_that_dies_is_started_again_and_one_that_was_told_to_go_is_not(
    cluster: Cluster, tmp_path: Path
) -> None:
    with BootedMachine(tmp_path / "machine") as machine:
        machine.boot(user_data(order(cluster, machine)))
        joined(cluster)
        (agent,) = eventually("one agent runs", machine.agents)
        agent.kill()
        eventually("another agent runs", lambda: [p for p in machine.agents() if p.pid != agent.pid])
        joined(cluster)
        machine.stop()
        assert machine.agents() == []
        eventually("nothing of it is left", lambda: not up(cluster))
        machine.start()
        joined(cluster)


def test_a_machine_whose_server_is_gone_ends_itself(cluster: Cluster, tmp_path: Path) -> None:
    with BootedMachine(tmp_path / "machine") as machine:
        machine.boot(user_data(order(cluster, machine, idle_seconds=2)))
        joined(cluster)
        killed = seconds(Path("/proc/uptime"))[0]
        cluster.kill_server()
        eventually("the machine ends itself", lambda: machine.ended.exists() and seconds(machine.ended)[-1] > killed)
        assert "no server was heard" in machine.log()


def test_a_machine_without_an_agent_ends_itself_all_the_same(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    archives = ((*own(), "0" * 64),)
    with BootedMachine(tmp_path / "machine") as machine:
        made = BootstrapOrder(nobody, "styx_join_x", archives, idle_seconds=1, end_command=machine.end_command)
        machine.boot(user_data(made))
        eventually("it says what is wrong", lambda: f"cannot be fetched from {nobody}" in machine.log())
        machine.until_ended()
    with BootedMachine(tmp_path / "old", python="no-python-of-this-name", PATH=f"{tmp_path}:/usr/bin:/bin") as old:
        (tmp_path / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (tmp_path / "python3").chmod(0o755)
        made = BootstrapOrder(
            nobody, "styx_join_x", (("cp399", "vax", "0" * 64),), idle_seconds=1, end_command=old.end_command
        )
        said = old.boot(user_data(made))
        assert "there is no Python here that an agent could run on" in said
        assert "styx bootstrap fetch --python" in said
        old.until_ended()


def test_a_busy_machine_is_given_longer(cluster: Cluster, tmp_path: Path) -> None:
    with BootedMachine(tmp_path / "machine") as machine:
        machine.boot(user_data(order(cluster, machine, idle_seconds=1, busy_seconds=4)))
        joined(cluster)
        cluster.styx("run", "-d", "--", "sleep", "600")
        eventually("it is noted that a program runs", lambda: (machine.folder / "contact").read_text().endswith(" 1\n"))
        cluster.kill_server()
        for process in machine.agents():
            process.kill()  # the loop outside has the note to go by
        killed = seconds(Path("/proc/uptime"))[0]
        eventually("the machine ends itself", lambda: machine.ended.exists() and seconds(machine.ended)[-1] > killed)
        ended = next(at for at in seconds(machine.ended) if at > killed)
        assert ended - seconds(machine.folder / "contact")[0] >= 4


def seconds(path: Path) -> list[float]:
    """The first number of each line."""
    return [float(line.split()[0]) for line in path.read_text().splitlines()]


def test_an_archive_that_is_another_one_is_not_run(cluster: Cluster, tmp_path: Path) -> None:
    with BootedMachine(tmp_path / "machine") as machine:
        good = order(cluster, machine)
        (one,) = good.archives
        path = next((cluster.home / "bootstrap").glob("*.tar.gz"))
        wrong = path.with_name(f"{one[0]}-{one[1]}-{'1' * 64}.tar.gz")
        wrong.write_bytes(path.read_bytes())
        machine.boot(user_data(msgspec.structs.replace(good, archives=((one[0], one[1], "1" * 64),))))
        eventually("it says what is wrong", lambda: "not the one that was promised" in machine.log())
        assert machine.agents() == []
        assert not list((machine.folder / "app").glob("*"))


def test_the_archive_is_for_whoever_may_join_and_has_all_an_agent_imports(cluster: Cluster, tmp_path: Path) -> None:
    tag, arch = own()
    target = tmp_path / "archive.tar.gz"
    for role in ("user", "join"):
        body = {"name": "x", "role": role, **({"single_use": True} if role == "join" else {})}
        secret = cluster.api("POST", "/api/v1/tokens", body)[1]["secret"]
        url = f"{cluster.url}/api/v1/bootstrap/{tag}/{arch}"
        command = [sys.executable, "-c", _GET, url, secret, str(target)]
        got = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
        assert got == ("200" if role == "join" else "403")
    with tarfile.open(target) as archive:
        archive.extractall(tmp_path / "app", filter="data")
    assert target.stat().st_size < 2 << 20
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'app')!r}); from styx.agent.main import main; main(['--version'])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("styx-agent "), done.stderr
    assert json.loads(json.dumps(cluster.api("GET", f"/api/v1/bootstrap/{tag}/{arch}?sha256={'2' * 64}")[0])) == 404


_GET = """
import sys, urllib.error, urllib.request
url, secret, target = sys.argv[1:]
request = urllib.request.Request(url, headers={"Authorization": f"Bearer {secret}"})
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        open(target, "wb").write(answer.read())
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
