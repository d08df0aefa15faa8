"""Wheels for a Python other than the server's, from an index, by pip: `styx bootstrap fetch`.

They go to DIR/bootstrap/wheels/TAG-ARCH in the versions that are installed here, and the server makes its archive of them. The only
moment at which Styx asks an index for anything, and a person's wish each time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from styx.errors import StyxError
from styx.providers.bootstrap.bundle import LIBRARIES

__all__ = ["fetch", "wheels_in"]

_GLIBC = ("2_17", "2_28", "2_34")  # of the manylinux wheels that may be taken; 2014 is 2_17


def wheels_in(folder: Path) -> list[tuple[str, str, Path]]:
    """The tags, architectures and folders of what was fetched into DIR/bootstrap."""
    found = []
    for path in sorted((folder / "wheels").glob("*-*")) if (folder / "wheels").is_dir() else []:
        tag, _, arch = path.name.rpartition("-")
        if tag and path.is_dir() and any(path.glob("*.whl")):
            found.append((tag, arch, path))
    return found


def fetch(folder: Path, tag: str, arch: str) -> Path:
    """Fetch the wheels into `folder`/wheels/TAG-ARCH, replacing what is there; returns that folder. Blocks. Raises StyxError."""
    target = folder / "wheels" / f"{tag}-{arch}"
    fresh = target.with_name(f"{target.name}.new")
    platforms = [f"manylinux_{version}_{arch}" for version in _GLIBC] + [f"manylinux2014_{arch}"]
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ),
        *(word for name in platforms for word in ("--platform", name)),
        *(
            "--python-version",
            f"{tag[2]}.{tag[3:]}",
            "--implementation",
            "cp",
            "--abi",
            tag,
            "--abi",
            "abi3",
            "--abi",
            "none",
        ),
        *("--dest", str(fresh)),
        *(f"{name}=={metadata.version(name)}" for name in LIBRARIES),
    ]
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            hint = "install pip here" if any("No module named pip" in line for line in said) else ""
            raise StyxError(
                f"pip could not fetch wheels for {tag} on {arch}: {said[-1] if said else 'no reason'}", hint=hint
            )
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    except OSError as error:
        raise StyxError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target
