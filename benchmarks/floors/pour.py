"""Floor of output: the same programs poured through as many processes by hand, with nothing known about any byte.

    programs -> pipes -> owner -> unix socket -> agent -> TCP -> server -> one file, synced every 4 MB
                                                                       \\-> TCP -> readers, of the share that is followed

No frames, no streams, no offsets, no masking, no acknowledgements, no rows: each relay reads into one buffer that stays, and writes it.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

_BUFFER = 256 << 10
_SYNC = 4 << 20


def pours(command: str, tasks: int, readers: int, folder: str | None = None) -> tuple[float, float]:
    """Run `command` in a shell that many times at once: (seconds, seconds of CPU of all that took part)."""
    with tempfile.TemporaryDirectory(prefix="styx-floor-", dir=folder) as place:
        told = subprocess.run(
            [sys.executable, __file__, command, str(tasks), str(readers), place],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
    return float(told[0]), float(told[1])


def _main(command: str, tasks: int, readers: int, folder: str) -> None:
    begin = time.perf_counter()
    from_owner, to_agent = socket.socketpair()
    to_server, from_agent = _tcp()
    followed = [_tcp() for _ in range(readers)]
    steps: list[Callable[[], None]] = [
        lambda: _own(command, tasks, to_agent),
        lambda: _relay(from_owner, to_server),
        lambda: _serve(from_agent, [mine for mine, _ in followed], tasks, folder),
        lambda: _follow([theirs for _, theirs in followed]),
    ]
    ends = [
        {to_agent},
        {from_owner, to_server},
        {from_agent, *(mine for mine, _ in followed)},
        {theirs for _, theirs in followed},
    ]
    everything = set().union(*ends)
    children = []
    for step, mine in zip(steps, ends, strict=True):
        child = os.fork()
        if not child:
            for other in everything - mine:
                other.close()
            step()
            os._exit(0)
        children.append(child)
    for end in everything:
        end.close()
    for child in children:
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError("a part of the floor has failed")
    took = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(took, used.ru_utime + used.ru_stime)


def _tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mine = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return mine, theirs


def _own(command: str, tasks: int, to: socket.socket) -> None:
    programs = [subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE) for _ in range(tasks)]
    with selectors.DefaultSelector() as selector:
        for program in programs:
            assert program.stdout is not None
            selector.register(program.stdout.fileno(), selectors.EVENT_READ)
        buffer = bytearray(64 << 10)
        while selector.get_map():
            for key, _ in selector.select():
                size = os.readv(key.fd, [buffer])
                if size:
                    to.sendall(memoryview(buffer)[:size])
                else:
                    selector.unregister(key.fd)
    for program in programs:
        program.wait()


def _relay(source: socket.socket, to: socket.socket) -> None:
    buffer = bytearray(_BUFFER)
    while size := source.recv_into(buffer):
        to.sendall(memoryview(buffer)[:size])


def _serve(source: socket.socket, readers: list[socket.socket], tasks: int, folder: str) -> None:
    buffer, unsynced, turn = bytearray(_BUFFER), 0, 0
    file = os.open(f"{folder}/output", os.O_WRONLY | os.O_CREAT, 0o600)
    while size := source.recv_into(buffer):
        os.write(file, memoryview(buffer)[:size])
        unsynced += size
        if unsynced >= _SYNC:
            os.fdatasync(file)
            unsynced = 0
        if readers:
            readers[turn].sendall(memoryview(buffer)[: size * len(readers) // tasks])
            turn = (turn + 1) % len(readers)
    os.fdatasync(file)


def _follow(sources: list[socket.socket]) -> None:
    buffer = bytearray(_BUFFER)
    with selectors.DefaultSelector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ, source)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.recv_into(buffer):
                    selector.unregister(key.data)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
