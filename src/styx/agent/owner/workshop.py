"""What a program has for its own while it runs: an environment, a folder, devices, a place for its output and its result."""

from __future__ import annotations

import os
import sys

from styx.agent import unwrap
from styx.agent.owner import environment, results
from styx.agent.owner.attempt import Attempt
from styx.agent.owner.devices import Devices
from styx.agent.owner.mark import Marker
from styx.agent.owner.masking import Masker, masked, worth_masking
from styx.agent.owner.rooms import Rooms
from styx.agent.owner.spawn import Spawner
from styx.agent.owner.spool import Budget, Spool

__all__ = ["Workshop"]

_PLACE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # of `styx`


class Workshop:
    """Sets programs up in the owner's folder, and puts away what is left when they are gone."""

    def __init__(self, folder: str, marker: Marker, spawner: Spawner, rooms: Rooms, budget: Budget) -> None:
        self.devices = Devices()
        self._folder = folder
        self._marker = marker
        self._spawner = spawner
        self._rooms = rooms
        self._budget = budget
        self._results = os.open(f"{folder}/results", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._inherited = environment.encoded(environment.base().items())

    def prepare(self) -> None:
        """Do ahead what needs no attempt."""
        self._spawner.prepare()

    def start(self, attempt: Attempt, incarnation: str) -> None:
        """Spawn its program. Raises CannotRun, NoRoom, or OSError for want of a folder."""
        spec = attempt.spec
        name = attempt.result_name = f"{attempt.number}-{attempt.ordinal}"
        if spec.resources.accelerators:
            attempt.device_ids = self.devices.take(spec.resources)
        mark = self._marker.variable(attempt.ordinal, incarnation, attempt.number)
        visible = self.devices.visible(attempt.device_ids)
        variables = environment.of(attempt, self._inherited, f"{self._folder}/results/{name}", mark, visible)
        attempt.spool = Spool(self._budget, f"{self._folder}/spool/{name}")
        folder = spec.workdir
        if not folder:
            folder = attempt.room = self._rooms.take()
        command, shell = spec.command, spec.shell
        if attempt.parcel and attempt.room:
            command, shell = _unwrapping(attempt.parcel, command, shell), False
        attempt.pid, *attempt.fds = self._spawner.spawn(command, shell, folder, variables, attempt.ordinal)
        if attempt.secrets and (values := worth_masking(secret.value for secret in attempt.secrets)):
            attempt.masks = Masker(values), Masker(values)

    def finish(self, attempt: Attempt) -> None:
        """It has ended: take in its result, and its folder if that is as good as new."""
        if attempt.pid:
            attempt.result, complaint = results.take(self._results, attempt.result_name)
            if attempt.secrets:
                attempt.result = masked(attempt.result, worth_masking(secret.value for secret in attempt.secrets))
            if complaint:
                attempt.reason = f"{attempt.reason}; {complaint}" if attempt.reason else complaint
        if attempt.room and self._rooms.returned(attempt.room):
            attempt.room = ""
        attempt.secrets, attempt.masks = (), None

    def clear(self, attempt: Attempt) -> None:
        """It is forgotten: remove its folder."""
        if attempt.room:
            self._rooms.remove(attempt.room)
            attempt.room = ""


def _unwrapping(parcel: str, command: tuple[str, ...], shell: bool) -> tuple[str, ...]:
    """The command that unpacks a parcel and then becomes the program."""
    whole = ("/bin/sh", "-c", *command) if shell else command
    return (sys.executable, "-I", "-S", "-c", unwrap.CODE, _PLACE, parcel, *whole)
