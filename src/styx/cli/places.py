"""Where a verb goes: a server, or a job that `styx run` has left behind under DIR/embedded."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from styx.cli.emit import note
from styx.errors import AmbiguousId, Conflict, NotFound, StoreLocked, Unreachable

if TYPE_CHECKING:
    from styx.cli.app import App
    from styx.protocol.verbs import Verbs

__all__ = ["anywhere", "embedded_jobs", "left_behind", "server"]

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@asynccontextmanager
async def server(app: App, ref: str = "") -> AsyncIterator[Verbs]:
    """The server that was named or runs here. Raises Unreachable; of a job that was run here without one, `ref`, it says so."""
    url = app.address()
    if not url:
        raise _without(app, ref)
    async with app.connect(url) as verbs:
        yield verbs


def _without(app: App, ref: str) -> Unreachable:
    if ref:
        try:
            job = left_behind(app.home, ref).name
        except (NotFound, AmbiguousId, Unreachable):
            pass
        else:
            return Unreachable(
                f"job {job[-12:]} was run here without a server; it belongs to its `styx run`",
                hint="Ctrl-C there stops it, and `styx run` runs it again; with `styx up` jobs outlive the command",
            )
    return Unreachable(
        "no server is named and none of yours is running",
        hint="start one with `styx up`, or name one with --server or STYX_SERVER_URL",
    )


@asynccontextmanager
async def anywhere(app: App, ref: str, *, waits: bool = False) -> AsyncIterator[Verbs]:
    """The server, or without one the plane that a `styx run` has left behind and that holds what `ref` names. That plane is
    opened without an agent: it can be looked at, and nothing runs. Whoever `waits` for its end gets a Conflict when the job
    never came to one."""
    if app.address():
        async with server(app) as verbs:
            yield verbs
        return
    folder = left_behind(app.home, ref)
    from styx.compose import ControlPlane

    try:
        async with ControlPlane.open(folder.resolve(), agent=False) as plane:
            await _whole(plane, folder, waits)
            yield plane
    except StoreLocked:
        raise Conflict(
            f"job {folder.name[-12:]} is running in another `styx run` right now",
            hint="look at it there, or start a server with `styx up` to watch jobs from anywhere",
        ) from None


async def _whole(plane: Verbs, folder: Path, waits: bool) -> None:
    """Say so when the command that ran a job has gone before the job had ended."""
    job = await plane.job(folder.name)
    if job.status not in {"RUNNING", "CANCELLING"}:
        return
    said = f"the `styx run` of job {folder.name[-12:]} was ended before the job; nothing runs it any more"
    if waits:
        raise Conflict(said, hint="run it again with `styx run`")
    note(said)


def embedded_jobs(home: Path) -> list[Path]:
    """Folders of jobs that were run without a server, newest first; each is named by its job's id, which begins with time."""
    from styx.config.home import EMBEDDED

    try:
        found = [path for path in (home / EMBEDDED).iterdir() if _ID.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda path: path.name, reverse=True)


def left_behind(home: Path, ref: str) -> Path:
    """The folder of the embedded job that a reference names. Raises NotFound and AmbiguousId."""
    jobs = embedded_jobs(home)
    head = ref.strip().partition("/")[0].partition(".")[0]
    if not jobs:
        raise Unreachable(
            "no server is named, none of yours is running, and nothing was run here without one",
            hint="start one with `styx up`, or name one with --server or STYX_SERVER_URL",
        )
    if head == "@latest":
        return jobs[0]
    digits = head.replace("-", "").lower()
    if len(digits) >= 4 and re.fullmatch("[0-9a-f]+", digits):
        found = list(_matching(jobs, digits))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name[-12:] for path in found[:5])
            raise AmbiguousId(f"{head!r} fits several jobs: {names}", hint="give more digits")
    raise NotFound(
        f"there is no job {ref[:80]!r} among those that were run here without a server",
        hint="`styx status` lists them; an id can be cut to its last digits",
    )


def _matching(jobs: Iterable[Path], digits: str) -> Iterable[Path]:
    """Jobs whose own id, or the id of whose task, begins or ends so."""
    from styx.core import ids

    for path in jobs:
        job = ids.parse(path.name)
        if len(digits) == 32 and ids.split(int(digits, 16))[0] == job:
            yield path
            continue
        # The first task's id is what `run -o name` printed for a single command.
        for identifier in (path.name.replace("-", ""), f"{ids.join(ids.JobId(job), 0):032x}"):
            if identifier.startswith(digits) or identifier.endswith(digits):
                yield path
                break
