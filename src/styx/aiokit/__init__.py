"""The few pieces of asyncio that Styx needs everywhere and that the standard library does not have.

`supervisor` runs named background tasks whose crash reaches the owner, `mailbox` is a bounded queue that is emptied in one
go, `backoff` counts the waits between attempts at something.
"""

from __future__ import annotations

from styx.aiokit.backoff import Backoff
from styx.aiokit.mailbox import Mailbox, MailboxClosed
from styx.aiokit.supervisor import Crash, Supervisor

__all__ = ["Backoff", "Crash", "Mailbox", "MailboxClosed", "Supervisor"]
