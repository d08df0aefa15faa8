"""What goes wrong, as problem+json (RFC 9457).

Every error of `styx.errors` carries its own HTTP status and stable `code`, so the mapping is one function and no table.
Errors that only HTTP can have (too large a body, a wrong media type) are `HttpProblem`. Whatever else escapes a handler is
a bug in Styx: it is logged with its trace and answered with a 500 that says nothing of the inside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

import msgspec
from aiohttp import web

from styx.errors import Busy, NoFit, NotAllowed, Problem, SpecError, StyxError
from styx.protocol.http import ProblemDocument, ProblemItem

__all__ = ["Handler", "HttpProblem", "begun", "document", "of_aiohttp", "problems_middleware", "response"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("styx.api")

_encoder = msgspec.json.Encoder()

_CODES = {
    400: "bad-request",
    404: "no-such-route",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "too-large",
    415: "unsupported-media-type",
    421: "host-not-allowed",
}


class HttpProblem(StyxError):
    """The request is wrong as a piece of HTTP, before anyone looked at what it asks for."""

    exit_code = 2

    def __init__(
        self, status: int, message: str, *, hint: str = "", code: str = "", problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code or _CODES.get(status, "bad-request")
        self.problems = list(problems)


def document(error: StyxError) -> ProblemDocument:
    """The problem document of an error."""
    problems = error.problems if isinstance(error, SpecError | NoFit | HttpProblem) else []
    return ProblemDocument(
        title=error.code.replace("-", " ").capitalize(),
        status=error.status,
        type=f"urn:styx:problem:{error.code}",
        detail=error.message,
        code=error.code,
        hint=error.hint,
        errors=[ProblemItem(p.path, p.message, p.hint, p.line, p.column) for p in problems],
    )


def response(error: StyxError) -> web.Response:
    """The answer to a request that ended in this error."""
    headers = {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    elif isinstance(error, NotAllowed) and error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="styx"'
    return web.Response(
        body=_encoded(document(error)),
        status=error.status,
        content_type="application/problem+json",
        headers=headers,
    )


def _encoded(problem: ProblemDocument) -> bytes:
    """A problem may quote what it was sent, and that need not be text."""
    try:
        return _encoder.encode(problem)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(problem), ensure_ascii=False).encode(errors="replace")


def of_aiohttp(error: web.HTTPException, request: web.BaseRequest) -> web.Response:
    """aiohttp's own refusals, in our form."""
    if error.status == HTTPStatus.NOT_FOUND:
        return response(HttpProblem(404, f"there is nothing at {request.path}", hint="see /api/v1/openapi.json"))
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = response(
            HttpProblem(405, f"{request.path} does not take {request.method}", hint=f"it takes {allowed}")
        )
        answer.headers["Allow"] = allowed
        return answer
    return response(HttpProblem(error.status, error.reason))


@web.middleware
async def problems_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: no error leaves here but as a problem."""
    try:
        return await handler(request)
    except StyxError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("%s %s: %s: %s", request.method, request.path, error.code, error.message)
        return response(error)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return of_aiohttp(error, request)
    except ConnectionError:
        raise  # the peer is gone; aiohttp ends the connection
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return response(HttpProblem(500, "an error inside the server; its log has the details", code="internal"))


@contextmanager
def begun(request: web.Request) -> Iterator[None]:
    """Around a response that has begun: it can only be cut, so that its reader sees that it is not whole."""
    try:
        yield
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s %s broke off", request.method, request.path)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the response was cut off") from None
