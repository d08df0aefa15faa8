"""Agent and owner, over a unix socket: each frame is four bytes of length (big-endian) and a msgpack list of messages.

The owner is the small process that holds the running programs of one agent. It speaks first on each connection:
OwnerHello with all it holds. It keeps the end of an attempt until OwnerForget, and output until OwnerRelease, so an agent
that comes back is told again. One agent at a time: a new connection replaces the old one.
"""

from __future__ import annotations

import msgspec

from styx.core.events import AttemptEnding, Count
from styx.core.resources import Resources
from styx.protocol.messages import Data, Run, Secret, Spec

__all__ = [
    "OWNER_VERSION",
    "AgentToOwner",
    "Configure",
    "OwnerEnded",
    "OwnerForget",
    "OwnerHello",
    "OwnerLease",
    "OwnerOutput",
    "OwnerRecall",
    "OwnerRelease",
    "OwnerShutdown",
    "OwnerStart",
    "OwnerStarted",
    "OwnerStop",
    "OwnerToAgent",
    "OwnerWatching",
]

OWNER_VERSION = 1


class OwnerWatching(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One attempt the owner holds: state 0 queued, 1 running, 2 ended. `released` are (stdout, stderr) bytes let go."""

    attempt: int
    state: int
    ran: int


class OwnerHello(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="hello"):
    version: int
    nonce: str  # drawn at the start of the owner; with the boot id it makes Hello.boot
    pid: int
    incarnation: str
    capacity: Resources
    held: tuple[OwnerWatching, ...]


class OwnerStarted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="started"):
    attempts: tuple[int, ...]


class OwnerOutput(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="out"):
    attempt: int
    stream: int
    offset: int
    data: Data


class OwnerEnded(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="ended"):
    """Sent after all of the attempt's output. `ended.ago` is counted anew each time it is sent."""

    ended: tuple[AttemptEnding, ...]


class Configure(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="configure"):
    """The agent's first message: whose attempts these are, and what this machine gives. When the incarnation differs
    from that of the attempts held, the owner stops those and forgets them."""

    incarnation: str
    capacity: Resources
    devices: tuple[tuple[str, tuple[str, ...]], ...] = ()  # accelerator name -> ids for CUDA_VISIBLE_DEVICES
    tied: bool = False  # embedded: when this connection ends, so do the programs and the owner


class OwnerStart(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="start"):
    """`results` is the folder for $STYX_RESULTS, or empty when the task needs nothing. `secrets` are kept in memory only. `parcel`
    is the file of the packed working folder that is unpacked into the private one, or empty."""

    spec: Spec
    runs: tuple[Run, ...]
    results: str = ""
    secrets: tuple[Secret, ...] = ()
    parcel: str = ""


class OwnerStop(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="stop"):
    attempts: tuple[int, ...]


class OwnerRecall(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="recall"):
    attempts: tuple[int, ...]


class OwnerForget(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="forget"):
    attempts: tuple[int, ...]


class OwnerRelease(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="release"):
    attempt: Count
    stream: int
    offset: Count


class OwnerLease(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="lease"):
    """The agent's lease goes on for so long, in milliseconds. When it is over the owner ends what is `exclusive` by itself and
    starts nothing until it is told of another, whether or not the agent still lives."""

    remaining: Count


class OwnerShutdown(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="shutdown"):
    """Exit as soon as nothing is left to own or to collect (`kill`: stop everything first)."""

    kill: bool = False


OwnerToAgent = OwnerHello | OwnerStarted | OwnerOutput | OwnerEnded
AgentToOwner = (
    Configure | OwnerStart | OwnerStop | OwnerRecall | OwnerForget | OwnerRelease | OwnerShutdown | OwnerLease
)
