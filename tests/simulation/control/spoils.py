"""Each rule of control taken out of the program in turn: some seed has to see it.

PYTHONPATH=. .venv/bin/python tests/simulation/control/spoils.py [SEEDS] [WORD ...]

Of each spoil the scenes are played and then the seeds lived in turn until one shows a mistake; with
words only those whose name has one of them. Exit code 1 if any stays unseen."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

from tests.mutation.in_place import codes_of, put_in_place
from tests.simulation.control.lives import live, no_log
from tests.simulation.control.moment_scenes import MOMENT_SCENES
from tests.simulation.control.order_scenes import ORDER_SCENES
from tests.simulation.control.relay_scenes import RELAY_SCENES
from tests.simulation.control.scenes import SCENES, faults

GUARD: Final = "daemon.control.guard"
FACTS: Final = "daemon.control.facts"
RELEASE: Final = "daemon.transactions.release"
OBSERVE: Final = "daemon.transactions.observe"
SUPPLY: Final = "daemon.transactions.supply"
STATEMENTS: Final = "tests.simulation.control.statements"
SEEDS: Final = 600


@dataclass(frozen=True, slots=True)
class Spoil:
    """In the source of a module, `old` becomes `new`."""

    name: str
    module: str
    old: str
    new: str


def reasons() -> Iterator[Spoil]:
    """The guard without one of its reasons."""
    yielded = (
        "BALANCE_OK",
        "DEBT_TOO_SMALL",
        "ACCOUNT_NOT_ACTIVE",
        "NO_AGREEMENT",
        "READING_NOT_PUBLISHED",
        "STALE_READING",
        "SPAN_GRACE",
        "USE_JUMP",
        "CORRECTION_OPEN",
        "TARIFF_UNAPPROVED",
        "NO_RELAY",
        "ALREADY_OPEN",
        "DEVICE_KEEP_POWER",
        "COMM_UNSTABLE",
        "RELAY_WEAR",
        "CLOCK_UNSURE",
        "WINDOW_CLOSED",
        "NONWORKING_DAY",
        "EVE_OF_NONWORKING",
    )
    for code in yielded:
        yield Spoil(code, GUARD, f'yield "{code}"', "yield from ()")
    held = {
        "PROTECTED": "facts.protected",
        "LIFE_SUPPORT": "facts.life_support",
        "HOLD": "facts.held",
        "LOCKED": "facts.locked",
        "DISPUTE": "facts.dispute_open",
        "PAYMENT_IN_FLIGHT": "facts.payment_in_flight",
        "RECONNECT_PENDING": "facts.reconnect_pending",
        "SOURCE_CHANGED": "facts.source_changed",
        "WEATHER": "facts.weather_hold",
        "BREAKER_OPEN": "facts.breaker_open",
        "SHADOW_MODE": "facts.shadow_mode or policy.shadow",
        "STARTUP_HOLD": "is_starting",
        "RESTORE_CAPACITY": "facts.failed_restores > policy.max_failed_restores",
    }
    for code, fact in held.items():
        yield Spoil(code, GUARD, f'("{code}", {fact})', f'("{code}", False)')
    for prefix in ("NOTICE", "FINAL_NOTICE"):
        for fault in ("MISSING", "TOO_RECENT", "EXPIRED"):
            told = f'yield f"{{prefix}}_{fault}"'
            yield Spoil(
                f"{prefix}_{fault}",
                GUARD,
                told,
                f'yield from [f"{{prefix}}_{fault}"] * (prefix != "{prefix}")',
            )
    few = "len(_approvers(facts)) < approvals_needed(policy, facts)"
    yield Spoil("APPROVAL_MISSING", GUARD, few, "False")
    yield Spoil("requester approves", GUARD, "agreed - {requester} - NOBODY", "agreed - NOBODY")


def locks_and_looks() -> Iterator[Spoil]:
    """A transaction without one of its locks, fences or second looks."""
    yield Spoil(
        "account lock of a release",
        RELEASE,
        "            await ledger.lock_accounts(connection, [account])\n",
        "            pass\n",
    )
    yield Spoil(
        "lock of the cap on trips",
        RELEASE,
        "    await supply.lock_trips(connection)\n    if now >= command.expires_at:",
        "    if now >= command.expires_at:",
    )
    yield Spoil(
        "fence",
        RELEASE,
        "return await site_lock.holds_site(",
        "return True or await site_lock.holds_site(",
    )
    yield Spoil(
        "guard before the send",
        RELEASE,
        "    if trip.is_allowed:\n",
        "    if trip.is_allowed or True:\n",
    )
    yield Spoil(
        "guard when it is asked for",
        SUPPLY,
        "[trip for trip in trips if trip.is_allowed]",
        "list(trips)",
    )
    yield Spoil(
        "superseded before it left",
        RELEASE,
        "return await supply.is_sent(",
        "return True or await supply.is_sent(",
    )
    yield Spoil("expiry at the release", RELEASE, "if now >= command.expires_at:", "if False:")
    yield Spoil(
        "expiry at the frame",
        "daemon.control.commands",
        "if expires_at - now < MIN_VALIDITY:",
        "if False:",
    )
    yield Spoil(
        "expiry inside the frame",
        "daemon.control.commands",
        'return min(TRIP_EXPIRY, left if action == "trip" else max(left, MIN_VALIDITY))',
        "return TRIP_EXPIRY * 6",
    )
    yield Spoil(
        "verify before sending again",
        RELEASE,
        '        if command.state != "persisted":\n',
        '        if command.state not in ("persisted", "unknown"):\n',
    )
    yield Spoil(
        "resume",
        "daemon.control.commands",
        '    if state in ("sent", "acked", "unknown"):\n        return "verifying"\n',
        "",
    )
    yield Spoil(
        "a trip is not sent late after a restart",
        "daemon.control.commands",
        'return "expired" if is_late or shadow_mode else None',
        "return None",
    )
    yield Spoil(
        "observation of another send",
        OBSERVE,
        "if current is None or current.sends != command.sends:",
        "if current is None:",
    )
    yield Spoil(
        "a trip sent is superseded by a reconnect",
        "daemon.control.restoration",
        'if point.supply_state == "trip_commanded" and trip_sends == 0:',
        'if point.supply_state == "trip_commanded":',
    )
    yield Spoil(
        "payment ends trips",
        SUPPLY,
        "await end_trips(connection, [point.point_id for point in cut], cause, now)",
        "{}",
    )
    yield Spoil(
        "a trip sent is watched until it is past",
        RELEASE,
        '    if command.sends:\n        state = "verifying"\n',
        "",
    )
    yield Spoil(
        "a refused repetition is watched",
        "daemon.control.observation",
        'return "verifying" if sends_before else "refused"',
        'return "refused"',
    )
    yield Spoil(
        "ordered open is no open relay",
        "daemon.control.commands",
        '    if relay.relay_open:\n        return Judgement(\n            "verified",\n            "disconnected",',
        '    if relay.relay_open or relay.command_open:\n        return Judgement(\n            "verified",\n            "disconnected",',
    )
    yield Spoil(
        "ordered open is no closed relay",
        "daemon.control.commands",
        "if not relay.relay_open and not relay.command_open:",
        "if not relay.relay_open:",
    )
    yield Spoil(
        "a reconnect is repeated",
        "daemon.control.commands",
        '        "persisted",\n        "reconnect_commanded",\n        send_again(now, sends),',
        '        "failed",\n        "reconnect_commanded",\n        send_again(now, sends),',
    )
    yield Spoil(
        "silence is unknown, not failed",
        "daemon.control.observation",
        'Judgement("unknown", None, look_again(now, checks), "meter is silent")',
        'Judgement("failed", None, look_again(now, checks), "meter is silent")',
    )
    yield Spoil(
        "a reconnect is renewed",
        "daemon.control.restoration",
        "return now + RECONNECT_EXPIRY if expires_at <= now else expires_at",
        "return now",
    )
    yield Spoil(
        "the meter's clock is compared",
        "daemon.control.commands",
        "if meter_clock is not None and abs(meter_clock - local_now) > CLOCK_LIMIT:",
        "if False:",
    )
    yield Spoil(
        "the host's clock is doubted",
        "daemon.control.commands",
        "    if doubt:\n",
        "    if False:\n",
    )
    yield Spoil(
        "who speaks for the meter is asked again",
        RELEASE,
        "replace(authority, clocks=clocks), now, far_end)",
        "replace(authority, clocks=clocks), now)",
    )
    yield Spoil(
        "clocks are compared at a release",
        RELEASE,
        "replace(authority, clocks=clocks), now, far_end)",
        "authority, now, far_end)",
    )
    yield Spoil(
        "trips that wait are expired",
        "daemon.transactions.sweep",
        "    await supply.expire_trips(connection, now)\n",
        "",
    )
    yield Spoil(
        "relays are looked at after a trip",
        "daemon.transactions.sweep",
        "    await _look_for_late_trips(connection, now)\n",
        "",
    )
    yield Spoil(
        "once more when no frame can come",
        "daemon.control.commands",
        "return is_seen_once_more or now - seen_at >= LATE_TRIP_LOOK_EVERY",
        "return not is_over(expires_at, now) and now - seen_at >= LATE_TRIP_LOOK_EVERY",
    )
    yield Spoil(
        "nobody is restored where somebody works",
        "daemon.control.restoration",
        'any(it in marks for it in ("keep_off", *ORDERS))',
        "any(it in marks for it in ORDERS)",
    )
    yield Spoil(
        "the sweep restores",
        "daemon.transactions.sweep",
        "await restore(connection, accounts, CAUSE, now, of_others=of_others)",
        "pass",
    )
    yield Spoil(
        "overdue reconnects are jobs",
        "daemon.transactions.sweep",
        "    await open_restore_jobs(connection)\n",
        "",
    )


def of_orders() -> Iterator[Spoil]:
    """Control without one of the rules of what two persons order off."""
    asked = "daemon.transactions.cut_orders"
    yield Spoil(
        "an order waives what speaks of money only",
        GUARD,
        "- _WAIVED[facts.cause]",
        '- _WAIVED["safety"]',
    )
    yield Spoil("an order waives money", GUARD, "- _WAIVED[facts.cause]", "- frozenset()")
    yield Spoil(
        "who agreed to an order is asked for",
        GUARD,
        '    if facts.cause != "arrears":\n        return 1\n',
        '    if facts.cause != "arrears":\n        return 0\n',
    )
    yield Spoil("what is cut for", FACTS, 'cause=point.ordered or "arrears"', 'cause="arrears"')
    yield Spoil(
        "an order asks for a trip",
        "daemon.control.trips",
        'point.credit_state == "exhausted" or point.ordered is not None',
        'point.credit_state == "exhausted"',
    )
    yield Spoil(
        "what is ordered off is not restored",
        "daemon.control.restoration",
        "    if point.ordered is not None:\n        return False\n",
        "",
    )
    yield Spoil(
        "no reconnect leaves under an order",
        "daemon.control.restoration",
        'any(it in marks for it in ("keep_off", *ORDERS))',
        'any(it in marks for it in ("keep_off",))',
    )
    yield Spoil(
        "what was ordered off comes back",
        "daemon.control.restoration",
        'return must_be_on or is_paid or point.cut_for != "arrears"',
        "return must_be_on or is_paid",
    )
    yield Spoil(
        "a trip is what it was asked for",
        RELEASE,
        "if trip.facts.cause != trip.point.cut_for:",
        "if False:",
    )
    yield Spoil(
        "another person agrees", asked, "if is_same_person(found.actor, actor):", "if False:"
    )
    yield Spoil("an order is agreed to in time", asked, "if not found.is_fresh:", "if False:")
    yield Spoil(
        "orders are asked about again",
        "daemon.transactions.sweep",
        "ordered = await supply.accounts_with_orders(connection)",
        "ordered: list[int] = []",
    )
    yield Spoil(
        "orders that are not done are jobs",
        "daemon.transactions.sweep",
        "in await field_jobs.open_order_jobs(connection):",
        "in ():",
    )
    yield Spoil(
        "jobs of orders that are not in force end",
        "daemon.transactions.sweep",
        "in await field_jobs.close_order_jobs(connection):",
        "in ():",
    )
    yield Spoil(
        "orders end with their customer",
        SUPPLY,
        "await cut_orders.end_former_orders(connection)",
        "pass",
    )
    yield Spoil(
        "who gets a point gets it lit",
        SUPPLY,
        "return await bring_back(connection, cut, cause, now)\n\n\nasync def bring_back",
        "return []\n\n\nasync def bring_back",
    )
    # What the statements say: the model stands for them.
    yield Spoil(
        "no order but one for safety counts where somebody must be on",
        STATEMENTS,
        'row["cause"] == "safety" or not _must_be_on(session, row["point_id"])',
        "True",
    )
    yield Spoil(
        "an order for safety counts everywhere",
        STATEMENTS,
        'row["cause"] == "safety" or not _must_be_on(session, row["point_id"])',
        'not _must_be_on(session, row["point_id"])',
    )


SPOILS: Final = (*reasons(), *locks_and_looks(), *of_orders())


def take_out(spoil: Spoil) -> None:
    """Let this process have the spoiled module. ValueError: its text is not there, or twice."""
    module = importlib.import_module(spoil.module)
    source = inspect.getsource(module)
    if source.count(spoil.old) != 1:
        raise ValueError(
            f"{spoil.name}: {spoil.module} has its text {source.count(spoil.old)} times"
        )
    before = codes_of(source, str(module.__file__))
    if not put_in_place(module, before, source.replace(spoil.old, spoil.new)):
        raise ValueError(f"{spoil.name}: more than functions of {spoil.module} would differ")


def seen_by(spoil: Spoil, seeds: int) -> tuple[Spoil, str]:
    """What shows a mistake of a spoiled program first, with the mistake; empty: nothing does."""
    take_out(spoil)
    for scene in SCENES:
        with no_log():
            mistakes = faults(scene)
        if mistakes:
            return spoil, f"scene {mistakes[0]}"
    for played in (*MOMENT_SCENES, *RELAY_SCENES, *ORDER_SCENES):
        with no_log():
            mistakes = list(played())
        if mistakes:
            return spoil, f"scene {mistakes[0]}"
    for seed in range(seeds):
        mistakes = live(seed).mistakes
        if mistakes:
            return spoil, f"seed {seed}: {mistakes[0]}"
    return spoil, ""


def main() -> int:
    """Exit code."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    words = sys.argv[2:]
    chosen = [it for it in SPOILS if not words or any(word in it.name for word in words)]
    began = time.monotonic()
    unseen = 0
    # A process each: a spoiled module is never whole again.
    with get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        told = [pool.apply_async(seen_by, (spoil, seeds)) for spoil in chosen]
        for answer in told:
            spoil, mistake = answer.get()
            unseen += not mistake
            print(f"{spoil.name}: {mistake or 'NOT SEEN'}", flush=True)
    took_s = time.monotonic() - began
    print(f"{len(chosen)} spoils, {unseen} not seen in {seeds} seeds, {took_s:.0f} s")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
