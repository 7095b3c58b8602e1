"""A line of the log is one line, whatever a meter or a caller said."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog

from daemon.runtime import logs
from daemon.runtime.journal import Journal, fields

FOREIGN = "T1\x1b[2J\x07\x9b\n2026 level=error"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize("value", [FOREIGN, ValueError(FOREIGN), [FOREIGN]])
def test_what_comes_from_outside_reaches_no_terminal_by_the_log(
    capsys: pytest.CaptureFixture[str], form: Literal["logfmt", "json"], value: object
) -> None:
    logs.configure(form)
    structlog.get_logger("daemon").warning("terminal unknown", terminal=value)
    logging.getLogger("other").error("said %s", FOREIGN)
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert told.replace("\n", "").isprintable()
    assert "T1\\" in told


def test_json_keeps_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    structlog.get_logger("daemon").warning("terminal unknown", terminal=FOREIGN)
    assert json.loads(capsys.readouterr().err)["terminal"] == FOREIGN


SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "log.schema.json").read_text())


def test_every_line_of_json_is_of_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema  # it takes two seconds: only for whom it is needed

    logs.configure("json", "debug")
    log = structlog.get_logger("line")
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)("meter silent", line="gate-1", meter="000000001101", tries=3)
    try:
        raise ValueError(FOREIGN)
    except ValueError:
        log.exception("it broke", account="A1")
    logging.getLogger("other").error("said %s", FOREIGN)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    for line in lines:
        jsonschema.validate(json.loads(line), SCHEMA)


def test_the_journal_hears_each_field(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(place))
        handler = Journal(place)
        event = {
            "timestamp": "2026-11-30T00:00:00Z",
            "level": "warning",
            "logger": "line",
            "event": "meter silent",
            "line": "gate-1",
            "in-words": FOREIGN,
        }
        handler.setFormatter(logging.Formatter("%(message)s"))
        record = logging.LogRecord("line", logging.WARNING, "", 0, fields(event), None, None)
        handler.handle(record)
        told = journal.recv(65536).decode()
        handler.close()
    heard = dict(line.split("=", 1) for line in told.splitlines())
    assert heard["PRIORITY"] == "4"
    assert heard["SYSLOG_IDENTIFIER"] == "meterd"
    assert heard["METERD_EVENT"] == "meter silent"
    assert heard["METERD_LINE"] == "gate-1"
    assert heard["METERD_IN_WORDS"].isprintable()
    assert heard["MESSAGE"].startswith("meter silent logger=line line=gate-1 in-words=T1\\x1b")
    assert "TIMESTAMP" not in told


def test_without_a_journal_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Journal(tmp_path / "none")


def test_a_journal_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(place))
        handler = Journal(place)
    handler.handle(logging.LogRecord("line", logging.INFO, "", 0, "MESSAGE=x\n", None, None))
    handler.close()
