"""Which agent this is: a numbered folder, locked while the agent lives, with its UUID in it.

Each agent of a machine locks its own DIR/agents/N, the lowest N that is free. An agent that starts again finds its folder
free, since the lock went with the process, and so it is the same agent to the server and finds its owner process, which
has its socket there. An agent with an id of its own (STYX_AGENT_ID) has the folder DIR/agents/id-ID instead, so that it never
takes over the programs of another.

The lock is a POSIX record lock: unlike flock it does not pass to child processes, so an owner that lives on does not hold
it. Within one process it does not exclude, hence the set beside it.
"""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from itertools import count
from pathlib import Path

from styx.errors import Conflict, StyxError, UsageError

__all__ = ["Claim", "claim", "release"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST = 10_000  # agents of one folder

_held: set[Path] = set()


class Claim:
    """A folder that belongs to this agent until `close`, or the end of the process. `number` is N, or -1 with an id."""

    def __init__(self, folder: Path, number: int, lock: int, agent: str) -> None:
        self.folder = folder
        self.number = number
        self.agent = agent
        self._lock = lock

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            _held.discard(self.folder)


def claim(home: Path, agent: str = "") -> Claim:
    """Lock a folder under `home`; `agent` is an id given from outside. Errors: UsageError for a bad id, Conflict when an
    agent with this id runs already, StyxError when the folder cannot be used."""
    if agent and not _ID.fullmatch(agent):
        raise UsageError(
            f"not an agent id: {agent!r}",
            hint="STYX_AGENT_ID is up to 64 letters, digits, dots, dashes and underscores",
        )
    root = home.absolute() / "agents"
    try:
        if agent:
            folder = root / f"id-{agent}"
            lock = _lock(folder)
            if lock is None:
                raise Conflict(f"an agent with the id {agent} already runs here ({folder})")
            return Claim(folder, -1, lock, agent)
        for number in count():
            lock = _lock(root / str(number))
            if lock is not None:
                return Claim(root / str(number), number, lock, _identity(root / str(number)))
            if number >= _MOST:
                break
    except OSError as error:
        raise StyxError(
            f"{root} cannot be used: {error.strerror or error}", hint="set STYX_HOME to a folder of yours"
        ) from error
    raise StyxError(f"{root} has no free folder")


def _lock(folder: Path) -> int | None:
    if folder in _held:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    _held.add(folder)
    return lock


def _identity(folder: Path) -> str:
    """The UUID that lies in the folder; drawn, and put on disk, the first time."""
    path = folder / "id"
    try:
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    except (FileNotFoundError, ValueError):
        drawn = str(uuid.uuid4())
    fresh = folder / "id.new"
    with open(fresh, "w", encoding="ascii") as file:
        file.write(drawn + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return drawn


def release() -> str:
    """The version of Styx that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("styx-orchestrator")
    except PackageNotFoundError:
        return "unknown"
