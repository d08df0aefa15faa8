"""Following a job from its submission to its end: output, progress, Ctrl-C, and the exit code.

The first Ctrl-C (or SIGTERM) cancels the job and waits until it has ended; the second leaves at once. What the screen says
of it and what happens come from the same place.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from styx.cli.emit import emit, note
from styx.cli.follow import Sink, follow
from styx.cli.words import colourful, drawable, short
from styx.errors import Unreachable

if TYPE_CHECKING:
    from styx.cli.app import App
    from styx.cli.progress import Progress
    from styx.core.spec import JobSpec
    from styx.protocol.http import Created, JobResult
    from styx.protocol.verbs import Verbs

__all__ = ["Following"]

T = TypeVar("T")

LAST_WORD = 2.0  # seconds that a stopped terminal holds up the end
LAST_OUTPUT = 30.0  # seconds that output may take to arrive after the job has ended


class Following:
    def __init__(self, app: App, verbs: Verbs, spec: JobSpec, created: Created, *, embedded: bool) -> None:
        self._app = app
        self._verbs = verbs
        self._created = created
        self._embedded = embedded
        self._several = sum(task.size for task in spec.tasks) > 1
        self._signal = 0
        self._left = asyncio.Event()
        self._shown: Progress | None = None
        self._said: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Until the job has ended, or the second Ctrl-C; returns the exit code."""
        loop = asyncio.get_running_loop()
        caught = []
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._interrupted, number)
                caught.append(number)
            except NotImplementedError:  # Windows: KeyboardInterrupt ends the command, the server keeps the job
                break
        try:
            return await self._run()
        except Unreachable as error:
            job = short(self._created.job_id)
            raise Unreachable(
                error.message, hint=f"the job is on its disk and goes on with it; when it is back: styx wait {job}"
            ) from None
        finally:
            for number in caught:
                loop.remove_signal_handler(number)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> int:
        progress = self._shown = self._progress()
        sink = Sink(
            prefix=self._several,
            show=progress.write,
            colour=colourful(sys.stdout),
            hear=progress.hear,
            clean=progress.clean if self._several else None,
        )
        job = self._created.job_id
        ended: asyncio.Task[JobResult] = self._start(self._verbs.wait(job))
        output = self._start(follow(self._verbs.logs(job, follow=True), sink))
        left = self._start(self._left.wait())
        drawn = self._start(progress.run())
        try:
            waiting: set[asyncio.Task[Any]] = {ended, left, output}
            while not ended.done() and not left.done():
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if output in done:
                    output.result()  # a broken pipe, or a server that is gone, ends the command
                    waiting.discard(output)
            await self._heard()
            if not ended.done():
                return self._leave()
            result = ended.result()
            await asyncio.wait({output, left}, timeout=LAST_OUTPUT, return_when=asyncio.FIRST_COMPLETED)
            if output.done():
                output.result()
        finally:
            drawn.cancel()
            await progress.close()
        return self._finish(result, progress)

    async def _heard(self) -> None:
        """What was said is on the screen, unless the terminal is stopped."""
        if self._said:
            await asyncio.wait(self._said, timeout=LAST_WORD)

    def _start(self, body: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(body)
        self._tasks.add(task)
        return task

    def _progress(self) -> Progress:
        from styx.cli.progress import Lines, Quiet

        machine = not self._app.table
        if sys.stderr.isatty():
            again = "a second one leaves at once" if self._embedded else "a second one leaves it to the server"
            note(f"Ctrl-C cancels the job; {again}")
        if not self._several:
            return Quiet(self._verbs, self._created, to_stderr=machine)
        if drawable(sys.stderr):
            from styx.cli.screen import Screen

            return Screen(self._verbs, self._created, to_stderr=machine)
        return Lines(self._verbs, self._created, to_stderr=machine)

    def _interrupted(self, number: int) -> None:
        if self._signal:
            self._left.set()
            return
        self._signal = number
        self._say("cancelling the job and waiting for its end; once more leaves at once")
        self._start(self._cancel())

    async def _cancel(self) -> None:
        from styx.errors import StyxError

        try:
            await self._verbs.cancel(self._created.job_id, reason="cancelled with Ctrl-C")
        except StyxError as error:
            self._say(f"it could not be cancelled: {error.message}")

    def _say(self, text: str) -> None:
        """In a thread: the terminal may be stopped (Ctrl-S), and the loop must not wait for it."""
        said = asyncio.to_thread(self._shown.say if self._shown is not None else note, text)
        self._said.add(asyncio.ensure_future(said))

    def _leave(self) -> int:
        if self._embedded:
            note("left; the programs are being ended")
        else:
            note(f"left; the server goes on cancelling the job: styx status {short(self._created.job_id)}")
        return 128 + self._signal

    def _finish(self, result: JobResult, progress: Progress) -> int:
        code = 128 + self._signal if self._signal and result.status == "CANCELLED" else result.exit_code
        if self._several or not self._signal:
            progress.sum_up(result, code)
        if not self._app.table:
            emit(self._app, result, [self._created.task_id or result.job_id], lambda: "")
        return code
