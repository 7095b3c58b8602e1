"""The serial ports of this machine, by names that survive unplugging."""

from __future__ import annotations

import os
import re
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
    """`name`: the stable one if there is one, else `device`. `what`: the adapter as it calls
    itself."""

    name: str
    device: str
    what: str


def serial_ports() -> list[SerialPort]:
    """Those that are there."""
    return [
        SerialPort(stable_name(port.device) or port.device, port.device, _what(port.description))
        for port in sorted(list_ports.comports())
    ]


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
    advice = (
        f"write {stable}"
        if stable
        else "`meterd ports` shows stable names when the adapter is plugged in"
    )
    return f"{device} may be another adapter after the next start; {advice}"


def holders(device: str, processes: Path = Path("/proc")) -> list[str]:
    """Who has the port open, as far as we may see it: name and number of each process."""
    real, found = os.path.realpath(device), []
    for process in processes.iterdir():
        with suppress(OSError):  # it ended, or is somebody else's
            if process.name.isdigit() and any(
                os.path.realpath(it) == real for it in (process / "fd").iterdir()
            ):
                found.append(f"{(process / 'comm').read_text().strip()} {process.name}")
    return sorted(found)


def _what(description: str) -> str:
    return "" if description == "n/a" else description
