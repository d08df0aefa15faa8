"""The program `styx-agent`: read the options, be somebody, find out what the machine has, and run until told to stop.

It logs through the standard library and not through structlog, which imports rich and would cost an agent a fifth of its
memory for lines that only people read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from styx.agent.cellar import Cellar
from styx.agent.deadman import DeadMan
from styx.agent.identity import Claim, claim, release
from styx.agent.joining import Joined
from styx.agent.link import dialler
from styx.agent.options import Options, read
from styx.agent.owner_link import owner_opener
from styx.agent.preemption import METADATA_URL, Notice, watch
from styx.agent.probe import boot_id, capacity, host_id, vitals
from styx.agent.runner import AgentRunner
from styx.agent.session import Profile, Session
from styx.aiokit.heap import keep
from styx.config.dumps import no_core_dumps
from styx.config.tls import trusting
from styx.errors import SpecError, StyxError

__all__ = ["main"]

REMIND = 30.0  # seconds between two lines about what a draining agent waits for

_KEPT = 4 << 20  # bytes; twice as much holds the window of output and the frames under way

log = logging.getLogger("styx.agent")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after draining, 128+n when a second signal n cut that short, else that of the error."""
    try:
        options = read(argv, os.environ, release())
        _log_to_stderr(options.log_level)
        no_core_dumps()
        keep(_KEPT)
        mine = claim(options.home, options.agent)
        try:
            return _loop(_run(options, mine))
        finally:
            mine.close()
    except SpecError as error:
        for problem in error.problems:
            _complain(problem.message, problem.hint)
        return error.exit_code
    except StyxError as error:
        _complain(error.message, error.hint)
        return error.exit_code


def _complain(message: str, hint: str) -> None:
    print(f"styx-agent: {message}", file=sys.stderr)
    if hint:
        print(f"            {hint}", file=sys.stderr)


def _loop(body: Coroutine[Any, Any, int]) -> int:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(body)


def _profile(options: Options, mine: Claim) -> Profile:
    found, devices = capacity(mine.folder)
    given = msgspec.structs.replace(found, cpus=options.cpus or found.cpus, memory=options.memory or found.memory)
    host = socket.gethostname()
    return Profile(
        mine.agent,
        options.name or (f"{host}-{mine.number}" if mine.number > 0 else host),
        host_id(),
        boot_id(),
        uuid.uuid4().hex,
        release(),
        given,
        options.labels,
        devices,
        str(mine.folder / "results"),
    )


async def _run(options: Options, mine: Claim) -> int:
    profile = await asyncio.to_thread(_profile, options, mine)
    vitals()  # the first figures are about the time before it, which nobody measured
    tls = trusting(options.ca) if options.ca else None
    joined = Joined(mine.folder, mine.agent, options.server, options.token, tls)
    dial = dialler(options.server, options.token, joined=joined, tls=tls)
    opener = owner_opener(mine.folder, no_work=options.no_work, tied=False)

    async def token() -> str:
        return (await joined.token())[0]

    cellar = Cellar(mine.folder / "archives", options.server, token, tls)
    runner = AgentRunner(Session(profile), opener, dial, vitals=vitals, parcels=cellar)
    log.info(
        "agent %s (%s) with %g CPUs, %.1f GB of memory%s, for %s",
        profile.name,
        profile.agent,
        profile.capacity.cpus / 1_000,
        profile.capacity.memory / 1e9,
        "".join(f", {count} {kind}" for kind, count in profile.capacity.accelerators),
        options.server,
    )
    working = asyncio.ensure_future(runner.run())
    beside = [asyncio.create_task(part, name=name) for name, part in _beside(options, runner)]
    leaving: list[int] = []

    def stop(number: int) -> None:
        leaving.append(number)
        if len(leaving) > 1:
            working.cancel()
            return
        runner.drain()
        _waited_for(runner.session)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        while not working.done():
            await asyncio.wait([working], timeout=REMIND)
            if leaving and not working.done():
                _waited_for(runner.session)
        if working.cancelled():
            log.info("gone; programs that run go on, and the next agent here finds them: %d", runner.session.running)
            return 128 + leaving[-1]
        working.result()
        log.info("gone; everything is handed over")
        return 0
    finally:
        for part in (working, *beside):
            part.cancel()
        await asyncio.gather(working, *beside, return_exceptions=True)


def _beside(options: Options, runner: AgentRunner) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
    """What goes on as long as the agent does."""
    if options.deadman is not None:
        yield "dead-man", DeadMan(options.deadman, runner.session).watch()
    if options.preemption:
        notice = Notice(options.preemption, os.environ.get(METADATA_URL, ""))
        yield "preemption", watch(notice, lambda reason: _taken_away(runner, reason))


def _taken_away(runner: AgentRunner, reason: str) -> None:
    log.warning("%s; what runs here is stopped, and runs elsewhere", reason)
    runner.preempt(reason)


def _waited_for(session: Session) -> None:
    running = session.running
    what = f"{running} program{'s' * (running != 1)} to end" if running else "the server to have everything"
    log.info("stopping: waiting for %s; a second signal leaves at once, and programs go on without an agent", what)


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False


if __name__ == "__main__":
    sys.exit(main())
