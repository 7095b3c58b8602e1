"""What may happen to a database, in short: `make faults` has all of it, and for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import database_faults as faults
from tests.faults.database_faults import Fault
from tests.faults.trial import heal, stop
from tests.servers.postgres import Server

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("fault", [faults.hang, faults.reset, faults.refuse])
def test_after_a_fault_of_the_way_to_the_database_all_is_there_once(
    embedded_server: Server, tmp_path: Path, fault: Fault
) -> None:
    assert heal(embedded_server, tmp_path, fault, lasts_s=6, seed=1).untruths == []


@pytest.mark.parametrize("fault", [faults.hang])
def test_what_was_read_before_a_stop_in_a_fault_is_there_after_the_next_start(
    embedded_server: Server, tmp_path: Path, fault: Fault
) -> None:
    assert stop(embedded_server, tmp_path, fault, lasts_s=3, seed=1).untruths == []
