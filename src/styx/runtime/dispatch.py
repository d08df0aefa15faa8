"""Performs the effects of a turn: the core's orders become messages to the nodes' links.

The order of attempts within a node is part of the protocol (both sides admit in it), so attempts are grouped by task only
where they follow one another. A node without a link is passed over: its next Hello says what it holds, and the core orders
what is missing again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from styx.core import ids
from styx.core.effects import Effect, ForgetAttempts, PlaceEffect, RecallAttempts, StartAttempts, StopAttempts
from styx.core.queues import Shape
from styx.core.records import Record
from styx.core.resources import Resources
from styx.core.world import Node, Task, World
from styx.errors import StoreError
from styx.protocol.messages import KEPT_FILES, Files, Forget, Recall, Run, ServerMessage, Spec, Start, Stop
from styx.runtime.link import Link
from styx.runtime.links import Hub
from styx.runtime.results import Results
from styx.runtime.secrets import Secrets

__all__ = ["Dispatch"]

_RUNS = 2_000  # attempts in one message
_CACHE = 4_000  # specs kept encoded-ready
_FILES = 1 << 20  # bytes of results in one message
_RUN_SIZE = 14  # bytes of a Run in a frame, roughly
_RUN_HELD = 64  # and in memory


class Dispatch:
    """`hub` is given once the loop that it feeds is there, `places` if there are providers to carry out orders to."""

    hub: Hub

    def __init__(self, world: World, results: Results, secrets: Secrets) -> None:
        self._world = world
        self._results = results
        self._secrets = secrets
        self.places: Callable[[PlaceEffect], None] = lambda effect: None
        self._specs: dict[tuple[int, int, str, Resources], tuple[Spec, int]] = {}
        self._plain: dict[type, Callable[[tuple[int, ...]], ServerMessage]] = {
            StopAttempts: Stop,
            RecallAttempts: Recall,
            ForgetAttempts: Forget,
        }

    async def perform(self, records: Sequence[Record], effects: Sequence[Effect]) -> None:
        """Carry out the effects, in their order; `records` are those of the same turn, committed."""
        self._results.note(records)
        self._secrets.note(records)
        for effect in effects:
            if isinstance(effect, PlaceEffect):
                self.places(effect)
                continue
            link = self.hub.link(effect.node)
            if link is None:
                continue
            if type(effect) is StartAttempts:
                await self._start(link, effect)
            else:
                self._order(effect)

    def _order(self, effect: Any) -> None:
        make = self._plain[type(effect)]
        attempts = effect.attempts
        for first in range(0, len(attempts), _RUNS):
            some = attempts[first : first + _RUNS]
            self.hub.send(effect.node, make(some), 16 + 9 * len(some))

    async def _start(self, link: Link, effect: StartAttempts) -> None:
        attempts = self._world.attempts
        node = self._world.nodes[effect.node]
        task: Task | None = None
        shape: Shape | None = None
        runs: list[Run] = []
        for serial in effect.attempts:
            attempt = attempts.get(serial)
            if attempt is None:
                continue  # it ended within the same turn, such as by the loss of its node
            if attempt.task is not task or attempt.shape is not shape or len(runs) >= _RUNS:
                if task is not None and shape is not None:
                    await self._send(link, node, task, shape.resources, runs)
                task, shape, runs = attempt.task, attempt.shape, []
            runs.append(Run(serial, attempt.index, attempt.number))
        if task is not None and shape is not None:
            await self._send(link, node, task, shape.resources, runs)

    async def _send(self, link: Link, node: Node, task: Task, resources: Resources, runs: list[Run]) -> None:
        version = self._results.version(task)
        if version:
            await self._send_files(link, node, task, version)
        spec, size = self._spec(node, task, resources)
        if not task.spec.secrets:
            self.hub.send(node.id, Start(spec, tuple(runs)), size + _RUN_SIZE * len(runs), 200 + _RUN_HELD * len(runs))
            return
        try:
            secrets = await self._secrets.of(task)
        except StoreError as error:
            self.hub.give_up(node.id, [run.attempt for run in runs], f"{error.message}; {error.hint}")
            return
        size += sum(len(secret.name) + len(secret.value.encode()) + 16 for secret in secrets)
        held = 200 + _RUN_HELD * len(runs) + 100 * len(secrets)  # the values are those of the job, whoever holds them
        self.hub.send(node.id, Start(spec, tuple(runs), secrets), size + _RUN_SIZE * len(runs), held)

    async def _send_files(self, link: Link, node: Node, task: Task, version: tuple[int, ...]) -> None:
        job, ordinal = task.job.serial, task.ordinal
        if link.files.get((job, ordinal)) == version:
            return
        some: list[tuple[str, bytes]] = []
        size = 0
        for name, content in await self._results.files(task):
            if some and size + len(content) > _FILES:
                self.hub.send(node.id, Files(job, ordinal, tuple(some)), size)
                some, size = [], 0
            some.append((name, content))
            size += len(content) + len(name) + 16
        if some:
            self.hub.send(node.id, Files(job, ordinal, tuple(some)), size)
        if len(link.files) >= KEPT_FILES:
            link.files.clear()
        link.files[job, ordinal] = version

    def _spec(self, node: Node, task: Task, resources: Resources) -> tuple[Spec, int]:
        """What the attempts of a task share on this node, and about how many bytes it takes."""
        job, spec = task.job, task.spec
        here = node.host == job.spec.host
        archive = "" if here else spec.archive
        workdir = "" if archive else spec.workdir or (job.spec.cwd if here else "")
        key = (job.serial, task.ordinal, workdir or archive, resources)
        found = self._specs.get(key)
        if found is None:
            if len(self._specs) >= _CACHE:
                self._specs.clear()
            made = Spec(
                job.serial,
                task.ordinal,
                ids.text(job.id),
                ids.text(ids.join(job.id, task.ordinal)),
                spec.name,
                spec.command,
                spec.shell,
                spec.array,
                resources,
                spec.env,
                workdir,
                spec.timeout,
                spec.grace,
                spec.exclusive,
                archive,
                image=spec.image,
                function=spec.function,
                idempotent=spec.idempotent,
            )
            size = 256 + sum(map(len, spec.command)) + sum(len(name) + len(value) for name, value in spec.env)
            found = self._specs[key] = (made, size)
        return found
