"""Working folders that go with a submission: packed and sent where tasks may run on another machine than the one they lie on.

The server is asked first, so that nothing is packed for a server whose machines all have the folder; then, by hash, whether it has
the parcel already, as it has after the second `styx run` of the same folder.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from styx.client.channel import Channel
from styx.client.packing import Packed, pack
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import NotFound
from styx.protocol.host import host_id
from styx.protocol.http import ArchivesView

__all__ = ["Parcels"]

V1 = "/api/v1/archives"
_BLOCK = 1 << 20


class Parcels:
    """`left_out` are the names that stayed behind because they lead out of their folder, or are no files."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.left_out: dict[str, tuple[str, ...]] = {}

    async def of(self, spec: JobSpec) -> JobSpec:
        """The spec with the hash of its folder at each task that names one; those are on the server's disk then. Raises UsageError
        when a folder cannot be packed."""
        folders = dict.fromkeys(task.workdir for task in spec.tasks if _travels(task))
        if not folders or spec.host != host_id() or not await self._wanted(spec.host):
            return spec
        hashes = {folder: (await self._send(Path(folder))).sha256 for folder in folders}
        tasks = tuple(replace(task, archive=hashes[task.workdir]) if _travels(task) else task for task in spec.tasks)
        return replace(spec, tasks=tasks)

    async def _wanted(self, host: str) -> bool:
        try:
            return (await self._channel.ask("GET", V1, ArchivesView, query={"host": host})).wanted
        except NotFound:  # an older server
            return False

    async def _send(self, folder: Path) -> Packed:
        with tempfile.TemporaryFile(prefix="styx-") as file:
            packed = await asyncio.to_thread(pack, folder, file)
            if packed.left_out:
                self.left_out[str(folder)] = packed.left_out
            path = f"{V1}/{packed.sha256}"
            if not await self._channel.has(path):
                size = file.seek(0, 2)
                await self._channel.put(path, lambda: _blocks(file), size, seconds=3_600.0)
            return packed


def _travels(task: TaskSpec) -> bool:
    return bool(task.workdir) and not task.archive and not task.function


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    """The whole file; read in a thread, so that whoever shares the loop is not held up."""
    file.seek(0)
    while data := await asyncio.to_thread(file.read, _BLOCK):
        yield data
