"""A real Prometheus beside the daemon answers every question of the pages for Grafana."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from daemon.demo.watching import prometheus_beside
from tests.acceptance.stage import POOR, stage
from tests.monitoring.dashboards import BOARDS
from tests.servers.packages import program

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
STANDSTILL_S = 150.0
"""Who is not billed is looked for a minute after a start, and what is recorded is every 30 s."""


def is_answered(prometheus_at: str, expression: str) -> bool:
    asked = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus_at}/api/v1/query?{asked}", timeout=10) as answer:
        return bool(json.load(answer)["data"]["result"])


def test_no_panel_is_empty(database_url: str, tmp_path: Path) -> None:
    questions = [
        expression for board in BOARDS for panel in board.panels for expression, _ in panel.queries
    ]
    installed = program("prometheus", ["prometheus"])
    with (
        stage(tmp_path, database_url) as staged,
        prometheus_beside(tmp_path, staged.http_port, installed, every_s=1) as prometheus_at,
    ):
        staged.start_daemon()
        staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")

        def are_all_answered() -> bool:
            while questions and is_answered(prometheus_at, questions[0]):
                questions.pop(0)
            return not questions

        assert not is_answered(prometheus_at, "meterd_of_no_panel")
        staged.until("every panel shows something", are_all_answered, STANDSTILL_S)
