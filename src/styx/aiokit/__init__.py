"""The few pieces of asyncio that Styx needs everywhere and that the standard library does not have.

`supervisor` runs named background tasks whose crash reaches the owner, `backoff` counts the waits between attempts at
something, `stall` limits each of many short waits in a row.
"""

from __future__ import annotations

from styx.aiokit.backoff import Backoff
from styx.aiokit.stall import Stall
from styx.aiokit.supervisor import Crash, Supervisor

__all__ = ["Backoff", "Crash", "Stall", "Supervisor"]
