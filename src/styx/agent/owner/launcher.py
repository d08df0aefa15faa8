"""Starting an owner, or finding the one there is. This is the only part that runs in the agent.

The owner is started detached: in its own session, its parent gone, its stderr in DIR/owner.log. It writes one line to a pipe once its
socket accepts, or says what is wrong. DIR/owner.lock, which it holds for its life, sees to it that there is only one for a folder.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from styx.agent.owner.address import connect
from styx.errors import StyxError

__all__ = ["LOCK", "connect", "launch"]

LOCK = "owner.lock"
_LOG = "owner.log"
_LOG_LIMIT = 1 << 20
_PATIENCE = 250
_PAUSE = 0.02  # seconds
_BOOT = (
    "import os, sys; os.fork() and os._exit(0); sys.path[:0] = sys.argv.pop(1).split(os.pathsep);"
    " from styx.agent.owner.__main__ import main; sys.exit(main())"
)


def launch(folder: str | os.PathLike[str], *, tied: bool, options: tuple[str, ...] = ()) -> int:
    """The pid of the owner of `folder`, which accepts on its socket when this returns; starts one if there is none.

    Blocks for as long as a Python takes to start, so an event loop calls it in a thread. `tied`: an owner that is started now
    ends, with its programs, when its first connection does. Raises StyxError with the owner's own words when it does not come up.
    """
    path = os.path.abspath(os.fspath(folder))
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        for _ in range(_PATIENCE):
            pid = _holder(path) or _start(path, [*(["--tied"] if tied else []), *options])
            if pid:
                return pid
            time.sleep(_PAUSE)  # another is just coming up, or just leaving
    except OSError as error:
        raise StyxError(f"cannot start an owner for {path}: {error}") from None
    raise StyxError(f"another owner holds {path} and does not come up", hint=f"see {path}/{_LOG}")


def _holder(folder: str) -> int:
    """The pid of the owner that holds the folder and serves; 0 when there is none."""
    try:
        lock = os.open(os.path.join(folder, LOCK), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        words = os.pread(lock, 64, 0).split()
        # A crashed owner's pid may stand there until its successor writes its own.
        return int(words[1]) if len(words) == 2 and os.path.exists(f"/proc/{words[1].decode()}") else 0
    finally:
        os.close(lock)
    return 0


def _start(folder: str, options: list[str]) -> int:
    """The pid of a new owner; 0 when another one took the folder first."""
    import subprocess

    from styx.agent.owner.environment import base

    log = _open_log(os.path.join(folder, _LOG))
    reader, writer = os.pipe()
    command = [sys.executable, "-I", "-S", "-c", _BOOT, os.pathsep.join(_import_path()), folder, "--ready", str(writer)]
    try:
        subprocess.run(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
            env=base(),
            check=False,
        )
        os.close(writer)
        writer = -1
        with open(reader, "rb", closefd=False) as pipe:
            answer = pipe.read().decode(errors="replace")
    finally:
        for descriptor in (reader, writer, log):
            if descriptor >= 0:
                os.close(descriptor)
    word, _, rest = answer.partition(" ")
    if word == "ok":
        return int(rest)
    if word == "held":
        return 0
    raise StyxError(f"the owner of {folder} did not start: {rest or 'it said nothing'}", hint=f"see {folder}/{_LOG}")


def _open_log(path: str) -> int:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if os.fstat(log).st_size > _LOG_LIMIT:
        os.ftruncate(log, 0)
    return log


def _import_path() -> list[str]:
    """Where the owner finds what it imports: it starts without site-packages, which saves time and cannot go astray."""
    import msgspec

    import styx

    places = [
        os.path.dirname(os.path.abspath(next(iter(styx.__path__)))),
        os.path.dirname(os.path.dirname(msgspec.__file__)),
    ]
    return list(dict.fromkeys(places))
