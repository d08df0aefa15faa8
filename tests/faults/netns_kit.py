"""A small network of its own: a bridge in one namespace, where the server and the test live, and a namespace for each agent.

Nothing outside these namespaces is touched, so tests may run beside one another. The test's thread moves into the hub for the
time of the block; what it starts there, or under `inside`, stays where it was started. Needs root, `ip` and `iptables`.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["HUB", "Network", "network"]

HUB = "10.77.0.1"
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


class Network:
    """Made by `network`. Agents' namespaces are made when they are first named."""

    def __init__(self) -> None:
        self._prefix = f"styx{os.getpid()}-{next(_numbers)}-"
        self._made: list[str] = []
        self._make("hub")
        self._in("hub", "ip", "link", "add", "bridge", "type", "bridge")
        self._in("hub", "ip", "address", "add", f"{HUB}/24", "dev", "bridge")
        self._in("hub", "ip", "link", "set", "bridge", "up")

    def _make(self, name: str) -> None:
        _do("ip", "netns", "add", self._prefix + name)
        self._made.append(name)
        self._in(name, "ip", "link", "set", "lo", "up")

    def _in(self, name: str, *words: str) -> None:
        _do("ip", "netns", "exec", self._prefix + name, *words)

    def _join(self, name: str) -> None:
        """A cable between the bridge and a new namespace."""
        self._make(name)
        number = len(self._made)
        far = ("netns", self._prefix + name)
        self._in("hub", "ip", "link", "add", f"to{number}", "type", "veth", "peer", "name", "up0", *far)
        self._in("hub", "ip", "link", "set", f"to{number}", "master", "bridge", "up")
        self._in(name, "ip", "address", "add", f"10.77.0.{number}/24", "dev", "up0")
        self._in(name, "ip", "link", "set", "up0", "up")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread, and what it starts, in a namespace."""
        if name not in self._made:
            self._join(name)
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{self._prefix}{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
            yield
        finally:
            _enter(before)
            os.close(there)
            os.close(before)

    def cut(self, name: str, *, hears: bool = False, speaks: bool = False) -> None:
        """Drop all packets to and from an agent, without a word to either side; or all but what it hears or says."""
        for chain, kept in (("INPUT", hears), ("OUTPUT", speaks)):
            if not kept:
                self._in(name, "iptables", "-w", "-A", chain, "-j", "DROP")

    def heal(self, name: str) -> None:
        self._in(name, "iptables", "-w", "-F")

    def part(self) -> None:
        """Nobody reaches anybody."""
        for number in range(2, len(self._made) + 1):
            self._in("hub", "ip", "link", "set", f"to{number}", "down")

    def join_again(self) -> None:
        for number in range(2, len(self._made) + 1):
            self._in("hub", "ip", "link", "set", f"to{number}", "up")

    def close(self) -> None:
        for name in reversed(self._made):
            _do("ip", "netns", "delete", self._prefix + name)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


@contextmanager
def network() -> Iterator[Network]:
    """A network; this thread is in its hub. Skips the test where none can be made."""
    missing = [program for program in ("ip", "iptables") if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"needs root, ip and iptables (`make test-deps`); missing: {missing or 'root'}")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the privilege to make network namespaces")
    made = Network()
    try:
        with made.inside("hub"):
            yield made
    finally:
        made.close()
