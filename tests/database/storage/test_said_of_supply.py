"""What persons say about supply stays as it was said, and what needs two persons has two."""

from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from config.persons import is_same_person
from tests.database.small_site import Site, on, rows

ARRANGED = """
INSERT INTO arrears_episode (account_id, started_at) VALUES (1, '2026-03-01');
INSERT INTO notice (account_id, episode_id, kind, channel, language, text, amount_fen, actor)
VALUES (1, 1, 'written', 'paper', 'en', 'pay', 500, 'li');
INSERT INTO cut_request (account_id, episode_id, debt_fen, requester, reason, requested_at)
VALUES (1, 1, 500, 'Li', 'owes', '2026-03-02 10:00');
INSERT INTO supply_mark (kind, point_id, from_at, actor, reason)
VALUES ('life_support', 1, '2026-03-01', 'li', 'oxygen');
INSERT INTO breaker (scope, cause, found, allowed, opened_at)
VALUES ('site', 'trips_in_an_hour', 21, 20, '2026-03-02');
"""
ASKED = "lift_actor = 'Li', lift_reason = 'moved', lift_asked_at = now()"
RESET = "reset_actor = 'Li', reset_reason = 'mended', reset_asked_at = now(), reset_at = now()"
REFUSED = {
    "a notice that says something else": "UPDATE notice SET text = 'pay more'",
    "a receipt that nobody has": "UPDATE notice SET sent_at = now(), delivered_at = now()",
    "delivered and never sent": "UPDATE notice SET delivered_at = now(), receipt_actor = 'li'",
    "a cut notice of no episode": "INSERT INTO notice (account_id, kind, channel, language, text,"
    " amount_fen, actor) VALUES (1, 'final', 'sms', 'zh', 'x', 1, 'li')",
    "an approval of the requester": "INSERT INTO approval (request_id, approver, approved_at,"
    " expires_at) VALUES (1, 'LI\u3000', '2026-03-02 10:00', '2026-03-02 12:00')",
    "an approval for a day": "INSERT INTO approval (request_id, approver, approved_at, expires_at)"
    " VALUES (1, 'wang', '2026-03-02 10:00', '2026-03-03 10:00')",
    "a second request of an episode": "INSERT INTO cut_request (account_id, episode_id, debt_fen,"
    " requester, reason, requested_at) VALUES (1, 1, 600, 'wang', 'owes', now())",
    "life support that ends by itself": "INSERT INTO supply_mark (kind, point_id, from_at, to_at,"
    " actor, reason) VALUES ('life_support', 1, '2026-03-01', '2026-04-01', 'li', 'oxygen')",
    "a mark of two things": "INSERT INTO supply_mark (kind, area, line, from_at, actor, reason)"
    " VALUES ('hold', 'T1', 'l', now(), 'li', 'storm')",
    "lifted by one person": f"UPDATE supply_mark SET {ASKED}, lifted_at = now()",
    "lifted by one person twice": f"UPDATE supply_mark SET {ASKED}, lifted_at = now(),"
    " lift_second = '\uff2c\uff29 '",
    "lifted without being asked": "UPDATE supply_mark SET lifted_at = now(), lift_second = 'wang'",
    "reset by one person": f"UPDATE breaker SET {RESET}",
    "reset by one person twice": f"UPDATE breaker SET {RESET}, reset_second = ' li'",
    "two breakers of the site": "INSERT INTO breaker (scope, cause, found, allowed, opened_at)"
    " VALUES ('site', 'trips_in_a_day', 101, 100, now())",
    "a breaker of a site with a name": "INSERT INTO breaker (scope, name, cause, found, allowed,"
    " opened_at) VALUES ('site', 'T1', 'trips_in_an_hour', 21, 20, now())",
    "a breaker of no area": "INSERT INTO breaker (scope, cause, found, allowed, opened_at)"
    " VALUES ('area', 'trips_in_an_hour', 21, 20, now())",
}
TAKEN = (
    "UPDATE notice SET sent_at = now(), delivered_at = now(), receipt_actor = 'li'",
    "INSERT INTO approval (request_id, approver, approved_at, expires_at)"
    " VALUES (1, 'wang', '2026-03-02 10:00', '2026-03-02 14:00')",
    f"UPDATE supply_mark SET {ASKED}, lift_second = 'wang', lifted_at = now()",
    f"UPDATE breaker SET {RESET}, reset_second = 'wang'",
)
UNSAID = {
    "a receipt taken back": "UPDATE notice SET delivered_at = NULL",
    "a lift taken back": "UPDATE supply_mark SET lifted_at = NULL",
    "another second person": "UPDATE breaker SET reset_second = 'zhao'",
    "a notice that goes": "DELETE FROM notice",
}


def refused(url: str, said: dict[str, str], *before: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        for statement in (ARRANGED, *before):
            await connection.execute(statement.encode())
        taken = []
        for what, statement in said.items():
            try:
                await connection.execute(statement.encode())
            except (psycopg.IntegrityError, psycopg.errors.InsufficientPrivilege):
                continue
            taken.append(what)
        assert taken == []

    on(url, story)


def test_what_one_person_may_not_say_is_refused(database_url: str) -> None:
    refused(database_url, REFUSED)


def test_what_was_said_is_not_unsaid(database_url: str) -> None:
    refused(database_url, UNSAID, *TAKEN)


def test_the_database_knows_one_person_as_the_program_does(database_url: str) -> None:
    names = [
        "Li Wei",
        "li wei",
        " Li\u3000 Wei\u00a0",
        "\uff2c\uff49\tWei",
        "LiWei",
        "Li Na",
        "\u674e\u4f1f",
        "",
    ]
    pairs = [(one, other) for one in names for other in names]

    async def story(connection: AsyncConnection[Any]) -> None:
        asked = (
            "SELECT is_same_person(one, other) FROM unnest(%s::text[], %s::text[]) n (one, other)"
        )
        found = await connection.execute(asked.encode(), tuple(map(list, zip(*pairs, strict=True))))
        told = [row[0] for row in await found.fetchall()]
        assert told == [is_same_person(*pair) for pair in pairs]

    on(database_url, story)


@pytest.mark.parametrize("has_relay", [True, False])
def test_whether_a_meter_has_a_relay_follows_the_files(database_url: str, has_relay: bool) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(has_relay=not has_relay).take_over(connection)
        kind = "external" if has_relay else None
        await Site.of(has_relay=has_relay, relay_type=kind).take_over(connection)
        told = await rows(connection, "SELECT has_relay, relay_type FROM installation")
        assert told == [(has_relay, kind)]

    on(database_url, story)
