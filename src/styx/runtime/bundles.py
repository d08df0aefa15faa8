"""The archives that machines run their agents from, on the server: made once, named by hash, given to whoever is about to join.

They lie in DIR/bootstrap. Each process makes them anew at first use, and when wheels were fetched, in a thread: the same files give the
same archive, so after an upgrade, and only then, there is another hash. The one before is kept, since a machine may be on its way that was told of it.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from styx.errors import NotFound, StyxError
from styx.providers.bootstrap import bundle, fetch
from styx.telemetry.log import get

__all__ = ["FOLDER", "Bundles"]

FOLDER = "bootstrap"
_KEPT = 3  # archives of one Python and architecture
_NAME = re.compile(r"(?P<tag>[a-z0-9-]{1,24})-(?P<arch>[a-z0-9_]{1,16})-(?P<sha>[0-9a-f]{64})\.tar\.gz")

log = get("server")


class Bundles:
    """`folder` is DIR/bootstrap."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], bundle.Bundle] = {}
        self._of: tuple[tuple[Path, int], ...] | None = None  # the wheels that were there then, and their times
        self._lock = asyncio.Lock()

    async def known(self) -> tuple[tuple[str, str, str], ...]:
        """(Python tag, architecture, SHA-256) of all there are, this server's own first: what a BootstrapOrder wants. Raises
        StyxError when not even that can be made."""
        return tuple((made.tag, made.arch, made.sha256) for made in (await self._all()).values())

    async def find(self, tag: str, arch: str, sha256: str = "") -> Path:
        """The archive, or an older one by its hash. Raises NotFound, and StyxError when it cannot be made."""
        made = (await self._all()).get((tag, arch))
        if made is not None and sha256 in {"", made.sha256}:
            return made.path
        older = self._folder / f"{tag}-{arch}-{sha256}.tar.gz"
        if _NAME.fullmatch(older.name):
            there = await asyncio.to_thread(older.is_file)
            if there:
                return older
        raise NotFound(
            f"there is no archive for {tag[:30]} on {arch[:30]}{' with that hash' if made else ''}",
            hint="" if made else "on the server: styx bootstrap fetch --python 3.12 --arch arm64",
        )

    async def _all(self) -> dict[tuple[str, str], bundle.Bundle]:
        async with self._lock:
            await asyncio.to_thread(self._look)
            return self._made

    def _look(self) -> None:
        """Make them, the first time and whenever something was fetched."""
        fetched = fetch.wheels_in(self._folder)
        of = tuple((wheels, wheels.stat().st_mtime_ns) for _, _, wheels in fetched)
        if of == self._of:
            return
        own = bundle.own()
        made = {own: bundle.build(self._folder, *own)}
        for tag, arch, wheels in fetched:
            if (tag, arch) == own:
                continue
            try:
                made[tag, arch] = bundle.build(self._folder, tag, arch, wheels)
            except StyxError as error:  # one that was fetched badly must not keep the others back
                log.warning("archive for machines not made", tag=tag, arch=arch, reason=error.message)
        for key, one in made.items():
            self._drop_old(*key, one.path)
        self._made, self._of = made, of

    def _drop_old(self, tag: str, arch: str, newest: Path) -> None:
        found = [
            path
            for path in self._folder.glob("*.tar.gz")
            if path != newest and (name := _NAME.fullmatch(path.name)) and (name["tag"], name["arch"]) == (tag, arch)
        ]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[_KEPT - 1 :]:
            with suppress(OSError):
                path.unlink()
