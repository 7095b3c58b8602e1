"""What is not charged yet shows in the account, as an estimate."""

import json
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.raw_rows import keep_current
from tests.database.cli.test_document_commands import Place
from tests.database.small_site import DAY, TODAY, ZONE, meters, on
from tests.database.transactions.test_current import current

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]


def shown(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.done("account", "show", "A1", "--json"))
    return found


def test_an_account_shows_what_is_not_charged_yet(database_url: str, tmp_path: Path) -> None:
    place = Place(tmp_path, database_url)
    place.restart()
    yesterday = TODAY - DAY
    place.read("P1", 0)
    place.read_on("P1", yesterday - DAY, "400")
    place.read_on("P1", yesterday, "410")
    settled = shown(place)
    assert (settled["settlement"], settled["estimate"]) == ("daily", None)
    at = datetime.combine(yesterday, time(14), ZONE).astimezone(UTC)

    async def told(connection: AsyncConnection[Any]) -> None:
        meter = (await meters(connection))["P1"]
        await keep_current(connection, current(meter, at, "412.60"), ZONE)

    on(database_url, told)
    found = shown(place)
    assert found["balance_fen"] == settled["balance_fen"]
    point = {"point": "P1", "at": found["estimate"]["points"][0]["at"], "reason": None}
    assert found["estimate"] == {
        "balance_fen": settled["balance_fen"] - 130,
        "charge_fen": 130,
        "points": [point],
    }
    assert datetime.fromisoformat(point["at"]) == at
    words = place.done("account", "show", "A1")
    yuan = Decimal(settled["balance_fen"] - 130).scaleb(-2)
    assert f"estimated balance {yuan} yuan: 1.30 yuan are not charged yet" in words

    place.edit("accounts.csv", "agreement\n", "agreement,settlement\n")
    place.edit("accounts.csv", "signed\n", "signed,month\n")
    place.edit("accounts.csv", "A2,T,2026-03-01,signed", "A2,T,2026-03-01,signed,daily")
    assert "A1\tsettlement\tdaily\tmonth" in place.done("account", "import", "--dry-run")
    place.done("account", "import", "--actor", "li")
    assert "settlement: month" in place.done("account", "show", "A1")
