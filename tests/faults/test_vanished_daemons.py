"""A daemon that vanished or stands still loses the site to another one, and knows it afterwards."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.ownership.hold import LEASE_S
from tests.acceptance.stage import end
from tests.faults.scene import Scene, scene
from tests.faults.truth import untruths
from tests.servers import commands
from tests.servers.commands import Started
from tests.servers.ports import free_port
from tests.servers.postgres import Server

pytestmark = [
    pytest.mark.acceptance,
    # It is about processes and their connections: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
TAKEN_WITHIN_S = LEASE_S + 180
"""Of which most is for a busy machine to start it."""


@pytest.fixture
def played(server: Server, database_url: str, tmp_path: Path) -> Iterator[Scene]:
    with scene(server, database_url, tmp_path) as played:
        played.staged.start_daemon()
        played.staged.until("its hold ends with it", lambda: is_leased(played))
        yield played


def is_leased(played: Scene) -> bool:
    asked = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"
    return bool(played.staged.ask(asked, "%idle_session_timeout%"))


@contextmanager
def another(played: Scene) -> Iterator[tuple[Started, int]]:
    """A second daemon as on another machine, with a way of its own, and its HTTP port."""
    staged = played.staged
    port = free_port()
    (staged.folder / "own-url").write_text(staged.url)
    text = staged.site.read_text().replace(f":{staged.http_port}", f":{port}")
    text = text.replace('"database-url"', '"own-url"').replace('"data"', '"other-data"')
    site = staged.folder / "other.toml"
    site.write_text(text)
    with (staged.folder / "other.log").open("wb") as log:
        daemon = commands.start("run", "-c", site, err=log.fileno())
    try:
        yield daemon, port
    finally:
        end(daemon)


def database_of(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return str(json.load(answer)["database"])


def it_ends_and_names(played: Scene, other: Started) -> None:
    assert played.staged.daemon is not None
    assert played.staged.daemon.wait(60) == 1
    named = rf"another meterd acts on this database \(meterd {other.pid} on \S+, database process"
    assert re.search(named, played.staged.log())


def test_a_daemon_that_stands_still_is_replaced_and_does_not_act_when_it_goes_on(
    played: Scene,
) -> None:
    staged = played.staged
    assert staged.daemon is not None
    staged.daemon.send_signal(signal.SIGSTOP)
    try:
        with another(played) as (other, port):
            staged.until("it took over", lambda: database_of(port) == "ok", TAKEN_WITHIN_S)
            staged.daemon.send_signal(signal.SIGCONT)
            it_ends_and_names(played, other)
            staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
            assert untruths(staged, readers=2) == []
    finally:
        staged.daemon.send_signal(signal.SIGCONT)


def test_a_daemon_whose_network_is_gone_is_replaced_and_ends_when_it_is_back(
    played: Scene,
) -> None:
    staged = played.staged
    played.database.hang()
    with another(played) as (other, port):
        staged.until("it took over", lambda: database_of(port) == "ok", TAKEN_WITHIN_S)
        played.database.mend()
        it_ends_and_names(played, other)
        staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
        assert untruths(staged, readers=2) == []
