"""Scenes of faults that are shell scripts, tried with the installed program.

Run it: `python -m tests.faults.scenes FOLDER/*.sh`. Each runs in an empty folder of its own, with
METERD (the program's path), and what its text names: DBURL (a database of its own whose user may do
anything), a broker at port 23883, faketime, the example site. What it prints is shown, and judged
where it is known what is right; the exit code is 1 where that is not what came."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.servers.commands import METERD
from tests.servers.mosquitto import LISTENER, Mosquitto
from tests.servers.packages import SEARCH_PATH, install
from tests.servers.postgres import Server, embedded_server

EXAMPLE: Final = Path(__file__).parents[2] / "config" / "example"
BROKER_PORT: Final = 23883
NEEDS_DATABASE: Final = re.compile("# needs:.*DBURL")
PATIENCE_S: Final = 400.0
DAYS: Final = 2
"""Of the read-only scene, and not the 31 of its reloads: while nothing can be written they are
refused."""
MOST_QUESTIONS: Final = 40
MOST_LINES: Final = 60
"""Of the log of one meter that is not there."""

Judge = Callable[[str], list[str]]
"""What is wrong with what a scene printed."""


def answers_then_closes(said: str) -> list[str]:
    slow = "closeafter: up/down 3/2 in 40 s; 0 missing, 0 withheld"
    return [] if slow in said else [f"not as it should be: {slow}"]


def clock_steps_back(said: str) -> list[str]:
    ticks = [
        float(it) for it in re.findall(r'outcome="ok",tick="sweep"} (\S+)$', said, re.MULTILINE)
    ]
    if len(ticks) < 2 or ticks[-1] <= ticks[-2]:
        return [f"ticks stand still: {ticks}"]
    return []


def midnight_floods(said: str) -> list[str]:
    found = re.search(r"questions: (\d+); log lines: (\d+)", said)
    if found is None:
        return ["no figures"]
    questions, lines = map(int, found.groups())
    if questions > MOST_QUESTIONS or lines > MOST_LINES:
        return [f"{questions} questions and {lines} lines for one meter that is not there"]
    return []


def database_turns_read_only(said: str) -> list[str]:
    meanwhile, _, after = said.partition("a minute after it is writable again:")
    wrong = []
    if '"database":"ok"' in meanwhile.replace(" ", ""):
        wrong.append("health is content while nothing can be stored")
    if "\n0\n" not in meanwhile:
        wrong.append("readings were buried, or tasks died")
    stored = re.search(r"^\d+$", after, re.MULTILINE)
    if stored is None or int(stored[0]) < DAYS:
        wrong.append("not all is stored a minute after")
    if '"status":"ok"' not in after.replace(" ", ""):
        wrong.append("health is not content a minute after")
    return wrong


def one_value_is_wrong(said: str) -> list[str]:
    withheld = re.findall(r"480\.00", said)
    return [] if withheld else ["the wrong value is not the one that is named"]


def keys_of_payments(said: str) -> list[str]:
    _, _, *others = said.strip().splitlines()
    return [f"accepted: {line}" for line in others if not line.startswith("Error: ")]


JUDGES: Final[dict[str, Judge]] = {
    "answer_then_close": answers_then_closes,
    "clock_steps_back": clock_steps_back,
    "midnight_exception_flood": midnight_floods,
    "read_only_database": database_turns_read_only,
    "one_wrong_value": one_value_is_wrong,
    "payment_keys": keys_of_payments,
}


@contextmanager
def scratch(server: Server) -> Iterator[str]:
    """The URL of an empty database, as who may do anything with it."""
    name = f"scene_{time.monotonic_ns()}"
    server.execute(f"CREATE DATABASE {name}")
    try:
        yield server.url(name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """The daemon of this site; it knows the accounts."""
    command = [METERD, "run", "-c", str(folder / "meterd.toml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        while "event=ready" not in (line := daemon.stderr.readline()):
            assert line, "the daemon of the example site ended"
        # What it says further is for nobody.
        threading.Thread(target=daemon.stderr.read, daemon=True).start()
        try:
            yield
        finally:
            daemon.terminate()


def played(server: Server, script: Path, folder: Path) -> str:
    """What a scene prints in this empty folder."""
    text = script.read_text()
    with ExitStack() as opened:
        if "example site" in text:
            shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
        if "mosquitto" in text:
            opened.enter_context(Mosquitto(folder, LISTENER, port=BROKER_PORT))
        environment = os.environ | {"METERD": METERD, "PATH": SEARCH_PATH}
        if NEEDS_DATABASE.search(text):
            environment["DBURL"] = opened.enter_context(scratch(server))
        if "example site" in text:
            opened.enter_context(running(folder))
        done = subprocess.run(
            ["bash", str(script.resolve())],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    return done.stdout


def main() -> None:
    """Play them one after the other; their ports are their own."""
    install(["faketime", "libfaketime", "mosquitto", "mosquitto-clients", "curl"])
    wrong = []
    with embedded_server() as server:
        for script in map(Path, sys.argv[1:]):
            if script.stem == "common":
                continue
            folder = Path(tempfile.mkdtemp(prefix="meterd-", dir="/tmp"))
            said = played(server, script, folder)
            print(f"== {script.stem}\n{said}", flush=True)
            judge = JUDGES.get(script.stem)
            found = [] if judge is None else judge(said)
            wrong += [f"{script.stem}: {it} (in {folder})" for it in found]
            if not found:
                shutil.rmtree(folder)
    for words in wrong:
        print(f"WRONG: {words}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
