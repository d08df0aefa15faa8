"""From a problem document back to the error that the verb would have raised in the same process."""

from __future__ import annotations

import msgspec

from styx.errors import Busy, NoFit, NotAllowed, Problem, SpecError, StyxError, TooSlow, Unreachable, UsageError
from styx.protocol.http import ProblemDocument

__all__ = ["error_of"]

_decoder = msgspec.json.Decoder(ProblemDocument)


def _tree(kind: type[StyxError]) -> list[type[StyxError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _tree(child))]


# Unreachable and its like are not what a server says of itself; they are known by code all the same.
_BY_CODE = {kind.code: kind for kind in reversed(_tree(StyxError))}


def error_of(status: int, content_type: str, body: bytes, *, retry_after: str = "", url: str = "") -> StyxError:
    """The error that an answer stands for. What is no problem document did not come from a Styx server."""
    if content_type != "application/problem+json":
        return Unreachable(
            f"{url} answered {status} without being a Styx server",
            hint="is a proxy in between, or another program on this port?",
        )
    try:
        document = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        return Unreachable(f"{url} answered {status} with a document that cannot be read: {error}")
    return of_document(document, retry_after=retry_after)


def of_document(document: ProblemDocument, *, retry_after: str = "") -> StyxError:
    """The error of a problem document."""
    message = document.detail or document.title
    problems = [Problem(e.path, e.message, e.hint, e.line, e.column) for e in document.errors]
    kind = _BY_CODE.get(document.code, StyxError)
    if kind is SpecError or kind is NoFit:
        return kind(problems or [Problem("$", message, document.hint)])
    if kind is Busy:
        return Busy(message, retry_after=_seconds(retry_after), status=document.status)
    if kind is TooSlow:
        return TooSlow(message, resume=0)
    if kind is NotAllowed or document.status in {401, 403}:
        return NotAllowed(message, hint=document.hint, status=document.status)
    if kind is StyxError and 400 <= document.status < 500:
        kind = UsageError
    return kind(message, hint=document.hint)


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1.0
