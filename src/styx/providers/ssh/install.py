"""An agent on a machine: what is there, what has to go there, and how it is started, looked at and taken away.

Everything of one agent lies in one folder, by default below the user's home. The archive and the start-up script are sent over the
connection, so the machine needs no way to the internet; what would end a cloud's machine ends the agent here, and nothing else.
"""

from __future__ import annotations

import msgspec

from styx.providers.base import Kind, Refused
from styx.providers.ssh.connection import Connection

__all__ = ["Probe", "probe", "remove", "start", "state"]

_PROBE = r"""
printf '%s\n' "$HOME"
uname -m
for NAME in python3 python3.11 python3.12 python3.13 python3.14 /usr/local/bin/python3 /usr/bin/python3; do
  PYTHON=$(command -v "$NAME" 2>/dev/null) || continue
  ABOUT=$("$PYTHON" -I -c '
import os, platform, shutil, sys, sysconfig
if sys.version_info < (3, 11): sys.exit(1)
tag = "cp%d%d%s" % (sys.version_info[0], sys.version_info[1], getattr(sys, "abiflags", ""))
tag += "-musl" if "musl" in (sysconfig.get_config_var("SOABI") or "") else ""
memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
print(tag, len(os.sched_getaffinity(0)), memory, shutil.disk_usage(os.path.expanduser("~")).free)
' 2>/dev/null) || continue
  echo "$ABOUT $PYTHON"
done
echo .
command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null
true
"""

_START = r"""
umask 077
F=$1
printf '%s' "sh '$F/boot' end" >"$F/end"
STYX_BOOT_FOLDER=$F STYX_BOOT_PYTHON=$2 STYX_BOOT_EACH=/nonexistent
export STYX_BOOT_FOLDER STYX_BOOT_PYTHON STYX_BOOT_EACH
sh "$F/script" 2>&1
"""

_STATE = r"""
F=$1
if [ ! -d "$F" ]; then echo none; exit 0; fi
if [ -f "$F/ended" ]; then echo ended; exit 0; fi
read -r PID 2>/dev/null <"$F/pid"
if [ -n "$PID" ] && kill -0 "$PID" 2>/dev/null && grep -q "$F/boot" "/proc/$PID/cmdline" 2>/dev/null
then echo running; else echo stopped; fi
tail -n 5 "$F/log" 2>/dev/null
true
"""

_REMOVE = r"""
F=$1
[ -f "$F/boot" ] && sh "$F/boot" end >/dev/null 2>&1
rm -rf "$F"
"""


class Probe(msgspec.Struct, frozen=True):
    """What a machine is. `pythons` are those an agent can run on: (tag, where it is); sizes are bytes."""

    home: str
    arch: str
    pythons: tuple[tuple[str, str], ...]
    cpus: int
    memory: int
    disk: int
    gpus: tuple[str, ...]


async def probe(connection: Connection) -> Probe:
    """Raises Refused when it is no machine an agent could run on."""
    code, said, wrong = await connection.run(_PROBE)
    lines = said.splitlines()
    if code or "." not in lines or len(lines) < 3:
        raise Refused(
            Kind.INVALID, f"{connection.target} answers like no Linux machine: {(wrong or said).strip()[:200]}"
        )
    dot = lines.index(".")
    found = [line.split(None, 4) for line in lines[2:dot]]
    if not found:
        raise Refused(
            Kind.INVALID,
            f"{connection.target} has no Python 3.11 or newer",
            hint="install one there; the agent needs nothing else",
        )
    _, cpus, memory, disk, _ = found[0]
    pythons = {tag: where for tag, _, _, _, where in reversed(found)}
    gpus = tuple(line.strip() for line in lines[dot + 1 :] if line.strip())
    return Probe(lines[0], lines[1], tuple(reversed(pythons.items())), int(cpus), int(memory), int(disk), gpus)


async def start(connection: Connection, folder: str, script: str, python: str, archive: bytes, sha256: str) -> None:
    """Put an agent into `folder` (absolute) and start it; one that runs there goes on. Raises Refused with what the script said."""
    await connection.run('umask 077; mkdir -p "$1"', folder)
    have, _, _ = await connection.run('test -d "$1/app/$2"', folder, sha256)
    if have:
        await connection.write(f"{folder}/{sha256}.tar.gz", archive)
    await connection.write(f"{folder}/script", script.encode())
    code, said, wrong = await connection.run(_START, folder, python)
    if code or "cannot be read" in said or "no Python here" in said:
        raise Refused(Kind.INVALID, f"the agent on {connection.target} did not start: {(said + wrong).strip()[-500:]}")


async def state(connection: Connection, folder: str) -> tuple[str, str]:
    """("none" | "running" | "stopped" | "ended", the last lines of its log)."""
    code, said, wrong = await connection.run(_STATE, folder)
    first, _, rest = said.partition("\n")
    if code or first not in {"none", "running", "stopped", "ended"}:
        raise Refused(Kind.INVALID, f"{connection.target} did not say how its agent is: {wrong.strip()[:200]}")
    return first, rest


async def remove(connection: Connection, folder: str) -> None:
    """End the agent and its programs, and take its folder away."""
    code, _, wrong = await connection.run(_REMOVE, folder)
    if code:
        raise Refused(Kind.INVALID, f"{folder} on {connection.target} is still there: {wrong.strip()[:200]}")
