"""Where a site says so, who asks and who agrees are two logins: of money, readings and cuts."""

from __future__ import annotations

import os
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.cli.actor import NOBODY_NOTED, NOTED_LOGIN, login
from tests.database.cli.test_document_commands import Place, pytestmark
from tests.database.cli.test_supply_people import place
from tests.database.small_site import on, rows

__all__ = ["place", "pytestmark"]


def login_is_noted() -> bool:
    """In a container nobody is, nor by a kernel without audit."""
    return NOTED_LOGIN.exists() and int(NOTED_LOGIN.read_text()) != NOBODY_NOTED


AGREE = {
    "money": ("document", "approve", "1"),
    "readings": ("quality", "approve", "1", "--reason", "seen"),
    "tariffs": ("tariff", "approve", "T", "2026-01-01"),
    "cuts": ("approve", "give", "1"),
    "orders": ("supply", "order", "agree", "1"),
    "protection": ("protect", "agree", "1"),
    "breakers": ("supply", "breaker", "agree", "1"),
    "payments": ("topup", "A1", "10.00", "--key", "1"),
    # What files say of prices waits for another person than who had them read.
    "files": ("reload",),
    "schema": ("migrate",),
}


@pytest.fixture
def by_logins(place: Place) -> Place:
    path = place.folder / "meterd.toml"
    path.write_text(path.read_text().replace("[database]", 'actors = "logins"\n\n[database]'))
    return place


@pytest.mark.parametrize("what", AGREE)
def test_one_login_is_no_second_person_by_another_name(by_logins: Place, what: str) -> None:
    refused = by_logins.meterd(*AGREE[what], "--actor", "wang")
    assert refused.returncode == 1, refused.stdout
    assert refused.stderr == (
        f'meterd: site.actors is "logins" and {login()} is logged in: nobody acts as wang here; '
        f"say --actor {login()}, or have wang log in\n"
    )


def test_who_asked_by_his_login_cannot_agree_and_another_login_can(by_logins: Place) -> None:
    asked = by_logins.meterd("approve", "request", "A1", "--reason", "owes for weeks")
    assert asked.returncode == 0, asked.stderr
    own = by_logins.meterd("approve", "give", "1")
    assert (own.returncode, "another person has to approve it" in own.stderr) == (1, True)
    assert by_logins.meterd("approve", "list").returncode == 0


@pytest.mark.skipif(
    os.getuid() != 0 or login_is_noted(),
    reason="only root may say who called it through sudo, where no login is noted",
)
def test_through_sudo_it_is_who_called_it(
    by_logins: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_logins.meterd("approve", "request", "A1", "--reason", "owes for weeks")
    monkeypatch.setenv("SUDO_USER", "wang")
    given = by_logins.meterd("approve", "give", "1", "--actor", "Wang")
    assert given.returncode == 0, given.stderr


@pytest.mark.parametrize("command", ["approve", "refuse"])
def test_who_decides_about_a_decision_leaves_a_row(place: Place, command: str) -> None:
    place.meterd("quality", command, "1", "--reason", "seen", "--actor", "wang")

    async def acts(connection: AsyncConnection[Any]) -> None:
        (act,) = await rows(connection, "SELECT actor, command FROM act")
        assert act[0] == "wang"
        assert f"quality {command} 1" in act[1]

    on(place.url, acts)


def test_without_it_names_are_enough(place: Place) -> None:
    place.meterd("approve", "request", "A1", "--reason", "owes for weeks", "--actor", "li")
    assert place.meterd("approve", "give", "1", "--actor", "wang").returncode == 0
