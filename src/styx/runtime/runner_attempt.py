"""One attempt in the hands of a runner, and its output between the runner and the server's disk.

Output is masked here, so all offsets behind this room are those of the masked stream; what the runner tells again is recognised by its
own offsets and passed over. Bytes that a mask holds back, because they may be the beginning of a secret, are shown when the stream ends
and not before: a pause would make the masked stream depend on time, and after a restart it must come out the same.
"""

from __future__ import annotations

import msgspec

from styx.agent.owner.masking import Masker, worth_masking
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.protocol.messages import Run, Secret, Spec
from styx.providers.base import Found

__all__ = ["ENDED", "QUEUED", "RUNNING", "Hosted", "Stream"]

QUEUED, RUNNING, ENDED = range(3)


class Stream:
    """One of the two outputs: [0, released) is on the server's disk, [released, total) is here, [released, sent) is on its way."""

    __slots__ = ("_kept", "_masker", "_raw", "released", "sent", "total")

    def __init__(self, values: tuple[bytes, ...]) -> None:
        self._masker = Masker(values) if values else None
        self._kept = bytearray()
        self._raw = 0  # bytes of the runner that came
        self.released = 0
        self.sent = 0
        self.total = 0

    @property
    def owed(self) -> int:
        """Bytes that are here."""
        return self.total - self.released

    def take(self, offset: int, data: bytes) -> int:
        """More from the runner; how many bytes there are to tell by that. What is known already is passed over."""
        known = self._raw - offset
        if known >= len(data):
            return 0
        fresh = data[max(0, known) :]
        self._raw = offset + len(data)
        return self._append(self._masker.feed(fresh) if self._masker is not None else fresh)

    def begin_at(self, offset: int) -> None:
        """So much is on the server's disk, and cannot be told again."""
        self.released = self.sent = self.total = offset

    def finish(self) -> int:
        """Nothing more comes: show what the mask holds back."""
        return self._append(self._masker.flush()) if self._masker is not None else 0

    def read(self, limit: int) -> bytes:
        """The next bytes to be sent, at most `limit`."""
        at = self.sent - self.released
        data = bytes(self._kept[at : at + limit])
        self.sent += len(data)
        return data

    def release(self, offset: int) -> tuple[int, int]:
        """It is on the server's disk up to `offset`: how many bytes are let go of, and how many of those had been sent."""
        offset = min(offset, self.total)
        gone = offset - self.released
        if gone <= 0:
            return 0, 0
        landed = min(offset, self.sent) - self.released
        del self._kept[:gone]
        self.released = offset
        self.sent = max(self.sent, offset)
        return gone, landed

    def _append(self, data: bytes) -> int:
        self._kept += data
        self.total += len(data)
        return len(data)


class Hosted:
    """`state` as the agent hears of it. `placed`: the runner has, or may have, it. `spec` is None for one that was found."""

    __slots__ = (
        "ended_at",
        "ending",
        "ending_sent",
        "forgotten",
        "found",
        "grace",
        "number",
        "placed",
        "reason",
        "resources",
        "results",
        "run",
        "secrets",
        "spec",
        "started_at",
        "state",
        "stopping",
        "streams",
    )

    def __init__(
        self, number: int, resources: Resources, secrets: tuple[Secret, ...], spec: Spec | None, run: Run | None
    ) -> None:
        self.number = number
        self.resources = resources
        self.secrets = secrets
        self.spec = spec
        self.run = run
        self.grace = spec.grace / 1_000 if spec is not None else 0.0  # seconds
        self.results = ""  # the folder of results that it needs, or empty
        self.state = QUEUED
        self.found = QUEUED  # what the runner said of it at the start
        self.placed = False
        self.stopping = False
        self.forgotten = False
        self.reason = ""  # why it has not started
        self.started_at = 0
        self.ended_at = 0
        self.ending: AttemptEnding | None = None
        self.ending_sent = False
        values = worth_masking(secret.value for secret in secrets)
        self.streams = (Stream(values), Stream(values))

    @classmethod
    def again(cls, found: Found, now: int) -> Hosted:
        """One that the runner has from before."""
        made = cls(found.attempt, found.resources, found.secrets, None, None)
        made.grace = found.grace
        made.placed = True
        made.found = found.state
        made.state = min(found.state, RUNNING)  # it has ended for us once the runner has said how
        made.started_at = now - found.ran if found.state == RUNNING else 0
        return made

    @property
    def owed(self) -> int:
        return self.streams[0].owed + self.streams[1].owed

    @property
    def all_sent(self) -> bool:
        return all(stream.sent == stream.total for stream in self.streams)

    def ran(self, now: int) -> int:
        return max(0, now - self.started_at) if self.state == RUNNING and self.started_at else 0

    def end(self, ending: AttemptEnding, now: int) -> int:
        """It has ended; how many bytes of output came to light by that. The lengths are those of what was passed on."""
        shown = sum(stream.finish() for stream in self.streams)
        self.ending = msgspec.structs.replace(ending, stdout=self.streams[0].total, stderr=self.streams[1].total)
        self.state = ENDED
        self.ended_at = now - ending.ago
        self.reason = ""
        return shown
