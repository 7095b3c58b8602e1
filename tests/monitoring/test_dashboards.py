"""The pages for Grafana are what the code makes, and promtool reads every question of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.monitoring.dashboards import BOARDS, FOLDER, Board, built
from tests.servers.packages import program


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_what_is_kept_is_what_the_code_makes(board: Board) -> None:
    kept = (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8")
    assert kept == built(board), "make dashboards"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_what_is_kept_is_of_grafanas_schema(board: Board) -> None:
    """Each key is one that its types know, with a value of its form: what they do not know is not
    told again."""
    kept = json.loads((FOLDER / f"{board.uid}.json").read_text(encoding="utf-8"))
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(kept))) == kept
    misspelt = kept | {"refesh": kept["refresh"]}
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(misspelt))) == kept


def test_no_page_is_left_of_another_time() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {board.uid for board in BOARDS}


def test_promtool_reads_every_question(tmp_path: Path) -> None:
    asked = [
        {"record": "asked:by:panel", "expr": expression, "labels": {"panel": f"{number}"}}
        for number, expression in enumerate(
            expression
            for board in BOARDS
            for panel in board.panels
            for expression, _ in panel.queries
        )
    ]
    file = tmp_path / "rules.json"
    file.write_bytes(msgspec.json.encode({"groups": [{"name": "panels", "rules": asked}]}))
    promtool = program("promtool", ["prometheus"])
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
