"""The serial ports of this machine, by names that survive unplugging."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serial.tools import list_ports

BY_ID: Final = Path("/dev/serial/by-id")
UNSTABLE: Final = re.compile(r"/dev/tty(USB|ACM)\d+")
"""Numbered in the order in which they were plugged in."""


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A port of this machine.

    `name`: the stable one if there is one, else `device`; `what`: the adapter as it calls
    itself."""

    name: str
    device: str
    what: str


@dataclass(frozen=True, slots=True)
class PortUse:
    """A port, the lines of a site that use it, and which processes have it open."""

    port: SerialPort
    lines: list[str]
    open_by: list[str]


def serial_ports() -> list[SerialPort]:
    """The ports of this machine that are there."""
    return [
        SerialPort(stable_name(port.device) or port.device, port.device, _what(port.description))
        for port in sorted(list_ports.comports())
    ]


def ports_in_use(lines: Sequence[tuple[str, str]]) -> list[PortUse]:
    """The ports that are there, then those that only a line names. `lines`: (name, device)."""
    ports = serial_ports()
    ports += _not_there([device for _, device in lines], ports)
    found = []
    for port in ports:
        real = os.path.realpath(port.device)
        users = [name for name, device in lines if os.path.realpath(device) == real]
        found.append(PortUse(port, users, holders(port.device)))
    return found


def _not_there(devices: Iterable[str], ports: Iterable[SerialPort]) -> list[SerialPort]:
    """A line may use a pseudo-terminal, which is there and in no list, or what was unplugged."""
    known = {os.path.realpath(port.device) for port in ports}
    found = []
    for device in dict.fromkeys(devices):
        real = os.path.realpath(device)  # lines name links, the system names devices
        if real not in known:
            what = "" if Path(device).exists() else "not there: unplugged?"
            found.append(SerialPort(stable_name(device) or device, real, what))
    return found


def stable_name(device: str, by_id: Path = BY_ID) -> str | None:
    """The name of a port in /dev/serial/by-id; None if it has none."""
    links = sorted(by_id.iterdir()) if by_id.is_dir() else []
    return next(
        (str(link) for link in links if os.path.realpath(link) == os.path.realpath(device)), None
    )


def is_unstable(device: str) -> bool:
    """True for a name that may be another adapter's after the next start."""
    return UNSTABLE.fullmatch(device) is not None


def unstable_in_words(device: str, by_id: Path = BY_ID) -> str:
    """What to write instead of such a name."""
    stable = stable_name(device, by_id)
    advice = "`meterd ports` shows stable names when the adapter is plugged in"
    if stable is not None:
        advice = f"write {stable}"
    return f"{device} may be another adapter after the next start; {advice}"


def holders(device: str, processes: Path = Path("/proc")) -> list[str]:
    """Who has the port open, as far as we may see it: name and number of each process."""
    real = os.path.realpath(device)
    found = []
    for process in processes.iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):  # it ended, or belongs to another user
            files = (process / "fd").iterdir()
            if any(os.path.realpath(file) == real for file in files):
                name = (process / "comm").read_text().strip()
                found.append(f"{name} {process.name}")
    return sorted(found)


def _what(description: str) -> str:
    return "" if description == "n/a" else description
