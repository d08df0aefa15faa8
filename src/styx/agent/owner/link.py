"""The connection to the agent: frames in and out of a non-blocking socket, with a bound on what waits to go out."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Sequence
from itertools import islice

from styx.agent.owner import frames
from styx.protocol.owner import AgentToOwner, OwnerToAgent

__all__ = ["Link", "peer"]

_READ = 256 << 10
_PIECES = 256  # to a call; Linux takes 1,024
_SMALL = 16 << 10  # a frame that is no longer is sent in one piece
_READS = 16  # of a turn, so that a busy agent does not keep us from the programs


def peer(connection: socket.socket) -> tuple[int, int]:
    """(pid, uid) of the process at the other end of a unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid


class Link:
    """One agent. `configured` when its Configure has come."""

    __slots__ = ("_frames", "_out", "configured", "queued", "socket", "watched")

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.configured = False
        self.queued = 0  # bytes that wait to go out
        self.watched = 1  # the epoll events it is registered for: EPOLLIN at first
        self._frames = frames.from_agent()
        self._out: deque[bytes | memoryview] = deque()

    def receive(self) -> tuple[list[AgentToOwner], bool]:
        """What has come, and whether the connection goes on. Raises ProtocolError on bytes that are no frame."""
        messages: list[AgentToOwner] = []
        for _ in range(_READS):
            try:
                data = self.socket.recv(_READ)
            except BlockingIOError:
                break
            except OSError:
                return messages, False
            if not data:
                return messages, False
            messages += self._frames.feed(data)
            if len(data) < _READ:
                break
        return messages, True

    def send(self, messages: Sequence[OwnerToAgent]) -> bool:
        """Queue a frame and send what the socket takes. False when the connection is over."""
        frame = frames.encode(messages)
        self._out.append(frame)
        self.queued += len(frame)
        return self.flush()

    def send_gathered(self, frame: frames.Gathered) -> bool:
        """As `send`, of a frame that lies in pieces."""
        parts, length = frame.parts()
        if length <= _SMALL:
            self._out.append(b"".join(parts))
        else:
            self._out += parts
        self.queued += length
        return self.flush()

    def flush(self) -> bool:
        """Send what the socket takes. False when the connection is over."""
        out = self._out
        while out:
            try:
                sent = self.socket.send(out[0]) if len(out) == 1 else self.socket.sendmsg(list(islice(out, _PIECES)))
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.queued -= sent
            while sent:
                size = len(out[0])
                if sent < size:
                    out[0] = memoryview(out[0])[sent:]
                    break
                out.popleft()
                sent -= size
        return True

    def close(self) -> None:
        self.socket.close()
