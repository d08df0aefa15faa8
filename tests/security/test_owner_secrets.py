"""A real owner with secrets: they are in the environment of the program, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from styx.agent.owner_link import OwnerSocket, open_owner
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.protocol.messages import Run, Secret, Spec
from styx.protocol.owner import Configure, OwnerEnded, OwnerOutput, OwnerRelease, OwnerStart
from styx.testing.cluster import eventually

VALUE = "correct-horse-battery"


def run(main: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await main

    asyncio.run(limited())


def spec(line: str, **env: str) -> Spec:
    return Spec(1, 0, "job", "task", "t", (line,), True, 0, Resources(), tuple(env.items()), "", 0, 1_000)


class Watched:
    """What a connection to an owner has heard."""

    def __init__(self, socket: OwnerSocket) -> None:
        self.socket = socket
        self.output: dict[int, bytes] = {1: b"", 2: b""}
        self.ended: AttemptEnding | None = None

    async def start(self, what: Spec, *secrets: Secret, attempt: int = 1) -> None:
        await self.socket.send([OwnerStart(what, (Run(attempt, 0, 1),), "", secrets)])

    async def until(self, said: bytes) -> None:
        while said not in self.output[1]:
            await self._listen()

    async def end(self) -> AttemptEnding:
        while self.ended is None:
            await self._listen()
        return self.ended

    async def _listen(self) -> None:
        for message in await self.socket.recv():
            if isinstance(message, OwnerOutput):
                assert message.offset == len(self.output[message.stream])
                self.output[message.stream] += message.data
                end = message.offset + len(message.data)
                await self.socket.send([OwnerRelease(message.attempt, message.stream, end)])
            elif isinstance(message, OwnerEnded):
                (self.ended,) = message.ended


@asynccontextmanager
async def owner(folder: Path) -> AsyncIterator[Watched]:
    socket = await open_owner(folder, tied=True)
    try:
        await socket.send([Configure("one", Resources(cpus=4_000), tied=True)])
        yield Watched(socket)
    finally:
        await socket.close()


def test_a_program_finds_its_secrets_and_its_output_does_not_show_them(tmp_path: Path) -> None:
    line = (
        'test "$A" = correct-horse-battery && echo "A is $A, B is $B."; printf "%s" "$A" >&2; '
        'printf "%s" "correct-horse"; sleep 0.01; printf "%s\\n" "-battery!"; echo "$A" > "$STYX_RESULT"; exit 3'
    )

    async def main() -> None:
        async with owner(tmp_path / "o") as talk:
            await talk.start(spec(line, A="public"), Secret("A", VALUE), Secret("B", "short"))
            ending = await talk.end()
            assert ending.code == 3
            assert talk.output[1] == b"A is ***, B is short.\n***!\n"
            assert talk.output[2] == b"***"
            # the ends of the streams count what is shown
            assert (ending.stdout, ending.stderr) == (len(talk.output[1]), 3)
            assert ending.result == b"***\n"
            assert VALUE not in repr(Secret("A", VALUE))

    run(main())


def test_a_prompt_is_shown_after_a_pause_though_a_secret_begins_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with owner(tmp_path / "o") as talk:
            go_on = tmp_path / "go"
            line = f'printf "say: correct"; until test -e {go_on}; do sleep 0.02; done; printf "%s." "${{A#correct}}"'
            await talk.start(spec(line), Secret("A", VALUE))
            await talk.until(b"say: correct")  # while the program still runs
            assert talk.ended is None
            go_on.touch()
            await talk.end()
            assert talk.output[1] == b"say: correct***."

    run(main())


def test_much_output_goes_to_the_disk_masked(tmp_path: Path) -> None:
    async def main() -> None:
        async with owner(tmp_path / "o") as talk:
            line = 'yes "$A, $A again" | head -n 200000'
            await talk.start(spec(line), Secret("A", VALUE))
            spool = tmp_path / "o" / "spool"
            # nobody reads, so it goes to the disk
            full = lambda: any(file.stat().st_size for file in spool.rglob("*"))  # noqa: E731
            await asyncio.to_thread(eventually, "output on the disk", full)
            for file in spool.rglob("*"):
                assert VALUE.encode() not in file.read_bytes()
            await talk.end()
            assert talk.output[1] == b"***, *** again\n" * 200_000

    run(main())
