"""A payment that is taken in while the database or the reader of the output is not as it should be:
one line of words, and it is posted once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.database.cli.test_document_commands import Place
from tests.servers.commands import METERD

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
Trouble = Callable[[str], AbstractContextManager[None]]


def statement(url: str, text: str) -> None:
    with psycopg.connect(make_conninfo(url, user="postgres"), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(text.encode())


@contextmanager
def read_only(url: str) -> Iterator[None]:
    name = conninfo_to_dict(url)["dbname"]
    statement(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    yield
    statement(url, f"ALTER DATABASE {name} RESET default_transaction_read_only")


@contextmanager
def without_privilege(url: str) -> Iterator[None]:
    statement(url, "REVOKE INSERT ON journal FROM meterd")
    yield
    statement(url, "GRANT INSERT ON journal TO meterd")


@contextmanager
def broken_amid(url: str) -> Iterator[None]:
    """Whoever waits for an account is thrown out."""
    locked = Event()

    def throw_out() -> None:
        with psycopg.connect(make_conninfo(url, user="postgres")) as connection:
            connection.execute("LOCK TABLE ledger_account")
            locked.set()
            thrown_out = 0
            while not thrown_out:
                thrown_out = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks "
                    "WHERE relation = 'ledger_account'::regclass AND NOT granted"
                ).rowcount

    throwing = Thread(target=throw_out)
    throwing.start()
    locked.wait()
    yield
    throwing.join()


def nothing_wrong(url: str) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    place = Place(tmp_path, database_url)
    place.restart()
    place.read("P1", 10, 12)
    return place


def paid(place: Place, to: str = "") -> subprocess.CompletedProcess[str]:
    """Ten yuan with one key, standard output led somewhere."""
    line = f'"{METERD}" topup A1 10 --key R1 -c "{place.folder}/meterd.toml" {to}; exit $?'
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def posted(place: Place) -> int:
    ((payments,),) = place.ask("SELECT count(*) FROM journal WHERE key = 'pay:counter:R1'")
    return int(payments)


@pytest.mark.parametrize(
    ("trouble", "to", "code", "words", "times"),
    [
        (read_only, "", 1, "meterd: the database cannot do it now: cannot execute", 0),
        (without_privilege, "", 1, "meterd: the database cannot do it now: permission denied", 0),
        (broken_amid, "", 1, "meterd: the connection to the database broke (terminating", 0),
        (nothing_wrong, "> /dev/full", 1, "meterd: the payment is posted, but", 1),
        (nothing_wrong, "> >(exec true)", 1, "meterd: the payment is posted, but", 1),
        (nothing_wrong, ">&-", 0, "", 1),
        (nothing_wrong, "<&- >&- 2>&-", 0, "", 1),
        (nothing_wrong, "> /dev/full 2> /dev/full", 1, "", 1),
    ],
)
def test_it_is_posted_once_and_what_went_wrong_is_one_line(
    place: Place, trouble: Trouble, to: str, code: int, words: str, times: int
) -> None:
    with trouble(place.url):
        first = paid(place, to)
    assert (first.returncode, "Traceback" in first.stderr) == (code, False), first.stderr
    assert first.stderr.startswith(words)
    assert first.stderr.count("\n") == bool(words)
    assert posted(place) == times
    again = paid(place)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("already posted" if times else "posted")
    assert posted(place) == 1
