"""Where a backup may go. Whoever asks for one names a path on the server's disk, so what is there already matters: nothing is
replaced but an earlier backup."""

from __future__ import annotations

from pathlib import Path

from styx.errors import UsageError

__all__ = ["target_of"]

NAME = "styx.db"  # in a folder, so that the folder can serve as a STYX_HOME as it is
_MAGIC = b"SQLite format 3\x00"


def target_of(path: str) -> Path:
    """The file that a backup to `path` writes. Waits for the disk. Raises UsageError."""
    target = Path(path)
    if not target.is_absolute() or "\x00" in path:
        raise UsageError(
            f"a backup goes to an absolute path on the server's disk, and {path[:200]!r} is none",
            hint="name a file, such as /backups/styx-monday.db, or a folder",
        )
    try:
        if target.is_dir():
            target /= NAME
        if not target.parent.is_dir():
            raise UsageError(
                f"there is no folder {target.parent}", hint="make it first, for the server's user to write to"
            )
        if target.exists() and not (target.is_file() and _is_database(target)):
            raise UsageError(f"{target} is something else than a backup", hint="name a file that is not there yet")
    except OSError as error:
        raise UsageError(f"{target} cannot be used: {error.strerror}") from error
    return target


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
