"""Callers that flood the installed daemon, in short: `python -m tests.faults.callers` lasts longer
and measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.callers import (
    FLOODS,
    HTTP_FLOODS,
    MQTT_FLOODS,
    another_process,
    felt,
    listening,
)
from tests.servers.postgres import Server

pytestmark = pytest.mark.acceptance


def test_while_callers_flood_a_terminal_is_greeted_and_health_answers(
    embedded_server: Server, tmp_path: Path
) -> None:
    with listening(embedded_server, tmp_path) as (staged, ports), another_process() as elsewhere:
        for flood in (*FLOODS, *HTTP_FLOODS, *MQTT_FLOODS):
            found = felt(staged, ports, flood, 2.0, elsewhere)
            assert found.greetings > 0
            assert found.log_lines < 100
        assert staged.health()["stuck"] == []
        assert "Traceback" not in staged.log()
