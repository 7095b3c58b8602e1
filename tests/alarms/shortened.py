"""The rules of config/prometheus with every time in them shortened, so that an alarm that takes a
day to come and a day to go does both in a minute or two. Nothing else of them is changed."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from config import prometheus

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
HOLDS_S: Final = 5
"""For so long at most a fault has to last."""
WINDOW_S: Final = 60
"""So far at most it is looked back for an event."""
STARTS_S: Final = 180
"""And so far where it is minutes: longer than three starts take."""
AGE_S: Final = 20
"""What may be older by more than that before it is an alarm."""
AGES: Final = "600|300|3600|13 \\* 3600"
"""Ages in seconds, as they stand behind a `>`. That of a tick follows its period and stays."""
LINE_AGE: Final = r"(?<=longest_step_seconds, )300"
LINE_AGE_S: Final = 10
"""More than the lines' longest step, and half of what the program that signs may take."""
BACKUP_AGE: Final = r"2 \* 86400"
BACKUP_AGE_S: Final = 150
"""Backups are looked at once a minute."""


def shortened(rules: str) -> str:
    """The text of rules.yml with its times cut to those above."""
    rules = re.sub(r"(?<=for: )(\d+)([smhd])", partial(_cut, HOLDS_S), rules)
    rules = re.sub(r"(?<=\[)(\d+)([hd])(?=\])", partial(_cut, WINDOW_S), rules)
    rules = re.sub(r"(?<=\[)(\d+)(m)(?=\])", partial(_cut, STARTS_S), rules)
    for ages, most_s in ((AGES, AGE_S), (BACKUP_AGE, BACKUP_AGE_S)):
        rules = re.sub(rf"(?<=> )({ages})(?!\d)", str(most_s), rules)
    return re.sub(LINE_AGE, str(LINE_AGE_S), rules)


def _cut(most_s: int, written: re.Match[str]) -> str:
    return f"{min(int(written[1]) * UNITS_S[written[2]], most_s)}s"


def alerts() -> list[str]:
    """The names of all, in the order of the rules."""
    rules = prometheus.RULES.read_text(encoding="utf-8")
    return re.findall(r"- alert: (\w+)", rules)
