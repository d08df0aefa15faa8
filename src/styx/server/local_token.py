"""The local user's token: `DIR/token`, mode 0600, with every right on the server of the folder.

It is there before the server first says that it is healthy, and the same over restarts. The file is the user's copy and the
store's digest the server's; where they have come apart (a new database beside an old file, a file that was removed) the file
wins, and a missing one is drawn anew.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Protocol

from styx.api.auth import digest_of
from styx.errors import StoreError
from styx.store.base import TokenRow

__all__ = ["NAME", "ensure"]

NAME = "token"
_LABEL = "local user"


class TokenStore(Protocol):
    async def tokens(self) -> list[TokenRow]: ...

    async def add_token(self, row: TokenRow) -> TokenRow: ...


async def ensure(folder: Path, store: TokenStore) -> str:
    """The secret, after file and store agree on it. Raises StoreError when the file cannot be written."""
    secret = _read(folder)
    known = {row.digest: row for row in await store.tokens()}
    row = known.get(digest_of(secret)) if secret else None
    if row is not None and not row.revoked_at:
        return secret
    if not secret or row is not None:  # none yet, or revoked: that secret is not to work again
        secret = f"styx_{secrets.token_hex(32)}"
        _write(folder, secret)
    await store.add_token(TokenRow(0, _LABEL, "admin", digest_of(secret), time.time_ns() // 1_000_000, 0))
    return secret


def _read(folder: Path) -> str:
    try:
        found = (folder / NAME).read_text().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    except OSError as error:
        raise StoreError(f"cannot read {folder / NAME}: {error.strerror}") from None
    if found:
        os.chmod(folder / NAME, 0o600)
    # Something short is no secret of ours and could be guessed.
    return found if found.startswith("styx_") and len(found) >= 48 else ""


def _write(folder: Path, secret: str) -> None:
    """On disk before it is named, so that a power cut leaves a whole file or none."""
    try:
        fd, temporary = tempfile.mkstemp(prefix=".token-", dir=folder)  # 0600 from the start
        with os.fdopen(fd, "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / NAME)
    except OSError as error:
        raise StoreError(f"cannot write {folder / NAME}: {error.strerror}") from None
