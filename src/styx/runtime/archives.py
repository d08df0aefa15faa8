"""Packed working folders on the server: in by hash from whoever submits, out to the agents that run what needs them.

They lie in DIR/archives, each under its SHA-256, and only once it is whole, right and synced: a job that names one is accepted only
when it is there. Writing and hashing is done in threads, a block at a time, so that a gigabyte stalls nobody. What no live job
needs goes with the jobs that ended as long ago (`gc`); a file's own time says when it was last sent, named or asked for.

An agent is given an archive only while an attempt is assigned to it whose task names it. A runner of pods has no such link: its
pod comes with a ticket that is derived for one attempt, and good as long as that lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import hmac
import os
import re
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from styx.core.graph import task_path
from styx.core.spec import JobSpec
from styx.core.world import World
from styx.errors import Busy, NotAllowed, NotFound, Problem, SpecError, StoreError, StoreFull, UsageError
from styx.runtime.vault import Vault
from styx.store.base import Store
from styx.telemetry.log import get

__all__ = ["FOLDER", "MOST", "QUOTA", "Archives"]

FOLDER = "archives"
MOST = 1_100_000_000
"""Bytes of one archive: what cannot be squeezed takes a little more than MAX_BYTES of files."""
QUOTA = 20_000_000_000
"""Bytes of all archives together that live jobs may need."""

_BLOCK = 1 << 20
_HASH = re.compile(r"[0-9a-f]{64}")
_SLICE = 10_000  # tasks looked at in one go
_YOUNG = 3_600.0  # seconds in which one that was sent may still be named by a submission

log = get("server")


class Archives:
    """`folder` is DIR/archives. `provisions` is set when machines may be brought up elsewhere for a task."""

    def __init__(self, folder: Path, store: Store, world: World, vault: Vault, *, quota: int = QUOTA) -> None:
        self._folder = folder
        self._store = store
        self._world = world
        self._vault = vault
        self._quota = quota
        self.provisions = False

    # -- in -------------------------------------------------------------------------------------------------------

    def wanted(self, host: str) -> bool:
        """Whether a folder of this host is worth packing: a task may run where it is not."""
        return self.provisions or not host or any(node.host != host for node in self._world.nodes.values())

    async def size(self, sha256: str) -> int:
        """Its bytes; it is kept from now on as if it had just come. Raises NotFound."""
        path = self._path(sha256)
        size = await asyncio.to_thread(_touch, path) if path is not None else -1
        if size < 0:
            raise NotFound(f"there is no archive {sha256[:80]}", hint="send it with PUT")
        return size

    async def receive(self, sha256: str, size: int, blocks: AsyncIterator[bytes]) -> bool:
        """Take one in; False when it was there. `size` is what was announced, 0 for nothing. Raises UsageError when it is too long,
        or not what its name says; Busy when there is no room among the others; StoreFull when there is none on the disk."""
        path = self._path(sha256)
        if path is None:
            raise UsageError("an archive is named by the SHA-256 of its bytes, 64 digits of 0-9 and a-f")
        if size > MOST:
            raise _too_long()
        if await asyncio.to_thread(_touch, path) >= 0:
            return False
        await self._make_room(size)
        part = path.with_name(f".{sha256[:16]}-{token_hex(4)}.part")
        try:
            await self._write(part, sha256, blocks)
            await asyncio.to_thread(_place, part, path)
        except ConnectionError:
            raise  # of whoever sends
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StoreFull("there is no room on the server's disk for the archive", hint="styx gc") from None
            raise StoreError(f"the archive cannot be kept: {error.strerror or error}") from None
        finally:
            await asyncio.to_thread(part.unlink, True)
        return True

    async def check(self, spec: JobSpec) -> None:
        """Raises SpecError unless all archives that a job names are here; those are kept from now on."""
        named: dict[str, str] = {}
        for first in range(0, len(spec.tasks), _SLICE):
            for task in spec.tasks[first : first + _SLICE]:
                if task.archive:
                    named.setdefault(task.archive, task.name)
            await asyncio.sleep(0)
        problems: list[Problem] = []
        for sha256, name in named.items():
            try:
                await self.size(sha256)
            except NotFound:
                what = f"the archive {sha256[:16]}... of task {name!r} is not here"
                problems.append(Problem(f"{task_path(name)}.archive", what, f"PUT /api/v1/archives/{sha256} first"))
        if problems:
            raise SpecError(problems[:100])

    # -- out ------------------------------------------------------------------------------------------------------

    async def of_agent(self, token: int, role: str, sha256: str) -> Path:
        """The file, for whoever has this token. Raises NotAllowed when nothing that is assigned to that agent now names it, and
        NotFound."""
        if role != "admin":
            agent = await self._store.bind_token(token, "")
            node = self._world.nodes.get(self._world.by_agent.get(agent, 0)) if agent else None
            if node is None or not any(held.task.spec.archive == sha256 for held in node.held.values()):
                raise NotAllowed("no attempt that is assigned to this agent needs this archive")
        return await self._file(sha256)

    async def of_ticket(self, attempt: int, ticket: str, sha256: str) -> Path:
        """The file, for whoever has the ticket of an attempt. Raises NotFound, whatever is wrong."""
        held = self._world.attempts.get(attempt)
        good = hmac.compare_digest(await self.ticket(sha256, attempt), ticket.encode(errors="replace").decode())
        if not good or held is None or held.task.spec.archive != sha256:
            raise NotFound("there is no archive that this ticket is good for", hint="its attempt may have ended")
        return await self._file(sha256)

    async def ticket(self, sha256: str, attempt: int) -> str:
        """What a pod shows to be given the archive of its attempt, at `ticket_path`."""
        return await self._vault.derive(f"archive {sha256} {attempt}")

    @staticmethod
    def ticket_path(sha256: str, attempt: int) -> str:
        return f"/api/v1/archives/{sha256}/for/{attempt}"

    async def _file(self, sha256: str) -> Path:
        await self.size(sha256)
        path = self._path(sha256)
        assert path is not None  # since it has a size
        return path

    # -- away -----------------------------------------------------------------------------------------------------

    async def gc(self, *, days: float, keep_bytes: int) -> int:
        """Remove what no live job needs and was not used for `days`, and the oldest of it beyond `keep_bytes`; how many bytes went."""
        before = time.time() - max(days * 86_400, _YOUNG)
        return await asyncio.to_thread(self._remove, await self._needed(), before, keep_bytes)

    async def _make_room(self, size: int) -> None:
        needed = await self._needed()
        await asyncio.to_thread(self._remove, needed, 0.0, self._quota - size)
        if await asyncio.to_thread(lambda: sum(about.st_size for about, _ in self._kept())) + size > self._quota:
            raise Busy(
                f"live jobs need {self._quota / 1e9:g} GB of packed working folders already",
                retry_after=60.0,
                status=503,
            )

    async def _needed(self) -> set[str]:
        needed: set[str] = set()
        for job in [*self._world.jobs.values(), *self._world.staged.values()]:
            for first in range(0, len(job.tasks), _SLICE):
                needed.update(task.spec.archive for task in job.tasks[first : first + _SLICE])
                await asyncio.sleep(0)
        return needed

    def _remove(self, needed: set[str], before: float, keep_bytes: int) -> int:
        kept = sorted(self._kept(), key=lambda one: one[0].st_mtime_ns)
        total = sum(about.st_size for about, _ in kept)
        young = time.time() - _YOUNG
        gone = 0
        for about, path in kept:
            mine = path.name.removesuffix(".tar.gz") in needed or about.st_mtime > young
            if mine or not (about.st_mtime < before or total - gone > keep_bytes):
                continue
            with contextlib.suppress(OSError):
                path.unlink()
                gone += about.st_size
        return gone

    def _kept(self) -> Iterable[tuple[os.stat_result, Path]]:
        found: list[tuple[os.stat_result, Path]] = []
        for path in self._folder.glob("*.tar.gz"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat(), path))
        for path in self._folder.glob(".*.part"):  # of uploads that a crash cut short
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _YOUNG:
                    path.unlink()
        return found

    def _path(self, sha256: str) -> Path | None:
        return self._folder / f"{sha256}.tar.gz" if _HASH.fullmatch(sha256) else None

    async def _write(self, part: Path, sha256: str, blocks: AsyncIterator[bytes]) -> None:
        """Raises UsageError, OSError."""
        digest = hashlib.sha256()
        total = 0

        def take(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        def finish() -> None:
            file.flush()
            os.fsync(file.fileno())

        file = await asyncio.to_thread(_create, part)
        try:
            async for block in _gathered(blocks):
                total += len(block)
                if total > MOST:
                    raise _too_long()
                await asyncio.to_thread(take, block)
            if digest.hexdigest() != sha256:
                raise UsageError("the archive is not what its name says: its SHA-256 is another", hint="send it again")
            await asyncio.to_thread(finish)
        finally:
            await asyncio.to_thread(file.close)


async def _gathered(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in blocks worth a thread."""
    waiting: list[bytes] = []
    size = 0
    async for block in blocks:
        waiting.append(block)
        size += len(block)
        if size >= _BLOCK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb")


def _place(part: Path, path: Path) -> None:
    """Under its name for good: the folder is synced too."""
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _touch(path: Path) -> int:
    """Its size, after noting that it is used now; -1 when it is not there."""
    try:
        os.utime(path)
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _too_long() -> UsageError:
    return UsageError(f"an archive may be {MOST / 1e9:g} GB long", hint="name what is not needed in a .gitignore")
