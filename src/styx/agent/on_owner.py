"""What each message of the owner means to a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from styx.agent.words import LinkState, Out
from styx.core.states import Outcome
from styx.protocol.owner import (
    OWNER_VERSION,
    OwnerEnded,
    OwnerHello,
    OwnerOutput,
    OwnerRelease,
    OwnerStart,
    OwnerStarted,
)

if TYPE_CHECKING:
    from styx.agent.session import Session

__all__ = ["HANDLERS"]


def on_hello(session: Session, message: OwnerHello, out: Out, now: int) -> None:
    """Compare what it holds with what is thought here, then give it the orders that have waited for it."""
    if message.version != OWNER_VERSION:
        out.refused = (
            f"the owner process {message.pid} speaks version {message.version}, this agent {OWNER_VERSION}: it holds "
            "programs of another release of Styx; start that release again, or end the process to lose them"
        )
        return
    boot = f"{session.profile.boot}:{message.nonce}"
    if session.boot and boot != session.boot:
        # The server learns from the new boot in the next Hello that everything is lost.
        out.notes.append("the owner process is another one; what the old one held is lost")
        session.orders.clear()
        session.parcels.clear()
        for attempt in session.holdings.lose_owner():
            session.reports.forget(attempt)
        out.files += session.results.clear()
        out.redial = session.state > LinkState.OPEN
    session.boot = boot
    if not session.incarnation:
        session.incarnation = message.incarnation
    coming = [run.attempt for order in session.orders if isinstance(order, OwnerStart) for run in order.runs]
    coming += session.parcels.coming
    ours = message.held if message.incarnation == session.incarnation else ()
    again, missing = session.holdings.compare(ours, coming, now)
    for attempt, outcome in missing:
        session.end_here((attempt,), outcome, "the owner process does not hold it", now)
    session.owner_ready = True
    out.to_owner.append(session.configure())
    session.pass_lease_on(out, now)
    if again:
        session.let_go(again, out)
    out.to_owner += session.orders
    session.orders = []
    session.greet(out, now)


def on_started(session: Session, message: OwnerStarted, out: Out, now: int) -> None:
    for attempt in message.attempts:
        if session.holdings.run(attempt, now):
            session.reports.started(attempt, now)


def on_output(session: Session, message: OwnerOutput, out: Out, now: int) -> None:
    if message.attempt in session.holdings.doomed:
        end = message.offset + len(message.data)
        out.to_owner.append(OwnerRelease(message.attempt, message.stream, end))
        return
    chunk = session.window.take(message)
    if chunk is not None:
        if session.state is LinkState.WELCOME:
            out.to_server.append(chunk)
        return
    synced = session.window.synced(message.attempt, message.stream)
    if synced > message.offset:  # the server has it: the word of that was lost with an older connection
        out.to_owner.append(OwnerRelease(message.attempt, message.stream, synced))


def on_ended(session: Session, message: OwnerEnded, out: Out, now: int) -> None:
    holdings, reports = session.holdings, session.reports
    unwanted: list[int] = []
    for ending in message.ended:
        if holdings.unwanted(ending.attempt):
            unwanted.append(ending.attempt)
        elif holdings.end(ending.attempt):
            if session.preempted and ending.outcome is Outcome.KILLED:
                ending = msgspec.structs.replace(ending, outcome=Outcome.LOST, reason=session.preempted)  # noqa: PLW2901
            reports.ended(ending, now)
    if unwanted:
        session.let_go(unwanted, out)


HANDLERS: dict[type, Callable[[Session, Any, Out, int], None]] = {
    OwnerHello: on_hello,
    OwnerStarted: on_started,
    OwnerOutput: on_output,
    OwnerEnded: on_ended,
}
