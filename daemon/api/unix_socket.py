"""The way in for the commands of this machine: a Unix socket in the data directory.

One request per connection, a JSON object on one line. The answer is a stream of such lines; the
last one has `end` or `error`. Hanging up takes back what was asked. What the requests mean stands
in operations.py."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from daemon.api.asking import SocketUnusable, socket_path
from protocols.errors import MeterdError
from storage.blame import is_of_the_whole

log = structlog.get_logger("daemon")

LONGEST_REQUEST: Final = 2 * 1024 * 1024
"""As long as the arguments of a command can be (execve(2), ARG_MAX)."""
OWNER_ONLY: Final = 0o177
"""As a umask."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may do.

    `asked_within_s`: one that has not asked for this time is hung up on; `unread_s`: so is one that
    does not take an answer for that time: answers must not pile up here."""

    asked_within_s: float = 10.0
    unread_s: float = 10.0
    most_clients: int = 256


USUAL: Final = Limits()

Answer = Callable[[Mapping[str, Any]], AsyncGenerator[dict[str, Any], None]]


@contextmanager
def listen(data_directory: Path) -> Iterator[socket.socket]:
    """The listening socket, for its owner alone. SocketUnusable.

    What a killed daemon left behind is removed."""
    path = socket_path(data_directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        try:
            data_directory.mkdir(parents=True, exist_ok=True)
            if _is_answered(path):
                raise SocketUnusable(
                    f"another meterd listens at {path}; each needs a data_directory of its own"
                )
            path.unlink(missing_ok=True)
            _bind(listening, path)
        except OSError as error:
            raise SocketUnusable(
                f"{path} cannot be opened: {error.strerror}; look at its directory"
            ) from None
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)


async def serve(listening: socket.socket, answer: Answer, limits: Limits = USUAL) -> None:
    """Answer requests until cancelled.

    A MeterdError from `answer` goes to the client, anything else into the log too."""
    clients: set[asyncio.Task[None]] = set()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, TimeoutError):
                client = _Client(reader, writer, limits)
                if len(clients) > limits.most_clients:
                    error = f"{limits.most_clients} others ask; ask again later"
                    await client.write({"error": error})
                else:
                    await client.attend(answer)
        finally:
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # the client has hung up or does not read
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(attend(reader, writer))
        clients.add(task)
        task.add_done_callback(clients.discard)

    own = listening.dup()  # the server closes it, and may be started again
    server = None
    try:
        server = await asyncio.start_unix_server(accept, sock=own, limit=LONGEST_REQUEST)
        await asyncio.Event().wait()
    finally:
        if server is not None:
            server.close()
        own.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Client:
    """One connection: one request, and all that is answered to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    limits: Limits

    async def attend(self, answer: Answer) -> None:
        # With no buffer of ours, drained is what the other side's kernel has taken.
        self.writer.transport.set_write_buffer_limits(high=0)
        try:
            request = await self._request()
        except (MeterdError, OSError) as error:
            await self.write({"error": str(error)})
            return
        answering = asyncio.ensure_future(self._answer(answer, request))
        hanging_up = asyncio.ensure_future(self.reader.read(1))
        try:
            await asyncio.wait({answering, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            hanging_up.cancel()
            await asyncio.gather(answering, hanging_up, return_exceptions=True)

    async def _request(self) -> Mapping[str, Any]:
        longest_s = self.limits.asked_within_s
        try:
            async with asyncio.timeout(longest_s):
                line = await self.reader.readline()
        except TimeoutError:
            raise MeterdError(f"nothing was asked for {longest_s:g} s") from None
        except ValueError as error:  # a line without end
            raise MeterdError(f"no request in JSON on one line: {error}") from None
        return parsed_request(line)

    async def _answer(self, answer: Answer, request: Mapping[str, Any]) -> None:
        with suppress(OSError, TimeoutError):
            try:
                async with aclosing(answer(request)) as answers:
                    async for piece in answers:
                        await self.write(piece)
                await self.write({"end": True})
            except MeterdError as error:
                await self.write({"error": str(error), "kind": type(error).__name__})
            except OSError:
                raise
            except Exception as error:
                await self.write({"error": _told(request, error)})

    async def write(self, piece: Mapping[str, Any]) -> None:
        """One line. TimeoutError when it is not taken."""
        self.writer.write(json.dumps(piece, ensure_ascii=False, default=str).encode() + b"\n")
        async with asyncio.timeout(self.limits.unread_s):
            await self.writer.drain()


def parsed_request(line: bytes) -> Mapping[str, Any]:
    """The object of a line. MeterdError for anything else."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MeterdError(f"no request in JSON on one line: {error}") from None
    if not isinstance(request, dict):
        raise MeterdError("a request is a JSON object")
    return request


def _told(request: Mapping[str, Any], error: Exception) -> str:
    """What is said of an error that nobody named; logged where it is ours."""
    if is_of_the_whole(error):
        return f"the database cannot do it now: {str(error).strip()}"
    log.exception("request failed", request=request.get("do"))
    return f"the daemon failed: {type(error).__name__}: {error}; its log says more"


def _bind(listening: socket.socket, path: Path) -> None:
    # Between bind and chmod another user could connect: the socket is born with its mode.
    mask = os.umask(OWNER_ONLY)
    try:
        listening.bind(str(path))
    finally:
        os.umask(mask)
    listening.listen()
    listening.setblocking(False)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True
