"""What the shell is to do after the commit, in the imperative. Effects name nodes, never links."""

from __future__ import annotations

import msgspec

__all__ = [
    "Accepted",
    "Effect",
    "EndInstances",
    "EndMachines",
    "ForgetAttempts",
    "LaunchInstance",
    "ListMachines",
    "NodeEffect",
    "PlaceEffect",
    "RecallAttempts",
    "StartAttempts",
    "Step",
    "StopAttempts",
]

from styx.core.ids import JobId
from styx.core.records import Record
from styx.errors import StyxError


class StartAttempts(msgspec.Struct, frozen=True, gc=False):
    """Send these attempts to the node, in this order."""

    node: int
    attempts: tuple[int, ...]


class StopAttempts(msgspec.Struct, frozen=True, gc=False):
    """End these programs: SIGTERM, the task's grace, SIGKILL; one that has not started never will."""

    node: int
    attempts: tuple[int, ...]


class RecallAttempts(msgspec.Struct, frozen=True, gc=False):
    """Give back those of these that have not started; they come back REJECTED."""

    node: int
    attempts: tuple[int, ...]


class ForgetAttempts(msgspec.Struct, frozen=True, gc=False):
    """The end of these attempts is on disk here (or they are nobody's): the node may drop what it keeps of them."""

    node: int
    attempts: tuple[int, ...]


class LaunchInstance(msgspec.Struct, frozen=True, gc=False):
    """Have the provider bring up the machine of this node. `again`: it may have been called before, so look first where
    repeating a call is not safe."""

    node: int
    again: bool = False


class EndInstances(msgspec.Struct, frozen=True, gc=False):
    """Have the provider end the machines of these nodes, all of one provider."""

    provider: str
    nodes: tuple[int, ...]


class EndMachines(msgspec.Struct, frozen=True, gc=False):
    """Have the provider end machines that no node stands for."""

    provider: str
    refs: tuple[str, ...]


class ListMachines(msgspec.Struct, frozen=True, gc=False):
    """Ask the provider for all machines of this incarnation."""

    provider: str


NodeEffect = StartAttempts | StopAttempts | RecallAttempts | ForgetAttempts
"""An order to a node."""

PlaceEffect = LaunchInstance | EndInstances | EndMachines | ListMachines
"""An order to a provider."""

Effect = (
    StartAttempts
    | StopAttempts
    | RecallAttempts
    | ForgetAttempts
    | LaunchInstance
    | EndInstances
    | EndMachines
    | ListMachines
)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The answer to JobSubmitted; `again` when the Idempotency-Key had been seen with the same body."""

    job: int
    id: JobId
    again: bool = False


Answer = Accepted | StyxError | int | bool | None


class Step(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one event: what to commit, then what to do, then what to tell the caller."""

    records: list[Record]
    effects: list[Effect]
    answer: Answer = None
