"""What a program with a packed working folder is started through: unpack it into the folder we are in, then become the program.

It runs as the attempt: what it writes is the attempt's, its end is the attempt's end, and a stop or a timeout ends it as well. So the
owner, which has one thread, need not wait for a gigabyte, and an attempt that never starts never takes the room. Only the standard
library is imported, and only what this needs: it is paid for by every such start.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["CODE", "main"]

CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from styx.agent.unwrap import main; main(sys.argv[1:])"
"""For `python -I -S -c CODE PLACE PARCEL COMMAND...`; PLACE is where `styx` is imported from."""

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


def main(argv: list[str]) -> None:
    """Does not return."""
    from styx.protocol.parcel import BadParcel, unpack

    parcel, *command = argv
    try:
        unpack(parcel, ".")
    except BadParcel as error:
        _fail(_NOT_EXECUTABLE, f"the working folder cannot be unpacked: {error}")
    except OSError as error:
        _fail(_NOT_EXECUTABLE, f"the working folder cannot be unpacked: {error.strerror or error}")
    # Python ignores these for itself, and what is ignored stays so over an exec.
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        _fail(_NOT_FOUND, f"{command[0]}: command not found")
    except (OSError, ValueError) as error:
        _fail(_NOT_EXECUTABLE, f"{command[0]}: {getattr(error, 'strerror', None) or error}")


def _fail(code: int, message: str) -> None:
    os.write(2, f"styx: {message}\n".encode(errors="surrogateescape"))
    sys.stdout.flush()
    os._exit(code)
