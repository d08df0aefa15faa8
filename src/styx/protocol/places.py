"""What the HTTP API, `-o json` and the Python verbs say of places: offers, machines, money, and whether a provider can be used.

As in `protocol.http`, names here are public and stable. Money is in US dollars (`price` and `hourly`: an hour), times are seconds since
the epoch (0 when it has not happened), spans seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = [
    "CheckView",
    "CostView",
    "InstanceView",
    "JobCost",
    "MachineCost",
    "NodeView",
    "OfferView",
    "OffersQuery",
    "OffersView",
    "RankedView",
    "RefreshView",
]

_Text = Annotated[str, msgspec.Meta(max_length=256)]


class OfferView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way to get one machine. Where it is an answer to a demand (`plan`), `fits` elements of it run there at once, and `machines`
    of them, for `hourly` together, hold all of its elements at once."""

    provider: str
    region: str
    zone: str  # empty where the cloud chooses it
    instance_type: str
    spot: bool
    price: float
    cpus: float
    memory: int
    accelerators: dict[str, int] = {}
    disk: int = 0
    arch: str = "x86_64"
    why: str = ""  # why it cannot be used from here now; empty when it can
    fits: int = 0
    machines: int = 0
    hourly: float = 0.0
    chosen: bool = False  # what would be brought up


class OffersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which offers to show; an empty part means any. `cpus`, `memory` and `accelerators` (A100:8) are minima, written as in a task file."""

    provider: _Text = ""
    region: _Text = ""
    zone: _Text = ""
    instance_type: _Text = ""
    arch: _Text = ""
    accelerators: _Text = ""
    cpus: _Text = ""
    memory: _Text = ""
    spot: Literal["", "true", "false"] = ""
    max_hourly_cost: _Text = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


class OffersView(msgspec.Struct, frozen=True):
    """The cheapest offers that were asked for, of `found`, among `known`. `at` is the age of the oldest price."""

    items: list[OfferView]
    found: int
    known: int
    at: float
    source: str
    usable: list[str]  # providers
    barred: dict[str, str]  # the others, and why


class RefreshView(msgspec.Struct, frozen=True):
    """What a provider's own API answered when it was asked for its offers."""

    provider: str
    offers: int
    problem: str = ""


class RankedView(msgspec.Struct, frozen=True):
    """The offers for some tasks of a job that ask for the same: the best of `fitting` that fit, among `known`, and by what the others
    lost. None is looked for where a connected place takes the tasks (`free`)."""

    tasks: list[str]
    offers: list[OfferView]
    fitting: int
    known: int
    lost: dict[str, int]
    elements: int = 1
    free: bool = False


class InstanceView(msgspec.Struct, frozen=True):
    """A machine that a provider was asked for, or that it has of ours though nobody here stands for it (`orphan`)."""

    instance_id: str  # the number of its node; of an orphan, its `ref`
    ref: str  # the provider's name for it; empty until it has said one
    provider: str
    region: str
    zone: str
    instance_type: str
    spot: bool
    price: float
    state: str  # REQUESTED, BOOTING, UP, RELEASING or GONE; ORPHAN, or FOREIGN when it is another server's
    cloud: str  # what the provider's last listing says of it; empty when there is none yet
    age: float  # since it was asked for
    cost: float  # so far
    job_id: str = ""  # that it was brought up for
    job_name: str = ""
    agent: str = ""  # the name of its agent, once it is here
    running: int = 0
    reason: str = ""
    orphan: bool = False


class CheckView(msgspec.Struct, frozen=True):
    """Whether a provider can be used from here, as whom, and what is missing."""

    provider: str
    usable: bool
    configured: bool  # it has a table in styx.toml
    identity: str = ""
    problems: list[str] = []
    hints: list[str] = []
    seconds: float = 0.0  # that the answer took


class JobCost(msgspec.Struct, frozen=True):
    job_id: str
    name: str
    status: str
    cost: float
    budget: float = 0.0  # 0: none


class MachineCost(msgspec.Struct, frozen=True):
    """A machine, and what it has cost: the job that was asked about, or in all."""

    instance_id: str
    ref: str
    provider: str
    zone: str
    instance_type: str
    spot: bool
    price: float
    state: str
    cost: float


class CostView(msgspec.Struct, frozen=True):
    """What was spent. `hourly` is what the machines that are up or coming cost an hour now."""

    cost: float
    hourly: float
    jobs: list[JobCost]
    machines: list[MachineCost]


class NodeView(msgspec.Struct, frozen=True):
    """A place as the scheduler sees it: an agent that somebody started, a machine that was brought up, or a runner."""

    node_id: str
    name: str
    kind: str  # agent, machine, runner
    state: str
    cpus: float
    memory: int
    accelerators: dict[str, int]
    free_cpus: float
    running: int
    waiting: int
    labels: dict[str, str]
    takes: list[str]  # labels of which a task must carry one; empty when it takes any
    where: str = ""  # of a machine: provider and zone
