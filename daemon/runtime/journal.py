"""The system's journal, told in its own form: each field of an event is one of its fields.

One datagram an event, `KEY=value` lines (systemd's "native journal protocol")."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from config.visible import visible

SOCKET: Final = Path("/run/systemd/journal/socket")
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
NOT_IN_A_NAME: Final = re.compile(r"[^A-Z0-9_]")
LONGEST_VALUE: Final = 16_000
"""Characters: some long fields together still fit into one datagram."""
OURS: Final = frozenset({"timestamp", "level", "event"})


class Journal(logging.Handler):
    """Sends what `fields` made to the journal. OSError where there is none."""

    def __init__(self, place: Path = SOCKET) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(str(place))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """A journal that takes nothing now must not stop the daemon: that event is gone."""
        with suppress(OSError):
            self._socket.send(self.format(record).encode())

    def close(self) -> None:
        """No more events go out."""
        self._socket.close()
        super().close()


def fields(event: Mapping[str, Any]) -> str:
    """An event as the journal takes it: MESSAGE is what happened and with what, PRIORITY its level,
    METERD_LINE, METERD_METER and so on the fields by themselves."""
    values = {key: _shown(value) for key, value in event.items()}
    message = " ".join(
        [values["event"], *(f"{key}={value}" for key, value in values.items() if key not in OURS)]
    )
    told = {
        "MESSAGE": message[:LONGEST_VALUE],
        "PRIORITY": str(PRIORITIES[event["level"]]),
        "SYSLOG_IDENTIFIER": "meterd",
        "METERD_EVENT": values["event"],
    }
    for key, value in values.items():
        if key not in OURS:
            told["METERD_" + NOT_IN_A_NAME.sub("_", key.upper())] = value
    return "".join(f"{key}={value}\n" for key, value in told.items())


def _shown(value: object) -> str:
    return visible(str(value))[:LONGEST_VALUE]
