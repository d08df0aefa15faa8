"""What comes due in the same moment: timers are worked off together, as they are after a stall or a restart."""

from __future__ import annotations

import pytest

from styx.core.events import TimerFired
from styx.core.spec import Backoff
from styx.testing.dialogue import Dialogue, job, task


@pytest.mark.parametrize("others", [0, 1])
def test_a_deadline_and_a_backoff_that_come_due_together(others: int) -> None:
    """The deadline ends the job (`others`: or leaves it to be ended) before the end of the wait is recorded."""
    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    more = [task(f"t{number}") for number in range(others)]
    serial = talk.submit(job("j", task("x", retries=1, backoff=Backoff(5_000)), *more, deadline=20_000))
    first, *rest = talk.expect_start(node)
    talk.ended(first, code=1)
    assert talk.states(serial)["x"] == ["BACKOFF"]
    talk.now += 60_000
    talk.say(TimerFired())
    for attempt in rest:
        talk.ended(attempt, code=143)
    talk.expect_job(serial, "CANCELLED", code=124)
