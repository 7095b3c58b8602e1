"""The connection breaks at each statement of each transaction in turn: nothing is lost or doubled.

The statements are those that a run without a fault says, so a new one is covered by itself."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.pipeline.outlet import Outlet
from daemon.pipeline.pauses import Pauses
from daemon.pipeline.pipeline import Pipeline
from daemon.quality.arrival import Arrival, IdentityRead
from daemon.spool.spool import open_spool
from daemon.transactions import dead_letters, decisions
from daemon.transactions.account_entries import HouseholdBonus, UsedElsewhere, file_entry
from daemon.transactions.archive import take_over_archive
from daemon.transactions.day_close import close_days
from daemon.transactions.documents import filing
from daemon.transactions.documents.crossing import Crossing
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.handover import Assignment
from daemon.transactions.identify import take_identities
from daemon.transactions.revalidation import Wanted, revalidate
from protocols.reading import MeterIdentity
from storage import archive
from storage.database import Pool
from storage.dead_letters import NoOpenLetter
from storage.documents import Said
from tests.conftest import new_database
from tests.database.site_files import files_of
from tests.database.site_with_a_past import (
    LI,
    NEW_ADDRESS,
    WAITING_DECISION,
    WAITING_DOCUMENT,
    a_site_with_a_past,
    substitute,
    what_comes_then,
)
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    account_row,
    connect,
    meters,
    noon,
    pay,
    rows,
)
from tests.database.whole_database import whole
from tests.servers.breaking_wire import Break, Wire, breaking_wire
from tests.servers.postgres import Server

PATIENCE_S = 60.0
STEP = 12
LONG_STEP = 48
"""Of so many statements one is disturbed; with `--all-servers` each is."""
WANG = Said("Wang", "seen")

Story = Callable[[Wire, str], Coroutine[Any, Any, None]]
"""What happens to the database of this name, over a wire that breaks once."""


@dataclass(frozen=True)
class Stage:
    """A database to copy, and a way to its copies."""

    server: Server
    wire: Wire
    template: str
    began: datetime
    is_whole: bool

    def told(self, story: Story, at: int | None, how: Break) -> dict[str, list[str]]:
        """All that a copy keeps after a story that is disturbed at this statement."""
        with new_database(self.server, self.template) as name:
            self.wire.listen(at, how)
            asyncio.run(story(self.wire, name))
            return whole(self.server.url(name), self.began)


@pytest.fixture(scope="module")
def past(server: Server, template_database: str, pytestconfig: pytest.Config) -> Iterator[Stage]:
    """Everything has happened but what the test tells."""
    with (
        tempfile.TemporaryDirectory(prefix="wire-", dir="/tmp") as folder,
        breaking_wire(server, Path(folder)) as wire,
        new_database(server, template_database) as name,
    ):

        async def prepare() -> None:
            async with await connect(server.url(name)) as connection:
                await a_site_with_a_past(connection)

        asyncio.run(prepare())
        is_whole = pytestconfig.getoption("--all-servers")
        yield Stage(server, wire, name, datetime.now(UTC), is_whole)


def disturbed(stage: Stage, story: Story, how: Break, step: int = 1) -> list[str]:
    """Tell a story once without a fault, then with one at each of its statements; those.

    Wherever it breaks, the end must be the same. `step`: 2 breaks at every second statement only,
    counted from the last; and at each COMMIT and before it. A whole run breaks at each. Before a
    statement is after the one before it: of these breaks only the first is another one."""
    truth = stage.told(story, None, how)
    statements = list(stage.wire.statements)
    is_first_alone = how is Break.BEFORE and not stage.is_whole
    for at in [1] if is_first_alone else places(statements, 1 if stage.is_whole else step):
        statement = statements[at - 1]
        found = stage.told(story, at, how)
        assert stage.wire.has_broken
        where = f"broken {how.value}, at {at} of {len(statements)}: {statement[:200]}"
        for table, kept in truth.items():
            assert found[table] == kept, f"{table} differs, {where}"
    return statements


def places(statements: Sequence[str], step: int) -> list[int]:
    """The numbers of these statements, from 1, at which to break."""
    ends = {at for at, words in enumerate(statements, 1) if words.startswith("COMMIT")}
    return sorted({*range(len(statements), 0, -step), *ends, *(at - 1 for at in ends if at > 1)})


# --- T1 and T2 ------------------------------------------------------------------------------------


async def a_batch_through_the_pipeline(wire: Wire, database: str) -> None:
    """Until everything is stored and settled, by the daemon's own attempts.

    Storing and settling share a connection, so that each run says the same statements."""
    async with await connect(wire.server.url(database)) as watching:
        batch = what_comes_then(await meters(watching))
        with tempfile.TemporaryDirectory() as folder:
            async with (
                Pool(wire.url(database), most=1) as pool,
                running(pool, Path(folder), batch) as pipeline,
            ):
                for arrival in batch:
                    assert pipeline.submit(arrival)
                await until_settled(pipeline, pool, watching)


SHORT = Pauses(look_s=0.001, retries_s=(0.01,), settle_again_s=0.01)
"""Between two attempts."""


@asynccontextmanager
async def running(pool: Pool, folder: Path, batch: Sequence[Arrival]) -> AsyncIterator[Pipeline]:
    by_address = {arrival.meter.address: arrival.meter for arrival in batch}
    outlet = Outlet(
        meters=by_address.get,
        stored=lambda slots: None,
        kept=lambda slots: None,
        missed=lambda: None,
    )
    with open_spool(folder / "spool", 10**8) as spool:
        pipeline = Pipeline(pool, ARMED, spool, outlet, batch_readings=len(batch), pauses=SHORT)
        runs = (pipeline.run, pipeline.keep, pipeline.settle)
        tasks = [asyncio.create_task(run()) for run in runs]
        try:
            yield pipeline
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(ended, asyncio.CancelledError), ended


async def until_settled(pipeline: Pipeline, pool: Pool, watching: AsyncConnection[Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            waiting = pipeline.condition()
            is_stored = not waiting["in_memory"] and not waiting["spooled"]
            # Marks are committed with what they are made for, so they are asked for afterwards.
            is_settled = is_stored and not await rows(watching, "SELECT FROM to_settle")
            if is_settled and pool.get_stats()["pool_available"] == 1:
                return
            await asyncio.sleep(0.005)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("how", "step"),
    [(Break.BEFORE, LONG_STEP), (Break.AFTER, STEP), (Break.TERMINATED, LONG_STEP)],
)
def test_a_batch_and_its_money_are_there_once_wherever_the_connection_breaks(
    past: Stage, how: Break, step: int
) -> None:
    statements = disturbed(past, a_batch_through_the_pipeline, how, step)
    assert [words for words in statements if words.startswith("COMMIT")], "or nothing was disturbed"


def test_the_batch_that_is_disturbed_touches_every_branch(past: Stage) -> None:
    shown = past.told(a_batch_through_the_pipeline, None, Break.BEFORE)
    all_rows = {table: " ".join(kept) for table, kept in shown.items()}
    assert '"state": "suspect"' in all_rows["slot"]
    assert '"total": 48000' in all_rows["slot_journal"], "what was outvoted is withdrawn"
    assert '"action": "allow_close"' in all_rows["command"]
    assert all_rows["command"].count('"action": "trip"') == 2
    assert '"V08"' in all_rows["doubt"]
    assert shown["to_settle"] == []


# --- what one person does, and does again where no answer came ---------------------------------------


Act = Callable[[AsyncConnection[Any]], Awaitable[object]]
ALREADY = (
    DocumentRefused,
    decisions.DecisionRefused,
    NoOpenLetter,
)
"""What whoever says it a second time may be told."""


async def withdraw(connection: AsyncConnection[Any]) -> None:
    order = decisions.Order("P3", OPEN + DAY, "withdraw", "Li", "not of this meter", Decimal(105))
    await decisions.decide(connection, order)


async def other_serial(connection: AsyncConnection[Any]) -> None:
    meter = (await meters(connection))["P1"]
    reads = [IdentityRead(meter, MeterIdentity(serial), NOW) for serial in ("1", "2")]
    await take_identities(connection, reads, ZONE)


async def revalidation(connection: AsyncConnection[Any]) -> None:
    """P1 and P3 used too much by a limit that nobody judged by yet, and that moves billed days."""
    await connection.execute(
        "INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh) "
        "SELECT point_id, from_day, 9, 3 FROM point_limit JOIN point ON id = point_id "
        "WHERE number IN ('P1', 'P3') ON CONFLICT DO NOTHING"
    )
    found = await rows(connection, "SELECT id, number FROM point")
    wanted = Wanted(dict(found), OPEN)
    told = [portion async for portion in revalidate(connection, wanted, ZONE, NOW, LI)]
    assert [number for portion in told for number in portion.documents] == ["P1", "P3"]


async def take_over(connection: AsyncConnection[Any]) -> None:
    """Of a site with a point more, a wider limit, a tariff and a point that changed."""
    site = Site.of(8)
    site.meters[4]["address"] = NEW_ADDRESS
    site.points[2]["max_daily_kwh"] = Decimal(90_000)
    with tempfile.TemporaryDirectory() as folder:
        await take_over_archive(connection, files_of(site, Path(folder)))


async def import_accounts(connection: AsyncConnection[Any]) -> None:
    site = Site.of(2, warn_fen=20_000)
    await archive.import_accounts(connection, [account_row(row) for row in site.accounts], "Li")


ACTS: Mapping[str, Act] = {
    "a payment that restores": lambda it: pay(it, "A4", 20_000, "again"),
    "an exchange": lambda it: filing.file_document(
        it,
        Exchange("P1", noon(OPEN + DAY), "000000000055", (Decimal(106),), (Decimal(3),)),
        LI,
        NOW,
    ),
    "a document that waits": lambda it: filing.file_document(
        it, Assignment("P1", "A2", OPEN), LI, NOW
    ),
    "crossed meters": lambda it: filing.file_document(it, Crossing("P1", "P3", None), LI, NOW),
    "crossed meters that wait": lambda it: filing.file_document(
        it, Crossing("P1", "P2", OPEN + DAY), LI, NOW
    ),
    "a revalidation": revalidation,
    "the approval of a document": lambda it: filing.approve(it, WAITING_DOCUMENT, WANG, NOW),
    "the rejection of a document": lambda it: filing.reject(it, WAITING_DOCUMENT, WANG),
    "a withdrawal": withdraw,
    "a substitute that waits": lambda it: decisions.decide(
        it, substitute("P1", OPEN + 2 * DAY, "110")
    ),
    "the approval of a substitute": lambda it: decisions.approve(it, WAITING_DECISION, "Wang"),
    "the refusal of a substitute": lambda it: decisions.refuse(
        it, WAITING_DECISION, "Wang", "not what I saw"
    ),
    "a dead letter": lambda it: dead_letters.replay(it, 1, "Li", ZONE),
    "who meters are": other_serial,
    "the take-over of the files": take_over,
    "an import of accounts": import_accounts,
    "a bonus that waits": lambda it: file_entry(
        it, HouseholdBonus("A1", OPEN, Decimal(100)), LI, NOW
    ),
    "use that others billed": lambda it: file_entry(
        it, UsedElsewhere("A1", "2025", Decimal(800)), LI, NOW
    ),
    "the close of days": lambda it: close_days(it, ZONE, noon(OPEN + 3 * DAY)),
}


LONG = {"crossed meters", "crossed meters that wait", "a revalidation"}
"""Of one transaction with very many statements."""


def twice_at_most(act: Act) -> Story:
    """Whoever got no answer says the same once more, and may be told that it is so already."""

    async def story(wire: Wire, database: str) -> None:
        try:
            async with await connect(wire.url(database)) as connection:
                await act(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            with suppress(*ALREADY):
                async with await connect(wire.url(database)) as connection:
                    await act(connection)

    return story


@pytest.mark.timeout(600)
@pytest.mark.parametrize("act", ACTS)
def test_what_a_person_does_is_done_once_wherever_the_connection_breaks(
    past: Stage, act: str
) -> None:
    statements = disturbed(
        past, twice_at_most(ACTS[act]), Break.AFTER, LONG_STEP if act in LONG else STEP
    )
    assert any(words.startswith("COMMIT") for words in statements), "or nothing was disturbed"
