"""Machines that a person has already, reached by SSH: nothing is rented, an agent is put there and taken away again.

    connection  one connection, with the host's key checked, and its errors in words
    install     the archive and the start-up script on a machine; the same script that cloud machines run
    tunnel      a way back for an agent whose server cannot be reached from its machine; a process of its own
    provider    the Provisioner of `[providers.ssh] hosts = [...]`
    settings    what that table may hold

The agent outlives the connection: it runs under the loop of the start-up script, in a folder below the user's home, and dials the
server by itself. asyncssh is imported where it is used (`pip install 'styx-orchestrator[ssh]'`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.providers.base import Context, Provider

__all__ = ["make"]


def make(settings: Mapping[str, Any], context: Context) -> Provider:
    """Raises SpecError for settings that are wrong."""
    from styx.providers.ssh.provider import SshProvider
    from styx.providers.ssh.settings import read

    return SshProvider(read(settings), context)
