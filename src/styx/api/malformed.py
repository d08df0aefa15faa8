"""What is no request at all: too long a line, a broken header, chunks that are none. Answered as problem+json too.

aiohttp reads the bytes before any application sees them, and answers what it cannot read with text of its own, as it does an `Expect`
that it does not know. The one place to have a say is the protocol of a connection, so the runner makes ours.
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from styx.api.problems import HttpProblem, of_aiohttp, response

__all__ = ["Runner"]

_SHOWN = 200  # characters of what the parser had to say


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way, and no second one can follow it")
        first = (message or "").strip().partition("\n")[0].partition(" when reading")[0].rstrip(": ")[:_SHOWN]
        answer = response(HttpProblem(status, f"this is not a request of HTTP/1.1: {first or 'it cannot be read'}"))
        answer.force_close()
        return answer


class Runner(web.AppRunner):
    """An AppRunner whose connections answer in our form whatever they are sent."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made)


class _Server(web.Server):
    def __init__(self, made: web.Server) -> None:
        self._application = made.request_handler
        super().__init__(
            self._handle,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._application(request)
        except web.HTTPException as error:  # before any middleware had a say
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return of_aiohttp(error, request)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)
