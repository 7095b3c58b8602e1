"""What may happen to a database, in short: `make faults` has all of it, and for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import database_faults as faults
from tests.faults.database_faults import Fault
from tests.faults.trial import heal, stop
from tests.servers.postgres import Server

pytestmark = [
    pytest.mark.acceptance,
    # It is about connections: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]


@pytest.mark.parametrize(
    "fault", [faults.fail_over, faults.half_close, faults.read_only_in_silence, faults.refuse]
)
def test_after_a_fault_of_the_database_all_is_there_once(
    server: Server, database_url: str, tmp_path: Path, fault: Fault
) -> None:
    assert heal(server, database_url, tmp_path, fault, lasts_s=3).untruths == []


def test_what_was_read_before_a_stop_in_a_fault_is_there_after_the_next_start(
    server: Server, database_url: str, tmp_path: Path
) -> None:
    assert stop(server, database_url, tmp_path, faults.hang, lasts_s=3).untruths == []
