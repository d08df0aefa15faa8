"""`styx nodes add` and `remove` against a real sshd: the agent goes there over the connection, and comes away again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from boot_kit import BootedMachine
from sshd_kit import Sshd, needs_sshd, sshd

from styx.testing.cluster import Cluster, eventually

pytestmark = [needs_sshd, pytest.mark.e2e, pytest.mark.timeout(180)]


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


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[BootedMachine]:
    """Only to look at what runs in the folder, and to leave nothing behind."""
    with BootedMachine(tmp_path / "machine") as made:
        yield made


def nodes(cluster: Cluster, there: Sshd, *words: str) -> str:
    options = ("--identity", str(there.key), "--known-hosts", str(there.known_hosts))
    done = cluster.styx("nodes", words[0], there.target, *options, *words[1:])
    assert done.returncode == 0, done.stderr + (there.folder / "log").read_text()
    return done.stdout


def up(cluster: Cluster) -> list[str]:
    found = cluster.api("GET", "/api/v1/agents")[1]["items"]
    return [agent["agent_id"] for agent in found if agent["state"] == "UP"]


def tunnels(cluster: Cluster) -> list[int]:
    return [json.loads(path.read_bytes())["pid"] for path in (cluster.home / "ssh").glob("*[0-9].json")]


def test_a_machine_is_added_through_a_tunnel_and_removed(cluster: Cluster, there: Sshd, machine: BootedMachine) -> None:
    added = json.loads(
        nodes(cluster, there, "add", "--folder", str(machine.folder), "--label", "kind=mine", "-o", "json")
    )
    assert up(cluster) == [added["agent"]]
    assert added["tunnel"] > 0
    done = cluster.styx(
        "run", "--label", "kind=mine", "--label", "provider=ssh", "--", "sh", "-c", "echo there; exit 4"
    )
    assert (done.returncode, done.stdout) == (4, "there\n"), done.stderr
    # adding it again changes nothing
    again = json.loads(nodes(cluster, there, "add", "--folder", str(machine.folder), "-o", "json"))
    assert (again["agent"], again["tunnel"]) == (added["agent"], added["tunnel"])
    assert len(machine.agents()) == 1
    # the connection breaks: programs go on, and the way back is dug again on the same port
    job = cluster.styx(
        "run", "-d", "-o", "name", "--", "sh", "-c", f"until test -e {machine.folder}.go; do sleep 0.1; done"
    ).stdout
    eventually("it runs", lambda: cluster.api("GET", "/api/v1/tasks")[1]["items"][0]["status"] == "RUNNING")
    there.stop()
    eventually("the server misses it", lambda: not up(cluster))
    there.start()
    eventually("it is back", lambda: up(cluster) == [added["agent"]])
    Path(f"{machine.folder}.go").touch()
    assert cluster.styx("wait", job.strip()).returncode == 0
    attempts = cluster.api("GET", f"/api/v1/tasks/{job.strip()}")[1]["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["EXITED"]

    (pid,) = tunnels(cluster)
    nodes(cluster, there, "remove")
    assert machine.processes() == []
    assert not machine.folder.exists()
    eventually("it is gone", lambda: not up(cluster))
    eventually("the tunnel has ended", lambda: not Path(f"/proc/{pid}").exists())
    tokens = cluster.api("GET", "/api/v1/tokens")[1]["items"]
    assert all(token["revoked"] for token in tokens if token.get("agent") == added["agent"])
    gone = cluster.styx("nodes", "remove", there.target)
    assert gone.returncode == 2
    assert "was not added from here" in gone.stderr


def test_what_is_wrong_is_said_before_anything_is_sent(cluster: Cluster, there: Sshd, machine: BootedMachine) -> None:
    def refused(*words: str) -> str:
        done = cluster.styx("nodes", "add", *words, "--folder", str(machine.folder))
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return done.stderr

    known, key = ("--known-hosts", str(there.known_hosts)), ("--identity", str(there.key))
    nobody = there.folder / "nobody"
    nobody.write_text("")
    said = refused(there.target, *key, "--known-hosts", str(nobody))
    assert "is not known" in said
    assert f"ssh-keyscan -p {there.port} 127.0.0.1 >> {nobody}" in said
    assert "is not known" in refused(there.target, *key, "--known-hosts", str(there.folder / "no-such-file"))
    # a host that shows another key than the one that is known
    other = there.known_hosts.read_text().split()
    nobody.write_text(f"{other[0]} {(there.folder / 'id.pub').read_text()}")
    assert "another one than" in refused(there.target, *key, "--known-hosts", str(nobody))
    (there.folder / "authorized_keys").write_text("")
    assert "was refused" in refused(there.target, *key, *known)
    there.stop()
    assert "cannot be reached" in refused(there.target, *key, *known)
    assert "not a machine" in refused("user@", *known)
    assert not machine.folder.exists()
    assert up(cluster) == []
