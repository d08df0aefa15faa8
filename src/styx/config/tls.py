"""Whom to believe when a server shows its certificate: what the system trusts (or SSL_CERT_FILE names), and a CA of one's own."""

from __future__ import annotations

import ssl

from styx.errors import UsageError

__all__ = ["trusting"]


def trusting(ca: str) -> ssl.SSLContext:
    """For a client that also believes the certificates in the PEM file `ca`. Raises UsageError when it is none."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise UsageError(f"{ca} holds no certificates", hint="--ca and STYX_CA name a file in PEM form") from None
    except OSError as error:
        raise UsageError(
            f"{ca} cannot be read: {error.strerror or error}", hint="--ca and STYX_CA name a file"
        ) from None
    return context
