"""SIGKILL of the installed daemon inside its transactions, at chosen statements and not by luck:
what it was storing or settling is there once when it has run again."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.stage import ADDRESSES, PATIENCE_S, Stage, stage
from tests.acceptance.test_sigkill import ledger_faults
from tests.servers.breaking_wire import Wire, breaking_wire
from tests.servers.postgres import Server

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
FEW_DAYS = 4
OWED = FEW_DAYS * len(ADDRESSES)


@dataclass(frozen=True)
class Moment:
    """A statement of a transaction that has said `mark`; before the server gets it, or after."""

    mark: str
    statement: str
    is_answered: bool = False


STORED = "COPY reading"
SETTLED = "COPY link"
MOMENTS = (
    # T1: raw rows are not there yet, are there, are judged, and are committed unknown to the daemon.
    Moment("begin_batch", "begin_batch", is_answered=True),
    Moment(STORED, STORED, is_answered=True),
    Moment(STORED, "COMMIT"),
    Moment(STORED, "COMMIT", is_answered=True),
    # T2: the marks are taken, money is posted, and is committed unknown to the daemon.
    Moment("DELETE FROM to_settle", "DELETE FROM to_settle", is_answered=True),
    Moment(SETTLED, SETTLED, is_answered=True),
    Moment(SETTLED, "COMMIT"),
    Moment(SETTLED, "COMMIT", is_answered=True),
)


class Executioner:
    """Kills the daemon at a moment, once."""

    def __init__(self, wire: Wire, staged: Stage) -> None:
        self._staged = staged
        self._said: defaultdict[int, list[str]] = defaultdict(list)
        """By connection, since its transaction began."""
        self._moment: Moment | None = None
        self._done = threading.Event()
        wire.on_statement = self._on_statement
        wire.on_answer = self._on_answer

    def kill_at(self, moment: Moment) -> None:
        """Start the daemon, and wait until it has been killed there."""
        self._done.clear()
        self._moment = moment
        self._staged.start_daemon()
        assert self._done.wait(PATIENCE_S), f"never came to {moment}\n{self._staged.log()[-3000:]}"

    def _on_statement(self, connection: int, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self._said[connection].clear()
        self._said[connection].append(statement)
        self._look(connection, statement, is_answered=False)

    def _on_answer(self, connection: int, statement: str) -> None:
        self._look(connection, statement, is_answered=True)

    def _look(self, connection: int, statement: str, *, is_answered: bool) -> None:
        moment = self._moment
        if (
            moment is not None
            and moment.is_answered == is_answered
            and moment.statement in statement
            and any(moment.mark in said for said in self._said[connection])
        ):
            self._moment = None
            self._staged.kill_daemon()
            self._done.set()


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with (
        tempfile.TemporaryDirectory(prefix="wire-", dir="/tmp") as folder,
        breaking_wire(server, Path(folder)) as found,
    ):
        yield found


@pytest.mark.timeout(600)
def test_killed_inside_each_transaction_everything_is_there_once(
    wire: Wire, database_url: str, tmp_path: Path
) -> None:
    name = str(conninfo_to_dict(database_url)["dbname"])
    with stage(tmp_path, wire.url(name), days=FEW_DAYS) as staged:
        executioner = Executioner(wire, staged)
        for moment in MOMENTS:
            executioner.kill_at(moment)
        staged.start_daemon()
        staged.until("every slot is filled and settled", lambda: staged.slots_missing() == 0)
        assert staged.balance_faults({}) == []
        assert ledger_faults(staged) == 0
        assert staged.ask("SELECT count(*) FROM reading WHERE kind = 1") == [(OWED,)]
        assert staged.ask("SELECT count(*) FROM dead_letter") == [(0,)]
        staged.until("the last one is ready", lambda: staged.health()["status"] == "ok")
        assert staged.stop_daemon() == 0
