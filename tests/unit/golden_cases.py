"""The golden cases as values, for the tests of the pure rules and for those of the database."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from daemon.billing.tariff import Tariff, TariffVersion
from daemon.quality.register import Register

FILE = Path(__file__).with_name("golden_open.json")
CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads(FILE.read_text("utf-8"))["cases"]
}

SETTLED_FLAT = ("O01", "O06", "O07", "O09", "O10", "O20")
"""Cases of kind `settle` with readings of one point at one flat price a day (the ladder of O09 is
never reached)."""


@dataclass(frozen=True)
class FlatCase:
    """A `settle` case of one point: register and readings in the register's smallest step."""

    zone: ZoneInfo
    opening_fen: int
    ratio: Decimal
    register: Register
    tariff: Tariff
    readings: list[tuple[date, int]]
    steps: list[tuple[str, int, int]]
    final: dict[str, Any]

    @property
    def opening_day(self) -> date:
        return min(day for day, _ in self.readings)


def flat_case(name: str) -> FlatCase:
    case = CASES[name]
    given, expected = case["input"], case["expected"]
    (point,) = given["points"]
    decimals = point["decimals"]
    return FlatCase(
        zone=ZoneInfo(given["timezone"]),
        opening_fen=given["opening_balance_fen"],
        ratio=Decimal(point["ratio"]),
        register=Register(
            modulus=steps(point["modulus"], decimals),
            max_daily=Decimal(point["max_daily_kwh"]).scaleb(decimals),
            decimals=decimals,
        ),
        tariff=Tariff(
            tuple(
                TariffVersion(
                    "T",
                    date.fromisoformat(version["effective_from"]),
                    Decimal(version["energy"]["price"]),
                )
                for version in given["tariff_versions"]
            )
        ),
        readings=[
            (
                datetime.fromisoformat(event["at"]).date(),
                steps(event["registers"]["total"], decimals),
            )
            for event in given["events"]
        ],
        steps=[
            (step["status"], step["delta_fen"], step["balance_fen"]) for step in expected["steps"]
        ],
        final=expected["final"],
    )


def steps(value: str, decimals: int) -> int:
    scaled = Decimal(value).scaleb(decimals)
    assert scaled == int(scaled)
    return int(scaled)
