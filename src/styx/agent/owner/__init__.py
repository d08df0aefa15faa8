"""The owner: one small process per agent that alone holds its running programs, so that an agent may die and come back.

Only the owner spawns, reaps, stops programs, reads their pipes, and keeps exit codes and output until somebody has put them
on a disk. It is a separate process because parenthood cannot be handed over: whoever spawned a program must live as long as
it does. So it is kept too small to need an upgrade: the standard library and msgspec, one thread, one epoll loop.

    loop        epoll, signals, timers: one turn after the other
    orders      what each message of the agent means
    supervisor  what is held and what becomes of it: admission, starting, reaping, stopping, ends
    workshop    what a program has for its own: environment, rooms (folders), devices, results, masking of secrets
    spawn       one program: limits, pipes, posix_spawn
    pipes       reading what programs write, with back-pressure; spool keeps it until it is released
    flow        whether a program waits a moment for the agent, or writes ahead of it onto the disk; chunks, a queue of bytes uncopied
    undertaker  ending process trees so that nothing is left; proc reads /proc, mark says whose a process is
    outlet      what the agent is owed and has not been sent on this connection; link is the socket, frames the framing
    launcher    used by the agent: starts an owner for a folder, or finds the one that holds it

The protocol is `styx.protocol.owner`. What it leaves open is decided so:

- The owner says OwnerHello on accept and nothing more until Configure; another first message but OwnerShutdown closes the
  connection. A bad frame closes the connection and harms no program.
- At most 1 MiB a stream and 6 MiB in all is in flight, sent on this connection and not released: an agent must release
  output (OwnerRelease) to be sent more, and the end of an attempt comes after the last of its output.
- A program that cannot be started for its own fault (not found: 127; not executable, a bad folder: 126) has EXITED with one line
  on its stderr. What is the machine's fault (no memory, no file descriptors, larger than the capacity) is REJECTED.
- When a program has exited, its attempt's remaining processes are ended too, SIGTERM first, SIGKILL after its grace: a task
  leaves no daemons behind. Ones that gave up both its process group and its output are found by a sweep up to a second later.
- OwnerForget of an attempt whose output is still owed drops its end and its folder now, and the rest when it is released.
- SIGTERM to the owner: it starts nothing more, ends its programs in order and reports them LOST (what waited: REJECTED), so
  that they run elsewhere; it exits when that is collected, or 10 s later. SIGINT and SIGHUP are ignored.
- An owner that is not tied and holds nothing exits when no agent has been connected for 30 s. One whose folder was removed
  ends its programs and exits: nobody could find it any more.
- A program's core dumps are off (soft limit 0) and its limit of open files is what the agent had; memory is not limited.
"""

from __future__ import annotations

from styx.agent.owner.launcher import launch

__all__ = ["launch"]
