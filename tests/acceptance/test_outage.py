"""A PostgreSQL that is stopped and started again under load: the bench's own verdict, of a short
outage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bench_outage import Load, outage
from tests.servers.packages import program
from tests.servers.postgres import embedded_server

pytestmark = pytest.mark.acceptance


def test_a_stopped_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    program("cc", ["gcc", "libc6-dev"])  # the meters are written in C
    # A server of its own: the others' tests go on meanwhile.
    with embedded_server() as server:
        found = outage(server, tmp_path, Load(lines=4, meters=20, delay_ms=50), 6.0, 1.0)
    assert found.waited > 0
    assert found.faults == []
