"""docs/states.md is drawn from the transition table. `STYX_REDRAW=1 pytest tests/core/test_states_doc.py` draws it anew."""

from __future__ import annotations

import os
from pathlib import Path

from styx.core.states import ENDED, LIVE, TaskState
from styx.core.transitions import TABLE, allowed

PAGE = Path(__file__).parents[2] / "docs" / "states.md"

TEXT = """\
# The states of a task

Drawn from `src/styx/core/transitions.py` by `tests/core/test_states_doc.py`; do not edit it by hand.

An element (a task, or one element of an array) is first waiting (PENDING, READY, BACKOFF), then somewhere (ASSIGNED,
RUNNING, CANCELLING), then ended. It is somewhere exactly while an attempt is under way. An ended state is left only by a
retry that a person asked for.

```mermaid
stateDiagram-v2
    [*] --> PENDING
{arrows}
{ends}
```

| from | to | because |
| --- | --- | --- |
{rows}

How an attempt ends (its *outcome*) is another thing than the state of its element: EXITED (by itself, with a code),
KILLED (stopped because it was cancelled), TIMED_OUT, REJECTED (it never started: recalled or refused), LOST (its node was lost).
"""


def draw() -> str:
    waited_for = [row for row in TABLE if not row[0].ended]
    arrows = dict.fromkeys(f"    {before.name} --> {after.name}" for before, after, _ in waited_for)
    return TEXT.format(
        arrows="\n".join(arrows),
        ends="\n".join(f"    {state.name} --> [*]" for state in ENDED),
        rows="\n".join(f"| {before.name} | {after.name} | {because} |" for before, after, because in TABLE),
    )


def test_the_page_is_drawn_from_the_table() -> None:
    if os.environ.get("STYX_REDRAW"):
        PAGE.write_text(draw())
    assert PAGE.read_text() == draw(), "draw it anew: STYX_REDRAW=1 pytest tests/core/test_states_doc.py"


def test_every_state_can_be_reached_and_left() -> None:
    reached = {after for _, after, _ in TABLE}
    left = {before for before, _, _ in TABLE}
    assert reached == set(TaskState)
    assert left == set(TaskState)


def test_ended_states_go_nowhere_but_back_to_the_start() -> None:
    for state in ENDED:
        assert [after for after in TaskState if allowed(state, after)] == [TaskState.PENDING]
    assert len(LIVE) + len(ENDED) == len(TaskState)


def test_no_row_stands_twice() -> None:
    pairs = [(before, after) for before, after, _ in TABLE]
    assert len(pairs) == len(set(pairs))
