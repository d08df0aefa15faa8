"""Which token a client sends when it was given none.

The token in STYX_HOME is the local user's, with every right on the server of that folder. It goes to servers on this host
only: another host has no use for it but a bad one.
"""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

__all__ = ["is_local", "token_for"]


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


def is_local(url: str) -> bool:
    """Whether a URL names this host by a loopback name or address."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
