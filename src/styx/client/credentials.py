"""Which token a client sends when it was given none.

The token in STYX_HOME is the local user's, with every right on the server of that folder. It goes to servers on this host
only: another host has no use for it but a bad one.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

__all__ = ["is_local", "tls_for", "token_for"]


def token_for(url: str) -> str:
    """STYX_TOKEN, else the local user's token for a server on this host, else ""."""
    from styx.config.home import home

    given = os.environ.get("STYX_TOKEN", "").strip()
    if given or not is_local(url):
        return given
    try:
        return (home() / "token").read_text().strip()
    except OSError:
        return ""


def tls_for(url: str) -> ssl.SSLContext | None:
    """What to verify a server with when STYX_CA names certificates of one's own. Raises UsageError."""
    ca = os.environ.get("STYX_CA", "").strip()
    if not ca or urlsplit(url).scheme != "https":
        return None
    from styx.config.tls import trusting

    return trusting(ca)


def is_local(url: str) -> bool:
    """Whether a URL names this host by a loopback name or address."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
