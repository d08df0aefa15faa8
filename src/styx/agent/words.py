"""The words that a session is spoken with: who the agent is, how its link stands, and what an input leads to."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from styx.agent.results import DropResults, WriteResults
from styx.core.resources import Resources
from styx.protocol.messages import AgentMessage
from styx.protocol.owner import AgentToOwner

__all__ = ["LinkState", "Out", "Profile", "Vitals"]


class LinkState(IntEnum):
    DOWN = 0
    OPEN = 1  # dialled
    GREETED = 2  # Hello is sent
    WELCOME = 3


class Profile(msgspec.Struct, frozen=True):
    """Who this agent is and what its machine gives."""

    agent: str
    name: str
    host: str
    boot: str  # of the machine; with the owner's nonce it makes Hello.boot
    session: str  # drawn at each start of the agent
    release: str
    capacity: Resources
    labels: tuple[tuple[str, str], ...] = ()
    devices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    results: str = "results"  # the folder under which results are written
    tied: bool = False  # the programs end with this process


class Vitals(msgspec.Struct, frozen=True):
    """The figures of a heartbeat, in its units."""

    cpu: int = 0
    memory: int = 0
    load: int = 0


class Out(msgspec.Struct):
    """What one input leads to. `files` come before `to_owner`, which needs them."""

    to_server: list[AgentMessage] = []
    to_owner: list[AgentToOwner] = []
    files: list[WriteResults | DropResults] = []
    fetch: list[str] = []  # parcels to be fetched from the server, by hash; `Session.fetched` or `unfetched` follows
    notes: list[str] = []  # for the log, one line each
    redial: bool = False  # close the link to the server and dial again
    retry: int = 0  # the server asks to be left alone for so many milliseconds
    reopen: bool = False  # close the connection to the owner and open it again
    refused: str = ""  # it will never work; why
