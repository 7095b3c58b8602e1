"""A real MQTT broker for the tests: apt's mosquitto on a free port, with its clients as foreign
peers.

with Mosquitto(folder) as broker:
    broker.publish("a/b", "payload"); broker.kill(); broker.start()
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.servers import packages
from tests.servers.ports import free_port

PACKAGES = ["mosquitto", "mosquitto-clients"]
START_TIMEOUT_S = 10.0
LISTENER = "listener {port} 127.0.0.1\nallow_anonymous true\n"
# Sessions and what waits for those who are away are on the disk at once.
KEPT = "persistence true\npersistence_location {folder}/\nautosave_interval 1\nautosave_on_changes true\n"


class NoMosquitto(Exception):
    """The broker does not start; the message ends with what it logged."""


def program(name: str) -> str:
    """The path of one of the programs; the packages are installed if it is missing."""
    return packages.program(name, PACKAGES)


class Mosquitto:
    """One broker with its own configuration. What it keeps survives `kill`; it listens at the same
    port again."""

    def __init__(
        self,
        folder: Path,
        settings: str = LISTENER + KEPT,
        log: str = "broker.log",
        port: int | None = None,
    ) -> None:
        """`port`: where others expect it; a free one otherwise."""
        self.folder = folder
        self.port = port or free_port()
        self._configuration = folder / "mosquitto.conf"
        # Root's broker becomes another user, who may not look into root's folders.
        user = "user root\n" if os.geteuid() == 0 else ""
        self._configuration.write_text(user + settings.format(port=self.port, folder=folder))
        self._log = folder / log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it takes connections."""
        with self._log.open("ab") as log:
            command = [program("mosquitto"), "-v", "-c", str(self._configuration)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        give_up = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise NoMosquitto(
                        f"the broker did not start:\n{self._log.read_text()}"
                    ) from error
                time.sleep(0.02)
            else:
                return

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it at once, as a lost machine would. Sessions survive, but mosquitto loses what was
        under way to them."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order: it writes down everything."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def wait_until_kept(self, *what: str) -> None:
        """Until these words are on its disk: mosquitto writes a moment after it has promised."""
        kept = self.folder / "mosquitto.db"
        give_up = time.monotonic() + START_TIMEOUT_S
        while not kept.exists() or not all(word.encode() in kept.read_bytes() for word in what):
            assert time.monotonic() < give_up, f"{what} not kept\n{self.log()}"
            time.sleep(0.01)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def client(self, name: str, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run mosquitto_pub or mosquitto_sub against this broker."""
        command = [program(name), "-h", "127.0.0.1", "-p", str(self.port), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, **how
        )

    def publish(self, topic: str, payload: str | bytes, *arguments: str) -> None:
        """As a foreign peer with QoS 1."""
        text = payload.decode() if isinstance(payload, bytes) else payload
        done = self.client("mosquitto_pub", "-q", "1", "-t", topic, "-m", text, *arguments)
        assert done.returncode == 0, done.stderr

    def subscriber(self, *arguments: str) -> subprocess.Popen[str]:
        """A running mosquitto_sub; it is there when this returns."""
        before = self.log().count("Received SUBSCRIBE")
        command = [program("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(self.port), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        give_up = time.monotonic() + START_TIMEOUT_S
        while self.log().count("Received SUBSCRIBE") == before:
            assert process.poll() is None, self.log()
            assert time.monotonic() < give_up, self.log()
            time.sleep(0.01)
        return process


def plugin() -> str:
    """The path of the plugin that refuses subscriptions. The plain access list of mosquitto 2.0.11
    never does: it grants them and then delivers nothing."""
    program("mosquitto")
    listed = subprocess.run(
        ["dpkg", "-L", "mosquitto"], capture_output=True, text=True, check=True
    ).stdout.split()
    return next(path for path in listed if path.endswith("/mosquitto_dynamic_security.so"))
