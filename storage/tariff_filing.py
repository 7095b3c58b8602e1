"""What the files say of tariffs becomes versions: some count at once, the others wait.

With a tariff that nobody was billed by, the files may do as they like. Later each version waits
for a second person, and one that use was billed by stays. A form is never changed: another one is
another row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal, NamedTuple

from storage.documents import Said, add_document, add_review
from storage.settling import ALL_DAYS, Days, mark_accounts
from storage.sql import Connection, Row, fetch_records, fetch_rows, load

SQL = load("tariff_filing")
KIND: Final = "tariff_version"
"""Of the document by which a version waits."""
STAYS: Final = (
    "tariff {0} from {1}: use is billed by it, so it stays as it is; give other prices a version "
    "from another day, which counts when a second person approves it"
)
MAY_NOT_GO: Final = (
    "tariff {0} from {1} counts, and use is billed by the tariff: it stays in the file; give it "
    "the prices that are to go on, which count when a second person approves them"
)
REJECTED: Final = (
    "tariff {0} from {1} was rejected and does not count: take it out of the file, or give it "
    "another id to ask once more"
)
State = Literal["counts", "waits", "rejected", "withdrawn"]


class _Differing(NamedTuple):
    """A version of which the files say something else than what counts, or that waits.

    `is_told`: by the files, which say what counts or waits where `is_counting` or `is_waiting`.
    `is_used`: use was billed by what counts; `is_billed`: by any version of the tariff."""

    tariff: str
    start: date
    is_told: bool
    counting: int | None
    is_used: bool
    is_counting: bool
    waiting: int | None
    document: int | None
    is_waiting: bool
    is_rejected: bool
    is_known: bool
    is_billed: bool

    @property
    def conflict(self) -> str | None:
        """Why the files cannot be followed."""
        if self.counting is None or self.is_counting:
            return None
        if self.is_told:
            # What was told before use was billed by the other one waits on, for a rejection.
            is_refused = self.is_used and not (self.is_waiting or self.is_rejected)
            return STAYS.format(self.tariff, self.start) if is_refused else None
        return MAY_NOT_GO.format(self.tariff, self.start) if self.is_billed else None

    @property
    def is_new(self) -> bool:
        """Whether a row is written of it."""
        is_there = self.is_counting or self.is_waiting or self.is_rejected
        return self.is_told and not is_there


class TariffFiling(NamedTuple):
    """What the staged files change. `conflicts`: why they cannot be followed; `told`: of what they
    say that does not count."""

    differing: Sequence[_Differing]

    @property
    def conflicts(self) -> list[str]:
        """Words for each version that may not be as the files say."""
        return [it.conflict for it in self.differing if it.conflict is not None]

    @property
    def rejected(self) -> list[str]:
        """Words for each version that a person has rejected and the files still say."""
        return [REJECTED.format(it.tariff, it.start) for it in self.differing if it.is_rejected]


@dataclass(frozen=True, slots=True)
class FiledVersion:
    """A version as it was told, and what became of it. `form`: JSON.

    `owner`: of the file that told it. `document`, `actor`, `owner`, `reviewer`: None of one that
    was told before anybody was billed."""

    number: int
    tariff: str
    effective_from: date
    state: State
    is_used: bool
    form: str
    document: int | None
    at: datetime
    actor: str | None
    owner: str | None
    reviewer: str | None


@dataclass(frozen=True, slots=True)
class PricedAnew:
    """Billed days that a version would price: how many in all, of how many accounts.

    `first_day`, `last_day`: None where there are none. `numbers`: of the first few accounts."""

    accounts: int
    days: int
    first_day: date | None
    last_day: date | None
    numbers: Sequence[str]


async def stage(connection: Connection, rows: Iterable[Row]) -> None:
    """Take in what the files say: (tariff, start, form)."""
    await connection.execute(SQL["stage"])
    async with connection.cursor() as cursor, cursor.copy("COPY staged_tariff FROM STDIN") as copy:
        for row in rows:
            await copy.write_row(row)


async def compare(connection: Connection) -> TariffFiling:
    """What the staged files say otherwise than the database."""
    rows = await fetch_rows(connection, SQL["differing"])
    return TariffFiling([_Differing(*row) for row in rows])


async def follow_files(
    connection: Connection, filing: TariffFiling, actor: str, owner: str | None, today: date
) -> None:
    """Write what the staged files say, as `actor` asked for; they conflict with nothing.

    `owner`: of the file, who no more than `actor` may approve a version."""
    leaving = []
    for it in filing.differing:
        if it.waiting is not None and not it.is_waiting:
            leaving.append(it.waiting)
        if it.counting is not None and not it.is_counting and not it.is_billed:
            leaving.append(it.counting)
    await connection.execute(SQL["withdraw"], {"numbers": leaving})
    for it in filing.differing:
        if it.document is not None and not it.is_waiting:
            said = Said(actor, "the tariffs file says otherwise by now")
            await add_review(connection, it.document, "rejected", said)
        if it.is_new:
            document = await _document(connection, it, actor, owner) if it.is_billed else None
            values = {"tariff": it.tariff, "start": it.start, "document": document}
            await connection.execute(SQL["add"], values)
    # Whoever settles at this moment saw what counted before, and did not say yet that it is used.
    for tariff, start in _moving(filing.differing).items():
        await price_anew(connection, tariff, start, today)


async def _document(connection: Connection, it: _Differing, actor: str, owner: str | None) -> int:
    said = Said(actor, "the tariffs file says so")
    content = {"tariff": it.tariff, "from": it.start.isoformat(), "owner": owner}
    return await add_document(connection, KIND, None, said, content, waits=True)


def _moving(differing: Iterable[_Differing]) -> dict[str, date]:
    """By tariff that was there before the first day of which the files change what counts."""
    starts: dict[str, date] = {}
    for it in differing:
        if it.is_known and not it.is_billed and not it.is_counting:
            starts[it.tariff] = min(it.start, starts.get(it.tariff, it.start))
    return starts


async def price_anew(connection: Connection, tariff: str, start: date, today: date) -> None:
    """Let whoever has this tariff on a day or later be settled anew; of days to come nothing is
    billed."""
    if start > today:
        return
    rows = await fetch_rows(connection, SQL["holders"], {"tariff": tariff, "start": start})
    accounts = [account for (account,) in rows]
    await mark_accounts(connection, accounts, Days(start, ALL_DAYS.last), "tariff")


async def versions(
    connection: Connection, *states: State, tariff: str | None = None
) -> list[FiledVersion]:
    """Versions in these states of one tariff or of all, by tariff in order of their starts."""
    values = {"states": list(states), "tariff": tariff}
    return await fetch_records(connection, FiledVersion, SQL["versions"], values)


async def priced_anew(connection: Connection, tariff: str, start: date, most: int) -> PricedAnew:
    """What a version from that day on would price that is billed already; at most so many numbers
    of accounts."""
    values = {"tariff": tariff, "start": start, "most": most}
    (found,) = await fetch_records(connection, PricedAnew, SQL["priced_anew"], values)
    return found
