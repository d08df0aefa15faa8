"""The public kit for tests: the simulator, contracts that every implementation of a port passes, fakes and builders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.testing.simulator import Report, Simulator

__all__ = ["Report", "Simulator"]


def __getattr__(name: str) -> Any:
    """The simulator is imported when it is used: it brings the whole server and agent with it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from styx.testing import simulator

    return getattr(simulator, name)
