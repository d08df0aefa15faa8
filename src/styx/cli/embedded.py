"""A control plane and an agent inside the command, in its loop, for `styx run` without a server.

It works in a folder of its own under DIR/embedded. Once the job has its id, a link of that name makes it findable: later
`status`, `logs`, `wait` and `why` open it without an agent. It provisions nothing, and its programs end with it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from styx.cli.places import embedded_jobs
from styx.config.home import EMBEDDED
from styx.errors import StoreError, StoreLocked

if TYPE_CHECKING:
    from styx.compose import ControlPlane
    from styx.protocol.http import JobView

__all__ = ["drop", "drop_older", "kept", "opened", "remember", "seal"]

SEAL = "job.json"


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[tuple[ControlPlane, Path]]:
    """A plane with an agent, and its folder; a folder that nothing was remembered in is removed at the end."""
    from styx.compose import ControlPlane

    try:
        (home / EMBEDDED).mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(prefix=".run-", dir=home / EMBEDDED))
    except OSError as error:
        raise StoreError(
            f"{home / EMBEDDED} cannot be used: {error.strerror or error}", hint="set STYX_HOME to a folder of yours"
        ) from None
    try:
        async with ControlPlane.open(folder) as plane:
            yield plane, folder
    finally:
        if not _names(home, folder):
            shutil.rmtree(folder, ignore_errors=True)


def remember(home: Path, folder: Path, job_id: str) -> None:
    """Make the folder findable by its job's id."""
    os.symlink(folder.name, home / EMBEDDED / job_id, target_is_directory=True)


async def seal(plane: ControlPlane, folder: Path, job_id: str) -> None:
    """Write down how the job ended, so that a list of jobs need not open every database."""
    import msgspec

    (folder / SEAL).write_bytes(msgspec.json.encode(await plane.job(job_id)))


def kept(path: Path) -> JobView | None:
    """The job of a folder as it ended; None when it has not, or not in an orderly way."""
    import msgspec

    from styx.protocol.http import JobView

    try:
        job = msgspec.json.decode((path / SEAL).read_bytes(), type=JobView)
    except (OSError, msgspec.MsgspecError):
        return None
    return job if job.ended_at else None


def _names(home: Path, folder: Path) -> list[Path]:
    return [path for path in embedded_jobs(home) if path.is_symlink() and os.readlink(path) == folder.name]


def drop_older(home: Path, seconds: float) -> int:
    """Remove what was run longer ago than this; the time is in the ids. Returns how many jobs that were."""
    limit = time.time() - seconds
    dropped = 0
    for path in embedded_jobs(home):
        if int(path.name[:8] + path.name[9:13], 16) / 1_000 < limit:
            dropped += drop(path)
    return dropped


def drop(path: Path) -> bool:
    """Remove one embedded job, unless it is still running."""
    target = path.resolve()
    if _locked(target):
        return False
    path.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    return True


def _locked(folder: Path) -> bool:
    from styx.store.lock import FolderLock

    lock = FolderLock(folder / "styx.lock")
    try:
        lock.acquire()
    except StoreLocked:
        return True
    except StoreError:
        return False
    lock.release()
    return False
