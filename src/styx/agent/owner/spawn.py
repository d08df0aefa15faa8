"""Starting one program: its own session, folder, environment, limits and pipes.

`posix_spawn` shares the owner's memory until the exec, so it costs the same however large the owner is, and it reports
that an exec failed as an errno. It has no way to set a folder or limits, but a child inherits them: the owner has one thread,
so it may wear the program's folder and limits during the call.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal

from styx.agent.owner.mark import Marker

__all__ = ["CannotRun", "NoRoom", "Spawner"]

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
_IGNORED_HERE = {signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}
_NO_ROOM = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


class CannotRun(Exception):
    """The program itself is at fault; `code` is what a shell would exit with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoRoom(Exception):
    """The machine is at fault: no memory, processes or file descriptors are left."""


class Spawner:
    """Spawns for one owner; `home` is a descriptor of the folder that the owner itself stays in."""

    __slots__ = ("_defaults", "_few_files", "_home", "_many_files", "_marker", "_paths", "_spare")

    def __init__(self, home: int, marker: Marker) -> None:
        self._home = home
        self._marker = marker
        self._paths: dict[tuple[str, str], str] = {}
        self._spare: list[int] | None = None
        # An exec resets handlers, but what is ignored stays so: by the owner itself, or by whoever started it.
        ignored = {s for s in signal.valid_signals() if signal.getsignal(s) is signal.SIG_IGN}
        self._defaults = sorted(ignored | _IGNORED_HERE)
        self._few_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._many_files = (self._few_files[1], self._few_files[1])
        _, hard_core = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard_core))
        resource.setrlimit(resource.RLIMIT_NOFILE, self._many_files)

    def spawn(
        self, command: tuple[str, ...], shell: bool, folder: str, environment: dict[bytes, bytes], ordinal: int
    ) -> tuple[int, int, int]:
        """(pid, stdout, stderr): the descriptors are our ends, non-blocking. Raises CannotRun or NoRoom."""
        if not command or not command[0]:
            raise CannotRun(_NOT_FOUND, "the command is empty")
        argv = ["/bin/sh", "-c", *command] if shell else list(command)
        try:
            os.chdir(folder)
        except OSError as error:
            raise CannotRun(_NOT_EXECUTABLE, f"cannot enter the folder {folder!r}: {error.strerror}") from None
        except ValueError as error:
            raise CannotRun(_NOT_EXECUTABLE, f"cannot enter the folder {folder!r}: {error}") from None
        try:
            return self._with_pipes(argv, environment, ordinal)
        finally:
            os.fchdir(self._home)

    def prepare(self) -> None:
        """Have pipes ready for the next program, while nobody waits for it."""
        if self._spare is None:
            with contextlib.suppress(NoRoom):
                self._spare = self._pipes()

    def _pipes(self) -> list[int]:
        """[our stdout, its stdout, our stderr, its stderr]; ours do not block."""
        descriptors: list[int] = []
        try:
            descriptors += os.pipe2(os.O_CLOEXEC)
            descriptors += os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise NoRoom(f"no pipe for its output, {error.strerror}") from None
        os.set_blocking(descriptors[0], False)
        os.set_blocking(descriptors[2], False)
        return descriptors

    def _with_pipes(self, argv: list[str], environment: dict[bytes, bytes], ordinal: int) -> tuple[int, int, int]:
        descriptors, self._spare = self._spare or self._pipes(), None
        stdout, out, stderr, err = descriptors
        try:
            pid = self._exec(argv, environment, ordinal, out, err)
        except BaseException:
            os.close(stdout)
            os.close(stderr)
            raise
        finally:
            os.close(out)
            os.close(err)
        return pid, stdout, stderr

    def _exec(self, argv: list[str], environment: dict[bytes, bytes], ordinal: int, out: int, err: int) -> int:
        name = argv[0]
        search = os.fsdecode(environment.get(b"PATH", _DEFAULT_PATH))
        known = self._paths.get((name, search), "")
        path = name if "/" in name else known or self._look_up(name, search)
        if self._few_files != self._many_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._few_files)
        self._marker.set_limit(ordinal)
        try:
            return os.posix_spawn(
                path,
                argv,
                environment,
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, err, 2),
                ),
                setsid=True,
                setsigmask=(),
                setsigdef=self._defaults,
            )
        except OSError as error:
            if self._paths.pop((name, search), "") and known:  # it was there once; it may have moved along the PATH
                return self._exec(argv, environment, ordinal, out, err)
            if error.errno in _NO_ROOM:
                raise NoRoom(f"no process, {error.strerror}") from None
            raise _explain(name, path, error) from None
        except ValueError as error:
            raise CannotRun(_NOT_EXECUTABLE, f"{name}: {error}") from None
        finally:
            if self._few_files != self._many_files:
                resource.setrlimit(resource.RLIMIT_NOFILE, self._many_files)

    def _look_up(self, name: str, search: str) -> str:
        """The program on the task's own PATH; relative parts of it count from the task's folder, where we are now."""
        forbidden = ""
        for folder in search.split(os.pathsep):
            path = os.path.join(folder or ".", name)
            try:
                usable = os.access(path, os.X_OK) and os.path.isfile(path)
            except ValueError:
                break
            if usable:
                if os.path.isabs(path):
                    self._paths[name, search] = path
                return path
            if not forbidden and os.path.isfile(path):
                forbidden = path
        if forbidden:
            raise CannotRun(_NOT_EXECUTABLE, f"{name}: {forbidden} is not executable")
        raise CannotRun(_NOT_FOUND, f"{name}: command not found")


def _explain(name: str, path: str, error: OSError) -> CannotRun:
    if error.errno == errno.ENOENT:
        if os.path.exists(path):
            return CannotRun(_NOT_EXECUTABLE, f"{name}: the interpreter that its first line names does not exist")
        return CannotRun(_NOT_FOUND, f"{name}: no such file")
    if error.errno == errno.ENOEXEC:
        return CannotRun(_NOT_EXECUTABLE, f"{name}: not a program of this machine, nor a script that begins with '#!'")
    if os.path.isdir(path):
        return CannotRun(_NOT_EXECUTABLE, f"{name}: is a folder")
    return CannotRun(_NOT_EXECUTABLE, f"{name}: {os.strerror(error.errno or 0)}")
