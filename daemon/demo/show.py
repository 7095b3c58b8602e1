"""The demonstration from start to end: processes, steps, proofs."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from zoneinfo import ZoneInfo

from prometheus_client.parser import text_string_to_metric_families
from psycopg import AsyncConnection

from config.load import load_site
from daemon.acquisition.planning.wanted import due_day
from daemon.demo import files
from daemon.demo.proof import owed_fen, wrong_balances
from daemon.transactions.archive import take_over_archive
from daemon.transactions.payment import top_up
from protocols.errors import MeterdError
from simulators.bench.remote import RemoteBench
from storage import ledger, migrate, readings, supply
from storage.database import open_database

STEP_LIMIT_S = 120.0
LOOK_EVERY_S = 0.2
CUT_AT_SHARE = 0.2
"""The line is cut when so much of it is filled."""
CUT_FOR_S = 5.0
STOP_LIMIT_S = 5.0
BILLED_THROUGH = """
SELECT min(last_day) FROM (SELECT max(to_day) AS last_day FROM link WHERE state = 'billed' GROUP BY point_id) x
"""
TOP_UP_YUAN = "500"


class DemoFailed(MeterdError):
    """A step of the demonstration did not come to its end."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to hold."""

    what: str
    holds: bool
    found: str


@dataclass(slots=True)
class Demo:
    """What is running. `progress` is called with (line, present, owed) whenever it was looked
    at."""

    folder: Path
    say: Callable[[str], None]
    progress: Callable[[str, int, int], None]
    today: date = field(default_factory=lambda: due_day(datetime.now(ZoneInfo(files.ZONE))))
    checks: list[Check] = field(default_factory=list)
    url: str = ""
    site: Path = Path()
    http_port: int = 0
    bench: RemoteBench | None = None
    daemon: subprocess.Popen[bytes] | None = None

    def check(self, what: str, holds: bool, found: object = "") -> None:
        self.checks.append(Check(what, holds, str(found)))


@contextmanager
def running_demo(
    folder: Path | None, say: Callable[[str], None], progress: Callable[[str, int, int], None]
) -> Iterator[Demo]:
    """Start the database, the simulated meters and the daemon; stop them in reverse. A folder of
    ours is removed."""
    with ExitStack() as opened:
        if folder is None:
            folder = Path(mkdtemp(prefix="meterd-demo-"))
            opened.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        demo = Demo(folder, say, progress)
        say(f"embedded PostgreSQL in {folder / 'data'}")
        demo.url = opened.enter_context(open_database(None, folder / "data")).url
        scenario = files.write_scenario(folder)
        places = _start_bench(demo, scenario, opened)
        demo.http_port = _free_port()
        demo.site = files.write_site(folder, places, demo.http_port, demo.today)
        asyncio.run(_prepare(demo))
        _start_daemon(demo, opened)
        yield demo


def tell_the_story(demo: Demo) -> None:
    """Everything that the demonstration shows, each step with its proof. DemoFailed when one never
    ends."""
    meters = files.demo_meters()
    demo.say(f"collecting {files.DAYS} days of {len(meters)} meters on {len(files.LINES)} lines")
    line = files.CUT_LINE
    _until(demo, f"a fifth of {line}", lambda: _share_of(demo, line) >= CUT_AT_SHARE)
    _bench(demo).cut(line)
    demo.say(f"{line} is cut")
    _until(demo, f"the daemon sees {line} down", lambda: line in _health(demo)["down"])
    missed = int(_health(demo)["lines"][line]["wanted"])
    cut_until = time.monotonic() + CUT_FOR_S
    _until(demo, "some time passes", lambda: time.monotonic() >= cut_until)
    demo.check(
        f"{line} is cut: what is missing there is known", missed > 0, f"{missed} slots wanted"
    )
    _bench(demo).mend(line)
    demo.say(f"{line} is mended")
    _until(demo, "every slot is filled", lambda: _wanted(demo) == 0)
    gaps = asyncio.run(_gaps(demo))
    owed = len(meters) * files.DAYS
    demo.check(
        f"every slot of {files.DAYS} days is filled", not gaps, f"{owed - len(gaps)} of {owed}"
    )
    left = _health(demo)["lines"][line]["wanted"]
    demo.check(f"what {line} missed was collected again", left == 0, f"{missed - left} of {missed}")

    poor = next(meter for meter in meters if meter.address == files.POOR_METER)
    demo.say(f"customer {poor.account} has spent all: waiting for the cut")
    _until(
        demo,
        "the relay is seen open",
        lambda: asyncio.run(_supply_of(demo, poor.point)) == "disconnected",
    )
    is_open = _bench(demo).relay_is_open(poor.address)
    demo.check(
        f"{poor.account} is cut: the relay is open in the meter",
        is_open,
        "open" if is_open else "closed",
    )
    _prove_balances(demo, {}, "every balance is right to the fen")

    demo.say(f"customer {poor.account} pays {TOP_UP_YUAN} yuan")
    paid = time.monotonic()
    for _ in range(2):  # the second one is the channel's repetition and must move nothing
        _run(["topup", poor.account, TOP_UP_YUAN, "--key", "demo-1", "-c", str(demo.site)])
    _until(
        demo,
        "the supply is restored",
        lambda: asyncio.run(_supply_of(demo, poor.point)) == "energised",
    )
    is_closed = not _bench(demo).relay_is_open(poor.address)
    took = f"closed and verified {time.monotonic() - paid:.1f} s after the payment"
    demo.check(f"{poor.account} is restored: the relay is closed in the meter", is_closed, took)
    trips = [event for event in _bench(demo).events() if event["kind"] == "control"]
    others = {event["address"] for event in trips} - {poor.address}
    demo.check("no other customer was cut", not others, ", ".join(sorted(others)) or "none")
    _prove_balances(
        demo, {poor.account: int(TOP_UP_YUAN) * 100}, "paid twice with one key: booked once"
    )

    _prove_ledger(demo)
    _prove_metrics(demo, owed)


def stop_daemon(demo: Demo) -> None:
    """SIGTERM ends it cleanly and soon."""
    process = demo.daemon
    assert process is not None
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        code: int | None = process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        code = None
    took = time.monotonic() - began
    demo.check("SIGTERM ends the daemon cleanly", code == 0, f"exit code {code} after {took:.1f} s")


def _start_bench(demo: Demo, scenario: Path, opened: ExitStack) -> dict[str, str]:
    process = subprocess.Popen(
        [*_meterd(), "simulate", str(scenario), "--json"], stdout=subprocess.PIPE
    )
    opened.callback(_stop, process)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline() or b"{}")
    if not ready.get("ready"):
        raise DemoFailed(f"the simulated meters did not start: {ready}")
    demo.bench = opened.enter_context(
        RemoteBench(ready["control"]["host"], ready["control"]["port"])
    )
    demo.say(f"{ready['meters']} simulated meters on {', '.join(ready['lines'])}")
    return {name: _place(where) for name, where in ready["lines"].items()}


def _place(where: dict[str, Any]) -> str:
    return str(where["device"]) if where["kind"] == "pty" else f"{where['host']}:{where['port']}"


async def _prepare(demo: Demo) -> None:
    """The customers of the site and their first payments, before the daemon starts."""
    migrate(demo.url)
    async with await AsyncConnection.connect(demo.url, autocommit=True) as connection:
        await take_over_archive(connection, load_site(demo.site))
        for account in sorted({meter.account for meter in files.demo_meters()}):
            amount = files.deposit_fen(account)
            await top_up(
                connection,
                account,
                amount,
                channel="demo",
                reference=account,
                now=datetime.now(UTC),
            )


def _start_daemon(demo: Demo, opened: ExitStack) -> None:
    log = opened.enter_context((demo.folder / "meterd.log").open("ab"))
    demo.daemon = subprocess.Popen([*_meterd(), "run", "-c", str(demo.site)], stderr=log)
    opened.callback(_stop, demo.daemon)
    demo.say(f"daemon started, its log is {demo.folder / 'meterd.log'}")
    _until(demo, "the daemon answers", lambda: bool(_health(demo)["lines"]))


def _prove_balances(demo: Demo, later_payments: dict[str, int], what: str) -> None:
    """Compare every balance with the simulators' truth."""
    last, found = asyncio.run(_balances(demo))
    truth = _bench(demo).truth()
    first = demo.today - timedelta(days=files.DAYS - 1)
    change = files.price_change(demo.today)
    of_account: dict[str, list[files.DemoMeter]] = defaultdict(list)
    for meter in files.demo_meters():
        of_account[meter.account].append(meter)
    expected = {
        account: files.deposit_fen(account)
        + later_payments.get(account, 0)
        - owed_fen(
            [(Fraction(meter.ratio), truth[meter.address]) for meter in meters],
            first,
            last,
            lambda day: files.SECOND_PRICE if day >= change else files.FIRST_PRICE,
        )
        for account, meters in of_account.items()
    }
    wrong = wrong_balances(found, expected)
    demo.check(
        what,
        not wrong,
        "; ".join(wrong[:3]) or f"{len(expected)} accounts, {sum(expected.values())} fen",
    )


def _prove_ledger(demo: Demo) -> None:
    facts = asyncio.run(_integrity(demo))
    faults = {
        name: facts[name] for name in ("unbalanced_transactions", "wrong_balances", "wrong_streams")
    }
    is_right = facts["sum_of_balances_fen"] == 0 and not any(faults.values())
    found = f"sum {facts['sum_of_balances_fen']} fen over {facts['transactions']} transactions"
    demo.check("the ledger sums to zero", is_right, found if is_right else f"{found}, {faults}")


def _prove_metrics(demo: Demo, owed: int) -> None:
    values: dict[str, float] = defaultdict(float)
    with urllib.request.urlopen(f"http://127.0.0.1:{demo.http_port}/metrics", timeout=5) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                values[sample.name] += sample.value
    published = int(values["meterd_slots_decided_total"])
    replies = int(values["meterd_replies_total"])
    holds = published >= owed and replies > 2 * owed and values["meterd_ledger_sum_fen"] == 0
    demo.check("the metrics tell the same", holds, f"{published} slots decided, {replies} replies")


def _until(demo: Demo, what: str, holds: Callable[[], bool]) -> None:
    """Look until it holds, showing how far each line is. DemoFailed after STEP_LIMIT_S or when the
    daemon ended."""
    give_up_at = time.monotonic() + STEP_LIMIT_S
    while True:
        try:
            for name, line in _health(demo)["lines"].items():
                demo.progress(name, line["present"], line["present"] + line["wanted"])
            if holds():
                return
        except OSError:
            pass
        if demo.daemon is not None and demo.daemon.poll() is not None:
            raise DemoFailed(
                f"the daemon ended with exit code {demo.daemon.returncode}{_log_tail(demo)}"
            )
        if time.monotonic() > give_up_at:
            raise DemoFailed(f"not within {STEP_LIMIT_S:.0f} s: {what}{_log_tail(demo)}")
        time.sleep(LOOK_EVERY_S)


def _health(demo: Demo) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{demo.http_port}/healthz", timeout=5) as answer:
        health: dict[str, Any] = json.load(answer)
    return health


def _share_of(demo: Demo, line: str) -> float:
    found = _health(demo)["lines"][line]
    return float(found["present"] / (found["present"] + found["wanted"]))


def _wanted(demo: Demo) -> int:
    return sum(line["wanted"] for line in _health(demo)["lines"].values())


def _bench(demo: Demo) -> RemoteBench:
    assert demo.bench is not None
    return demo.bench


async def _gaps(demo: Demo) -> list[date]:
    since = demo.today - timedelta(days=files.DAYS - 1)
    async with await AsyncConnection.connect(demo.url) as connection:
        found = await readings.gaps(connection, since, demo.today)
        held = await readings.withheld(connection, since, demo.today)
    missing = [row["first_day"] + timedelta(days=i) for row in found for i in range(row["days"])]
    return missing + [row["day"] for row in held]


async def _balances(demo: Demo) -> tuple[date, dict[str, int]]:
    """The last day that is billed for everybody, and the balances."""
    async with await AsyncConnection.connect(demo.url) as connection:
        accounts = {meter.account for meter in files.demo_meters()}
        row = await (await connection.execute(BILLED_THROUGH)).fetchone()
        assert row is not None
        return row[0], await ledger.balances(connection, accounts)


async def _supply_of(demo: Demo, point: str) -> str:
    async with await AsyncConnection.connect(demo.url) as connection:
        (row,) = await supply.supply(connection, point=point)
        return str(row["supply_state"])


async def _integrity(demo: Demo) -> dict[str, int]:
    async with await AsyncConnection.connect(demo.url) as connection:
        return await ledger.integrity(connection)


def _run(arguments: Sequence[str]) -> None:
    done = subprocess.run(
        [*_meterd(), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoFailed(f"meterd {' '.join(arguments)}: {done.stderr.strip()}")


def _meterd() -> list[str]:
    """This very program, as another process: never another checkout's."""
    return [sys.executable, "-P", "-c", "from daemon.cli import main; main()"]


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _log_tail(demo: Demo) -> str:
    log = demo.folder / "meterd.log"
    lines = (
        log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:] if log.exists() else []
    )
    return "\n".join(["\nthe end of its log:", *lines])
