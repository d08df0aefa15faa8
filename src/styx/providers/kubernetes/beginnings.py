"""How the logs of pods began, for a server that starts anew.

It reads a pod's log from the beginning again, and tells it from the first byte. But a node turns a log over when it has become large, and what
is read then is not the beginning. So of each log that grows large, the time of its first line is kept in a file, to be compared.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import quote

from styx.telemetry.log import get

__all__ = ["LARGE", "Beginnings"]

LARGE = 1 << 20  # bytes; a node turns a log over at 10 MiB, unless it is set otherwise

log = get("kubernetes")


class Beginnings:
    """`folder` is made when there is something to keep. All methods are for threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, pod: str) -> bytes:
        """The time of its first line; b"" when its log was not large."""
        with contextlib.suppress(OSError):
            return self._file(pod).read_bytes()
        return b""

    def keep(self, pod: str, stamp: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(pod).write_bytes(stamp)
        except OSError as error:
            log.warning("how a log began cannot be kept", pod=pod, reason=str(error))

    def drop(self, pod: str) -> None:
        with contextlib.suppress(OSError):
            self._file(pod).unlink(missing_ok=True)

    def _file(self, pod: str) -> Path:
        return self._folder / quote(pod, safe="")
