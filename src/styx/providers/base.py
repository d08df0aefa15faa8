"""The two ports of a provider, and the words that cross them.

A *Provisioner* brings up, lists and ends machines that run `styx-agent`. A *Runner* runs one attempt itself, with no agent: a
pod, an invocation of a function. To the core both are nodes. Everything that a cloud decides is translated once, in the provider's
own room, into one of two errors:

    Refused  the cloud said no: nothing was created, nothing is owed. `kind` says what is to be done about it.
    Unsure   nobody knows whether it happened: the answer was lost, a gateway failed, the time was over. The caller looks, and
             calls again with the same token.

A provider is found by its entry point in the group `styx.providers`: a function `make(settings, context) -> Provider`, which is
cheap, imports no SDK, and raises SpecError (paths under `$.providers.NAME`) for settings that are wrong. SDKs are imported at the
first call that needs them, in a thread where that takes longer than a few milliseconds.

Money is in micros (millionths of a US dollar), sizes in bytes, instants in milliseconds since the epoch, waits in seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec

from styx.core.events import AttemptEnding
from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.errors import StyxError
from styx.protocol.messages import Run, Secret, Spec

__all__ = [
    "CLUSTER_TAG",
    "TOKEN_TAG",
    "Check",
    "Context",
    "Found",
    "Kind",
    "Listing",
    "Machine",
    "MachineState",
    "Make",
    "Order",
    "Promises",
    "Provider",
    "Provisioner",
    "Refused",
    "RunOrder",
    "Runner",
    "Sink",
    "Unsure",
]

CLUSTER_TAG = "styx-cluster"
"""The tag (label) by which a machine or a pod is known as ours: it carries the incarnation of the database."""
TOKEN_TAG = "styx-token"
"""The tag that carries the token of the order a machine was brought up for."""


class Kind(StrEnum):
    """What a cloud means by a no."""

    CAPACITY = "capacity"  # it has none of these left in this zone (or region, where the order named no zone)
    QUOTA = "quota"  # this account may have no more of them in this region
    THROTTLED = "throttled"  # asked too often; the same call is right after `retry_after`
    DENIED = "denied"  # credentials that are missing, wrong, expired, or may not do this
    INVALID = "invalid"  # the offer does not exist there, or the settings name what is not there (image, subnet)
    UNREACHABLE = "unreachable"  # nothing was sent: no network, no such host, no endpoint there


class Refused(StyxError):
    """The cloud said no, and nothing was created. `hint` says what would help; `retry_after` are seconds, 0: it did not say."""

    code = "refused-by-provider"

    def __init__(self, kind: Kind, message: str, *, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retry_after = retry_after


class Unsure(StyxError):
    """Whether the cloud did what it was asked is not known. `spent`: it knows the token of an order by an earlier form of it, and shows
    nothing that was made; whatever that came to, asking again with this token will never bring anything up."""

    code = "provider-unsure"

    def __init__(self, message: str, *, hint: str = "", spent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.spent = spent


class Order(msgspec.Struct, frozen=True):
    """One machine to bring up. The same token comes with the same order, also after a crash (unless the server was upgraded or has other
    settings, see `Unsure.spent`), so that a cloud that knows idempotency tokens can be given it as it is: 1 to 40 characters of [a-z0-9-], beginning with a letter, fit to be a name."""

    token: str
    cluster: str  # the incarnation; 16 hexadecimal digits
    offer: Offer
    user_data: str  # the whole start-up script, under 16 KiB, without any secret but a single-use join token
    disk: int = 0  # bytes the root disk should have; 0: the provider's default
    lifetime: int = 0  # seconds after which the cloud itself should end it, where it can; 0: none
    image: str = ""  # the provider's name of an image, "": its default


class MachineState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"  # on its way to STOPPED or ENDED
    STOPPED = "stopped"  # costs little, can be started again
    ENDED = "ended"  # gone for good; some clouds list these for an hour


class Machine(msgspec.Struct, frozen=True):
    """What a cloud says of one machine. `ref` is all that the provider needs to find it again: `us-east-1/i-0abc`,
    `europe-west4-a/styx-...`; unique within the provider, and never used again."""

    ref: str
    token: str  # from its tag; "": it has none
    cluster: str  # from its tag
    state: MachineState
    region: str = ""
    zone: str = ""
    instance_type: str = ""
    spot: bool = False
    launched_at: int = 0  # milliseconds since the epoch, 0: the cloud does not say
    detail: str = ""  # why it ended or is about to, in the cloud's words


class Listing(msgspec.Struct, frozen=True):
    """All machines that carry CLUSTER_TAG. `complete` only if every region (zone, context) that is configured answered whole and
    without an error; what did not is named in `problems`. An incomplete listing proves that what is in it exists, and nothing else."""

    machines: tuple[Machine, ...]
    complete: bool
    problems: tuple[str, ...] = ()


class Promises(msgspec.Struct, frozen=True):
    """What a provider can promise, for the core and for people; the contract suite holds it to them."""

    idempotent: bool = (
        True  # a launch repeated with the same token gives the same machine; else the caller must look first
    )
    settles: float = 60.0  # seconds after which a listing shows what happened before
    notice: float = 0.0  # seconds of warning before a spot machine is taken back
    lifetime: bool = False  # the cloud itself ends a machine after Order.lifetime
    stops: bool = False  # `stop` and `start` are there
    output: bool = True  # a runner's output has no gaps
    exclusive: bool = True  # a runner can tell for certain that an attempt has ended
    interrupts: bool = True  # a runner can stop what runs; else a stopped attempt runs to its own end


class Check(msgspec.Struct, frozen=True):
    """Whether a provider can be used from here, as whom, and what is missing: one line each. `lasting`: only other settings of this
    server help. What may end by itself, or by what a person does elsewhere (credentials, the network), is waited for."""

    usable: bool
    identity: str = ""
    problems: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    lasting: bool = False


class Provisioner(Protocol):
    """Errors of every method: Refused and Unsure, and nothing else. None of them retries by itself for longer than a few seconds:
    when to call again is for the caller to decide."""

    async def launch(self, order: Order) -> Machine:
        """Bring one machine up, tagged with CLUSTER_TAG and TOKEN_TAG from its first moment, without inbound ports. Returns as soon as
        the cloud has said its name, long before it runs. Repeating an order gives the same machine (see Promises.idempotent)."""
        ...

    async def find(self, order: Order) -> Machine | None:
        """The machine of this order, if the cloud shows one that has not ended. Unsure when it cannot tell for certain."""
        ...

    async def listing(self, cluster: str) -> Listing:
        """Every machine with this CLUSTER_TAG (of any Styx with ""), ended ones too as long as the cloud shows them; all regions are
        asked side by side. An error in one of them makes the listing incomplete; it is raised only if none answered."""
        ...

    async def terminate(self, refs: Sequence[str]) -> None:
        """End these machines for good, with their disks. One that is gone already is fine. Returns once the cloud has taken the
        order; that they are gone is for a listing to say."""
        ...

    async def stop(self, refs: Sequence[str]) -> None: ...

    async def start(self, refs: Sequence[str]) -> None: ...

    async def offers(self) -> list[Offer]:
        """What the cloud's own API says it has and costs now. May take minutes."""
        ...


class RunOrder(msgspec.Struct, frozen=True):
    """One attempt for a runner. (cluster, attempt) is the fence, and the name of what is made for it comes of these two alone.
    `secrets` reach the program by its environment; `archive` is the hash of a packed working folder and `archive_url` where it can be
    fetched with `archive_token`, both empty when there is none; `results` are the files for $STYX_RESULTS."""

    cluster: str
    spec: Spec
    run: Run
    secrets: tuple[Secret, ...] = ()
    results: tuple[tuple[str, bytes], ...] = ()
    archive: str = ""
    archive_url: str = ""
    archive_token: str = ""
    archive_ca: str = ""  # certificates (PEM) to check `archive_url` against, empty: those that everybody knows


class Found(msgspec.Struct, frozen=True):
    """An attempt that a runner finds it has, after a restart of the server: state 0 waiting, 1 running, 2 ended. It brings back what
    its order had said and only the place still knows: what it takes of the capacity, and the values to strike out of its output."""

    attempt: int
    state: int
    ran: int = 0  # milliseconds since its start
    resources: Resources = Resources(0)
    secrets: tuple[Secret, ...] = ()
    grace: float = 10.0  # seconds between the polite and the other end


class Sink(Protocol):
    """Where a runner tells what happens; every call returns at once. Of one attempt: started at most once, then output, then ended
    once, which is told again after a reconnect until `forget`."""

    def started(self, attempt: int) -> None: ...

    def output(self, attempt: int, stream: int, offset: int, data: bytes) -> None:
        """`offset` counts the bytes of that stream before these. A gap that cannot be filled is marked in words in the data. What was
        told before may be told again with the same offsets; after a restart of the server all of it is, from the first byte."""
        ...

    def cut(self, attempt: int, stream: int) -> None:
        """After a restart, and before any output of that stream: its beginning cannot be told again. What comes counts its bytes anew
        from 0, and follows what the server has."""
        ...

    async def room(self, attempt: int) -> None:
        """Returns when there is room for more output of this attempt. Who reads much waits here before each read."""
        ...

    def ended(self, ending: AttemptEnding) -> None:
        """After all of the attempt's output."""
        ...

    def waiting(self, attempt: int, reason: str) -> None:
        """Why it has not started, in the words of the place ("0/3 nodes are available: ..."); "" when that is over."""
        ...


class Runner(Protocol):
    """Runs attempts itself. The host of the runner (`runtime.runners`) calls `open` once, and the rest from then on."""

    @property
    def capacity(self) -> Resources:
        """What may run there at once, all together."""
        ...

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Of its node. `("runs", "image")` for pods and `("runs", "function")` for functions keep ordinary tasks off it: see `core.fit`."""
        ...

    @property
    def at_once(self) -> int:
        """How many attempts it may be given at once, whatever they ask for; 0: as many as fit."""
        ...

    @property
    def adopts(self) -> bool:
        """Whether `open` finds all that was given to it before. What it does not find then never came to it, and may be given again;
        else whatever it had is lost with the server."""
        ...

    async def open(self, cluster: str, sink: Sink) -> list[Found]:
        """Begin to watch, and say what is there of this cluster from before. Errors: Refused, Unsure."""
        ...

    async def start(self, order: RunOrder) -> None:
        """Repeating an order changes nothing. Refused gives the attempt back (REJECTED); after Unsure the host calls again."""
        ...

    async def stop(self, attempt: int, grace: float) -> None:
        """SIGTERM, `grace` seconds, SIGKILL, where the place knows such things; `ended` follows. One that is gone is fine."""
        ...

    async def forget(self, attempt: int) -> None:
        """Its end is on disk here: nothing of it need be kept there."""
        ...


class Provider(Protocol):
    """What an entry point makes. `region` and the like in the settings are checked by `make`, credentials by `check`."""

    @property
    def name(self) -> str: ...

    @property
    def promises(self) -> Promises: ...

    @property
    def provisioner(self) -> Provisioner | None: ...

    @property
    def runners(self) -> Mapping[str, Runner]:
        """By name; one node each (a context and namespace, a region)."""
        ...

    def catalog(self) -> tuple[Sequence[Offer], str]:
        """The offers that come with the program, for planning offline, and the date (YYYY-MM-DD) and source of their prices."""
        ...

    async def check(self) -> Check:
        """Within 3 seconds; never raises Refused or Unsure, which become problems in words."""
        ...

    async def close(self) -> None: ...


class Context(msgspec.Struct, frozen=True):
    """What a provider gets besides its settings."""

    home: Path  # the server's state folder; a provider keeps files under `home/providers/NAME`
    environ: Mapping[str, str]
    now: Callable[[], int]  # milliseconds since the epoch
    sleep: Callable[[float], Awaitable[None]]


Make = Callable[[Mapping[str, Any], Context], Provider]
