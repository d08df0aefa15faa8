"""The archive that a machine runs its agent from: the rooms of Styx that an agent has, and the three libraries it needs, unpacked.

It is put on the path of a Python as it is, so nothing is installed there and nothing is fetched from an index. For the Python that
runs this it is made of what is installed; for another one of wheels, which `fetch` put beside it. The same input gives the same
bytes: names in order, no times, no owners, so that its hash says what is in it on every server.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import platform
import re
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from styx.errors import StyxError, UsageError

__all__ = ["LIBRARIES", "Bundle", "arch_of", "build", "own", "tag_of"]

LIBRARIES = ("msgspec", "psutil", "websockets")
_ROOMS = ("agent", "aiokit", "config", "core", "protocol")
_DROPPED = (
    ".pyc",
    ".pyi",
    ".c",
    ".h",
    ".dist-info/RECORD",
    ".dist-info/INSTALLER",
    ".dist-info/REQUESTED",
    ".dist-info/direct_url.json",
)
_ARCHES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}


class Bundle(msgspec.Struct, frozen=True):
    """One archive on the disk. `tag` names the Python (cp311), `arch` what `uname -m` says (x86_64, aarch64)."""

    tag: str
    arch: str
    sha256: str
    path: Path
    size: int


def own() -> tuple[str, str]:
    """The tag and the architecture of this Python; the script on a machine finds its own by the same rule."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
    musl = "musl" in (sysconfig.get_config_var("SOABI") or "")
    return f"{tag}-musl" if musl else tag, platform.machine()


def tag_of(python: str) -> str:
    """cp312 for "3.12". Raises UsageError."""
    found = re.fullmatch(r"3\.(\d{1,2})", python)
    if not found or int(found[1]) < 11:
        raise UsageError(f"no agent runs on Python {python[:20]!r}", hint="name 3.11 or a newer one, such as 3.12")
    return f"cp3{found[1]}"


def arch_of(arch: str) -> str:
    """x86_64 or aarch64, by any of their names. Raises UsageError."""
    name = _ARCHES.get(arch.lower(), arch.lower())
    if name not in {"x86_64", "aarch64"}:
        raise UsageError(f"there are no archives for {arch[:20]!r}", hint="x86_64 or arm64")
    return name


def build(folder: Path, tag: str, arch: str, wheels: Path | None = None) -> Bundle:
    """Make the archive in `folder`, named by its hash; one that is there already is left as it is. Takes some tenths of a second,
    so an event loop calls it in a thread. Raises StyxError."""
    try:
        libraries = _of_wheels(wheels) if wheels is not None else _installed()
        files = dict(sorted({**dict(_styx()), **dict(libraries)}.items()))
        content = _packed(files)
        digest = hashlib.sha256(content).hexdigest()
        path = folder / f"{tag}-{arch}-{digest}.tar.gz"
        if not path.is_file() or path.stat().st_size != len(content):
            folder.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
            fresh.write_bytes(content)
            fresh.replace(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise StyxError(f"the archive for {tag} on {arch} cannot be made: {error}") from error
    return Bundle(tag, arch, digest, path, len(content))


def _packed(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=held, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755 if name.endswith(".so") else 0o644
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


def _styx() -> Iterator[tuple[str, bytes]]:
    """From where this runs, which need not be an installation: a checkout will do."""
    root = Path(__file__).parents[2]
    for path in [
        root / "__init__.py",
        root / "errors.py",
        *(file for room in _ROOMS for file in (root / room).rglob("*")),
    ]:
        if path.is_file() and not path.name.endswith(_DROPPED):
            yield f"styx/{path.relative_to(root).as_posix()}", path.read_bytes()
    try:
        version = metadata.version("styx-orchestrator")
    except metadata.PackageNotFoundError:
        return
    about = f"Metadata-Version: 2.1\nName: styx-orchestrator\nVersion: {version}\n"
    yield "styx_orchestrator.dist-info/METADATA", about.encode()


def _installed() -> Iterator[tuple[str, bytes]]:
    for name in LIBRARIES:
        try:
            files = metadata.files(name)
        except metadata.PackageNotFoundError:
            raise StyxError(f"{name} is not installed here, so no archive can be made for agents") from None
        for file in files or ():
            if _wanted(str(file)):
                yield file.as_posix(), Path(str(file.locate())).read_bytes()


def _of_wheels(folder: Path) -> Iterator[tuple[str, bytes]]:
    found = sorted(folder.glob("*.whl"))
    missing = [name for name in LIBRARIES if not any(wheel.name.startswith(f"{name}-") for wheel in found)]
    if missing:
        raise StyxError(f"{folder} holds no wheel of {', '.join(missing)}", hint="styx bootstrap fetch")
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if _wanted(name) and not name.endswith("/"):
                    yield name, archive.read(name)


def _wanted(name: str) -> bool:
    """Neither scripts outside of the packages, nor what only compilers and type checkers read."""
    return not name.startswith(("..", "/")) and ".data/" not in name and not name.endswith(_DROPPED)
