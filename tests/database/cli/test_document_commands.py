"""A new user mends what was written down wrong, with the installed command, from what it says."""

import json
import os
import pty
import re
import shlex
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.load import load_site
from daemon.transactions.archive import take_over_archive
from daemon.transactions.collect import settle_marked
from daemon.transactions.disputes import judge_waiting
from storage.archive import ArchiveConflict
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    balance,
    freeze,
    meters,
    on,
    store,
)
from tests.servers import commands

FILES = {
    "meterd.toml": """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"

[database]
url = { file = "url" }

[[line]]
name = "line"
tcp = "127.0.0.1:1"
""",
    "tariffs.toml": '[[tariff.T.version]]\neffective_from = 2026-01-01\nprice = "0.5"\n',
    "archive/meters.csv": "address,line,point,installed_on\n"
    "000000000001,line,P1,2026-01-01\n"
    "000000000002,line,P2,2026-01-01\n",
    "archive/points.csv": "point,account,ratio\nP1,A1,1\nP2,A2,1\n",
    "archive/accounts.csv": "account,tariff,open_from,agreement\n"
    "A1,T,2026-03-01,signed\nA2,T,2026-03-01,signed\n",
}
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]


class Place:
    """A site in a folder, whose database knows its files."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        for name, text in {**FILES, "url": url}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / "archive" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    def restart(self) -> None:
        """What a start or a reload does with the files."""

        async def story(connection: AsyncConnection[Any]) -> None:
            await take_over_archive(connection, load_site(self.folder / "meterd.toml"))
            await judge_waiting(connection, ZONE)
            await settle_marked(connection, ARMED, NOW)

        on(self.url, story)

    def read(self, point: str, *kwh: str | int) -> None:
        """Its meter tells freezes from 1 March on."""

        async def story(connection: AsyncConnection[Any]) -> None:
            meter = (await meters(connection))[point]
            await store(
                connection, *(freeze(meter, OPEN + n * DAY, it) for n, it in enumerate(kwh))
            )

        on(self.url, story)

    def read_on(self, point: str, day: date, kwh: str) -> None:
        """Its meter tells the freeze of this day."""

        async def story(connection: AsyncConnection[Any]) -> None:
            await store(connection, freeze((await meters(connection))[point], day, kwh))

        on(self.url, story)

    def ask(self, query: str) -> list[Any]:
        found: list[Any] = []

        async def story(connection: AsyncConnection[Any]) -> None:
            await settle_marked(connection, ARMED, NOW)
            found.extend(await (await connection.execute(query.encode())).fetchall())

        on(self.url, story)
        return found

    def balance(self, account: str) -> int:
        found: list[int] = []

        async def story(connection: AsyncConnection[Any]) -> None:
            await settle_marked(connection, ARMED, NOW)
            found.append(await balance(connection, account))

        on(self.url, story)
        return found[0]

    def meterd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return commands.run(*arguments, "-c", "meterd.toml", cwd=self.folder)

    def done(self, *arguments: str) -> str:
        finished = self.meterd(*arguments)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    found = Place(tmp_path, database_url)
    found.restart()
    return found


def test_a_mistyped_address_is_edited_in_the_file_and_leaves_no_ghost(place: Place) -> None:
    place.edit("meters.csv", "000000000001", "000000000071")
    place.restart()
    assert place.ask("SELECT address FROM meter ORDER BY 1") == [
        ("000000000002",),
        ("000000000071",),
    ]


def test_a_mistyped_address_is_corrected_by_a_command_that_says_what_to_write_where(
    place: Place,
) -> None:
    told = place.done("meter", "correct", "P1", "--address", "000000000071", "--reason", "typed 7")
    assert "archive/meters.csv:2: address: write 000000000071 instead of 000000000001" in told
    place.restart()
    assert place.ask("SELECT address FROM meter ORDER BY 1") == [
        ("000000000002",),
        ("000000000071",),
    ]


def test_a_swapped_meter_is_told_with_both_registers_and_a_restart_leaves_it_so(
    place: Place,
) -> None:
    place.read("P1", 100, 105, 110)
    place.edit("meters.csv", "000000000001", "000000000044")
    with pytest.raises(ArchiveConflict) as refusal:
        place.restart()
    (command,) = re.findall(r"^ +(meterd meter exchange P1 .*)$", str(refusal.value), re.M)
    assert "--new-address 000000000044" in command
    swap = [
        *("meter", "exchange", "P1", "--at", "2026-03-03 14:30", "--new-address", "000000000044"),
        *("--old-final", "112.40", "--new-initial", "3.10", "--reason", "burnt"),
        *("--evidence", "photo 7", "--actor", "Li"),
    ]
    tried = json.loads(place.done(*swap, "--dry-run", "--json"))
    assert (tried["document"], tried["state"]) == (None, "tried")
    told = json.loads(place.done(*swap, "--json"))
    assert (told["document"], told["state"], told["to_do"]) == (1, "counts", [])
    assert {key: tried[key] for key in ("told", "readings", "use")} == {
        key: told[key] for key in ("told", "readings", "use")
    }
    assert [(use["to"], use["kwh"]) for use in told["use"]["after"]] == [
        ("2026-03-03T14:30:00+08:00", "2.40")
    ]
    place.restart()
    serving = (
        "SELECT m.address FROM installation i JOIN meter m ON m.id = i.meter_id "
        "WHERE i.point_id = 1 AND i.to_at IS NULL"
    )
    assert place.ask(serving) == [("000000000044",)]


def test_a_final_register_that_is_too_far_is_told_as_such_and_counts_by_nobody_alone(
    place: Place,
) -> None:
    place.read("P1", 100, 105, 110)
    swap = [
        *("meter", "exchange", "P1", "--at", "2026-03-03 14:30", "--new-address", "000000000044"),
        *("--old-final", "11240", "--new-initial", "3.10", "--reason", "burnt", "--actor", "Li"),
    ]
    tried = place.done(*swap, "--dry-run")
    assert "P1: 11130.00 kWh in 0.6 days, up to 2026-03-03, are more than the 2" in tried
    assert (
        "\ndry run, nothing was written; it tells more use than the limit allows and needs a second "
        "person\n"
    ) in tried
    told = place.done(*swap)
    assert (
        "document 1 waits, because it tells more use than the limit allows; a second person has to "
        "agree:\n  meterd document approve 1 --actor NAME"
    ) in told
    assert place.balance("A1") == -500
    # The old meter is gone, and the new one is read by nobody until then.
    stopped = map(json.loads, place.meterd("standstill", "--json").stdout.splitlines())
    (row,) = (it for it in stopped if it["point"] == "P1")
    assert row["why"].endswith("; document 1 waits for another person")
    assert row["commands"][:3] == [
        "meterd document show 1",
        "meterd document approve 1 --actor YOU (if it is right)",
        "meterd document reject 1 --reason WHY --actor YOU (if not)",
    ]
    place.done("document", "reject", "1", "--reason", "mistyped", "--actor", "Wang")
    assert "document" not in place.meterd("standstill", "--json").stdout


def test_files_that_name_the_old_meter_are_told_and_undo_nothing(place: Place) -> None:
    place.read("P1", 100, 105, 110)
    told = place.done(
        *("meter", "exchange", "P1", "--at", "2026-03-03 14:30", "--new-address", "000000000044"),
        *("--old-final-lost", "--reason", "burnt"),
    )
    assert "archive/meters.csv:2: address: write 000000000044 instead of 000000000001" in told
    assert told.endswith("then: meterd reload\n")
    place.restart()
    serving = (
        "SELECT m.address, i.from_at::text FROM installation i JOIN meter m ON m.id = i.meter_id "
        "WHERE i.point_id = 1 ORDER BY i.from_at"
    )
    assert [address for address, _ in place.ask(serving)] == ["000000000001", "000000000044"]


def test_a_handover_that_moves_billed_days_needs_a_second_person(place: Place) -> None:
    place.read("P1", 100, 105, 110, 115)
    give = ("point", "assign", "P1", "A2", "--from", "2026-03-02", "--reason", "moved", "--actor")
    told = place.done(*give, "Li")
    assert told.splitlines()[0] == (
        "P1: from 2026-03-02 on billed to A2; 2 days are given back; opening register 105.00"
    )
    assert "meterd document approve 1 --actor NAME" in told
    assert (place.balance("A1"), place.balance("A2")) == (-750, 0)
    same = place.meterd("document", "approve", "1", "--actor", "Li")
    assert (same.returncode, same.stderr.partition(":")[2][:13]) == (1, " same_person:")
    agreed = place.done("document", "approve", "1", "--actor", "Wang")
    assert "archive/points.csv:2: account: write A2 instead of A1" in agreed
    assert (place.balance("A1"), place.balance("A2")) == (-250, -500)
    (shown,) = place.done("document", "list", "--json").splitlines()
    kept = json.loads(shown)
    assert (kept["actor"], kept["reviewer"], kept["state"]) == ("Li", "Wang", "approved")


def test_a_document_that_waits_is_shown_with_its_effect_and_can_be_rejected(place: Place) -> None:
    place.read("P1", 100, 105, 110)
    place.done("point", "release", "P1", "--on", "2026-03-02", "--reason", "x", "--actor", "Li")
    shown = place.done("document", "show", "1")
    assert "state: waits" in shown
    assert "1 day is given back" in shown
    place.done("document", "reject", "1", "--reason", "not so", "--actor", "Wang")
    assert place.done("document", "list", "--waiting", "--json") == ""
    assert place.balance("A1") == -500


def test_a_ratio_that_was_wrong_is_mended_from_the_first_day(place: Place) -> None:
    place.read("P1", 100, 105, 110)
    place.edit("points.csv", "P1,A1,1", "P1,A1,10")
    with pytest.raises(ArchiveConflict) as refusal:
        place.restart()
    commands = re.findall(r"^ +(meterd meter ratio P1 .*)$", str(refusal.value), re.M)
    always = next(it for it in commands if "--from 2026-01-01" in it)
    told = place.done(*shlex.split(always)[1:], "--reason", "typed 1", "--actor", "Li")
    assert "use of 10.00 kWh becomes 100.00 kWh" in told
    place.done("document", "approve", "1", "--actor", "Wang")
    assert place.balance("A1") == -5000
    place.restart()
    assert place.balance("A1") == -5000


def test_a_date_is_corrected_by_the_command_that_the_refusal_names(place: Place) -> None:
    place.read("P1", 100, 105, 110)
    place.edit("meters.csv", "P1,2026-01-01", "P1,2026-03-02")
    with pytest.raises(ArchiveConflict) as refusal:
        place.restart()
    (command,) = re.findall(r"^ +(meterd meter correct P1 .*)$", str(refusal.value), re.M)
    place.done(*shlex.split(command)[1:], "--reason", "came later", "--actor", "Li")
    told = place.done("document", "approve", "1", "--actor", "Wang")
    assert "1 day is of no use, since another meter serves then or none yet" in told
    place.restart()


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("meter", "exchange", "P1"), 2, "Missing option '--at'"),
    (("meter", "exchange", "P1", "--at", "2026-03-03"), 2, 'write it as "2026-03-12 10:15"'),
    (("meter", "exchange", "P1", "--at", "2026-03-03 10:00"), 2, "--new-address or --same-serial"),
    (
        ("meter", "exchange", "P1", "--at", "2026-03-03 10:00", "--same-serial"),
        2,
        "--old-final or --old-final-lost",
    ),
    (
        (
            *("meter", "exchange", "P1", "--at", "2026-03-03 10:00", "--same-serial"),
            *("--old-final", "１２３"),
        ),
        2,
        "is no register",
    ),
    (
        ("meter", "ratio", "P1", "--from", "2026-03-03", "--ratio", "150/5"),
        2,
        "is no ratio: write 30",
    ),
    (("meter", "correct", "P1", "--reason", "x"), 2, "one of --installed-at, --address, --clock"),
    (("point", "release", "P9", "--on", "2026-03-03", "--reason", "x"), 1, "unknown_point"),
    (("point", "release", "P1", "--on", "2026-03-03"), 2, "--reason"),
    (
        ("point", "release", "P1", "--on", "2026-3-3x", "--reason", "x"),
        2,
        "write the year first, as 2026-",
    ),
    (("document", "approve", "7"), 1, "no_document"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), WRONG)
def test_what_is_typed_wrongly_is_told(
    place: Place, arguments: tuple[str, ...], code: int, told: str
) -> None:
    refused = place.meterd(*arguments)
    assert refused.returncode == code, refused.stdout
    assert told in refused.stderr


def test_who_types_on_a_terminal_is_asked_for_what_is_missing(place: Place) -> None:
    """A pseudo-terminal, because a pipe is asked nothing."""
    place.read("P1", 100, 105, 110)
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [
            *(
                commands.METERD,
                "meter",
                "exchange",
                "P1",
                "--at",
                "2026-03-03 14:30",
                "-c",
                "meterd.toml",
            ),
            *("--new-address", "000000000044"),
        ],
        cwd=place.folder,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    os.write(ours, b"112.40\nit burnt\n")
    told, _ = asking.communicate(timeout=60)
    os.close(ours)
    assert asking.returncode == 0, told
    assert b"document 1 counts" in told


def test_an_open_account_follows_its_file_when_somebody_says_so(place: Place) -> None:
    place.read("P1", 100, 105)
    place.edit("accounts.csv", "agreement\n", "agreement,warn_yuan\n")
    place.edit("accounts.csv", "A1,T,2026-03-01,signed", "A1,T,2026-03-01,signed,50.00")
    place.edit("accounts.csv", "A2,T,2026-03-01,signed", "A2,T,2026-03-01,signed,")
    place.restart()
    told = place.done("account", "import", "A1", "--dry-run")
    assert "A1\twarn_fen\t3000\t5000" in told
    assert "nothing was written" in told
    assert place.ask("SELECT warn_fen FROM account WHERE number = 'A1'") == [(3000,)]
    place.done("account", "import", "A1")
    assert place.ask("SELECT warn_fen FROM account WHERE number = 'A1'") == [(5000,)]
    assert place.done("account", "import") == "the database says what accounts.csv says\n"
    unknown = place.meterd("account", "import", "A9")
    assert (unknown.returncode, "accounts.csv has no account A9" in unknown.stderr) == (1, True)
