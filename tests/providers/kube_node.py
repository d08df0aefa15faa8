"""Scheduler and kubelet for `KubeFake`: each pod is a local process, its image is not looked at but for a few names.

    image "missing..."    it cannot be pulled: ErrImagePull and ImagePullBackOff
    image "in valid"      InvalidImageName
    `unschedulable`       the scheduler's words while no node will do
    `dead`                pods whose node does not answer any more: their processes go on, and nothing is said of them

Paths of mounts and of the last words are those of a folder of the pod, wherever they stand in commands, variables and the working folder.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kube_fake import ApiError, KubeFake, Object, now

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\)|)")


class Log:
    """Lines of a container with their times. As with containerd a line comes when it is whole, is 16 KiB long, or nothing more comes."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bytes]] = []
        self._waiting = {1: b"", 2: b""}
        self._long: dict[int, bool] = {1: False, 2: False}  # the line that this stream is in has begun to come
        self.over = False
        self.changed = asyncio.Condition()

    async def add(self, stream: int, data: bytes) -> None:
        async with self.changed:
            *whole, rest = (self._waiting[stream] + data).split(b"\n")
            for line in whole:
                self._line(stream, line + b"\n")
            while len(rest) >= 16_384:
                self._line(stream, rest[:16_384])
                rest = rest[16_384:]
            self._waiting[stream] = rest
            self.changed.notify_all()

    def _line(self, stream: int, text: bytes) -> None:
        stamp = "" if self._long[stream] else datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
        self.lines.append((stamp, text))
        self._long[stream] = not text.endswith(b"\n")

    async def end(self) -> None:
        async with self.changed:
            for stream, rest in self._waiting.items():
                if rest:
                    self._line(stream, rest)
            self.over = True
            self.changed.notify_all()

    def turn_over(self, keep: int) -> None:
        """The node begins a new file: only the last lines can be read from now on."""
        self.lines = self.lines[len(self.lines) - keep :]


class Node:
    def __init__(self, api: KubeFake, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.unschedulable = ""
        self.pull_after = 0.0  # seconds an image takes
        self.dead: set[str] = set()
        self.memory: dict[str, str] = {}  # pods whose process was killed for its memory
        self.logs: dict[str, Log] = {}  # by uid
        self.runs: dict[str, int] = {}  # how often the task of a pod of this name was started
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._look: dict[str, asyncio.Event] = {}
        api.changed.append(self._hear)
        api.log_of = self._log

    def _hear(self, verb: str, plural: str, item: Object) -> None:
        uid = item["metadata"]["uid"]
        if plural != "pods":
            for look in self._look.values():
                look.set()  # a Secret that somebody waits for
        elif verb == "ADDED":
            self._look[uid] = asyncio.Event()
            self._tasks[uid] = asyncio.get_running_loop().create_task(self._life(item))
        elif uid in self._look:
            self._look[uid].set()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    # -- one pod --------------------------------------------------------------------------------------------------

    async def _life(self, pod: Object) -> None:
        metadata = pod["metadata"]
        key, uid = (metadata["namespace"], metadata["name"]), metadata["uid"]
        try:
            if await self._schedule(key, uid):
                await self._run(key, pod)
            if uid not in self.dead:
                await self._until_deleted(key, uid)
        finally:
            self._look.pop(uid, None)
            shutil.rmtree(self.folder / uid, ignore_errors=True)

    async def _schedule(self, key: tuple[str, str], uid: str) -> bool:
        while self.unschedulable:
            self._condition(key, "PodScheduled", "False", "Unschedulable", self.unschedulable)
            if not await self._wait(key, uid, 0.05):
                return False
        if not self._there(key, uid) or self._deleting(key):
            return False

        def bind(pod: Object) -> None:
            pod["spec"]["nodeName"] = "node-1"
            pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
            pod["status"]["startTime"] = now()

        self.api.update(*key, bind)
        return True

    async def _run(self, key: tuple[str, str], pod: Object) -> None:
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        root = self.folder / uid
        paths = self._volumes(spec, root)
        deadline = spec.get("activeDeadlineSeconds")
        try:
            async with asyncio.timeout(deadline):
                for kind, containers in (("init", spec.get("initContainers", [])), ("task", spec["containers"])):
                    for container in containers:
                        if not await self._container(key, uid, kind, container, root, paths):
                            return
        except TimeoutError:
            if uid in self.processes:
                await self._kill(uid, spec["terminationGracePeriodSeconds"])

            def over(one: Object) -> None:
                one["status"] |= {
                    "phase": "Failed",
                    "reason": "DeadlineExceeded",
                    "message": "Pod was active on the node longer than the specified deadline",
                }
                _end_container(one, "containerStatuses", "task", 137, "Error", "", now())

            self._set(key, uid, over)

    async def _container(
        self, key: tuple[str, str], uid: str, kind: str, container: Object, root: Path, paths: dict[str, Path]
    ) -> bool:
        """Whether the next one may start."""
        statuses = "initContainerStatuses" if kind == "init" else "containerStatuses"
        name = container["name"]
        backoff = 0
        while True:
            problem = self._obstacle(key, container, backoff)
            if problem is None:
                break
            backoff += 1
            if backoff <= 2:  # what the kubelet says of it, and that it backs off
                state = {"waiting": {"reason": problem[0], "message": problem[1]}}
                self._set(key, uid, lambda one: _set_state(one, statuses, name, state))  # noqa: B023
                self._look[uid].clear()
                if self._deleting(key):
                    return False
            if not await self._wait(key, uid, 0.05):
                return False
        if self.pull_after and not await self._wait(key, uid, self.pull_after):
            return False
        if self._deleting(key) or not self._there(key, uid):
            return False
        self._fill(key, uid, root)
        words = root / f"{name}-last-words"
        words.write_bytes(b"")
        started = now()
        env, command, cwd = self._words(
            key, container, {**{str(at): str(to) for at, to in paths.items()}, "/dev/termination-log": str(words)}
        )
        log = self.logs[uid] = Log()
        if kind == "task":
            self.runs[key[1]] = self.runs.get(key[1], 0) + 1
        try:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=cwd or root, env=env, start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            said = (
                f'exec: "{command[0]}": executable file not found in $PATH'
                if isinstance(error, FileNotFoundError)
                else str(error)
            )

            def cannot(one: Object) -> None:
                one["status"]["phase"] = "Failed"
                _end_container(one, statuses, name, 128, "StartError", said, started)

            self._set(key, uid, cannot)
            await log.end()
            return False
        self.processes[uid] = process

        def running(one: Object) -> None:
            if kind == "task":
                one["status"]["phase"] = "Running"
            _set_state(one, statuses, name, {"running": {"startedAt": started}})

        self._set(key, uid, running)
        copying = [
            asyncio.ensure_future(self._copy(stream, number, log))
            for number, stream in ((1, process.stdout), (2, process.stderr))
        ]
        exited = asyncio.ensure_future(_exit(process))
        try:
            while not exited.done():
                watching = asyncio.ensure_future(self._look[uid].wait())
                await asyncio.wait([exited, watching], return_when=asyncio.FIRST_COMPLETED)
                watching.cancel()
                self._look[uid].clear()
                if self._deleting(key) and not exited.done() and uid not in self.dead:
                    await self._kill(uid, self.api.objects["pods"][key]["metadata"]["deletionGracePeriodSeconds"])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has left ends with it
            await asyncio.wait(copying, timeout=5)
        finally:
            for task in [*copying, exited]:
                task.cancel()
        await log.end()
        del self.processes[uid]
        code = process.returncode if process.returncode is not None else 137
        code = 128 - code if code < 0 else code
        message = words.read_bytes()[:4096].decode(errors="replace")
        reason = "OOMKilled" if key[1] in self.memory else "Completed" if code == 0 else "Error"
        last = kind == "task" or code != 0

        def ended(one: Object) -> None:
            if last:
                one["status"]["phase"] = "Succeeded" if code == 0 else "Failed"
            _end_container(one, statuses, name, code, reason, message, started)

        if uid in self.dead:
            return False
        self._set(key, uid, ended)
        return not last

    async def _copy(self, stream: asyncio.StreamReader | None, number: int, log: Log) -> None:
        assert stream is not None
        while data := await stream.read(65_536):
            await log.add(number, data)

    async def _kill(self, uid: str, grace: float) -> None:
        process = self.processes[uid]
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM if grace else signal.SIGKILL)  # only the first process of a container
        try:
            async with asyncio.timeout(max(grace, 0.01)):
                await _exit(process)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await _exit(process)

    async def _until_deleted(self, key: tuple[str, str], uid: str) -> None:
        """The last word on a pod that is to go: its grace is over."""
        while self._there(key, uid):
            if self._deleting(key):

                def final(one: Object) -> None:
                    if one["status"]["phase"] in {"Pending", "Running"}:
                        one["status"]["phase"] = "Failed"

                if self.api.objects["pods"][key]["spec"].get("nodeName"):
                    self._set(key, uid, final)
                self.logs.pop(uid, None)
                with contextlib.suppress(ApiError):
                    self.api.delete("pods", *key, {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
                return
            await self._wait(key, uid, 0.3)

    async def evict(self, namespace: str, name: str) -> None:
        """The node is short of memory."""
        found = self.api.get("pods", namespace, name)
        uid = found["metadata"]["uid"]

        def evicted(one: Object) -> None:
            one["status"] |= {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "The node was low on resource: memory.",
            }
            one["status"].setdefault("conditions", []).append(
                {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "TerminationByKubelet",
                    "message": "The node was low on resource: memory.",
                }
            )

        self._set((namespace, name), uid, evicted)
        if uid in self.processes:
            await self._kill(uid, 0)

    # -- bits -----------------------------------------------------------------------------------------------------

    def _there(self, key: tuple[str, str], uid: str) -> bool:
        found = self.api.objects["pods"].get(key)
        return found is not None and found["metadata"]["uid"] == uid

    def _deleting(self, key: tuple[str, str]) -> bool:
        found = self.api.objects["pods"].get(key)
        return found is None or "deletionTimestamp" in found["metadata"]

    async def _wait(self, key: tuple[str, str], uid: str, seconds: float) -> bool:
        """A little, or until something changes; False when the pod is to go."""
        look = self._look[uid]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await look.wait()
        look.clear()
        return self._there(key, uid) and not self._deleting(key)

    def _set(self, key: tuple[str, str], uid: str, change: Any) -> None:
        if self._there(key, uid) and uid not in self.dead:
            self.api.update(*key, change)

    def _condition(self, key: tuple[str, str], kind: str, status: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": status, "reason": reason, "message": message}
        found = self.api.objects["pods"].get(key)
        if found is not None and found["status"].get("conditions") != [condition]:
            self.api.update(*key, lambda one: one["status"].__setitem__("conditions", [condition]))

    def _obstacle(self, key: tuple[str, str], container: Object, tried: int) -> tuple[str, str] | None:
        image = container["image"]
        if " " in image or image != image.lower():
            return "InvalidImageName", f'Failed to apply default image tag "{image}": couldn\'t parse image name'
        if image.startswith("missing"):
            return ("ErrImagePull" if not tried else "ImagePullBackOff"), f'Back-off pulling image "{image}": not found'
        names = [one["valueFrom"]["secretKeyRef"]["name"] for one in container.get("env", ()) if "valueFrom" in one]
        pod = self.api.objects["pods"].get(key, {"spec": {}})
        names += [one["secret"]["secretName"] for one in pod["spec"].get("volumes", ()) if "secret" in one]
        for name in names:
            if (key[0], name) not in self.api.objects["secrets"]:
                return "CreateContainerConfigError", f'secret "{name}" not found'
        return None

    def _volumes(self, spec: Object, root: Path) -> dict[str, Path]:
        """Where each mount path is here."""
        where: dict[str, Path] = {}
        for volume in spec.get("volumes", ()):
            (root / volume["name"]).mkdir(parents=True, exist_ok=True)
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            for mount in container.get("volumeMounts", ()):
                where[mount["mountPath"]] = root / mount["name"]
        root.mkdir(parents=True, exist_ok=True)
        return where

    def _fill(self, key: tuple[str, str], uid: str, root: Path) -> None:
        pod = self.api.objects["pods"][key]
        for volume in pod["spec"].get("volumes", ()):
            if "secret" in volume:
                data = self.api.objects["secrets"][key[0], volume["secret"]["secretName"]]["data"]
                for item in volume["secret"]["items"]:
                    (root / volume["name"] / item["path"]).write_bytes(base64.b64decode(data[item["key"]]))

    def _words(
        self, key: tuple[str, str], container: Object, paths: dict[str, str]
    ) -> tuple[dict[str, str], list[str], str]:
        """Variables, command and folder as the container sees them, with references expanded and paths that are here."""
        env: dict[str, str] = {"PATH": os.environ["PATH"]}
        for one in container.get("env", ()):
            if "valueFrom" in one:
                ref = one["valueFrom"]["secretKeyRef"]
                data = self.api.objects["secrets"][key[0], ref["name"]]["data"]
                env[one["name"]] = base64.b64decode(data[ref["key"]]).decode()
            else:
                env[one["name"]] = _expanded(one.get("value", ""), env)

        def here(text: str) -> str:
            for path in sorted(paths, key=len, reverse=True):
                text = text.replace(path, paths[path])
            return text

        env = {name: here(value) for name, value in env.items()}
        return env, [here(_expanded(word, env)) for word in container["command"]], here(container.get("workingDir", ""))

    async def _log(self, namespace: str, name: str, query: dict[str, str]) -> AsyncIterator[bytes]:
        pod = self.api.get("pods", namespace, name)
        log = self.logs.get(pod["metadata"]["uid"])
        statuses = {one["name"]: one["state"] for one in pod["status"].get("containerStatuses", ())}
        state = statuses.get(query["container"], {"waiting": {"reason": "ContainerCreating"}})
        if log is None or "waiting" in state:
            reason = state.get("waiting", {}).get("reason", "gone")
            raise ApiError(
                400, "BadRequest", f'container "{query["container"]}" in pod "{name}" is waiting to start: {reason}'
            )
        # The API server cuts it to seconds on the way to the node.
        since = query.get("sinceTime", "")[:19]
        lines, at, shown = log.lines, 0, False
        while True:
            if log.lines is not lines:
                lines, at = log.lines, 0  # it was turned over
            pieces = []
            for stamp, text in lines[at:]:
                shown = stamp[:19] >= since if stamp else shown
                if shown:
                    pieces.append((f"{stamp} ".encode() if stamp else b"") + text)
            at = len(lines)
            yield b"".join(pieces)
            async with log.changed:
                if log.lines is lines and at == len(lines):
                    if log.over or query.get("follow") != "true":
                        return
                    await log.changed.wait()


async def _exit(process: asyncio.subprocess.Process) -> None:
    """Until the process is gone. Its own `wait` waits for all who hold its pipes."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        fd = -1
    if fd >= 0:
        loop.add_reader(fd, lambda: gone.done() or gone.set_result(None))
        try:
            await gone
        finally:
            loop.remove_reader(fd)
            os.close(fd)
    while process.returncode is None:  # noqa: ASYNC110 - the loop hears of it in a moment
        await asyncio.sleep(0.001)


def _expanded(text: str, env: dict[str, str]) -> str:
    def expand(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        if match[2] is not None:
            return env.get(match[2], match[0])
        return match[0]

    return _REFERENCE.sub(expand, text)


def _set_state(pod: Object, statuses: str, name: str, state: Object) -> None:
    found = [one for one in pod["status"].get(statuses, []) if one["name"] != name]
    pod["status"][statuses] = [
        *found,
        {"name": name, "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": ""},
    ]


def _end_container(pod: Object, statuses: str, name: str, code: int, reason: str, message: str, started: str) -> None:
    state = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}
    _set_state(pod, statuses, name, {"terminated": state | ({"message": message} if message else {})})
