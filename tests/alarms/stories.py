"""What may happen to a site, so that every alert fires and ends. Each story is a site of its own.

A story is told in the order in which it happens; `fires` waits for the alarm, and what stands
behind it takes the fault away."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, time, timedelta
from pathlib import Path
from time import sleep
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo

from daemon.acquisition.planning.wanted import due_day
from daemon.runtime import logs
from daemon.spool.spool import open_spool
from protocols.dlt645.frame import Frame, encode
from storage.database import DAEMON
from tests.acceptance.stage import METERS, POOR, ZONE
from tests.acceptance.test_notices import post_receipt, prepare, receipt, receiver, zone_by_day
from tests.acceptance.test_staff_calls import JOB
from tests.alarms.play import READY_S, Play, add_rows, playing
from tests.alarms.watch import Alarm
from tests.at_hours import libfaketime, real_sleep
from tests.faults.small_disk import small_disk
from tests.servers.postgres import Server, embedded_server
from tests.spooled import an_arrival

Story = Callable[[Server, Path, list[Alarm]], None]
FEW_DAYS: Final = 12
FLEET: Final = [f"{n:012d}" for n in range(3001, 3421)]
"""With some days of each half of the spool is full."""
DISK_MIB: Final = 3072
NARROW_MIB: Final = 512
RICH, *_, OFF = METERS["gate-1"]
BEFORE: Final = "UPDATE meter SET taken_in_at = taken_in_at - interval '20 days'"
BEFORE_MIDNIGHT_S: Final = 150
PANEL: Final = """
[lines.panel-1]
port = 0
modbus = "tcp"

[[meters]]
protocol = "modbus"
line = "panel-1"
profile = "eastron-sdm630"
unit = 1
count = 3
"""
ON_CALL: Final = """
[[on_call]]
name = "li"
channel = "app"
address = "13800009999"
"""
SIGNS_NOTHING: Final = "#!/bin/sh\n"
"""So that meters are told the password."""
HANGS: Final = "#!/bin/sh\nexec sleep 60\n"
SPOOL_BYTES: Final = 10**6
LOW_FDS: Final = 2
RUNS_S: Final = 0.1
STANDS_S: Final = 1.2
"""Shorter than Prometheus waits for an answer."""


def first_morning(server: Server, folder: Path, alarms: list[Alarm]) -> None:
    """A site as installers leave it: meters without power, a wrong password, no backup."""
    doubted = due_day(datetime.now(ZoneInfo(ZONE))) - timedelta(days=5)
    scenario = f"""
[[meters]]
line = "gate-1"
address = "000000001011"
kwh_per_day = 8
[meters.wrong_freezes]
"{doubted}" = 123456.00
"""
    with playing(server, folder, alarms, days=FEW_DAYS, more_meters=scenario) as play:
        watch, staged = play.watch, play.staged
        opens = doubted - timedelta(days=5)
        add_rows(staged.folder, "gate-1", ["000000001011"], f"{opens}")
        (staged.folder / "password").write_text("111111\n")
        staged.bench.power("off", line="bus-1")
        staged.bench.power("off", address=OFF)
        # What a meter froze before it was taken in was promised to nobody.
        play.as_superuser(BEFORE)
        with locked(play, "closed_day", "EXCLUSIVE"):
            play.start()
            watch.fires(
                "a session holds the table of closed days since before the start",
                "MeterdDaysNotClosed",
            )
        watch.fires("no backup was ever made", "MeterdBackupOld")
        staged.meterd("backup")
        watch.fires("the password for control is wrong", "MeterdCommandRefused")
        (staged.folder / "password").write_text("000000\n")
        play.restart()
        watch.fires("one freeze of a meter is no value of its chain", "MeterdValuesWithheld")
        staged.meterd(
            "quality", "reject", "P1011", f"{doubted}", "123456.00", "--reason", "misread"
        )
        watch.fires(
            "the meters of a bus have no power, and one of another line",
            *("MeterdLineSilent", "MeterdMetersSilent", "MeterdFreezesMissing"),
            *("MeterdFreezesLeaving", "MeterdNotBilled"),
        )
        staged.bench.power("on", line="bus-1")
        staged.bench.power("on", address=OFF)
        watch.all_end()


def a_day(server: Server, folder: Path, alarms: list[Alarm]) -> None:
    """A site that runs, and one thing after the other happens to it."""
    scenario = f"""
[lines.gate-2]
port = 0
reply_delay_ms = 0

[[meters]]
line = "gate-2"
address = "{FLEET[0]}"
count = {len(FLEET)}
"""
    with (
        small_disk(DISK_MIB) as data,
        playing(server, folder, alarms, days=FEW_DAYS, more_meters=scenario, data=data) as play,
        ExitStack() as stays,
    ):
        opens = play.staged.today - timedelta(days=FEW_DAYS - 1)
        add_rows(play.staged.folder, "gate-2", FLEET, f"{opens}", is_billed=False)
        play.staged.bench.cut("gate-2")
        play.rewrite("meterd.toml", "[control]\n", '[control]\nsigner = "sign"\n')
        sign(play, SIGNS_NOTHING)
        play.start()
        stays.enter_context(terminal(play))
        play.until_poor_is_cut()
        play.watch.fires("a converter hung up", "MeterdLineDown")
        for happens in (
            database_is_away,
            tables_are_spoilt,
            meters_are_changed,
            bus_is_shared,
            payment_meets_a_line_that_is_down,
            machine_is_short,
        ):
            happens(play, data)
        play.watch.all_end()


def database_is_away(play: Play, data: Path) -> None:
    play.database.refuse()
    play.staged.bench.mend("gate-2")
    play.watch.fires(
        "the database's port refuses, and 420 meters are read",
        *("MeterdDatabaseAway", "MeterdReadingsWait", "MeterdSpoolFills"),
    )
    spoilt = max((data / "spool").glob("*.spool"), key=lambda it: it.stat().st_size)
    content = bytearray(spoilt.read_bytes())
    content[len(content) // 2] ^= 0xFF
    spoilt.write_bytes(content)
    play.database.mend()
    play.watch.fires("a byte on disk was changed meanwhile", "MeterdSpoolBad")


def tables_are_spoilt(play: Play, data: Path) -> None:
    watch, staged = play.watch, play.staged
    staged.until(
        "all marks are settled", lambda: staged.ask("SELECT count(*) FROM to_settle") == [(0,)]
    )
    opens = f"{staged.today - timedelta(days=3)}"
    play.as_superuser("ALTER TABLE reading ADD CONSTRAINT refuses CHECK (false) NOT VALID")
    play.add_meter("000000001012", opens)
    watch.fires("the database refuses the rows of a meter", "MeterdDeadLetter")
    play.as_superuser("ALTER TABLE reading DROP CONSTRAINT refuses")
    staged.meterd("deadletter", "replay", "--all")

    change = "UPDATE ledger_account SET balance_fen = balance_fen {} 1 WHERE id = {}"
    ((ledger_account,),) = staged.ask("SELECT min(id) FROM ledger_account WHERE id > 0")
    past = "SET session_replication_role = replica"
    play.as_superuser(past, change.format("+", ledger_account))
    watch.fires("one fen was added past the program", "MeterdLedgerWrong")
    play.as_superuser(past, change.format("-", ledger_account))

    ((account,),) = staged.ask("SELECT min(id) FROM account")
    mark = (
        "INSERT INTO to_settle (account_id, from_day, to_day)"
        f" VALUES ({account}, '{opens}', '{staged.today}')"
    )
    with locked(play, "account_month", "ACCESS EXCLUSIVE"):
        play.as_superuser(mark)
        watch.fires("a session holds the table of months", "MeterdSettlementWaits")
    play.as_superuser(
        f"CREATE TABLE kept AS SELECT * FROM account_month WHERE account_id = {account}",
        f"UPDATE account_month SET use = '{{9,1}}' WHERE account_id = {account}",
        mark,
    )
    watch.fires("what is kept of an account's month is no use", "MeterdSettledOneByOne")
    play.as_superuser(
        "UPDATE account_month m SET use = kept.use FROM kept"
        " WHERE m.account_id = kept.account_id AND m.month = kept.month",
        "DROP TABLE kept",
        mark,
    )
    play.as_superuser("SELECT pg_notify('meterd_relay', 'no number')")
    watch.fires("a notification that no program of ours sends", "MeterdTaskDied")

    play.as_superuser(f"REVOKE SELECT ON breaker FROM {DAEMON}")
    watch.fires("a privilege was taken away", "MeterdTickLate")
    play.as_superuser(f"GRANT SELECT ON breaker TO {DAEMON}")


def meters_are_changed(play: Play, data: Path) -> None:
    opens = f"{play.staged.today - timedelta(days=3)}"
    play.add_meter("000000001013", opens, serial="99")
    play.watch.fires("a meter tells another serial than registered", "MeterdAnotherMeter")


def bus_is_shared(play: Play, data: Path) -> None:
    foreign = encode(Frame(RICH, 0x14, bytes.fromhex("0201040500000000000000000001")))
    play.converter.say(foreign)
    play.watch.fires("another master writes to a meter", "MeterdForeignWrites")


def payment_meets_a_line_that_is_down(play: Play, data: Path) -> None:
    watch, staged = play.watch, play.staged
    auto, shadow = 'mode = "auto"', 'mode = "shadow"\nleft_dark_by = "chen"'
    play.rewrite("meterd.toml", auto, shadow)
    play.restart()
    watch.fires(
        "somebody is cut, and restarted in shadow mode nobody restores", "MeterdSupplyAlarm"
    )
    play.rewrite("meterd.toml", shadow, auto)
    play.restart()
    staged.bench.cut("gate-1")
    staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "late")
    watch.fires("who is cut pays while the line is down", "MeterdCommandWaits")
    sign(play, HANGS)
    staged.bench.mend("gate-1")
    watch.fires("the program that signs does not answer", "MeterdLineStuck")
    sign(play, SIGNS_NOTHING)
    staged.until("it is lit", lambda: staged.supply_of(POOR) == "energised")


def machine_is_short(play: Play, data: Path) -> None:
    watch, staged = play.watch, play.staged
    resized(data, NARROW_MIB)
    watch.fires("the disk has half a gibibyte left", "MeterdDiskFull")
    resized(data, DISK_MIB)

    assert staged.daemon is not None
    number = staged.daemon.pid
    limits = resource.prlimit(number, resource.RLIMIT_NOFILE)
    open_now = len(os.listdir(f"/proc/{number}/fd"))
    resource.prlimit(number, resource.RLIMIT_NOFILE, (open_now + LOW_FDS, limits[1]))
    with ExitStack() as calling:
        for _ in range(2 * LOW_FDS):
            calling.enter_context(socket.create_connection(("127.0.0.1", play.listener_port)))
        staged.until("it has no descriptors", lambda: "descriptors" in staged.log())
        resource.prlimit(number, resource.RLIMIT_NOFILE, limits)
    watch.fires("more terminals call than it may open connections", "MeterdNoDescriptors")

    with standing_often(play):
        watch.fires("the processor is taken away nine tenths of the time", "MeterdLoopLate")


def dying_daemon(server: Server, folder: Path, alarms: list[Alarm]) -> None:
    """It is killed, as by the kernel when memory is short."""
    with playing(server, folder, alarms, days=FEW_DAYS) as play:
        play.start()
        play.until_scraped()
        for _ in range(3):
            play.kill()
            play.start()
            play.until_scraped()
        play.watch.fires("it was killed three times in minutes", "MeterdRestarts")
        play.kill()
        play.watch.fires("it was killed, and nobody starts it", "MeterdDown")
        play.start()
        play.watch.all_end()


def wrong_clock(server: Server, folder: Path, alarms: list[Alarm]) -> None:
    """The host comes up with a clock that is two minutes behind, and is then set."""
    with playing(server, folder, alarms, days=FEW_DAYS) as play:
        watch, staged = play.watch, play.staged
        play.start()
        staged.until("all is collected", lambda: staged.slots_missing() == 0, READY_S)
        clock = staged.folder / "clock"
        clock.write_text("-120s")
        play.restart(
            LD_PRELOAD=libfaketime(),
            FAKETIME_TIMESTAMP_FILE=str(clock),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )
        watch.fires("the host's clock is behind what is stored", "MeterdClockDoubted")
        watch.is_quiet("MeterdClockDoubted")
        clock.write_text("-110s")
        watch.fires("it is stepped by 10 s", "MeterdClockStepped")
        watch.all_end()


def at_midnight(server: Server, folder: Path, alarms: list[Alarm]) -> None:
    """Two meters have no power at midnight."""
    with (
        playing(server, folder, alarms, days=FEW_DAYS, more_meters=PANEL) as play,
    ):
        staged = play.staged
        opens = staged.today - timedelta(days=FEW_DAYS - 1)
        add_panel(play, f"{opens}")
        play.as_superuser(BEFORE)
        staged.bench.power("off", address="panel-1/1")
        staged.bench.power("off", address=OFF)
        play.start()
        play.watch.fires(
            "a meter without memory has no power at midnight", "MeterdMidnightMissed", within_s=400
        )
        play.watch.fires(
            "one had none since it was installed, and its oldest day goes",
            "MeterdFreezesLost",
            within_s=600,
        )
        play.watch.all_end()


def midnight_without_room(server: Server, folder: Path, alarms: list[Alarm]) -> None:
    """Nights of a large site wait on disk, and the database is not there at the next one."""
    with (
        playing(server, folder, alarms, days=FEW_DAYS, more_meters=PANEL) as play,
    ):
        opens = play.staged.today - timedelta(days=FEW_DAYS - 1)
        add_panel(play, f"{opens}")
        with open_spool(play.staged.folder / "data" / "spool", SPOOL_BYTES) as spool:
            waiting = [an_arrival(1, has_memory=False)]
            spool.append(waiting)
            size = spool.size
            while spool.size + size <= SPOOL_BYTES:
                spool.append(waiting)
            spool.syncing()()
        play.database.refuse()
        play.start()
        play.watch.fires(
            "the database is away at midnight, and the spool full of readings without memory",
            "MeterdReadingsDropped",
            within_s=400,
        )
        play.database.mend()
        play.watch.all_end()


def notices(server: Server, folder: Path, alarms: list[Alarm]) -> None:
    """A provider of messages that is away, and a customer whom it does not reach."""
    with (
        receiver(folder.parent / "received") as told,
        playing(server, folder, alarms, days=FEW_DAYS, zone=zone_by_day()) as play,
    ):
        watch, staged = play.watch, play.staged
        told.answer(503)
        prepare(staged, told)
        site = staged.site.read_text(encoding="utf-8")
        staged.site.write_text(site + ON_CALL, encoding="utf-8")
        play.start()
        watch.fires("the provider of messages answers 503", "MeterdNoticesWait")
        told.answer(204)
        staged.until("it is told", lambda: len(told.notices()) > 0, READY_S)
        bounced = receipt(told.notices()[0]["notice"], "bounced")
        assert post_receipt(staged, bounced) == 200
        watch.fires("it reports that a notice bounced", "MeterdNoticesFail")
        ((job,),) = staged.ask(JOB)
        watch.fires("nobody on call takes a job in the field", "MeterdNobodyTakesIt")
        staged.meterd("job", "assign", str(job), "zhang")
        watch.all_end()


def add_panel(play: Play, opens: str) -> None:
    """Modbus meters, which remember nothing."""
    add_rows(
        play.staged.folder,
        *("panel-1", ["1", "2", "3"], opens),
        protocol="modbus-tcp",
        profile="eastron-sdm630",
    )


def before_midnight(folder: Path) -> dict[str, str]:
    """The environment of a story, and of all that it starts, in which it is midnight at the site
    soon; not for Prometheus, which asks the kernel."""
    now = datetime.now(ZoneInfo(ZONE))
    midnight = datetime.combine(now.date() + timedelta(days=1), time.min, now.tzinfo)
    ahead_s = round((midnight - now).total_seconds()) - BEFORE_MIDNIGHT_S
    return {
        "FAKETIME": f"{ahead_s:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "LD_PRELOAD": f"{real_sleep(folder)} {libfaketime()}",
    }


@contextmanager
def locked(play: Play, table: str, mode: str) -> Iterator[None]:
    """A careless session holds a table."""
    url = make_conninfo(play.staged.url, user="postgres")
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        yield


@contextmanager
def terminal(play: Play) -> Iterator[None]:
    """One dials in, and stays."""
    with socket.create_connection(("127.0.0.1", play.listener_port)) as calling:
        calling.sendall(b"REG:00008601\r\n")
        yield


@contextmanager
def standing_often(play: Play) -> Iterator[None]:
    """Somebody else's machine has the processor most of the time."""
    ended = threading.Event()

    def stand() -> None:
        while not ended.wait(RUNS_S):
            play.signal(signal.SIGSTOP)
            sleep(STANDS_S)
            play.signal(signal.SIGCONT)

    thread = threading.Thread(target=stand)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def sign(play: Play, program: str) -> None:
    """What control frames carry is asked of this program from now on."""
    path = play.staged.folder / "sign"
    path.write_text(program)
    path.chmod(0o700)


def resized(disk: Path, mebibytes: int) -> None:
    """A disk of ours has another size, whatever is on it."""
    subprocess.run(["mount", "-o", f"remount,size={mebibytes}m", disk], check=True)


STORIES: Final[dict[str, Story]] = {
    "first_morning": first_morning,
    "a_day": a_day,
    "at_midnight": at_midnight,
    "midnight_without_room": midnight_without_room,
    "notices": notices,
    "wrong_clock": wrong_clock,
    "dying_daemon": dying_daemon,
}
MIDNIGHTS: Final = ("at_midnight", "midnight_without_room")


def main(name: str) -> None:
    """Play one, and print each alarm as a line of JSON, however it ended."""
    logs.configure(level="warning")
    alarms: list[Alarm] = []
    with (
        embedded_server() as server,
        tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder,
    ):
        Path(folder).chmod(0o755)
        try:
            STORIES[name](server, Path(folder, name), alarms)
        finally:
            for alarm in alarms:
                print(msgspec.json.encode(alarm).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
