"""The HTTP port for monitoring: /metrics and /healthz. Both read memory only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from protocols.errors import MeterdError

REQUEST_S: Final = 10.0
MOST_CONNECTIONS: Final = 64
LONGEST_HEAD: Final = 16_384
"""Bytes of a request before its body; a body is not read."""


class PortTaken(MeterdError):
    """The HTTP port cannot be opened. The operator acts: another port or address."""


class _BoundedHttp(H11Protocol):
    """A connection that ends when it asks nothing whole, or takes no answer, for REQUEST_S.

    Of more than MOST_CONNECTIONS the one that has waited longest ends: whoever opens many keeps
    nobody else from being answered."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.ends = self._end_later()
        open_ones = [
            other
            for other in self.connections
            if isinstance(other, _BoundedHttp) and not other.transport.is_closing()
        ]
        if len(open_ones) > MOST_CONNECTIONS:
            min(open_ones, key=lambda other: other.ends.when()).transport.abort()

    def on_response_complete(self) -> None:
        self.ends.cancel()
        self.ends = self._end_later()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.cancel()
        super().connection_lost(exc)

    def _end_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(REQUEST_S, self.transport.abort)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to the daemon: it stops its parts in order.
        yield


def listen(host: str, port: int) -> socket.socket:
    """The open port. PortTaken when it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise PortTaken(
            f"http.listen {host}:{port} cannot be opened: {error.strerror}; another daemon?"
        ) from None


async def serve(port: socket.socket, health: Callable[[], tuple[bool, dict[str, Any]]]) -> None:
    """Answer until cancelled.

    `health` gives (is well, what is shown); not well is answered with 503."""

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def healthz(request: Request) -> Response:
        is_well, shown = health()
        return JSONResponse(shown, status_code=200 if is_well else 503)

    application = Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz)])
    settings = uvicorn.Config(
        application,
        http=_BoundedHttp,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    await _Server(settings).serve([port])
