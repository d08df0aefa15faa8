"""The few pieces of asyncio that Styx needs everywhere and that the standard library does not have.

`supervisor` runs named background tasks whose crash reaches the owner, `backoff` counts the waits between attempts at
something.
"""

from __future__ import annotations

from styx.aiokit.backoff import Backoff
from styx.aiokit.supervisor import Crash, Supervisor

__all__ = ["Backoff", "Crash", "Supervisor"]
