"""An SSH server of the test's own: on a high port of loopback, with its own host key and its own list of who may come in."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from styx.testing.cluster import eventually, free_port

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")

needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh-keygen") is None, reason="there is no sshd here (Debian: openssh-server)"
)


class Sshd:
    """`known_hosts` and `key` are files that let a client in; `target` is how it is named. What lies in the folder `before` is run in place
    of the system's programs of the same name."""

    def __init__(self, folder: Path, *, before: Path | None = None) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.port = free_port()
        self.target = f"{getpass.getuser()}@127.0.0.1:{self.port}"
        self.key = folder / "id"
        self.known_hosts = folder / "known_hosts"
        for name in ("id", "host"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        shutil.copy(folder / "id.pub", folder / "authorized_keys")
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")
        path = f"{f'{before}:' if before else ''}{Path(sys.executable).parent}:/usr/bin:/bin"
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSetEnv PATH={path} STYX_BOOT_PAUSE=0.1 HOME={folder}/home\n"
        )
        self.home = folder / "home"  # of whoever logs in
        self.home.mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert SSHD is not None
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "config")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually("sshd listens", self.listens)

    def listens(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "log").read_text())
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """The server, and every connection that it serves."""
        if self.process is not None:
            import psutil

            served = psutil.Process(self.process.pid).children(recursive=False)
            for process in [*served]:
                process.kill()
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    server = Sshd(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
