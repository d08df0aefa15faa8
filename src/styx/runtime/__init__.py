"""The shell around the core: it alone knows the clock, the disk, the network and chance.

    events -> mailbox -> Loop (step, place once, commit once) -> effects, answers, watchers

`loop` is the driver, `committer` puts a turn on disk, `dispatch` performs effects through `links`, `leases` and `timers`
turn time into events, and `plane` offers the verbs on top.
"""
