"""The values of secrets at rest: AES-256-GCM under a key that is not in the database.

The key is 32 random bytes in `DIR/key`, mode 0600, made when the first secret comes. It is no part of a backup: a copy of the
database alone shows no value, and whoever restores one puts the key beside it, or the jobs that want secrets fail and say why.
What is sealed for one job opens for that job only. A vault without a folder (a store in memory) has a key for its lifetime.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from styx.core.ids import JobId
from styx.errors import StoreError

__all__ = ["KEY", "Vault"]

KEY = "key"  # its name in the server's folder
_FORM = b"\x01"  # of what is sealed: this byte, the nonce, the ciphertext with its tag
_NONCE = 12
_LENGTH = 32


class Vault:
    """`folder` is where the key lies; None keeps it in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = folder / KEY if folder is not None else None
        self._key = b""
        self._lock = asyncio.Lock()

    async def seal(self, job: JobId, values: Mapping[str, str]) -> bytes:
        """The values, for this job. Raises StoreError when the key cannot be read or made."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = await self._whole_key(make=True)
        nonce = secrets.token_bytes(_NONCE)
        return _FORM + nonce + AESGCM(key).encrypt(nonce, msgspec.msgpack.encode(dict(values)), _context(job))

    async def open(self, job: JobId, sealed: bytes) -> dict[str, str]:
        """The values again. Raises StoreError when the key is missing or another one, or the bytes are not what was sealed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = await self._whole_key(make=False)
        nonce, ciphertext = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            if sealed[:1] != _FORM:
                raise InvalidTag
            plain = AESGCM(key).decrypt(nonce, ciphertext, _context(job))
        except (InvalidTag, ValueError):
            raise StoreError(
                "the secrets of this job were sealed with another key",
                hint=f"put the {KEY!r} file of the server that accepted it into STYX_HOME",
            ) from None
        return msgspec.msgpack.decode(plain, type=dict[str, str])

    async def fingerprint(self, values: Mapping[str, str]) -> bytes:
        """Equal for equal values, and of no use without the key to somebody who guesses at them."""
        key = await self._whole_key(make=True)
        return hmac.digest(key, b"fingerprint" + msgspec.msgpack.encode(sorted(values.items())), hashlib.sha256)

    async def derive(self, purpose: str) -> str:
        """A secret for one purpose, the same each time: 256 bits, as text that fits into a URL. Nobody can tell it without the key."""
        digest = hmac.digest(await self._whole_key(make=True), b"derive" + purpose.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    async def _whole_key(self, *, make: bool) -> bytes:
        async with self._lock:
            if not self._key:
                if self._path is None:
                    self._key = secrets.token_bytes(_LENGTH)
                else:
                    self._key = await asyncio.to_thread(_read_or_make, self._path, make)
            return self._key


def _context(job: JobId) -> bytes:
    return b"styx job" + job.to_bytes(16, "big")


def _read_or_make(path: Path, make: bool) -> bytes:
    try:
        found = _read(path)
        if found or not make:
            if not found:
                raise StoreError(
                    f"{path} is missing, and without it secrets cannot be read",
                    hint="put it back from where you keep it",
                )
            return found
        _write(path, secrets.token_bytes(_LENGTH))
        return _read(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror or error}") from None


def _read(path: Path) -> bytes:
    """Empty when there is no such file."""
    try:
        text = path.read_text("ascii").strip()
        path.chmod(0o600)
        key = bytes.fromhex(text)
    except FileNotFoundError:
        return b""
    except (UnicodeDecodeError, ValueError):
        key = b""
    if len(key) != _LENGTH:
        raise StoreError(f"{path} holds no key", hint="put the right one back; without it kept secrets cannot be read")
    return key


def _write(path: Path, key: bytes) -> None:
    """On disk before it is named, and never over one that is there: secrets may have been sealed with that."""
    part = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return
    finally:
        os.unlink(part)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
