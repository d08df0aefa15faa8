"""The agent that `styx up` starts: styx-agent in a process of its own, which does not outlive the server it was started for.

A process and not a task in the server's loop, so that neither can stall or take down the other. When `styx up` dies, however it
dies, the kernel sends this one SIGTERM; its programs belong to their owner and go on.
"""

from __future__ import annotations

import signal
import sys

from styx.agent.main import main

__all__: list[str] = []

PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


if __name__ == "__main__":
    _end_with_parent()
    raise SystemExit(main(sys.argv[1:]))
