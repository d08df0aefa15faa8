"""The name by which caller and agent know that they are on the same machine, so that the caller's folder is found there."""

from __future__ import annotations

from pathlib import Path

__all__ = ["host_id"]


def host_id(root: Path = Path("/")) -> str:
    """Names this machine as programs on it see it. Not the machine's own id, which is nobody else's business. The host's name
    is in it since containers of one image share a machine id."""
    import hashlib
    import socket

    machine = _text(root / "etc/machine-id") or _text(root / "var/lib/dbus/machine-id")
    if not machine:
        import uuid

        machine = f"{uuid.getnode():x}"
    return hashlib.sha256(f"styx host {machine} {socket.gethostname()}".encode()).hexdigest()[:32]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
