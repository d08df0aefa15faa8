"""How a machine is named, and what `[providers.ssh]` may hold.

[providers.ssh]
hosts = ["ada@gpu-1", "ada@10.0.0.7:2222"]
identity = "~/.ssh/id_ed25519"          # what ssh itself would use, by default
known_hosts = "~/.ssh/known_hosts"
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from styx.core.suggest import did_you_mean, one_of
from styx.core.units import got
from styx.errors import Problem, SpecError, UsageError

__all__ = ["Settings", "Target", "read", "target_of"]

_KEYS = ("hosts", "identity", "known_hosts")
_NAME = re.compile(
    r"(?:(?P<user>[A-Za-z_][A-Za-z0-9._-]{0,63})@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?"
)


class Target(msgspec.Struct, frozen=True):
    """Where, and as whom. `user` "" and `port` 0: as ~/.ssh/config or the system has it."""

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" * bool(self.user) + host * (not self.user) + f":{self.port}" * bool(self.port)


class Settings(msgspec.Struct, frozen=True):
    """`identity` "" and `known_hosts` "": what ssh itself would use."""

    hosts: tuple[Target, ...] = ()
    identity: str = ""
    known_hosts: str = ""


def target_of(text: str) -> Target:
    """[user@]host[:port]. Raises UsageError."""
    found = _NAME.fullmatch(text)
    if not found or int(found["port"] or 1) not in range(1, 65_536):
        raise UsageError(f"not a machine: {text[:100]!r}", hint="write it as user@host or user@host:port")
    return Target(found["host"].strip("[]"), found["user"] or "", int(found["port"] or 0))


def read(given: Mapping[str, Any]) -> Settings:
    """The table as it stands in styx.toml. Raises SpecError with everything that is wrong."""
    problems: list[Problem] = []
    hosts: list[Target] = []
    for key in given:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS) or f"it may be {one_of(_KEYS)}"
            problems.append(Problem(f"$.providers.ssh.{key}", f"unknown setting {key!r}", hint))
    listed = given.get("hosts", [])
    if not isinstance(listed, list):
        problems.append(Problem("$.providers.ssh.hosts", f"hosts must be a list, got {got(listed)}"))
        listed = []
    for number, host in enumerate(listed):
        path = f"$.providers.ssh.hosts[{number}]"
        try:
            target = target_of(host) if isinstance(host, str) else None
        except UsageError as error:
            problems.append(Problem(path, error.message, error.hint))
            continue
        if target is None:
            problems.append(Problem(path, f"a host must be text, got {got(host)}", "such as user@host"))
        elif target in hosts:
            problems.append(Problem(path, f"{host} stands twice in the list"))
        else:
            hosts.append(target)
    texts: dict[str, str] = {}
    for key in ("identity", "known_hosts"):
        value = given.get(key, "")
        if not isinstance(value, str):
            problems.append(Problem(f"$.providers.ssh.{key}", f"{key} must be the name of a file, got {got(value)}"))
            continue
        texts[key] = os.path.expanduser(value)
        if value and not Path(texts[key]).is_file():
            problems.append(Problem(f"$.providers.ssh.{key}", f"{value} is no file"))
    if problems:
        raise SpecError(problems, source="styx.toml")
    return Settings(tuple(hosts), **texts)
