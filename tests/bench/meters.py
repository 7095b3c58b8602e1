"""The simulated meters of `meters.c` as a process of their own, and what they must answer.

with Meters("tcp", ports=2) as meters:
    connect(meters.told["ports"])
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SOURCE = Path(__file__).with_name("meters.c")
COMPILE = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
SECONDS_A_DAY = 86_400


class Meters:
    """One process of simulated meters. `told`: where they are (`ports`, `devices`), or how many
    `registered`; after the end `counted` says what they did: answered, connected, dropped,
    collisions."""

    def __init__(self, mode: str, *flags: str, **options: int) -> None:
        named = [
            word
            for name, value in options.items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        self._command = [str(program()), mode, *flags, *named]
        self.told: dict[str, Any] = {}
        self.counted: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.start()
        self.wait()
        return self

    def start(self) -> None:
        """Without waiting: terminals are not ready before somebody listens to them."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait(self) -> None:
        """Until they are ready."""
        assert self._process.stdout is not None
        self.told = json.loads(self._process.stdout.readline())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._process.terminate()
        printed, _ = self._process.communicate(timeout=10)
        self.counted = json.loads(printed.splitlines()[-1])


def program() -> Path:
    """The compiled simulator, kept in the user's cache and made anew when its source changed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meterd" / "bench"
    target = cache / f"meters-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = target.with_suffix(f".{os.getpid()}")
        subprocess.run([*COMPILE, "-o", str(made), str(SOURCE)], check=True)
        made.replace(target)
    return target


def address_of(number: int) -> str:
    """The address of the meter with a number; spread, so that no digit is constant and 68H, 16H and
    FEH come by."""
    return f"{number * 7_368_787 % 10**12:012d}"


def day_now(zone_min: int = 0) -> int:
    """Today, counted from 1970-01-01."""
    return int(time.time() + 60 * zone_min) // SECONDS_A_DAY


def energies(address: str, day: int) -> tuple[int, ...]:
    """What the daily freeze of a day shows: total and four tariffs in 0.01 kWh."""
    step = int(address) % 1_000_000
    tariffs = [tariff * step + day for tariff in range(1, 5)]
    return (sum(tariffs), *tariffs)


def modbus_registers(unit: int, first: int, count: int) -> list[int]:
    """What holding registers show."""
    return [(1000 * unit + first + number) % 65_536 for number in range(count)]
