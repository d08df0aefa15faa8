"""What each message of the server means to a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from styx.agent.holdings import ENDED, REPORTED
from styx.agent.words import LinkState, Out
from styx.core.states import Outcome
from styx.protocol.messages import (
    OLDEST,
    VERSION,
    Ack,
    Bye,
    Files,
    Forget,
    HeartbeatAck,
    OutputAck,
    Recall,
    Refused,
    Start,
    Stop,
    Welcome,
)
from styx.protocol.owner import OwnerRecall, OwnerStart, OwnerStop

if TYPE_CHECKING:
    from styx.agent.session import Session

__all__ = ["HANDLERS", "UNWELCOMED"]


def on_welcome(session: Session, message: Welcome, out: Out, now: int) -> None:
    if session.state is not LinkState.GREETED:
        out.notes.append("the server said welcome twice")
        out.redial = True
        return
    if not OLDEST <= message.version <= VERSION:
        out.refused = (
            f"the server chose protocol {message.version}, this agent speaks {OLDEST} to {VERSION}: "
            "install the same release of Styx on both"
        )
        return
    if message.incarnation != session.incarnation:
        session.agree(message.incarnation, out)
    session.state = LinkState.WELCOME
    session.reports.acknowledged(message.acked)
    session.pulse.welcomed(session.greeted_at, now, message.heartbeat, message.lease)
    session.beat(out, now)
    session.pass_lease_on(out, now)
    out.to_server += session.window.again()
    out.to_server += session.reports.again(now)
    out.notes.append(f"connected: node {message.node}, server {message.release or 'of unknown release'}")


def on_refused(session: Session, message: Refused, out: Out, now: int) -> None:
    if message.retry <= 0:
        out.refused = message.reason
        return
    out.notes.append(f"the server said: {message.reason}")
    out.redial = True
    out.retry = message.retry


def on_bye(session: Session, message: Bye, out: Out, now: int) -> None:
    out.notes.append(f"the server said: {message.reason or 'goodbye'}")


def on_heartbeat_ack(session: Session, message: HeartbeatAck, out: Out, now: int) -> None:
    session.pulse.answered(message.number, now)
    session.pass_lease_on(out, now)


def on_ack(session: Session, message: Ack, out: Out, now: int) -> None:
    session.reports.acknowledged(message.number)


def on_output_ack(session: Session, message: OutputAck, out: Out, now: int) -> None:
    out.to_owner.append(session.window.acknowledged(message))
    if message.attempt not in session.holdings:
        session.window.settle(message.attempt)


def on_start(session: Session, message: Start, out: Out, now: int) -> None:
    holdings = session.holdings
    runs = tuple(run for run in message.runs if run.attempt not in holdings)
    if not runs:
        return
    attempts = [run.attempt for run in runs]
    holdings.queue(attempts)
    if session.draining:
        session.end_here(attempts, Outcome.REJECTED, "the agent takes nothing new", now)
        return
    if session.pulse.over(now):
        # An order that lay in the socket while this machine slept: by now others may have what it is about.
        session.end_here(attempts, Outcome.REJECTED, "the lease of this agent is over", now)
        return
    folder = session.results.use(message.spec.job, message.spec.task, attempts)
    order: OwnerStart | None = OwnerStart(message.spec, runs, folder, message.secrets)
    if message.spec.archive and not message.spec.workdir:
        order, fetch = session.parcels.ask(OwnerStart(message.spec, runs, folder, message.secrets))
        if fetch:
            out.fetch.append(message.spec.archive)
    if order is not None:
        out.to_owner.append(order)


def on_files(session: Session, message: Files, out: Out, now: int) -> None:
    out.files += session.results.write(message)


def on_stop(session: Session, message: Stop, out: Out, now: int) -> None:
    session.end_here(session.parcels.take_back(message.attempts), Outcome.KILLED, "stopped before it started", now)
    attempts = session.holdings.live(message.attempts)
    if attempts:
        out.to_owner.append(OwnerStop(attempts))


def on_recall(session: Session, message: Recall, out: Out, now: int) -> None:
    session.end_here(session.parcels.take_back(message.attempts), Outcome.REJECTED, "recalled before it started", now)
    attempts = session.holdings.queued(message.attempts)
    if attempts:
        out.to_owner.append(OwnerRecall(attempts))


def on_forget(session: Session, message: Forget, out: Out, now: int) -> None:
    ended: list[int] = []
    live: list[int] = []
    for attempt in session.parcels.take_back(message.attempts):
        session.holdings.end_here(attempt)  # the owner never had it
    for attempt in message.attempts:
        session.parcels.leave(attempt)
        session.reports.forget(attempt)
        session.results.leave(attempt)
        state = session.holdings.forget(attempt)
        if state is None:
            continue
        if state == REPORTED:
            ended.append(attempt)
            session.window.settle(attempt)
            continue
        # The server wants nothing of it, not even its end: it is stopped, and forgotten once it has ended.
        out.to_owner += session.window.drop(attempt)
        if state < ENDED:
            live.append(attempt)
    if live:
        out.to_owner.append(OwnerStop(tuple(live)))
    if ended:
        session.let_go(ended, out)


UNWELCOMED = (Welcome, Refused, Bye)  # what may come before a Welcome

HANDLERS: dict[type, Callable[[Session, Any, Out, int], None]] = {
    Welcome: on_welcome,
    Refused: on_refused,
    HeartbeatAck: on_heartbeat_ack,
    Ack: on_ack,
    OutputAck: on_output_ack,
    Start: on_start,
    Files: on_files,
    Stop: on_stop,
    Recall: on_recall,
    Forget: on_forget,
    Bye: on_bye,
}
