"""Which folders of results ($STYX_RESULTS) are wanted: one for each (job, task) that needs other tasks' results.

The server sends the files before the Start that needs them, and over one link not again for a (job, task) that is among the
last KEPT_FILES it sent. So a folder that no attempt uses stays until the link ends, or until so many others came after
it. This room decides; the runner touches the disk.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from styx.protocol.messages import KEPT_FILES, Files

__all__ = ["DropResults", "Results", "WriteResults"]


class WriteResults(msgspec.Struct, frozen=True):
    """Put these files, (name, content), into the folder, making it when it is not there."""

    folder: str
    files: tuple[tuple[str, bytes], ...]


class DropResults(msgspec.Struct, frozen=True):
    """Remove the folder and all that is in it."""

    folder: str


Key = tuple[int, int]  # job, task


class Results:
    __slots__ = ("_kept", "_key_of", "_root", "_users")

    def __init__(self, root: str, *, kept: int = KEPT_FILES) -> None:
        self._root = root
        self._kept = kept
        self._users: dict[Key, set[int]] = {}  # the attempts held of each, by when its files last came
        self._key_of: dict[int, Key] = {}

    def write(self, message: Files) -> list[WriteResults | DropResults]:
        """Files came; the last one in the answer says where they belong."""
        key = (message.job, message.task)
        self._users[key] = self._users.pop(key, set())
        excess = list(islice(self._users, max(0, len(self._users) - self._kept)))
        return [*self._drop_idle(excess), WriteResults(self._folder(key), message.files)]

    def use(self, job: int, task: int, attempts: list[int]) -> str:
        """These attempts start; returns their folder, or "" when they need nothing."""
        key = (job, task)
        users = self._users.get(key)
        if users is None:
            return ""
        users.update(attempts)
        self._key_of.update(dict.fromkeys(attempts, key))
        return self._folder(key)

    def leave(self, attempt: int) -> None:
        """It is not held any more."""
        key = self._key_of.pop(attempt, None)
        if key is not None:
            self._users[key].discard(attempt)

    def abandon(self) -> list[DropResults]:
        """The link is gone; whatever starts over the next one is preceded by its files again."""
        return self._drop_idle(list(self._users))

    def clear(self) -> list[DropResults]:
        """No attempt is held any more."""
        self._key_of.clear()
        for users in self._users.values():
            users.clear()
        return self.abandon()

    def _drop_idle(self, keys: list[Key]) -> list[DropResults]:
        idle = [key for key in keys if not self._users[key]]
        for key in idle:
            del self._users[key]
        return [DropResults(self._folder(key)) for key in idle]

    def _folder(self, key: Key) -> str:
        return f"{self._root}/{key[0]}-{key[1]}"
