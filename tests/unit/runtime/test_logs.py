"""A line of the log is one line, whatever a meter or a caller said."""

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from daemon.runtime import logs

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
