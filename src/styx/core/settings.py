"""What can be set in the core. Durations are milliseconds."""

from __future__ import annotations

import msgspec

__all__ = ["CoreSettings"]


class CoreSettings(msgspec.Struct, frozen=True, gc=False):
    ahead_ms: int = 50  # about this much work is sent ahead to a node beyond what is free there
    ahead_limit: int = 4_096  # attempts sent ahead to one node, at most
    reserve_after: int = 60_000  # a head that has waited this long reserves a node
    recall_after: int = 250  # attempts sent ahead that have not moved for this long may be recalled
    max_live: int = 2_000_000  # elements that have not ended; above, submissions are answered Busy
    mass_loss_share: float = 0.5  # of the connected nodes; that many vanishing at once is a fault of the network
    mass_loss_count: int = 5  # and at least this many nodes
    mass_loss_window: int = 45_000  # within which they vanish
    mass_loss_hold: int = 300_000  # how long nothing is rescheduled then, if it is not resolved before
    exclusive_margin: int = 15_000  # beyond lease and grace, before an exclusive task whose node fell silent runs again
    step_limit: int = 1_000  # elements, or tasks, that one step works through
