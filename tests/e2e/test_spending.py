"""Nothing is spent unasked: a server with a (made-up) cloud behind it, and a person at a terminal, or nobody there."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

GPU = ("run", "--gpus", "A100:8", "--prefer-spot", "--name", "train", "true")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("spending")
    (folder / "config" / "styx").mkdir(parents=True)
    with Cluster(folder, env={"XDG_CONFIG_HOME": str(folder / "config")}) as cluster:
        (folder / "config" / "styx" / "styx.toml").write_text(
            f'[places]\npublic_url = "{cluster.url}"\nmax_instances = 2\n[providers.fake]\n'
        )
        cluster.start_server()
        eventually("the cloud can be used", lambda: cluster.api("GET", "/health")[1]["provisions"])
        yield cluster


def at_a_terminal(cluster: Cluster, answer: bytes) -> tuple[int, str]:
    """`styx run` in a pseudo-terminal, whose question is answered; the exit code, and what was shown."""
    ours, theirs = pty.openpty()

    def own_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("styx")), *GPU],
        env={**cluster.env, "STYX_SERVER_URL": cluster.url, "TERM": "xterm", "COLUMNS": "160"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=own_terminal,  # noqa: PLW1509 - there are no threads here
    )
    os.close(theirs)
    shown, until, asked = b"", time.monotonic() + 60, False
    try:
        while time.monotonic() < until:
            if not select.select([ours], [], [], 1.0)[0]:
                if (
                    asked
                ):  # a Ctrl-C in the moment before Python begins to read is seen with the next key, so press again
                    os.write(ours, answer)
                continue
            piece = os.read(ours, 65_536)
            if not piece:
                break
            shown += piece
            if not asked and b"[y/N]" in shown:
                asked = True
                os.write(ours, answer)
    except OSError:  # Linux says EIO when the last writer has gone
        pass
    finally:
        os.close(ours)
    try:
        return process.wait(30), shown.decode()
    finally:
        process.kill()


def instances(cluster: Cluster) -> list[dict[str, Any]]:
    status, page = cluster.api("GET", "/api/v1/instances")
    assert status == 200
    found: list[dict[str, Any]] = page["items"]
    return found


def test_where_nobody_can_be_asked_it_is_refused(cluster: Cluster) -> None:
    ran = cluster.styx(*GPU)
    assert ran.returncode == 2
    assert "offers for train" in ran.stderr
    assert "-y agrees" in ran.stderr
    assert cluster.api("GET", "/api/v1/jobs")[1]["items"] == []
    assert instances(cluster) == []


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x03", b"\x04"], ids=["no", "nothing", "Ctrl-C", "Ctrl-D"])
def test_who_does_not_agree_spends_nothing(cluster: Cluster, answer: bytes) -> None:
    code, shown = at_a_terminal(cluster, answer)
    assert code == 130
    assert "Bring up machines for up to $6.60 an hour?" in shown
    assert "Traceback" not in shown
    assert cluster.api("GET", "/api/v1/jobs")[1]["items"] == []
    assert instances(cluster) == []


def test_who_agrees_gets_the_machine_and_can_take_it_down(cluster: Cluster) -> None:
    made = cluster.styx(*GPU[:1], "-y", "-d", "-o", "json", *GPU[1:])
    assert made.returncode == 0, made.stderr
    job = json.loads(made.stdout)["job_id"]
    (machine,) = eventually("a machine is there", lambda: [one for one in instances(cluster) if one["ref"]])
    assert (machine["instance_type"], machine["spot"], machine["job_id"]) == ("gpu8", True, job)
    why = cluster.styx("why", job)
    assert "is being brought up for it" in why.stdout
    assert cluster.styx("cancel", job).returncode == 0
    assert cluster.styx("down", machine["instance_id"]).returncode == 2
    down = cluster.styx("down", machine["instance_id"], "-y")
    assert down.stdout == "1 machine on the way out\n"
    cost = json.loads(cluster.styx("cost", "-o", "json", job).stdout)
    assert [one["instance_id"] for one in cost["machines"]] in ([machine["instance_id"]], [])
    assert "there is no instance" in cluster.styx("down", "nothing", "-y").stderr
