"""A real Prometheus beside the daemon answers every question of the pages for Grafana."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import prometheus
from tests.acceptance.stage import POOR, Stage, end, stage
from tests.monitoring.dashboards import BOARDS
from tests.servers.packages import program
from tests.servers.ports import free_port

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
SETTINGS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: meterd
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
STANDSTILL_S = 150.0
"""Who is not billed is looked for a minute after a start, and what is recorded is every 30 s."""


@contextmanager
def watched(staged: Stage, folder: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes the stage's daemon every second."""
    settings = folder / "prometheus.yml"
    settings.write_text(SETTINGS.format(rules=prometheus.RULES, port=staged.http_port))
    port = free_port()
    running = subprocess.Popen(
        [
            program("prometheus", ["prometheus"]),
            f"--config.file={settings}",
            f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end(running)


def is_answered(prometheus_at: str, expression: str) -> bool:
    asked = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus_at}/api/v1/query?{asked}", timeout=10) as answer:
        return bool(json.load(answer)["data"]["result"])


def test_no_panel_is_empty(database_url: str, tmp_path: Path) -> None:
    questions = [
        expression for board in BOARDS for panel in board.panels for expression, _ in panel.queries
    ]
    with stage(tmp_path, database_url) as staged, watched(staged, tmp_path) as prometheus_at:
        staged.start_daemon()
        staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")

        def are_all_answered() -> bool:
            while questions and is_answered(prometheus_at, questions[0]):
                questions.pop(0)
            return not questions

        assert not is_answered(prometheus_at, "meterd_of_no_panel")
        staged.until("every panel shows something", are_all_answered, STANDSTILL_S)
