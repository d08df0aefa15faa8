"""What an accepted request has come to.

Compute Engine answers a change with an operation, which runs on and may still fail: most of what a zone has no room for is said only
there. So an insert is waited for, up to a bound; what has no end by then is Unsure, and asking again with the same request id leads
back to the same operation.

A request id makes a repeated request the same request: for as long as Google remembers it it is answered with the operation of the
first, also if that one failed. For an insert that is what is wanted, so its id comes from the order; only after an operation that was
refused for now (throttled) does the next request get another one. A delete, stop or start gets an id of its own each time: had the
first one failed, the same id would give that failure again and again, and a machine's name alone makes it safe to repeat.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from styx.providers.base import Order, Refused, Unsure
from styx.providers.gcp.api import Api
from styx.providers.gcp.errors import GcpRefused, GcpUnsure, came_to

__all__ = ["Operations", "any_request_id", "request_id"]

_ORDERS = uuid.UUID("6f1f0f3c-52a4-4c39-9d0e-7e2ad6f3a4c1")  # drawn once: the namespace of this program's orders
_PAUSE = 1.0  # seconds between two questions, where the wait ended early
_ONCE = 125.0  # seconds for one `wait`, which Google ends after two minutes


def request_id(order: Order, spent: int = 0) -> str:
    """The same for the same order, never the zero UUID, and apart for two Styxes in one project. `spent` counts the ids of this order
    that can give nothing but an old refusal."""
    return str(uuid.uuid5(_ORDERS, f"{order.cluster}/{order.token}/{spent}"))


def any_request_id() -> str:
    return str(uuid.uuid4())


class Operations:
    def __init__(self, api: Api, sleep: Callable[[float], Awaitable[None]], *, patience: float = 60.0) -> None:
        self._api = api
        self._sleep = sleep
        self.patience = patience  # seconds

    async def finished(self, operation: Mapping[str, Any], zone: str, doing: str) -> bool:
        """True once it has ended well, False if it goes on after `patience`. Errors: Refused and Unsure, of what it has come to, and
        GcpUnsure with the reason "" if it cannot be followed: it was accepted, so nothing that goes wrong while waiting is a no."""
        try:
            async with asyncio.timeout(self.patience):
                while operation.get("status") != "DONE":
                    operation = await self._look(operation, zone, doing)
        except TimeoutError:
            return False
        raise_for(operation, doing)
        return True

    async def _look(self, operation: Mapping[str, Any], zone: str, doing: str) -> Mapping[str, Any]:
        path = f"zones/{zone}/operations/{operation.get('name')}/wait"
        try:
            seen = await self._api.compute("POST", path, doing, limit=_ONCE)
        except (Refused, Unsure) as error:
            if isinstance(error, GcpRefused) and error.status == 404:
                raise GcpUnsure(f"{doing}: the operation is not known any more") from error
            await self._sleep(_PAUSE)
            return operation
        if seen.get("status") != "DONE":
            await self._sleep(_PAUSE)
        return seen

    async def under_way(self, kind: str, zone: str, target: str) -> bool:
        """Whether an operation of this type on this instance has not ended. Errors: Refused, Unsure."""
        query = {"filter": f'(operationType = "{kind}") (status != "DONE")'}
        async for page in self._api.pages(f"zones/{zone}/operations", f"operations.list in {zone}", query=query):
            for operation in page.get("items") or []:
                if str(operation.get("targetLink") or "").endswith(f"/zones/{zone}/instances/{target}"):
                    return True
        return False


def raise_for(operation: Mapping[str, Any], doing: str) -> None:
    """Of an operation as it is now; one without an error is passed over."""
    error = operation.get("error")
    if isinstance(error, Mapping) and error.get("errors"):
        raise came_to(error, int(operation.get("httpErrorStatusCode") or 0), f"Compute Engine, {doing}")
