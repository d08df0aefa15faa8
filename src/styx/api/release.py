"""Which release this is. Looked up once: the package's metadata is a file that is parsed anew each time."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["release"]


@lru_cache(maxsize=1)
def release() -> str:
    """Such as "0.1.0"; "unknown" when run from a source tree that was never installed."""
    try:
        return version("styx-orchestrator")
    except PackageNotFoundError:
        return "unknown"
