"""The HTTP port for monitoring: /metrics and /healthz. Both read memory only."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from protocols.errors import MeterdError


class PortTaken(MeterdError):
    """The HTTP port cannot be opened. The operator acts: another port or address."""


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
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
    )
    await _Server(settings).serve([port])
