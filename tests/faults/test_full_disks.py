"""Disks without room, in short: `make faults` fills them for longer."""

from __future__ import annotations

import pytest

from tests.faults import database_faults as faults
from tests.faults.database_faults import Fault
from tests.faults.scene import own_database
from tests.faults.small_disk import MayNotMount, small_disk
from tests.faults.trial import heal
from tests.servers.postgres import embedded_server

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("fault", [faults.full_disk, faults.full_disk_of_the_daemon])
def test_what_came_while_a_disk_was_full_is_there_once(fault: Fault) -> None:
    try:
        with (
            small_disk(400) as of_server,
            small_disk(64) as of_daemon,
            embedded_server(disk=of_server) as server,
            own_database(server, "filled") as url,
        ):
            assert heal(server, url, of_daemon / "scene", fault, lasts_s=3).untruths == []
    except MayNotMount as why:
        pytest.skip(f"no disk may be mounted: {why}")
