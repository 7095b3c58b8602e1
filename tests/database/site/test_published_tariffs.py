"""A published tariff in its file is all that a site needs to have it."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.load import LoadedSite, load_site
from config.tariff_files import load_tariff_file
from daemon.transactions.archive import take_over_site
from daemon.transactions.tariffs import tariffs_of_accounts
from storage.tariffs import account_on
from tests.database.site_files import SETTINGS, files_of
from tests.database.small_site import DAY, OPEN, Site, freeze, intact, meters, on, rows, store

PUBLISHED = sorted((Path(__file__).parents[2] / "data/tariffs").glob("*.toml"))


def site_with(tariffs: Path, folder: Path) -> LoadedSite:
    """A1, billed by the one tariff of this file, whose meter has the rates that it prices."""
    files_of(Site.of(1), folder)
    rates = " ".join(load_tariff_file(tariffs)[tariffs.stem].all[0].rates)
    (folder / "points.csv").write_text(f"point,account,rates\nP1,A1,{rates}\n")
    (folder / "meterd.toml").write_text(SETTINGS.replace("tariffs.toml", str(tariffs)))
    accounts = folder / "accounts.csv"
    accounts.write_text(accounts.read_text().replace(",T,", f",{tariffs.stem},"))
    return load_site(folder / "meterd.toml")


COSTS = {
    "beijing": {"energy": 488},
    "economy7": {"energy": 244},
    "eskom": {"energy": 1903, "tax": 285},
    "kerala": {"energy": 3250},
    "shanghai": {"energy": 493},
}
"""In fen, of 10 kWh, 6 of them of the first rate and 4 of the second one. By hand."""


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_site_starts_with_it_and_prices_its_accounts_by_it(
    database_url: str, tmp_path: Path, path: Path
) -> None:
    assert len(PUBLISHED) == 5

    async def story(connection: AsyncConnection[Any]) -> None:
        site = site_with(path, tmp_path)
        for _ in range(2):  # the second start finds all there
            await take_over_site(connection, site)
        account = await account_on(connection, "A1", date(2026, 3, 1))
        assert account is not None
        assert account.tariff == path.stem
        found = await tariffs_of_accounts(connection, {account.account_id: account.tariff})
        assert found[account.account_id].versions == load_tariff_file(path)[path.stem]
        assert await rows(connection, "SELECT state FROM tariff_version") == ["counts"]
        await connection.execute("UPDATE installation SET initial = '{0}'")
        meter = (await meters(connection))["P1"]
        for day, kwh in ((OPEN, (100, 60, 40)), (OPEN + DAY, (110, 66, 44))):
            total, *rates = map(Decimal, kwh)
            await store(connection, freeze(meter, day, total, rates=rates))
        posted = "SELECT component, sum(fen) FROM account_month, unnest(components, posted_fen) AS x (component, fen) GROUP BY 1"
        assert dict(await rows(connection, posted)) == COSTS[path.stem]
        assert await intact(connection)

    on(database_url, story)
