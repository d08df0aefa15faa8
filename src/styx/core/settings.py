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
    cluster: str = "styx"  # the incarnation: what machines that are brought up are marked with
    max_instances: int = 10  # machines brought up and not gone, at most
    hourly_cap: int = 0  # micros an hour that these may cost together; 0: no limit
    idle_timeout: int = 300_000  # a machine on which nothing runs for so long is ended
    frugal_timeout: int = 30_000  # the same, for a job with a budget
    boot_limit: int = 900_000  # from when the cloud has named a machine until its agent must be here
    silent_limit: int = 600_000  # a machine whose node is lost for so long is ended
    give_up: int = 600_000  # how long a cloud is asked for a machine that nobody knows of
    ask_again: int = 2_000  # the first wait before it is asked again
    settle: int = 60_000  # a listing that was asked for so long after a call shows what came of it
    orphan_age: int = 300_000  # a machine that nobody stands for is ended when it is as old as this
    tend_every: int = 2_000  # between two looks at all machines
    list_every: int = 60_000  # between two listings while there are machines
    list_soon: int = 10_000  # the same while one of them is in doubt, or on its way out
    list_idle: int = 600_000  # the same while there are none
    charge_every: int = 60_000  # between two records of what a machine has cost
    boot_estimate: int = 60_000  # about how long a machine takes to come up: what is done sooner needs no further one
