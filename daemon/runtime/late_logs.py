"""Loggers for what a short command runs too: structlog, with all that it could colour a line by,
takes as long to load as a payment to post."""

from __future__ import annotations

import sys
from typing import Any, Final

UNSAID: Final = frozenset({"debug", "info"})
"""Commands tell warnings alone; see `daemon.cli.on_site`."""


class LateLogger:
    """As `structlog.get_logger`, where structlog is loaded; else it is with the first warning."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, level: str) -> Any:
        if "structlog" not in sys.modules:
            if level in UNSAID:
                return _say_nothing
            from daemon.runtime import logs

            logs.configure(level="warning")
        import structlog

        return getattr(structlog.get_logger(self._name), level)


def _say_nothing(event: str, **fields: object) -> None:
    pass
