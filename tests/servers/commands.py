"""The installed program, and its commands without the price of loading it for each of hundreds.

`run("account", "list", cwd=folder)` is `subprocess.run` of the program with these words, `start` is
`subprocess.Popen`, for the daemon and for simulated meters. A process has loaded what commands load;
each command is a fork of it with arguments, a folder, an environment and standard streams of its
own. What loading itself does, what is heeded while Python starts, a terminal and a closed stream are
tried on the program, in tests/acceptance and tests/unit/cli.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

METERD = str(Path(sys.executable).with_name("meterd"))
WAIT_S = 60
LOADED = ("config", "daemon", "protocols", "storage")
MOST_BYTES = 2**20


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command, with nothing on its standard input. TimeoutExpired after WAIT_S."""
    done = run_for_bytes(*words, cwd=cwd)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def run_for_bytes(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """The same of a command that writes no text."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = start(*words, cwd=cwd, out=out.fileno(), err=err.fileno())
        try:
            code = command.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command.args, code, out.read(), err.read())


class Started:
    """A command that was started, as `subprocess.Popen` shows one."""

    def __init__(self, args: list[str], told: socket.socket) -> None:
        """`told`: says its number, and when it ended its exit code."""
        self.args = args
        self.pid = int(told.recv(100))
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """Its exit code, if it ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code when it ended; TimeoutExpired if that takes longer than these seconds."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._told.recv(100))
            self._told.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Unless it ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def start(*words: object, cwd: Path | None = None, out: int = 1, err: int = 2) -> Started:
    """Start one command, with nothing on its standard input. `out`, `err`: file descriptors."""
    command = [METERD, *map(str, words)]
    asked = json.dumps([command, str(cwd or Path.cwd()), dict(os.environ)]).encode()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(_loaded(), [asked], [theirs.fileno(), out, err])
    return Started(command, ours)


@cache
def _loaded() -> socket.socket:
    """To the process of which commands are forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        words = [sys.executable, "-m", __name__, str(theirs.fileno())]
        process = subprocess.Popen(words, pass_fds=[theirs.fileno()])
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def next_command(requests: socket.socket) -> None:
    """Returns in a fork for each command, with the streams and the surroundings that it has."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a command is not waited for
    while True:
        message, numbers, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            told, out, err = numbers
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            command = os.fork()
            if command != 0:
                os.write(told, str(command).encode())
                _, status = os.waitpid(command, 0)
                os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
                os._exit(0)
            os.close(told)
            become(message, (os.open(os.devnull, os.O_RDONLY), out, err))
            return
        for number in numbers:
            os.close(number)


def become(message: bytes, streams: tuple[int, int, int]) -> None:
    """Be a process that was started like that."""
    sys.argv, folder, environment = json.loads(message)
    Path("/proc/self/comm").write_text("meterd")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


def load() -> None:
    """All that a command may load of ours, and what that loads."""
    for name in LOADED:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(found.name)


def ended(command: Callable[[], None]) -> int:
    """The exit code of a command."""
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    from daemon.cli import main

    load()
    gc.freeze()
    next_command(socket.socket(fileno=int(sys.argv[1])))
    code = ended(main)
    sys.stdout.flush()
    sys.stderr.flush()
    # What was loaded is not taken apart: that would cost more than most commands.
    os._exit(code)
