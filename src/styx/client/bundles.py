"""The archive that a machine runs its agent from, for who puts an agent on a machine himself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from styx.client.channel import Channel
from styx.client.credentials import tls_for, token_for

if TYPE_CHECKING:
    import ssl

__all__ = ["bundle"]


async def bundle(url: str, tag: str, arch: str, *, tls: ssl.SSLContext | None = None) -> bytes:
    """For a Python (cp311) and an architecture (x86_64). Raises NotFound when the server has none, and what a Client raises."""
    channel = Channel(url, token_for(url), tls=tls_for(url) if tls is None else tls)
    try:
        return await channel.fetch(f"/api/v1/bootstrap/{tag}/{arch}", seconds=300.0)
    finally:
        await channel.close()
