"""The way in for the commands of the machine."""

import asyncio
import json
import socket
import stat
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import pytest

from daemon.api import unix_socket
from daemon.api.asking import NAME, NotRunning, RequestFailed, SocketUnusable, ask
from daemon.api.unix_socket import USUAL, Limits, listen
from protocols.errors import MeterdError

LIMIT_S = 10


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="m") as name:
        yield Path(name)


class Answers:
    """What the requests of these tests mean."""

    def __init__(self) -> None:
        self.begun, self.ended = Event(), Event()

    async def __call__(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        match request.get("do"):
            case "count":
                for number in range(request["to"]):
                    yield {"number": number}
            case "tell":
                for text in request["texts"]:
                    yield {"text": text}
            case "refuse":
                raise MeterdError("not today")
            case "fail":
                raise ZeroDivisionError("oh")
            case "wait":
                yield {"begun": True}
                self.begun.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.ended.set()
            case "flood":
                try:
                    while True:
                        yield {"water": "x" * 1000}
                finally:
                    self.ended.set()


@contextmanager
def served(folder: Path, limits: Limits = USUAL) -> Iterator[Answers]:
    """A socket that is answered in another thread."""
    answers, loop = Answers(), asyncio.new_event_loop()
    with listen(folder) as listening:
        task = loop.create_task(unix_socket.serve(listening, answers, limits))
        thread = Thread(target=lambda: loop.run_until_complete(asyncio.wait({task})))
        thread.start()
        try:
            yield answers
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(LIMIT_S)
            loop.close()


def test_the_answers_come_one_by_one_and_end(folder: Path) -> None:
    with served(folder):
        assert list(ask(folder, {"do": "count", "to": 3})) == [
            *({"number": number} for number in range(3)),
            {"end": True},
        ]


def test_an_error_says_what_and_its_kind(folder: Path) -> None:
    with served(folder), pytest.raises(RequestFailed, match="not today") as caught:
        list(ask(folder, {"do": "refuse"}))
    assert caught.value.kind == "MeterdError"


def test_a_mistake_in_the_program_is_told_and_does_not_end_it(folder: Path) -> None:
    with served(folder):
        with pytest.raises(RequestFailed, match="ZeroDivisionError"):
            list(ask(folder, {"do": "fail"}))
        assert list(ask(folder, {"do": "count", "to": 0})) == [{"end": True}]


@pytest.mark.parametrize(
    "line",
    [b"nonsense\n", b"[1]\n", b"\xff\n", b'{"do":', b"[" * 100_000 + b"\n", b"9" * 5000 + b"\n"],
)
def test_what_is_no_request_is_refused(folder: Path, line: bytes) -> None:
    with served(folder), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(str(folder / NAME))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        assert "error" in json.loads(connection.makefile("rb").readline())


def test_hanging_up_takes_back_what_was_asked(folder: Path) -> None:
    with served(folder) as answers:
        with closing(ask(folder, {"do": "wait"})) as told:
            assert next(told) == {"begun": True}
            assert answers.begun.wait(LIMIT_S)
            assert not answers.ended.is_set()
        assert answers.ended.wait(LIMIT_S)


def test_who_does_not_read_is_hung_up_on(folder: Path) -> None:
    with (
        served(folder, Limits(unread_s=0.2)) as answers,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.connect(str(folder / NAME))
        connection.sendall(b'{"do": "flood"}\n')
        assert answers.ended.wait(LIMIT_S)


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_daemon(folder: Path) -> None:
    with served(folder):
        assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600
    assert not (folder / NAME).exists()
    with pytest.raises(NotRunning, match="meterd run"):
        next(ask(folder, {"do": "count", "to": 1}))


def test_what_a_killed_daemon_left_behind_is_no_hindrance(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(folder / NAME))
    with pytest.raises(NotRunning):
        next(ask(folder, {"do": "count", "to": 1}))
    with served(folder):
        assert list(ask(folder, {"do": "count", "to": 0})) == [{"end": True}]


def test_the_socket_of_a_living_daemon_is_not_taken_away(folder: Path) -> None:
    with served(folder):
        with pytest.raises(SocketUnusable, match="another meterd"), listen(folder):
            pass
        assert list(ask(folder, {"do": "count", "to": 0})) == [{"end": True}]


def test_a_path_that_is_too_long_for_a_socket_is_told(folder: Path) -> None:
    with (
        pytest.raises(SocketUnusable, match="choose a shorter data_directory"),
        listen(folder / ("x" * 100)),
    ):
        pass


def test_a_client_that_reads_late_gets_everything(folder: Path) -> None:
    texts = ["x" * 100_000] * 5
    with served(folder), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / NAME))
        connection.sendall(json.dumps({"do": "tell", "texts": texts}).encode() + b"\n")
        told = b""
        while chunk := connection.recv(10_000):
            told += chunk
            time.sleep(0.001)
    assert [json.loads(line) for line in told.splitlines()] == [
        *({"text": text} for text in texts),
        {"end": True},
    ]


def test_who_asks_nothing_is_hung_up_on(folder: Path) -> None:
    with served(folder, Limits(asked_within_s=0.1)), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(str(folder / NAME))
        connection.sendall(b'{"do": "cou')
        assert "nothing was asked" in json.loads(connection.makefile("rb").readline())["error"]


def test_a_request_without_end_is_refused(folder: Path) -> None:
    with served(folder), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(str(folder / NAME))
        with suppress(BrokenPipeError):
            for _ in range(4):
                connection.sendall(b" " * unix_socket.LONGEST_REQUEST)
        assert "error" in json.loads(connection.makefile("rb").readline())


def test_one_client_too_many_is_told_so(folder: Path) -> None:
    with served(folder, Limits(most_clients=1)), closing(ask(folder, {"do": "wait"})) as first:
        next(first)
        with pytest.raises(RequestFailed, match="ask again later"):
            list(ask(folder, {"do": "count", "to": 0}))


def test_who_was_refused_before_he_had_asked_is_told_why(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / NAME))
        listening.listen()

        def refuse() -> None:
            connection, _ = listening.accept()
            connection.sendall(b'{"error": "ask again later"}\n')
            connection.close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        asking_now = ask(tmp_path, {"do": "count", "much": "x" * 2**22})
        with pytest.raises(RequestFailed, match="ask again later"):
            next(asking_now)
        refusing.join()
