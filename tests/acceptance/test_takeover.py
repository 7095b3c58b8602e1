"""A caller that says a known terminal's id (A1), at the installed daemon with real relays to open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.load import load_site
from daemon.api.asking import ask
from daemon.transactions.archive import take_over_archive
from daemon.transactions.payment import top_up
from simulators.bench.remote import RemoteBench
from storage import migrate
from tests.acceptance.stage import SITE, ZONE, Stage, simulated
from tests.faults.proxy import proxy_to
from tests.servers.ports import free_port

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
DAYS = 6
TERMINAL = "REG:00008601"
POOR, RICH = "000000001001", "000000001002"
"""Of two customers of one terminal, who has paid one yuan and who a thousand."""
ELSEWHERE = "127.0.0.2"
NOT_SURE = "it is not sure who speaks for the meter"
REFUSED = "a second caller says that it is this terminal, refused"

LISTENER = """
[[listener]]
name = "gprs"
listen = "127.0.0.1:{port}"
terminals = "terminals.csv"
registration = {{ text = "REG:{{id:8}}\\r\\n" }}
heartbeat = {{ text = "PING" }}
reply_timeout_s = 0.5
{networks}
"""
DIALLING = """
zone = "{zone}"

[lines.dtu]
reply_delay_ms = [1, 6]

[lines.dtu.dial]
port = {port}
registration = {{ text = "{terminal}\\r\\n" }}
heartbeat = {{ text = "PING" }}
heartbeat_s = 1
reconnect_s = 0.2

[[meters]]
line = "dtu"
address = "{poor}"
kwh_per_day = [0.5, 0.6]

[[meters]]
line = "dtu"
address = "{rich}"
kwh_per_day = [6, 12]
"""


@dataclass
class Town:
    """A site of one terminal, and whoever calls as it."""

    staged: Stage
    port: int
    opened: ExitStack

    def calls(self, who: str, source: str | None = None) -> RemoteBench:
        """Somebody's terminal with meters of its own behind it; every control frame is seen there.

        `source`: the address from which it calls."""
        port = self.port
        if source is not None:
            port = self.opened.enter_context(proxy_to(("127.0.0.1", port), source)).port
        scenario = self.staged.folder / f"{who}.toml"
        scenario.write_text(
            DIALLING.format(zone=ZONE, port=port, terminal=TERMINAL, poor=POOR, rich=RICH)
        )
        return self.opened.enter_context(simulated(scenario))[1]

    def published(self) -> int:
        ((count,),) = self.staged.ask("SELECT count(*) FROM slot WHERE state = 'published'")
        return int(count)

    def is_exhausted(self) -> bool:
        rows = self.staged.ask(
            "SELECT 1 FROM account WHERE number = 'C1001' AND credit_state = 'exhausted' "
            "AND NOT EXISTS (SELECT FROM to_settle)"
        )
        return bool(rows)

    def is_had_by(self, address: str) -> bool:
        """Whether the terminal is connected, from there."""
        # Asked many times: a command each time would cost more than all else that happens here.
        _, row, *_ = ask(self.staged.folder / "data", {"do": "terminals"})
        return (row["state"], row["address"]) == ("connected", address)

    def trip(self) -> tuple[str, str]:
        """State and detail of the only trip."""
        ((state, detail),) = self.staged.ask(
            "SELECT state, detail FROM command WHERE action = 'trip'"
        )
        return state, detail

    def reasons(self) -> list[str]:
        """What the guard said last; nothing where it was not asked yet."""
        rows = self.staged.ask("SELECT reasons FROM guard_verdict ORDER BY id DESC LIMIT 1")
        return list(rows[0][0]) if rows else []

    def sessions(self) -> list[str]:
        """The tellers of the stored readings, by their sessions."""
        rows = self.staged.ask(
            "SELECT t.session_at::text, count(*) FROM reading r JOIN teller t ON t.id = r.told_by "
            "WHERE t.terminal = '00008601' AND t.address = '127.0.0.1' GROUP BY 1 ORDER BY 1"
        )
        return [session for session, _ in rows]


def controls(bench: RemoteBench) -> list[dict[str, Any]]:
    return [event for event in bench.events() if event["kind"] == "control"]


@contextmanager
def town(url: str, folder: Path, networks: str = "", vouched: str = "") -> Iterator[Town]:
    port, http_port = free_port(), free_port()
    (folder / "database-url").write_text(url)
    (folder / "password").write_text("000000")
    lines = LISTENER.format(port=port, networks=networks)
    text = SITE.format(zone=ZONE, days=DAYS, lines=lines, port=http_port, mode="auto")
    (folder / "meterd.toml").write_text(text.replace("[control]", f"[control]\n{vouched}"))
    (folder / "tariffs.toml").write_text(
        '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n'
    )
    with ExitStack() as opened:
        staged = Stage(folder, url, None, http_port, "auto", days=DAYS)  # type: ignore[arg-type]
        opens = staged.today - timedelta(days=DAYS - 1)
        tables = {
            "terminals": ("line,terminal", "dtu,00008601"),
            "meters": (
                "address,line,point,installed_on",
                *(f"{it},dtu,P{int(it)},{opens}" for it in (POOR, RICH)),
            ),
            "points": (
                "point,account,reconnect",
                *(f"P{int(it)},C{int(it)},close" for it in (POOR, RICH)),
            ),
            "accounts": (
                "account,tariff,open_from,agreement",
                *(f"C{int(it)},home,{opens},A{int(it)}" for it in (POOR, RICH)),
            ),
        }
        for name, rows in tables.items():
            (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
        migrate(url)
        asyncio.run(deposits(staged))
        opened.callback(staged.close)
        yield Town(staged, port, opened)


async def deposits(staged: Stage) -> None:
    async with await psycopg.AsyncConnection.connect(staged.url, autocommit=True) as connection:
        await take_over_archive(connection, load_site(staged.site))
        for account, fen in (("C1001", 100), ("C1002", 100_000)):
            now = datetime.now(UTC)
            await top_up(connection, account, fen, channel="test", reference=account, now=now)


@pytest.mark.parametrize(
    ("networks", "vouched", "is_cut"),
    [
        ("", "", False),
        ('permitted_networks = ["127.0.0.0/8"]', "", False),
        ("", 'trips_over_plain_text = ["gprs"]', True),
    ],
    ids=["anybody", "inside the permitted network", "vouched for"],
)
def test_nobody_is_cut_on_the_word_of_a_caller_that_only_says_an_id(
    database_url: str, tmp_path: Path, networks: str, vouched: str, *, is_cut: bool
) -> None:
    """The last of the three shows that nothing else would have kept the relay closed."""
    with town(database_url, tmp_path, networks, vouched) as here:
        caller = here.calls("caller")
        here.staged.start_daemon()
        here.staged.until("its readings are billed", here.is_exhausted)
        if is_cut:
            here.staged.until("it is cut", lambda: here.staged.supply_of(POOR) == "disconnected")
            assert [event["action"] for event in controls(caller)] == ["1A"]
            return
        # Its relay is looked at within seconds; until then that speaks against it too.
        here.staged.until("the guard was heard", lambda: "SOURCE_CHANGED" in here.reasons())
        assert here.staged.supply_of(POOR) == "energised"
        assert here.staged.stop_daemon(within_s=30) == 0
        assert controls(caller) == []


def test_who_calls_from_elsewhere_is_refused_and_told(database_url: str, tmp_path: Path) -> None:
    with town(database_url, tmp_path, 'permitted_networks = ["10.0.0.0/8"]') as here:
        caller = here.calls("stranger")
        here.staged.start_daemon()
        words = "caller may not speak for this terminal"
        here.staged.until("it is told", lambda: words in here.staged.log())
        shown = here.staged.meterd("terminals", "--json")
        rows = [json.loads(row) for row in shown.splitlines()]
        assert [row["state"] for row in rows] == ["away", "unknown"]
        assert rows[1]["why"] == "127.0.0.1 is in none of its permitted networks"
        assert here.published() == 0
        assert controls(caller) == []


def test_a_rival_of_a_living_session_is_refused_and_one_of_a_dead_one_is_not_believed(
    database_url: str, tmp_path: Path
) -> None:
    vouched = 'permitted_networks = ["127.0.0.0/8"]'
    with town(database_url, tmp_path, vouched) as here:
        true = here.calls("terminal")
        here.staged.start_daemon()
        here.staged.until("all is read", lambda: here.published() == 2 * DAYS)
        thief = here.calls("thief")
        here.staged.until("the rival is refused", lambda: REFUSED in here.staged.log())
        assert here.staged.log().count("terminal called again") == 0
        assert len(here.sessions()) == 1
        asked = here.staged.meterd("collect", RICH, "--what", "registers", "--json")
        assert json.loads(asked)["outcome"] == "ok"
        # The terminal's network is gone: whoever calls next has its place, and nobody is cut.
        true.cut("dtu")
        here.staged.until(
            "the rival has the place",
            lambda: (
                json.loads(here.staged.meterd("terminals", "--json").splitlines()[0])["state"]
                == "connected"
            ),
        )
        here.staged.until("the guard was heard", lambda: "SOURCE_CHANGED" in here.reasons())
        assert here.staged.stop_daemon(within_s=30) == 0
        assert controls(thief) == controls(true) == []


def test_a_rival_at_the_moment_of_a_trip_neither_gets_nor_proves_one(
    database_url: str, tmp_path: Path
) -> None:
    """The meter says that it accepts the trip, and its relay stays closed; before that is read back
    somebody else has the terminal's place, and says that it is open."""
    with town(database_url, tmp_path, vouched='trips_over_plain_text = ["gprs"]') as here:
        true, rival = here.calls("terminal"), here.calls("rival", ELSEWHERE)
        rival.cut("dtu")
        rival.force_relay(POOR, "open")
        true.fault_on("stuck_relay", address=POOR)
        here.staged.start_daemon()
        here.staged.until("the trip was sent", lambda: len(controls(true)) == 1)
        true.cut("dtu", "silence")
        rival.mend("dtu")
        here.staged.until("the rival has the place", lambda: here.is_had_by(ELSEWHERE))
        here.staged.until("it is not believed", lambda: NOT_SURE in here.trip()[1])
        for who, address, other in (
            (true, "127.0.0.1", rival),
            (rival, ELSEWHERE, true),
            (true, "127.0.0.1", rival),
        ):
            other.cut("dtu", "silence")
            who.mend("dtu")
            here.staged.until(f"it is {address}", partial(here.is_had_by, address))
        assert here.trip()[0] not in ("verified", "failed")
        assert here.staged.supply_of(POOR) != "disconnected"
        log = here.staged.log()
        assert "terminal called from another address" in log
        assert log.count("callers replace each other as this terminal") == 1
        assert here.staged.stop_daemon(within_s=30) == 0
        assert [event["action"] for event in controls(true)] == ["1A"]
        assert controls(rival) == []
        assert not true.relay_is_open(POOR)
        assert not true.relay_is_open(RICH)
