"""SkyPilot: the start of its API server and of its command line, nothing else; its work is on clouds."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from importlib.metadata import version

from orphans import descendants, end_all

from peers.bench import Peer, pss, until

candidates = iter(range(20_000 + os.getpid() % 5_000, 30_000))


def free_ports() -> int:
    """A port that is free and was not given before. The server derives a second one from it, and gives up if anybody has that."""
    for port in candidates:
        second = 50_000 + (port - 46_569) % 10_000
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", second))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


def environment(port: int) -> dict[str, str]:
    here = os.getcwd()
    return {
        **os.environ,
        "HOME": here,
        "SKY_RUNTIME_DIR": here,
        "SKYPILOT_API_SERVER_LOCAL_PORT": str(port),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5) as answer:
            return b'"healthy"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def start(port: int) -> float:
    """Milliseconds from nothing to the first healthy answer."""
    begin = time.perf_counter()
    subprocess.Popen(
        ["sky", "api", "start", "--foreground"],
        env=environment(port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until("its API server is healthy", lambda: healthy(port), seconds=120)
    return (time.perf_counter() - begin) * 1_000


def served() -> tuple[float, float]:
    """Milliseconds to healthy, and MB once it is idle."""
    took = start(free_ports())
    held, before = pss(*descendants(os.getpid())), 0.0
    while held > 1.01 * before:  # until its workers have all started: it is the idle state that is measured
        time.sleep(4.0)
        held, before = pss(*descendants(os.getpid())), held
    end_all()
    return took, held


def command(*words: str, port: int = 1) -> float:
    begin = time.perf_counter()
    subprocess.run(
        ["sky", *words], env=environment(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return (time.perf_counter() - begin) * 1_000


def dryrun() -> float:
    return command("launch", "--dryrun", "-y", "--", "true", port=running)


running = 0  # the port of the server that a dry run asks

if __name__ == "__main__":
    with Peer(
        "skypilot",
        version("skypilot"),
        "only its server's start and its command line are compared: its work is on clouds",
    ) as peer:
        why = "not run: it brings up machines of a cloud for each"
        peer.absent("processes nothing dag chain array bulk submit-p50 submit-p99", why)
        peer.absent("end-process end-nothing first pss-worker", why)
        command("--help")  # the first start of all compiles what it imports
        peer.measure("help", lambda _: command("--help"))
        peer.measure("healthy pss-server", lambda _: served())
        running = free_ports()
        start(running)
        dryrun()
        peer.measure("whole", lambda _: dryrun(), note="until it says that no cloud is set up; with one it does more")
