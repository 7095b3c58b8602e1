"""What a command of this machine asks the running daemon, over its socket: see unix_socket.py.

Apart from that, so that a command loads nothing of a server."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from protocols.errors import MeterdError

NAME: Final = "meterd.socket"
LONGEST_PATH: Final = 107
"""Bytes that fit into a sockaddr_un, without its final NUL."""


class SocketUnusable(MeterdError):
    """The daemon cannot be reached by its commands. The operator acts: another data directory."""


class NotRunning(MeterdError):
    """No daemon runs on this data directory."""


class RequestFailed(MeterdError):
    """The daemon would not or could not do it.

    `kind`: the name of its error; empty when it is not known how far it came."""

    def __init__(self, why: str, kind: str = "") -> None:
        self.kind = kind
        super().__init__(why)


def socket_path(data_directory: Path) -> Path:
    """Where a daemon with this data directory listens. SocketUnusable."""
    path = data_directory / NAME
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise SocketUnusable(
            f"{path} is too long a path for a socket (at most {LONGEST_PATH} bytes): "
            "choose a shorter data_directory"
        )
    return path


def is_running(data_directory: Path) -> bool:
    """True while a daemon with this data directory answers. Asks it nothing. SocketUnusable."""
    path = socket_path(data_directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except PermissionError:
            return True
    return True


def ask(
    data_directory: Path, request: Mapping[str, Any], *, silent_s: float | None = None
) -> Generator[dict[str, Any], None, None]:
    """What a running daemon answers, as it comes, its last object included.

    Blocking, while it says nothing for at most `silent_s`. Closing the iterator takes back what was
    asked. NotRunning, RequestFailed."""
    path = socket_path(data_directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(silent_s)
        _connect(connection, path)
        with suppress(OSError):  # it hung up, and may have said why
            connection.sendall(json.dumps(request).encode() + b"\n")
        # It hung up, or is silent: told below.
        with suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                answer: dict[str, Any] = json.loads(line)
                if "error" in answer:
                    raise RequestFailed(answer["error"], answer.get("kind", ""))
                yield answer
                if "end" in answer:
                    return
    raise RequestFailed(
        "the daemon hung up or is silent: it was stopped, or this command did not read fast enough"
    )


def _connect(connection: socket.socket, path: Path) -> None:
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NotRunning(f"no daemon answers at {path}; start it with `meterd run`") from None
    except OSError as error:
        raise NotRunning(
            f"the daemon at {path} cannot be asked: {error.strerror}; "
            "this must be run as the daemon's user"
        ) from None
