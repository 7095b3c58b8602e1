"""A way to PostgreSQL that counts what is said on it, and breaks where a test wants it.

What a client says until it waits for an answer is one statement: a query with its parameters,
BEGIN, COMMIT, the start and the end of a COPY. So a statement that is added is counted by itself.

with breaking_wire(server, folder) as wire:
    psycopg.connect(wire.url("test"))
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from storage.database import DAEMON
from tests.servers.postgres import Server

SOCKET = ".s.PGSQL.5432"
ENDS_OF_A_STATEMENT = frozenset(b"QSc")
"""Query, Sync, CopyDone."""
ANSWERED = {
    ord("Q"): frozenset(b"ZGH"),  # ready, or ready for the data of a COPY
    ord("S"): frozenset(b"ZGH"),
    ord("c"): frozenset(b"ZCE"),
}
"""By end of a statement, what the server says last."""
CANCEL = 80877102
STATEMENT_NAME_END = b"\0"


class Break(Enum):
    """How the wire breaks at a statement."""

    BEFORE = "before it reached the server"
    AFTER = "after the server did it, and before anybody learnt so"
    TERMINATED = "by the end of the server's process"


@dataclass
class Wire:
    """What was said on all connections since `listen`."""

    server: Server
    folder: Path
    statements: list[str] = field(default_factory=list)
    """The beginnings, in order, each with what a COPY or a prepared statement was of."""
    on_statement: Callable[[int, str], None] = lambda connection, statement: None
    """Called before a statement is handed on, with the number of its connection."""
    on_answer: Callable[[int, str], None] = lambda connection, statement: None
    """Called when the server has done it, before its client learns so."""
    has_broken: bool = False
    _at: int | None = None
    _how: Break = Break.BEFORE
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, database: str) -> str:
        """As the daemon's role."""
        return f"postgresql://{DAEMON}@/{database}?host={self.folder}"

    def listen(self, at: int | None = None, how: Break = Break.BEFORE) -> None:
        """Count from 1 on, and break at this statement, once."""
        with self._lock:
            self.statements.clear()
            self.has_broken = False
            self._at = at
            self._how = how

    def said(self, connection: int, statement: str) -> Break | None:
        """Count a statement; how to break now, if so."""
        with self._lock:
            self.statements.append(statement)
            number = len(self.statements)
            breaks = number == self._at and not self.has_broken
            self.has_broken = self.has_broken or breaks
        self.on_statement(connection, statement)
        return self._how if breaks else None


@contextmanager
def breaking_wire(server: Server, folder: Path) -> Iterator[Wire]:
    """`folder`: with a short path, for the socket."""
    wire = Wire(server, folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / SOCKET))
        # The server runs as another user, but clients of the wire run as this one.
        listener.listen(16)
        threading.Thread(target=_accept, args=(wire, listener), daemon=True).start()
        try:
            yield wire
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _accept(wire: Wire, listener: socket.socket) -> None:
    for number in itertools.count(1):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(wire.server.socket_folder / SOCKET))
        _Connection(wire, number, client, upstream).start()


class _Connection:
    def __init__(
        self, wire: Wire, number: int, client: socket.socket, server: socket.socket
    ) -> None:
        self._wire = wire
        self._number = number
        self._client = client
        self._server = server
        self._prepared: dict[bytes, str] = {}
        self._backend_pid = 0
        self._under_way: tuple[str, frozenset[int]] | None = None
        """The statement, and what the server says last of it."""
        self._is_answer_lost = False

    def start(self) -> None:
        for pump in (self._from_client, self._from_server):
            threading.Thread(target=self._until_broken, args=(pump,), daemon=True).start()

    def _until_broken(self, pump: Callable[[], None]) -> None:
        with suppress(OSError, EOFError):
            pump()
        self._break()

    def _break(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _from_client(self) -> None:
        with self._client, self._client.makefile("rb") as stream:
            head = _exactly(stream.read, 8)
            length, code = struct.unpack("!II", head)
            self._server.sendall(head + _exactly(stream.read, length - 8))
            if code == CANCEL:
                return
            held = b""
            statement = ""
            while True:
                kind, message = _message(stream.read)
                statement = self._text(kind, message[5:]) or statement
                held += message
                if kind in ENDS_OF_A_STATEMENT:
                    if kind == ord("c"):
                        statement = "end of the COPY"
                    self._hand_on(kind, statement, held)
                    held = b""
                    statement = ""
                elif kind in b"HX":  # somebody waits for it, or says good-bye
                    self._server.sendall(held)
                    held = b""

    def _hand_on(self, kind: int, statement: str, held: bytes) -> None:
        match self._wire.said(self._number, statement):
            case Break.BEFORE:
                raise EOFError
            case Break.AFTER:
                self._is_answer_lost = True
            case Break.TERMINATED:
                self._wire.server.execute(f"SELECT pg_terminate_backend({self._backend_pid})")
        self._under_way = (statement, ANSWERED[kind])
        self._server.sendall(held)

    def _text(self, kind: int, body: bytes) -> str:
        """What a message says of the statement; nothing where it says nothing."""
        match chr(kind):
            case "Q":
                return body.rstrip(b"\0").decode()
            case "P":
                name, query, _ = body.split(STATEMENT_NAME_END, 2)
                self._prepared[name] = query.decode()
                return query.decode()
            case "B":
                _, name, _ = body.split(STATEMENT_NAME_END, 2)
                return self._prepared.get(name, "")
        return ""

    def _from_server(self) -> None:
        with self._server, self._server.makefile("rb") as stream:
            while True:
                kind, message = _message(stream.read)
                if kind == ord("K"):
                    (self._backend_pid,) = struct.unpack("!I", message[5:9])
                if self._under_way is not None and kind in self._under_way[1]:
                    statement, _ = self._under_way
                    self._under_way = None
                    self._wire.on_answer(self._number, statement)
                    if self._is_answer_lost:
                        raise EOFError
                if not self._is_answer_lost:
                    self._client.sendall(message)


def _message(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    head = _exactly(read, 5)
    return head[0], head + _exactly(read, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    found = read(size)
    if len(found) < size:
        raise EOFError
    return found
