"""Agent and server, over one websocket: binary frames of msgpack, each a list of messages.

The agent speaks first: Hello. The server answers Welcome, or Refused and closes. After that each side sends frames as
messages gather. `Report` is what must not be lost: the agent numbers its reports, keeps each until an Ack (sent after the
commit) covers its number, and sends what is unacknowledged again after a reconnect; the server drops numbers it has
seen from this session key. What the server orders is level-triggered instead: at each Hello the agent says all that it
holds (`held`), and the server sends again what is missing. Orders are idempotent by attempt.

Only durations cross the wire, in milliseconds; neither side ever sees the other's clock. (incarnation, attempt) is the
fence: the incarnation is agreed in Welcome and holds for the connection. An agent that holds work of another
incarnation stops it before it answers anything else.

A field may be added at the end of a struct with a default; nothing else may change within a protocol version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from styx.core.events import AttemptEnding, Count, Held, Reason
from styx.core.resources import Resources

__all__ = [
    "KEPT_FILES",
    "OLDEST",
    "VERSION",
    "Ack",
    "AgentMessage",
    "Bye",
    "Credential",
    "Data",
    "Files",
    "Forget",
    "Heartbeat",
    "HeartbeatAck",
    "Hello",
    "Output",
    "OutputAck",
    "Recall",
    "Refused",
    "Report",
    "Run",
    "Secret",
    "ServerMessage",
    "Spec",
    "Start",
    "Stop",
    "Welcome",
]

VERSION = 1
OLDEST = 1  # the oldest version that this code still speaks
KEPT_FILES = 1_000  # see Files


if TYPE_CHECKING:
    Data = bytes | memoryview
else:
    Data = memoryview
"""What a program wrote: bytes when it is made here, and a view into the frame when it came in one, so that nothing is copied. Such a
view keeps the whole frame in memory: who keeps it long, and little of it, takes `bytes` of it."""

Name = Annotated[str, msgspec.Meta(max_length=1_024)]


class Hello(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="hello"):
    """Agent: who I am and all I hold."""

    agent: Name  # a UUID, kept in the agent's folder
    name: Name  # for people; by default the host's name
    host: Name  # names the machine, so that a caller's folder can be found on it
    boot: Name  # this boot of the machine and this owner process
    session: Name  # drawn at each start of the agent process; numbers of Reports count within it
    oldest: int
    newest: int
    release: Name
    capacity: Resources
    labels: tuple[tuple[Name, Name], ...]
    incarnation: Name  # of the attempts held; empty when none are
    held: tuple[Held, ...]
    draining: bool = False


class Welcome(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="welcome"):
    """Server: you are in. `acked` is the last Report number of this session that is on disk."""

    version: int
    incarnation: str
    node: Count
    acked: Count
    heartbeat: Count  # send one this often
    lease: Count  # from sending a heartbeat that was acknowledged, until the agent must think itself cut off
    release: str


class Refused(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="refused"):
    """Server: not like this. When `retry` is 0 there is no use in trying again."""

    reason: str
    retry: Count = 0


class Credential(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="credential"):
    """Server, to an agent that joined: what to dial with from now on; the one before ends soon. It is not shown, whoever prints
    this. Not one of ServerMessage: it is for whoever dials."""

    secret: str
    ttl: int

    def __repr__(self) -> str:
        return f"Credential(***, {self.ttl})"


class Heartbeat(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="beat"):
    """Agent: alive. Shares are thousandths of the machine."""

    number: Count
    cpu: Count = 0
    memory: Count = 0  # bytes in use
    load: Count = 0  # 1-minute load, thousandths
    running: Count = 0
    waiting: Count = 0


class HeartbeatAck(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="beat-ack"):
    number: int


class Report(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="report"):
    """Agent: what happened to attempts, in order. Acknowledged by number once it is on disk."""

    number: Count
    started: tuple[Count, ...] = ()
    ended: tuple[AttemptEnding, ...] = ()


class Ack(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="ack"):
    """Server: every Report up to this number is on disk."""

    number: int


class Output(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="out"):
    """Agent: bytes that an attempt wrote. `stream` is 1 or 2; `offset` counts the bytes of that stream before these."""

    attempt: Count
    stream: int
    offset: Count
    data: Data


class OutputAck(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="out-ack"):
    """Server: this stream is on disk up to this offset; the owner may let go of it."""

    attempt: Count
    stream: int
    offset: Count


class Spec(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the attempts of one task share; sent once a frame however many elements start."""

    job: Count
    task: Count
    job_id: str
    task_id: str
    name: str
    command: tuple[str, ...]
    shell: bool
    array: Count
    resources: Resources
    env: tuple[tuple[str, str], ...]
    workdir: str  # absolute, or empty for a private folder
    timeout: Count
    grace: Count
    exclusive: bool = False  # the owner ends it by itself when the lease is over
    archive: str = ""  # SHA-256 of the packed working folder, fetched from the server; empty: there is none
    image: str = ""  # for runners of pods
    function: str = ""  # for runners of functions; `command` is then its payload
    idempotent: bool = False


class Run(msgspec.Struct, frozen=True, gc=False, array_like=True):
    attempt: Count
    index: Count
    number: Count


class Secret(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A variable whose value goes nowhere but into the environment of a program. It is not shown, whoever prints this."""

    name: str
    value: str

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, ***)"


class Start(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="start"):
    """Server: run these, in this order, as they fit. An attempt that is already held is ignored."""

    spec: Spec
    runs: tuple[Run, ...]
    secrets: tuple[Secret, ...] = ()


class Files(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="files"):
    """Server: results of tasks that (job, task) needs, before the Start that needs them: (file name, content).

    While a link lasts the agent keeps those of at least the last KEPT_FILES (job, task)s, so the server need not send
    them again with each Start of such a one; a new link begins with none."""

    job: int
    task: int
    files: tuple[tuple[str, bytes], ...]


class Stop(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="stop"):
    attempts: tuple[int, ...]


class Recall(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="recall"):
    """Server: give back those of these that wait; each is reported REJECTED."""

    attempts: tuple[int, ...]


class Forget(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="forget"):
    """Server: the ends of these are on disk. Output that is not acknowledged yet is still owed."""

    attempts: tuple[int, ...]


class Bye(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="bye"):
    """Agent: I take nothing new (`gone`: and I am leaving). Server: I am going down, come back later."""

    gone: bool = False
    reason: Reason = ""


AgentMessage = Hello | Heartbeat | Report | Output | Bye
ServerMessage = Welcome | Refused | HeartbeatAck | Ack | OutputAck | Start | Files | Stop | Recall | Forget | Bye
