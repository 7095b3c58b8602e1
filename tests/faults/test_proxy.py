"""The way that breaks does what it says: what is proven over it is worth no more than it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import Proxy, proxy_to


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that says what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_echo, args=(client,), daemon=True).start()


def _echo(client: socket.socket) -> None:
    with client, suppress(OSError):
        while heard := client.recv(1000):
            client.sendall(heard)


def call(way: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", way.port), timeout=10)


def says(client: socket.socket, text: bytes, within_s: float = 10) -> bytes | None:
    """What comes back; None in silence."""
    client.settimeout(within_s)
    client.sendall(text)
    try:
        return client.recv(1000)
    except TimeoutError:
        return None


def test_what_is_sent_while_it_hangs_arrives_when_it_is_mended(echo: tuple[str, int]) -> None:
    with proxy_to(echo) as way, call(way) as client:
        assert says(client, b"one") == b"one"
        way.hang()
        with call(way) as newcomer:
            assert says(client, b"two", within_s=0.2) is None
            assert says(newcomer, b"three", within_s=0.2) is None
            way.mend()
            client.settimeout(10)
            newcomer.settimeout(10)
            assert (client.recv(10), newcomer.recv(10)) == (b"two", b"three")


def test_what_was_stranded_stays_silent_and_new_connections_work(echo: tuple[str, int]) -> None:
    with proxy_to(echo) as way, call(way) as client:
        assert says(client, b"one") == b"one"
        way.strand()
        way.mend()
        assert says(client, b"two", within_s=0.2) is None
        with call(way) as newcomer:
            assert says(newcomer, b"three") == b"three"


@pytest.mark.parametrize("end", [Proxy.reset, Proxy.refuse])
def test_a_reset_is_an_error_and_no_end_of_file(
    echo: tuple[str, int], end: Callable[[Proxy], None]
) -> None:
    with proxy_to(echo) as way, call(way) as client:
        assert says(client, b"one") == b"one"
        end(way)
        with pytest.raises(ConnectionResetError):
            client.recv(10)


def test_a_server_that_resets_is_told_though_the_client_says_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        proxy_to(listening.getsockname()) as way,
        call(way) as client,
    ):
        client.sendall(b"one")
        server, _ = listening.accept()
        server.recv(10)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(10)


def test_a_refused_way_is_mended_at_the_same_port(echo: tuple[str, int]) -> None:
    with proxy_to(echo) as way:
        way.refuse()
        with pytest.raises(ConnectionRefusedError):
            call(way)
        way.mend()
        with call(way) as client:
            assert says(client, b"one") == b"one"


def test_a_half_closed_way_carries_only_what_the_client_says(echo: tuple[str, int]) -> None:
    with proxy_to(echo) as way, call(way) as client:
        assert says(client, b"one") == b"one"
        way.half_close()
        assert says(client, b"") == b""
        client.sendall(b"two")  # nobody refuses it


def test_a_slow_way_takes_its_time_each_way(echo: tuple[str, int]) -> None:
    with proxy_to(echo) as way, call(way) as client:
        way.delay_s = 0.3
        assert says(client, b"one", within_s=0.4) is None
        client.settimeout(10)
        assert client.recv(10) == b"one"
