"""Secrets on the server: from a submission to the disk, and from there into the orders of the tasks that name them.

A spec carries names only, since specs go into records, events and answers. The values lie beside it, sealed, one row a job,
committed with the job's acceptance and dropped with the job. Here they are opened when a task that names them is sent to a node,
and forgotten when the job has ended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from styx.core.graph import task_path
from styx.core.ids import JobId
from styx.core.records import JobEnded, Record
from styx.core.spec import TaskSpec
from styx.core.world import Task
from styx.errors import Problem, SpecError, StoreError
from styx.protocol.messages import Secret
from styx.runtime.vault import Vault
from styx.store.base import Store

__all__ = ["MAX_TOTAL", "Secrets", "check"]

MAX_TOTAL = 1 << 20  # bytes of all values of a job; a frame to an agent must hold them
_OPENED = 1_000  # jobs whose values are in memory


class Secrets:
    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self.vault = vault
        self._opened: OrderedDict[int, dict[str, str]] = OrderedDict()

    async def seal(self, job: JobId, values: Mapping[str, str]) -> bytes:
        """What the store keeps of a job's values; empty when there are none."""
        return await self.vault.seal(job, values) if values else b""

    async def of(self, task: Task) -> tuple[Secret, ...]:
        """What a task is to be given. Raises StoreError when it cannot be had."""
        names = task.spec.secrets
        if not names:
            return ()
        serial = task.job.serial
        values = self._opened.get(serial)
        if values is None:
            sealed = await self._store.secrets(serial)
            if not sealed:
                raise StoreError("the secrets of this job are gone", hint="submit it again")
            values = self._opened[serial] = await self.vault.open(task.job.id, sealed)
            while len(self._opened) > _OPENED:
                self._opened.popitem(last=False)
        return tuple(Secret(name, values[name]) for name in names)

    def note(self, records: Sequence[Record]) -> None:
        """Forget the values of jobs that have ended."""
        if self._opened:
            for record in records:
                if type(record) is JobEnded:
                    self._opened.pop(record.job, None)


def check(tasks: Iterable[TaskSpec], values: Mapping[str, str]) -> dict[str, str]:
    """The values that tasks name. Raises SpecError when one has none, or all together are too long; no value is ever repeated."""
    wanted: dict[str, str] = {}
    problems: list[Problem] = []
    for task in tasks:
        for name in task.secrets:
            if name in values:
                wanted[name] = values[name]
            elif len(problems) < 100:
                problems.append(
                    Problem(
                        task_path(task.name),
                        f"the secret {name!r} of task {task.name!r} came without its value",
                        "the submitter reads variables and files and sends what is in them in 'secret_values'",
                    )
                )
    if not problems and sum(len(value.encode()) for value in wanted.values()) > MAX_TOTAL:
        hint = "a secret is a password or a key; put data elsewhere"
        problems.append(Problem("$.secret_values", f"all secrets together are longer than {MAX_TOTAL:,} bytes", hint))
    if problems:
        raise SpecError(problems)
    return wanted
