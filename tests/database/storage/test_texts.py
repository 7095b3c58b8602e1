"""No text that comes from a device, a person or an error stops what stores it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from storage import dead_letters, documents, settling
from storage.database import connect
from storage.documents import Said
from storage.sql import fetch_rows, table_text
from tests.database.small_site import NOW, Site

BAD = "a\x00b\udc80c电😀"
KEPT = "a\ufffdb\ufffdc电😀"
ASKED = "SELECT %(text)s::text, %(texts)s::text[], %(json)s::jsonb"


def on_session(url: str, story: Callable[[AsyncConnection[Any]], Awaitable[None]]) -> None:
    """A connection as the daemon and commands have it."""

    async def tell() -> None:
        async with await connect(url) as connection:
            await story(connection)

    asyncio.run(tell())


@pytest.mark.parametrize("text", ["a\x00", "\udc80", BAD, "电", r"a\u0000", "\\\\u0000", "😀"])
def test_a_text_is_stored_as_it_is_but_for_what_no_row_can_hold(
    database_url: str, text: str
) -> None:
    kept = "".join("\ufffd" if it == "\x00" or "\ud800" <= it <= "\udfff" else it for it in text)

    async def story(connection: AsyncConnection[Any]) -> None:
        values = {"text": text, "texts": [text, ""], "json": Jsonb({text: [text, {"x": text}, 1]})}
        (found,) = await fetch_rows(connection, ASKED, values)
        assert found == (kept, [kept, ""], {kept: [kept, {"x": kept}, 1]})
        await connection.execute("CREATE TEMP TABLE copied (text text, json jsonb)")
        async with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            await copy.write_row((text, Jsonb([text])))
        assert await fetch_rows(connection, "SELECT * FROM copied") == [(kept, [kept])]

    on_session(database_url, story)


def test_rows_made_of_columns_are_copied_as_they_are(database_url: str) -> None:
    texts = [BAD, "\\N", "\\.", "", None, "a\\tb", "a\tb\nc\rd\v", "电 😀", "NULL", "\\"]
    day = date(2026, 3, 29)
    moment = datetime(2026, 3, 29, 3, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    others = (True, False, Decimal("1E+3"), Decimal("0.50"), -7, day, moment, None)
    told = [(text, *others) for text in texts]

    async def story(connection: AsyncConnection[Any]) -> None:
        await connection.execute(
            "CREATE TEMP TABLE copied (text text, yes boolean, no boolean, much numeric, "
            "little numeric, count integer, day date, moment timestamptz, nothing text)"
        )
        async with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            await copy.write(table_text(told[:5]) + table_text([]) + table_text(told[5:]))
        found = await fetch_rows(connection, "SELECT * FROM copied")
        assert found == [(KEPT if text == BAD else text, *others) for text, *_ in told]
        assert f"{found[0][4]}" == "0.50"

    on_session(database_url, story)


def test_what_is_told_is_kept_wherever_it_comes_from(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        await settling.put_off(connection, 1, f"NoPrice: {BAD}", NOW + timedelta(minutes=5))
        await dead_letters.add(connection, {"serial": BAD}, BAD)
        said = Said(BAD, BAD, BAD)
        await documents.add_document(connection, "exchange", "P1", said, {"a": BAD}, waits=True)
        told = "SELECT error FROM not_settled"
        assert await fetch_rows(connection, told) == [(f"NoPrice: {KEPT}",)]
        (letter,) = await dead_letters.dead_letters(connection)
        assert (letter.content, letter.reason) == ({"serial": KEPT}, KEPT)
        (document,) = await documents.documents(connection)
        assert (document.actor, document.reason, document.content) == (KEPT, KEPT, {"a": KEPT})

    on_session(database_url, story)
