"""By which policy an account is cut, by the installed command: two persons where it is wider."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.database.cli.test_document_commands import Place, pytestmark
from tests.database.cli.test_supply_people import SAID, said, told
from tests.database.small_site import Site, on, rows

__all__ = ["pytestmark"]


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    async def site(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)

    on(database_url, site)
    made = Place(tmp_path, database_url)
    toml = tmp_path / "meterd.toml"
    toml.write_text(
        toml.read_text() + '\n[[policy]]\nname = "market"\nprofile = "cn_large"\nmode = "manual"\n'
    )
    return made


def counting(place: Place) -> list[Any]:
    async def ask(connection: AsyncConnection[Any]) -> None:
        found.extend(
            await rows(
                connection,
                "SELECT profile FROM account_policy WHERE NOT waits ORDER BY rev DESC LIMIT 1",
            )
        )

    found: list[Any] = []
    on(place.url, ask)
    return found


def waiting(place: Place) -> list[bool]:
    """Of each that was asked for, whether it is shown to wait for a second person."""
    lines = said(place, "account", "policy", "A1", "--json").splitlines()
    return [json.loads(line)["waits"] for line in lines]


def test_a_stricter_one_counts_at_once_and_the_way_back_needs_two(place: Place) -> None:
    done = told(place, "account", "policy", "A1", "market", *SAID)
    assert (done["state"], done["wider_in"]) == ("counts", [])
    assert counting(place) == ["market"]
    back = told(place, "account", "policy", "A1", "site", *SAID)
    assert (back["state"], back["wider_in"]) == ("waits", ["approvals_required"])
    assert counting(place) == ["market"]
    assert waiting(place) == [False, True]
    assert "another person has to agree" in said(
        place, "account", "policy", "A1", "--agree", "--actor", "LI", code=1
    )
    agreed = told(place, "account", "policy", "A1", "--agree", "--actor", "wang")
    assert agreed == {"account": "A1", "policy": None, "state": "counts"}
    assert counting(place) == [None]
    assert waiting(place) == [False, False, False], "what was agreed to waits no more"
    shown = said(place, "account", "policy", "A1")
    assert ("market" in shown, "wang" in shown) == (True, True)


def test_a_contract_without_written_notice_waits_for_a_second_person(place: Place) -> None:
    assert "written_required" in said(place, "account", "policy", "A1", "prepay_contract", *SAID)
    assert counting(place) == []


@pytest.mark.parametrize(("age", "code"), [("3 hours 58 minutes", 0), ("4 hours", 1)])
def test_who_asked_for_a_wider_one_did_so_for_four_hours(
    place: Place, owner_url: str, age: str, code: int
) -> None:
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO account_policy (account_id, rev, profile, waits, actor, reason, at)"
            " VALUES (1, 0, 'prepay_contract', true, 'li', 'signed', now() - %s::interval)",
            [age],
        )
    assert waiting(place) == [not code]
    told_so = said(place, "account", "policy", "A1", "--agree", "--actor", "wang", code=code)
    assert ("no policy of account A1 waits" in told_so) == bool(code)
    assert counting(place) == ([] if code else ["prepay_contract"])


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("A9", "market"), "no account A9", 1),
        (("A1", "lax"), "no policy lax; there are cn_large, cn_strict, market", 1),
        (("A1", "site"), "has the policy of the site already", 1),
        (("A1", "--agree"), "no policy of account A1 waits", 1),
        (("A1", "market", "--agree"), "leave POLICY out", 2),
    ],
)
def test_what_cannot_be_is_told(
    place: Place, arguments: tuple[str, ...], words: str, code: int
) -> None:
    assert words in said(place, "account", "policy", *arguments, *SAID, code=code)
