"""The kinds of timers in `World.timers`, a heap of (due, kind, job, task, index).

A timer is a hint: who is woken looks at the world to see what is due, so a timer too many does no harm. RESERVE carries the
key of a shape in `job`, MASS_LOSS the serial of a node in `index`; RECALL carries nothing.
"""

from __future__ import annotations

__all__ = ["BACKOFF", "DEADLINE", "MASS_LOSS", "RECALL", "RESERVE", "TEND"]

BACKOFF = 0  # (job, task, index) may be tried again
DEADLINE = 1  # the job's time is over
RESERVE = 2  # the head of a shape may have waited long enough to reserve a node: placement is due
RECALL = 3  # attempts sent ahead may have stalled: `placement.recall`
MASS_LOSS = 4  # the brake on rescheduling is let go for one node
TEND = 5  # machines that providers brought up are to be looked after: `tending.tend`
