"""Documents: what they change is told before, done so, and never by one person alone where it moves
billed days (R26)."""

from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.billing.document_effect import in_words
from daemon.transactions.collect import settle_marked
from daemon.transactions.documents.correction import (
    AddressCorrection,
    ClockCorrection,
    DateCorrection,
)
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import (
    Document,
    Filed,
    approve,
    content_of,
    document_of,
    file_document,
    reject,
)
from daemon.transactions.documents.handover import Assignment, Release
from daemon.transactions.documents.ratio_change import RatioChange
from storage.documents import Said, documents
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    balance,
    everything,
    freeze,
    intact,
    links,
    meters,
    on,
    rows,
    slots,
    store,
)

pytestmark = pytest.mark.hypertables

LI = Said("Li", "because", "form 7")
WANG = Said("Wang", "seen")
OLD = "000000000001"
NEW = "000000000044"


def kwh(*written: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, written))


def at(day: date, hour: int = 0, minute: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute), ZONE)


async def billed(connection: AsyncConnection[Any], days: int = 6, count: int = 2) -> Site:
    """Two accounts with a point each, billed for 5 kWh a day; `days` freezes."""
    site = Site.of(count)
    found = await site.take_over(connection)
    for point in ("P1", "P2"):
        await store(
            connection, *(freeze(found[point], OPEN + n * DAY, 100 + 5 * n) for n in range(days))
        )
    return site


async def filed(
    connection: AsyncConnection[Any], document: Document, *, is_trial: bool = False
) -> Filed:
    done = await file_document(connection, document, LI, NOW, is_trial=is_trial)
    await settle_marked(connection, ARMED, NOW)
    return done


async def refused(connection: AsyncConnection[Any], document: Document) -> DocumentRefused:
    before = await everything(connection)
    with pytest.raises(DocumentRefused) as refusal:
        await file_document(connection, document, LI, NOW)
    assert await everything(connection) == before
    assert await documents(connection) == []
    return refusal.value


EXCHANGED = Exchange("P1", at(OPEN + 6 * DAY, 10, 15), NEW, kwh("131.20"), kwh("3.10"))


def test_what_an_earlier_document_gave_back_needs_no_second_person_again(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        await filed(connection, Release("P1", OPEN + 2 * DAY))
        await approve(connection, 1, WANG, NOW)  # and nothing is settled yet
        begun = replace(EXCHANGED, at=at(OPEN + 3 * DAY, 10, 15), old_final=kwh("116"))
        done = await file_document(connection, begun, LI, NOW)
        assert (done.state, done.moved) == ("counts", 0)
        await settle_marked(connection, ARMED, NOW)
        assert await balance(connection, "A1") == -500
        assert await intact(connection)

    on(database_url, story)


async def exchanged_wrongly(connection: AsyncConnection[Any], **wrong: Any) -> None:
    """P1's meter was exchanged, and the new one read for three days: 3.10 at the exchange."""
    await billed(connection)
    await filed(connection, replace(EXCHANGED, **wrong))
    meter = (await meters(connection))["P1"]
    for day in range(7, 10):
        await store(connection, freeze(meter, OPEN + day * DAY, Decimal(5 * day - 30)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"new_initial": kwh("31.00")},
        {"old_final": kwh("160.00")},
        {"old_final": None},
        {"new_initial": None},
    ],
)
def test_an_exchange_that_is_told_again_has_the_registers_told_last(
    database_url: str, wrong: dict[str, Any]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exchanged_wrongly(connection, **wrong)
        done = await filed(connection, EXCHANGED)
        if done.state == "waits":
            assert done.number is not None
            await approve(connection, done.number, WANG, NOW)
            await settle_marked(connection, ARMED, NOW)
        assert [it.state for it in await documents(connection)][-1] in ("counts", "approved")
        # 100 to 125, 6.20 up to the exchange and 11.90 since.
        assert await balance(connection, "A1") == -2155
        assert (await slots(connection, "P1"))[OPEN + 9 * DAY][0] == "published"
        assert await intact(connection)

    on(database_url, story)


def test_an_exchange_is_not_told_twice_with_the_same_registers(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exchanged_wrongly(connection)
        with pytest.raises(DocumentRefused, match="nothing_changes"):
            await file_document(connection, EXCHANGED, LI, NOW)

    on(database_url, story)


def test_an_exchange_bills_by_the_registers_of_both_meters(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        done = await filed(connection, EXCHANGED)
        assert (done.number, done.state) == (1, "counts")
        kept = await rows(
            connection,
            "SELECT m.address, i.initial, i.final, i.final_lost, i.to_at IS NULL FROM installation i "
            "JOIN meter m ON m.id = i.meter_id WHERE point_id = 1 ORDER BY from_at",
        )
        assert kept == [
            (OLD, [0], [13120], False, False),
            (NEW, [310], None, False, True),
        ]
        (use,) = done.effects["P1"].come
        assert (use.start, use.end, use.kwh) == (OPEN + 5 * DAY, EXCHANGED.at, Decimal("6.20"))

    on(database_url, story)


def test_a_register_beyond_the_limit_needs_a_second_person_and_is_billed_by_two_more_words(
    database_url: str,
) -> None:
    """131.20 typed as 13120: no billed day moves, and one person alone would bill it."""

    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        mistyped = replace(EXCHANGED, old_final=kwh("13120"))
        tried = await filed(connection, mistyped, is_trial=True)
        assert (tried.moved, tried.needs_another) == (0, True)
        assert in_words("P1", tried.effects["P1"])[-1] == (
            "P1: 12995.00 kWh in 1.4 days, up to 2026-03-07, are more than the 542.29 kWh that its "
            "limit allows; they are billed when two persons released them"
        )
        done = await filed(connection, mistyped)
        assert done.state == "waits"
        assert done.number is not None
        await approve(connection, done.number, WANG, NOW)
        site.meters[0]["address"] = NEW
        meter = (await site.take_over(connection))["P1"]
        await store(connection, freeze(meter, OPEN + 7 * DAY, "6.10"))
        await settle_marked(connection, ARMED, NOW)
        span = (OPEN + 5 * DAY, OPEN + 7 * DAY)
        assert (await links(connection, "P1"))[-1] == (*span, "held")
        assert await balance(connection, "A1") == -1250
        # Told again as it was, it is billed; nobody has to release anything.
        done = await filed(connection, EXCHANGED)
        assert done.state == "counts"
        assert (await links(connection, "P1"))[-1] == (*span, "billed")
        assert await balance(connection, "A1") == -1710
        assert await intact(connection)

    on(database_url, story)


def test_a_ratio_waits_for_a_second_person_though_no_day_is_billed_by_it_yet(
    database_url: str,
) -> None:
    """No limit sees it, because limits are of registers: a day at 80 times is billed."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        day = OPEN + 5 * DAY
        tried = await filed(connection, RatioChange("P1", day, Decimal(80), None), is_trial=True)
        assert (tried.needs_another, tried.moved) == (True, 0)
        (words,) = in_words("P1", tried.effects["P1"])
        assert words == f"P1: from {day} 00:00 on the register counts 80 times"
        done = await filed(connection, RatioChange("P1", day, Decimal(80), None))
        assert (done.state, done.number) == ("waits", 1)
        with pytest.raises(DocumentRefused, match="same_person"):
            await approve(connection, 1, LI, NOW)
        await approve(connection, 1, WANG, NOW)
        back = await filed(connection, RatioChange("P1", day, Decimal(1), None), is_trial=True)
        assert (back.needs_another, back.moved) == (True, 0)
        (words,) = in_words("P1", back.effects["P1"])
        assert words == f"P1: from {day} 00:00 on the register counts 1 times"
        meter = (await meters(connection))["P1"]
        await store(connection, freeze(meter, day + DAY, "127"))
        assert await balance(connection, "A1") == -50 * (25 + 2 * 80)
        assert await intact(connection)

    on(database_url, story)


def test_a_meter_that_comes_with_another_ratio_waits_for_a_second_person(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        with_ratio = replace(EXCHANGED, ratio=Decimal(80))
        assert (await filed(connection, with_ratio, is_trial=True)).needs_another
        same = replace(EXCHANGED, ratio=Decimal(1))
        assert not (await filed(connection, same, is_trial=True)).needs_another

    on(database_url, story)


def test_a_register_at_a_ratio_that_was_mistyped_is_told_again(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        day = OPEN + 7 * DAY
        done = await filed(connection, RatioChange("P1", day, Decimal(80), kwh("12600")))
        assert (done.state, done.number) == ("waits", 1)
        await approve(connection, 1, WANG, NOW)
        again = RatioChange("P1", day, Decimal(80), kwh("126"))
        assert (await filed(connection, again)).state == "counts"
        with pytest.raises(DocumentRefused, match="nothing_changes"):
            await file_document(connection, replace(again, register=None), LI, NOW)
        meter = (await meters(connection))["P1"]
        await store(connection, freeze(meter, day + DAY, "127"))
        # 25 and 1 kWh at a ratio of 1, and 1 kWh at 80.
        assert await balance(connection, "A1") == -50 * (25 + 1 + 80)
        assert await intact(connection)

    on(database_url, story)


def test_what_both_meters_told_is_billed_over_the_exchange(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = await billed(connection)
        await filed(connection, EXCHANGED)
        site.meters[0]["address"] = NEW
        found = await site.take_over(connection)
        assert found["P1"].address == NEW
        await store(connection, freeze(found["P1"], OPEN + 7 * DAY, "6.10"))
        # From 125.00 to 131.20 on the old meter, from 3.10 to 6.10 on the new one.
        kwh = "SELECT link_kwh(l) FROM link l ORDER BY from_day DESC LIMIT 1"
        assert await rows(connection, kwh) == [Decimal("9.20")]
        assert await intact(connection)

    on(database_url, story)


def test_days_before_a_corrected_start_are_given_back(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        await connection.execute("UPDATE installation SET initial = NULL")
        await filed(connection, DateCorrection("P1", at(OPEN + 2 * DAY)))
        await approve(connection, 1, WANG, NOW)
        await settle_marked(connection, ARMED, NOW)
        assert await links(connection, "P1") == [
            (OPEN + n * DAY, OPEN + (n + 1) * DAY, "billed") for n in range(2, 5)
        ]
        assert await balance(connection, "A1") == -750

    on(database_url, story)


def test_a_document_that_is_said_again_because_no_answer_came_waits_once(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        handed = Assignment("P1", "A2", OPEN + 3 * DAY)
        first = await file_document(connection, handed, LI, NOW)
        again = await file_document(connection, handed, LI, NOW)
        assert (first.state, again.number) == ("waits", first.number)
        assert len(await documents(connection)) == 1

    on(database_url, story)


REFUSED: list[tuple[Document, str, str]] = [
    (Release("P9", OPEN), "unknown_point", "points come from points.csv"),
    (Assignment("P1", "A9", OPEN), "unknown_account", "accounts come from accounts.csv"),
    (
        Exchange("P1", NOW + DAY, NEW, None, None),
        "in_the_future",
        "give the document when it has",
    ),
    (
        Exchange("P1", at(date(2025, 12, 31)), NEW, None, None),
        "overlapping_installation",
        "meterd meter correct P1 --installed-at",
    ),
    (
        Exchange("P1", at(OPEN + 6 * DAY), "000000000002", None, None),
        "meter_serves_another_point",
        "meterd meter exchange P2",
    ),
    (
        Exchange("P1", at(OPEN + 6 * DAY), "2", None, None),
        "not_an_address",
        "12 digits",
    ),
    (
        Exchange("P1", at(OPEN + 6 * DAY), NEW, kwh("131.234"), None),
        "not_a_register",
        "2 decimals",
    ),
    (
        Exchange("P1", at(OPEN + 6 * DAY), NEW, kwh("124.99"), None),
        "final_below_published",
        "meterd quality withdraw P1",
    ),
    (RatioChange("P1", OPEN, Decimal(1), None), "nothing_changes", "is 1 on 2026-03-01 already"),
    (
        RatioChange("P1", OPEN + 2 * DAY, Decimal(2), kwh("104.00")),
        "contradicts_published",
        "meterd quality withdraw P1",
    ),
    (
        AddressCorrection("P1", NEW),
        "has_readings",
        f"--new-address {NEW}",
    ),
    (DateCorrection("P1", at(date(2026, 1, 1))), "nothing_changes", "2026-01-01 00:00 already"),
    (ClockCorrection("P1", "zone"), "nothing_changes", "is zone already"),
    (Assignment("P1", "A1", OPEN + DAY), "nothing_changes", "is billed to A1 since"),
    (Assignment("P1", "A2", date(2025, 1, 1)), "no_price", "no price before 2026-01-01"),
]


@pytest.mark.parametrize(("document", "reason", "way_out"), REFUSED)
def test_what_cannot_be_so_is_refused_with_a_name_and_a_way_out(
    database_url: str, document: Document, reason: str, way_out: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        refusal = await refused(connection, document)
        assert refusal.reason == reason
        assert str(refusal).startswith(f"{reason}: ")
        assert way_out in str(refusal)

    on(database_url, story)


def test_a_point_handed_over_is_billed_to_each_up_to_that_day_and_from_it_on(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        handed = Assignment("P1", "A2", OPEN + 3 * DAY)
        done = await filed(connection, handed)
        assert done.state == "waits"
        assert in_words("P1", done.effects["P1"]) == [
            "P1: from 2026-03-04 on billed to A2; 2 days are given back; opening register 115.00"
        ]
        assert await balance(connection, "A1") == -1250
        stored, _ = await approve(connection, 1, WANG, NOW)
        assert stored.actor == "Li"
        await settle_marked(connection, ARMED, NOW)
        # 5 days of 2.50 yuan each: 3 stay with A1, 2 are A2's besides its own 5.
        assert (await balance(connection, "A1"), await balance(connection, "A2")) == (-750, -1750)
        assert await intact(connection)
        owners = (
            "SELECT account_id, from_day, to_day FROM point_account WHERE point_id = 1 ORDER BY 2"
        )
        assert await rows(connection, owners) == [
            (1, date(2026, 1, 1), OPEN + 3 * DAY),
            (2, OPEN + 3 * DAY, None),
        ]

    on(database_url, story)


def test_a_point_given_to_the_wrong_account_from_the_beginning_is_given_back_whole(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        await filed(connection, Assignment("P1", "A2", date(2026, 1, 1)))
        await approve(connection, 1, WANG, NOW)
        await settle_marked(connection, ARMED, NOW)
        assert (await balance(connection, "A1"), await balance(connection, "A2")) == (0, -2500)
        await filed(connection, Assignment("P1", "A1", date(2026, 1, 1)))
        await approve(connection, 2, WANG, NOW)
        await settle_marked(connection, ARMED, NOW)
        assert (await balance(connection, "A1"), await balance(connection, "A2")) == (-1250, -1250)
        assert await intact(connection)

    on(database_url, story)


def test_a_released_point_is_billed_to_nobody_from_that_day_on(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        done = await filed(connection, Release("P1", OPEN + 3 * DAY))
        assert in_words("P1", done.effects["P1"]) == [
            "P1: from 2026-03-04 on billed to nobody, until then to A1; 2 days are given back"
        ]
        await approve(connection, 1, WANG, NOW)
        await settle_marked(connection, ARMED, NOW)
        assert await links(connection, "P1") == [
            (OPEN + n * DAY, OPEN + (n + 1) * DAY, "billed") for n in range(3)
        ]
        assert await balance(connection, "A1") == -750

    on(database_url, story)


def test_who_made_a_document_cannot_approve_it_and_a_rejected_one_never_counts(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        await filed(connection, Release("P1", OPEN + 3 * DAY))
        with pytest.raises(DocumentRefused, match="same_person: document 1 was made by Li"):
            await approve(connection, 1, Said("LI", ""), NOW)
        before = await everything(connection)
        await reject(connection, 1, LI)
        for again in (approve(connection, 1, WANG, NOW), reject(connection, 1, WANG)):
            with pytest.raises(DocumentRefused, match="not_waiting: document 1 was rejected by Li"):
                await again
        assert await everything(connection) == before
        (kept,) = await documents(connection)
        assert (kept.state, kept.actor, kept.evidence, kept.reviewer) == (
            "rejected",
            "Li",
            "form 7",
            "Li",
        )

    on(database_url, story)


@pytest.mark.parametrize("table", ["document", "document_review"])
def test_documents_are_never_changed(owner_url: str, table: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        await filed(connection, Release("P1", OPEN + 3 * DAY))
        await approve(connection, 1, WANG, NOW)
        for change in (f"UPDATE {table} SET reason = 'x'", f"DELETE FROM {table}"):
            with pytest.raises(Exception, match="is append-only"):
                await connection.execute(change)

    on(owner_url, story)


ALL_KINDS: list[Document] = [
    EXCHANGED,
    Exchange("P1", at(OPEN + 3 * DAY, 12), NEW, kwh("117.20"), kwh("3.10"), Decimal("2.5")),
    Exchange("P1", at(OPEN + 6 * DAY), None, None, None, None, Decimal(100_000), 3),
    RatioChange("P1", OPEN + 2 * DAY, Decimal(10), None),
    RatioChange("P1", OPEN + 6 * DAY, Decimal(10), kwh("131.00")),
    RatioChange("P1", date(2026, 1, 1), Decimal(10), None),
    Assignment("P1", "A2", OPEN + 3 * DAY),
    Release("P1", OPEN + 3 * DAY),
    DateCorrection("P1", at(OPEN + 2 * DAY)),
    DateCorrection("P1", at(date(2025, 12, 1), 10, 30)),
    ClockCorrection("P1", "standard"),
]


@pytest.mark.parametrize("document", ALL_KINDS)
def test_a_trial_tells_what_the_document_then_does_and_writes_nothing(
    database_url: str, document: Document
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        before = await everything(connection)
        tried = await filed(connection, document, is_trial=True)
        assert await everything(connection) == before
        assert await documents(connection) == []
        done = await filed(connection, document)
        assert done.effects == tried.effects
        if done.state == "waits":
            _, found = await approve(connection, 1, WANG, NOW)
            assert found.effects == tried.effects

    on(database_url, story)


@pytest.mark.parametrize("document", [*ALL_KINDS, AddressCorrection("P1", NEW)])
def test_a_document_is_read_again_as_it_was_said(database_url: str, document: Document) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await connection.execute(
            "INSERT INTO document (id, kind, point, actor, reason, waits, content) "
            "VALUES (1, %s, 'P1', 'Li', 'x', false, %s::jsonb)",
            (document.kind, __import__("json").dumps(content_of(document))),
        )
        (stored,) = await documents(connection)
        assert document_of(stored) == document

    on(database_url, story)
