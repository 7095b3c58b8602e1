"""The door of a running daemon for the commands of its machine: a Unix socket in the data
directory.

One request per connection, a JSON object on one line. The answer is a stream of such lines; the
last one has `end` or `error`. Hanging up takes back what was asked. What the requests mean stands
elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from protocols.errors import MeterdError

log = structlog.get_logger("daemon")

NAME = "meterd.socket"
LONGEST_PATH = 107
"""What fits into a sockaddr_un."""
LONGEST_REQUEST = 16 * 1024 * 1024
UNREAD_S = 10.0
"""Whoever does not take an answer for so long is hung up on: answers must not pile up here."""

Answer = Callable[[Mapping[str, Any]], AsyncGenerator[dict[str, Any], None]]


class SocketUnusable(MeterdError):
    """The daemon cannot be reached by its own commands. Whoever set the data directory acts."""


class NotRunning(MeterdError):
    """No daemon runs on this data directory."""


class RequestFailed(MeterdError):
    """The daemon would not or could not do it; `kind` is the name of its error."""

    def __init__(self, why: str, kind: str = "") -> None:
        self.kind = kind
        super().__init__(why)


@contextmanager
def listen(data_directory: Path) -> Iterator[socket.socket]:
    """The socket, for its owner alone; what a killed daemon left behind is removed.
    SocketUnusable."""
    path = _path(data_directory)
    gate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        data_directory.mkdir(parents=True, exist_ok=True)
        if _is_answered(path):
            raise SocketUnusable(
                f"another meterd listens at {path}; each needs a data_directory of its own"
            )
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            gate.bind(str(path))
        finally:
            os.umask(mask)
        gate.listen()
        gate.setblocking(False)
    except OSError as error:
        gate.close()
        raise SocketUnusable(
            f"{path} cannot be opened: {error.strerror}; look at its directory"
        ) from None
    except SocketUnusable:
        gate.close()
        raise
    try:
        yield gate
    finally:
        gate.close()
        path.unlink(missing_ok=True)


async def serve(gate: socket.socket, answer: Answer) -> None:
    """Answer requests until cancelled. MeterdError from `answer` is told to who asked, anything
    else is logged too."""

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, TimeoutError):
                await _attend(reader, writer, answer)
        finally:
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # who asked has hung up or does not read
            writer.close()

    clients: set[asyncio.Task[None]] = set()

    def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(attend(reader, writer))
        clients.add(task)
        task.add_done_callback(clients.discard)

    own = gate.dup()  # the server closes it, and may be started again
    server = None
    try:
        server = await asyncio.start_unix_server(welcome, sock=own, limit=LONGEST_REQUEST)
        await asyncio.Event().wait()
    finally:
        if server is not None:
            server.close()
        own.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


def ask(data_directory: Path, request: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
    """What a running daemon answers, as it comes, its last object included. NotRunning,
    RequestFailed. Blocking.

    Closing the iterator takes back what was asked."""
    path = _path(data_directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NotRunning(f"no daemon answers at {path}; start it with `meterd run`") from None
        except OSError as error:
            raise NotRunning(
                f"the daemon at {path} cannot be asked: {error.strerror}; this must be run as the daemon's user"
            ) from None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                for line in answers:
                    told: dict[str, Any] = json.loads(line)
                    if "error" in told:
                        raise RequestFailed(told["error"], told.get("kind", ""))
                    yield told
                    if "end" in told:
                        return
        except OSError:
            pass
        raise RequestFailed(
            "the daemon hung up: it was stopped, or this command did not read fast enough"
        )


async def _attend(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
) -> None:
    writer.transport.set_write_buffer_limits(
        high=0
    )  # drained is what the other side's kernel has taken
    try:
        request = await _request(reader)
    except (MeterdError, OSError) as error:
        await _write(writer, {"error": str(error)})
        return
    answering = asyncio.ensure_future(_answer(writer, answer, request))
    hanging_up = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({answering, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        answering.cancel()
        hanging_up.cancel()
        await asyncio.gather(answering, hanging_up, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> Mapping[str, Any]:
    try:
        request = json.loads(await reader.readline())
    except ValueError as error:  # also a line without end, or bytes that are no text
        raise MeterdError(f"no request in JSON on one line: {error}") from None
    if not isinstance(request, dict):
        raise MeterdError("a request is a JSON object")
    return request


async def _answer(writer: asyncio.StreamWriter, answer: Answer, request: Mapping[str, Any]) -> None:
    with suppress(OSError, TimeoutError):
        try:
            async with aclosing(answer(request)) as answers:
                async for told in answers:
                    await _write(writer, told)
            await _write(writer, {"end": True})
        except MeterdError as error:
            await _write(writer, {"error": str(error), "kind": type(error).__name__})
        except OSError:
            raise
        except Exception as error:
            log.exception("request failed", request=request.get("do"))
            await _write(
                writer,
                {"error": f"the daemon failed: {type(error).__name__}: {error}; its log says more"},
            )


async def _write(writer: asyncio.StreamWriter, told: Mapping[str, Any]) -> None:
    writer.write(json.dumps(told, ensure_ascii=False, default=str).encode() + b"\n")
    async with asyncio.timeout(UNREAD_S):
        await writer.drain()


def _path(data_directory: Path) -> Path:
    path = data_directory / NAME
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise SocketUnusable(
            f"{path} is too long a path for a socket (at most {LONGEST_PATH} bytes): choose a shorter data_directory"
        )
    return path


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True
