"""The dead-man's switch, with a clock of the test's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from session_dialogue import Dialogue, exited, owner_hello, start

from styx.agent.clock import uptime
from styx.agent.deadman import DeadMan, Limits
from styx.agent.options import read
from styx.errors import UsageError
from styx.protocol.messages import HeartbeatAck, Refused
from styx.protocol.owner import OwnerEnded, OwnerStarted, OwnerWatching

IDLE, BUSY = 60_000, 600_000


def watched(talk: Dialogue, contact: Path | None = None) -> DeadMan:
    return DeadMan(Limits(IDLE, BUSY, "true", str(contact or "")), talk.session, clock=lambda: talk.now)


def test_time_is_counted_from_the_last_word_of_a_server() -> None:
    talk = Dialogue()
    switch = watched(talk)
    assert switch.left() == IDLE  # nobody was ever heard: from the start
    talk.now += 10_000
    assert switch.left() == IDLE - 10_000
    talk.joined()
    assert switch.left() == IDLE
    talk.now += 20_000
    talk.says(HeartbeatAck(1))
    assert switch.left() == IDLE
    talk.cut()
    talk.now += IDLE - 1
    assert switch.left() == 1
    talk.now += 1
    assert switch.left() == 0


def test_a_server_that_does_not_welcome_is_none() -> None:
    talk = Dialogue()
    switch = watched(talk)
    talk.now += 50_000
    talk.dial()
    talk.says(Refused("busy", 1_000))
    assert switch.left() == IDLE - 50_000


def test_programs_that_run_are_given_longer() -> None:
    talk = Dialogue().joined()
    switch = watched(talk)
    talk.says(start(1))
    assert switch.left() == IDLE  # it waits
    talk.owner_says(OwnerStarted((1,)))
    assert switch.left() == BUSY
    talk.take(talk.session.owner_gone(talk.now))
    assert switch.left() == BUSY  # what runs is as last known
    talk.owner_says(owner_hello(OwnerWatching(1, 1, 5), incarnation="inc"))
    talk.owner_says(OwnerEnded((exited(1),)))
    assert switch.left() == IDLE


def test_what_is_noted_outlives_the_agent(tmp_path: Path) -> None:
    contact = tmp_path / "contact"
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.owner_says(OwnerStarted((1,)))
    watched(talk, contact).note()
    seconds, running = (int(word) for word in contact.read_text().split())
    assert running == 1
    assert abs(uptime() - seconds) < 30  # on the clock that a shell reads
    # another agent, whose owner is not there yet, a hundred seconds after
    contact.write_text(f"{max(0, int(uptime()) - 100)} 1\n")
    later = Dialogue()
    assert BUSY - 102_000 < watched(later, contact).left() <= BUSY - 98_000
    for broken in ("", "x y", "1 2 3", "nan 0"):
        contact.write_text(broken)
        assert watched(Dialogue(), contact).left() == IDLE


def test_it_ends_the_machine_and_asks_again_when_it_is_still_there() -> None:
    async def main() -> None:
        talk = Dialogue()
        given: list[str] = []
        enough = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end(command: str) -> int:
            given.append(command)
            talk.now += 120_000  # and nothing has come of it
            if len(given) == 3:
                loop.call_soon_threadsafe(enough.set)
            return 1

        switch = DeadMan(Limits(50, 50, "poweroff"), talk.session, clock=lambda: talk.now, end=end)
        talk.now += 100
        watching = asyncio.create_task(switch.watch())
        async with asyncio.timeout(30):
            await enough.wait()
        watching.cancel()
        assert set(given) == {"poweroff"}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        (["--end-machine-after-idle", "1h"], Limits(3_600_000, 86_400_000)),
        (["--end-machine-after-idle", "5s", "--end-machine-after-busy", "1m", "--end-command", "x", "--contact-file", "c"],
         Limits(5_000, 60_000, "x", "c")),
        (["--end-machine-after-busy", "1h"], UsageError),
        (["--end-machine-after-idle", "soon"], UsageError),
    ],
)  # fmt: skip
def test_options(words: list[str], expected: Any, tmp_path: Path) -> None:
    environ = {"STYX_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    if expected is UsageError:
        with pytest.raises(UsageError):
            read(words, environ, "")
    else:
        assert read(words, environ, "").deadman == expected
