"""Connections as aiohttp has them, but for what they answer to whatever is not HTTP."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

NOT_HTTP = "the request is not well-formed HTTP\n"


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no route saw. aiohttp would quote the line that it could not read.

        That is a piece of somebody's message where a body is longer than its Content-Length says.
        """
        answer = super().handle_error(request, status, exc, None if message is None else NOT_HTTP)
        answer.headers["Server"] = "backchat"
        return answer


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        # Not its debug mode, which asyncio's turns on: a traceback in an answer says what the exception does.
        return _Connection(self, loop=self._loop, **{**self._kwargs, "debug": False})


class Runner(web.AppRunner):
    """Runs an app on connections that repeat nothing."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )
