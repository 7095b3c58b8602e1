"""What the demonstration shows, act by act, each with its proof."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from daemon.control.commands import TRY_AGAIN_AFTER
from daemon.demo import database, files
from daemon.demo.processes import STEP_LIMIT_S, Demo
from daemon.demo.proof import owed_fen, wrong_balances

CUT_AT_SHARE: Final = 0.2
"""Share of the line's slots that are filled when it is cut."""
CUT_FOR_S: Final = 5.0
CUT_WITHIN_S: Final = STEP_LIMIT_S + TRY_AGAIN_AFTER.total_seconds()
"""What is settled just when the trip is to leave takes it back, and the next one waits so long."""
TOP_UP_YUAN: Final = "500"
WRONG_SHOWN: Final = 3


def tell_the_story(demo: Demo) -> None:
    """Everything that the demonstration shows. DemoFailed when a step never ends."""
    meters = files.demo_meters()
    owed = len(meters) * files.DAYS
    poor = next(meter for meter in meters if meter.address == files.POOR_METER)

    demo.say(f"collecting {files.DAYS} days of {len(meters)} meters on {len(files.LINES)} lines")
    _cut_and_mend_a_line(demo, owed)
    _cut_a_customer(demo, poor)
    _prove_balances(demo, {}, "every balance is right to the fen")
    _restore_the_customer(demo, poor)
    paid_fen = {poor.account: int(TOP_UP_YUAN) * 100}
    _prove_balances(demo, paid_fen, "paid twice with one key: booked once")
    _prove_ledger(demo)
    _prove_metrics(demo, owed)


def _cut_and_mend_a_line(demo: Demo, owed: int) -> None:
    line = files.CUT_LINE
    demo.until(f"a fifth of {line}", lambda: _share_of(demo, line) >= CUT_AT_SHARE)
    demo.bench.cut(line)
    demo.say(f"{line} is cut")
    demo.until(f"the daemon sees {line} down", lambda: line in demo.health()["down"])
    missed = _wanted(demo)[line]
    # Long enough for the daemon to try the line anew more than once.
    cut_until = time.monotonic() + CUT_FOR_S
    demo.until("some time passes", lambda: time.monotonic() >= cut_until)
    demo.check(
        f"{line} is cut: what is missing there is known", missed > 0, f"{missed} slots wanted"
    )

    demo.bench.mend(line)
    demo.say(f"{line} is mended")
    demo.until("every slot is filled", lambda: not any(_wanted(demo).values()))
    missing = database.missing_days(demo.database_url, _first_day(demo), demo.today)
    found = f"{owed - len(missing)} of {owed}"
    demo.check(f"every slot of {files.DAYS} days is filled", not missing, found)
    left = _wanted(demo)[line]
    demo.check(f"what {line} missed was collected again", left == 0, f"{missed - left} of {missed}")


def _cut_a_customer(demo: Demo, poor: files.DemoMeter) -> None:
    demo.say(f"customer {poor.account} has spent all: waiting for the cut")
    demo.until(
        "the relay is seen open",
        lambda: _supply_state(demo, poor) == "disconnected",
        within_s=CUT_WITHIN_S,
    )
    is_open = demo.bench.relay_is_open(poor.address)
    demo.check(
        f"{poor.account} is cut: the relay is open in the meter",
        is_open,
        "open" if is_open else "closed",
    )


def _restore_the_customer(demo: Demo, poor: files.DemoMeter) -> None:
    demo.say(f"customer {poor.account} pays {TOP_UP_YUAN} yuan")
    paid_at = time.monotonic()
    # The second payment is the channel's repetition and must move nothing.
    for _ in range(2):
        demo.run(["topup", poor.account, TOP_UP_YUAN, "--key", "demo-1"])
    demo.until("the supply is restored", lambda: _supply_state(demo, poor) == "energised")
    is_closed = not demo.bench.relay_is_open(poor.address)
    took = f"closed and verified {time.monotonic() - paid_at:.1f} s after the payment"
    demo.check(f"{poor.account} is restored: the relay is closed in the meter", is_closed, took)
    trips = [event for event in demo.bench.events() if event["kind"] == "control"]
    others = {event["address"] for event in trips} - {poor.address}
    demo.check("no other customer was cut", not others, ", ".join(sorted(others)) or "none")


def _prove_balances(demo: Demo, later_payments_fen: Mapping[str, int], what: str) -> None:
    """Compare every balance with the simulators' truth."""
    of_account: dict[str, list[files.DemoMeter]] = defaultdict(list)
    for meter in files.demo_meters():
        of_account[meter.account].append(meter)
    last, found = database.balances(demo.database_url, of_account)
    spent_fen = _spent_fen(demo, of_account, last)
    expected = {}
    for account in of_account:
        paid_fen = files.deposit_fen(account) + later_payments_fen.get(account, 0)
        expected[account] = paid_fen - spent_fen[account]
    wrong = wrong_balances(found, expected)
    summary = f"{len(expected)} accounts, {sum(expected.values())} fen"
    demo.check(what, not wrong, "; ".join(wrong[:WRONG_SHOWN]) or summary)


def _spent_fen(
    demo: Demo, of_account: Mapping[str, list[files.DemoMeter]], last: date
) -> dict[str, int]:
    """What each account's use costs until `last` 00:00, by the registers inside the meters."""
    truth = demo.bench.truth()
    change = files.price_change(demo.today)
    spent = {}
    for account, meters in of_account.items():
        freezes = [(Fraction(meter.ratio), truth[meter.address]) for meter in meters]
        spent[account] = owed_fen(
            freezes,
            _first_day(demo),
            last,
            lambda day: files.SECOND_PRICE if day >= change else files.FIRST_PRICE,
        )
    return spent


def _prove_ledger(demo: Demo) -> None:
    facts = database.ledger_integrity(demo.database_url)
    names = ("unbalanced_transactions", "wrong_balances", "wrong_months", "misdated_charges")
    faults = {name: facts[name] for name in names}
    is_right = facts["sum_of_balances_fen"] == 0 and not any(faults.values())
    found = f"sum {facts['sum_of_balances_fen']} fen over {facts['transactions']} transactions"
    demo.check("the ledger sums to zero", is_right, found if is_right else f"{found}, {faults}")


def _prove_metrics(demo: Demo, owed: int) -> None:
    values: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(demo.http("/metrics").decode()):
        for sample in family.samples:
            values[sample.name] += sample.value
    decided = int(values["meterd_slots_decided_total"])
    replies = int(values["meterd_replies_total"])
    # A freeze is a time stamp and a block of registers: two answers at least.
    is_enough = decided >= owed and replies > 2 * owed
    holds = is_enough and values["meterd_ledger_sum_fen"] == 0
    demo.check("the metrics tell the same", holds, f"{decided} slots decided, {replies} replies")


def _first_day(demo: Demo) -> date:
    return demo.today - timedelta(days=files.DAYS - 1)


def _share_of(demo: Demo, line: str) -> float:
    found = demo.health()["lines"][line]
    return float(found["present"] / (found["present"] + found["wanted"]))


def _wanted(demo: Demo) -> dict[str, int]:
    """Slots that each line still lacks."""
    return {name: int(line["wanted"]) for name, line in demo.health()["lines"].items()}


def _supply_state(demo: Demo, meter: files.DemoMeter) -> str:
    return database.supply_state(demo.database_url, meter.point)
