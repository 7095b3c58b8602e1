"""A run as a scenario: what was done to a bench from outside, in a file that does it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from config.toml_lines import locate
from config.toml_writing import as_toml


class Recording:
    """Writes the scenario at once, and each change when it is done: a bench that dies leaves all
    that was done to it.

    `start` and `speed` are those of this run."""

    def __init__(self, path: Path, scenario_text: str, start: datetime, speed: Decimal) -> None:
        """FileExistsError where a file is: what somebody recorded is not written over."""
        self._file = path.open("x", encoding="utf-8")
        self._file.write(f"start = {start.isoformat()}\nspeed = {speed}\n")
        self._file.write(_without_start(scenario_text).rstrip("\n") + "\n")
        self._file.flush()

    def change(self, after: timedelta, request: Mapping[str, Any]) -> None:
        """One more, so long after the start."""
        after_s = Decimal(after // timedelta(microseconds=1)).scaleb(-6)
        lines = [f"{key} = {as_toml(value)}" for key, value in request.items() if value is not None]
        table = "\n".join(["[[actions]]", f"after_s = {after_s}", *lines])
        self._file.write(f"\n{table}\n")
        self._file.flush()

    def close(self) -> None:
        """No more."""
        self._file.close()


def _without_start(text: str) -> str:
    """The scenario without its own start and speed, which a run may have had otherwise."""
    numbers = locate(text)
    own = {numbers.get(("start",)), numbers.get(("speed",))}
    lines = text.removeprefix("\ufeff").split("\n")
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in own)
