"""What `make why` plays with fifty seeds, with one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.why.scene import CAUSES, play

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]


SEEDS = range(1, 1 + int(os.environ.get("WHY_SEEDS", "1")))


@pytest.mark.parametrize("seed", SEEDS)
def test_each_cause_is_named_within_ten_seconds_of_its_symptom(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    assert sorted(it.cause for it in play(tmp_path, database_url, seed)) == sorted(CAUSES)
