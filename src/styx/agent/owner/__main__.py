"""`python -m styx.agent.owner DIR`: be the owner of DIR, or say who is. `launcher` starts it so, detached."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import os
import select
import sys

from styx.agent.owner import address, mark, proc, survivors
from styx.agent.owner.launcher import LOCK
from styx.agent.owner.loop import Loop
from styx.agent.owner.mark import Marker
from styx.agent.owner.outlet import Outlet
from styx.agent.owner.pipes import Pipes
from styx.agent.owner.rooms import Rooms
from styx.agent.owner.spawn import Spawner
from styx.agent.owner.spool import Budget
from styx.agent.owner.supervisor import Supervisor
from styx.agent.owner.trash import Trash
from styx.agent.owner.workshop import Workshop
from styx.errors import StyxError

__all__ = ["main"]

_SECOND = 1_000_000_000


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="styx-owner", description="Hold the running programs of one agent.")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--tied", action="store_true", help="end with the first connection")
    parser.add_argument("--ready", type=int, default=-1, metavar="FD", help="where to write `ok PID` or what is wrong")
    parser.add_argument(
        "--idle", type=float, default=30.0, metavar="SECONDS", help="without work and agent, until exit"
    )
    parser.add_argument("--output-memory", type=int, default=1 << 20, metavar="BYTES", help="for each attempt")
    parser.add_argument("--output-disk", type=int, default=1 << 30, metavar="BYTES", help="for each attempt")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    try:
        folder = os.path.abspath(arguments.folder)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chmod(folder, 0o700)
        lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell(arguments.ready, "held")
            return 3
        return _serve(folder, lock, arguments)
    except (OSError, StyxError) as error:
        _tell(arguments.ready, f"error {error}")
        return 1


def _serve(folder: str, lock: int, arguments: argparse.Namespace) -> int:
    key, known = mark.read_key(lock)
    marker = Marker(key)
    proc.become_subreaper("styx-owner")
    if known and (found := survivors.clear(marker)):
        print(f"styx-owner: ended {found} processes that a predecessor left", file=sys.stderr, flush=True)
    trash = Trash(os.path.join(folder, "trash"))
    for name in ("work", "results", "spool"):
        trash.remove(os.path.join(folder, name))
        os.mkdir(os.path.join(folder, name), 0o700)
    home = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(home)
    epoll = select.epoll()
    pipes, outlet = Pipes(epoll), Outlet()
    budget = Budget(per_attempt_memory=arguments.output_memory, per_attempt_disk=arguments.output_disk)
    workshop = Workshop(folder, marker, Spawner(home, marker), Rooms(f"{folder}/work", trash), budget)
    supervisor = Supervisor(marker, workshop, pipes, outlet)
    supervisor.tied = arguments.tied
    listener = address.bind(folder)
    loop = Loop(epoll, listener, supervisor, pipes, outlet, trash, round(arguments.idle * _SECOND))
    mark.write_key(lock, key, os.getpid())
    _tell(arguments.ready, f"ok {os.getpid()}")
    gc.freeze()  # what start-up made is not looked at again
    gc.set_threshold(20_000)
    try:
        loop.run()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address.SOCKET)
        mark.write_key(lock, key)
    return 0


def _tell(ready: int, text: str) -> None:
    """To whoever launched us, or to the terminal."""
    if ready < 0:
        print(f"styx-owner: {text}", file=sys.stderr, flush=True)
        return
    os.write(ready, text.encode())
    os.close(ready)


if __name__ == "__main__":
    sys.exit(main())
