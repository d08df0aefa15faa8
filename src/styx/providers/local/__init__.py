"""This machine as a place: agents as child processes of the server, which cost nothing.

    child     one process: started in a session of its own, told from others by when it was born, ended in order
    provider  the Provisioner of `[providers.local]`

`styx up` keeps its one agent with `child` alone; the Provisioner brings agents up and takes them down like any cloud's machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.providers.base import Context, Provider

__all__ = ["make"]


def make(settings: Mapping[str, Any], context: Context) -> Provider:
    """Raises SpecError for settings that are wrong."""
    from styx.providers.local.provider import LocalProvider, read

    return LocalProvider(read(settings), context)
