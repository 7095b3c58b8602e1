"""A scene for each reason of the guard: all else speaks for a cut, and this alone against it.

Each is one small world with one account that is exhausted while the reason holds; when it is over,
the account is cut, or the scene would show nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

from daemon.control.breaker import Limits
from daemon.control.guard import Policy
from daemon.control.ramp import Ramp
from daemon.transactions.cut_requests import approve_cut, request_cut
from daemon.transactions.supply_marks import Marked, agree_to_lift, lift_mark, set_mark
from storage import cut_requests
from storage.documents import Said
from tests.simulation.control.processes import SiteTerms
from tests.simulation.control.world import DAY, HOUR, LOOSE, World, add_point, empty_world

NOTHING_ASKED: Final = Policy(
    working_days_only=False,
    no_trip_on_eve=False,
    written_required=False,
    final_required=False,
    approvals_required=0,
    approvals_of_several=0,
    window_start=time(0),
    window_end=time.max,
    max_moves_per_hour=99,
    max_moves_per_day=99,
    new_tariff_days=2,
)
ZONE: Final = ZoneInfo("Asia/Shanghai")
MORNING: Final = datetime(2026, 3, 11, 2, tzinfo=UTC)
"""Wednesday, 10:00."""
CUT_WITHIN_S: Final = 120.0
CUT_AGAIN_WITHIN_S: Final = 400.0
"""A trip that was cancelled is not followed by the next for five minutes."""
Change = Callable[[World], None]


def nothing(world: World) -> None:
    """It is over by itself, or never."""


@dataclass(frozen=True, slots=True)
class Scene:
    """`holds` makes the reason true, `ends` makes it false; `ends` None: the time that passes does.

    `after_s`: so long it is looked at whether nobody is cut."""

    reason: str
    holds: Change
    ends: Change = nothing
    policy: Policy = NOTHING_ASKED
    at: datetime = MORNING
    after_s: float = CUT_WITHIN_S
    comes_to_an_end: bool = True
    limits: Limits = field(default=LOOSE)
    shadow_mode: bool = False
    points: int = 1


def small_world(scene: Scene) -> World:
    """With one account of one point or more, which has enough money."""
    terms = SiteTerms(scene.policy, ZONE, shadow_mode=scene.shadow_mode, limits=scene.limits)
    world = empty_world(Random(1), scene.at, terms, ["wire"], switching=0)
    for number in range(1, scene.points + 1):
        add_point(world, number, line="wire")
        world.database.tables["point"][number]["account_id"] = 1
    world.database.tables["account"] = {
        1: {
            **world.database.tables["account"][1],
            "points": tuple(range(1, scene.points + 1)),
            "credit_limit_fen": 0,
        }
    }
    world.start_daemon()
    world.kernel.run(1, world.watch.after_step)
    return world


def faults(scene: Scene) -> list[str]:
    """What went wrong in a scene: somebody was cut against its reason, or nobody behind it."""
    world = small_world(scene)
    scene.holds(world)
    run(world, 1)
    owe(world, 9_000)
    run(world, scene.after_s)
    found = list(world.watch.mistakes)
    if world.watch.told.get("frames trip"):
        found.append(f"{scene.reason}: cut all the same")
    if scene.comes_to_an_end and not found:
        scene.ends(world)
        run(world, CUT_AGAIN_WITHIN_S)
        found += world.watch.mistakes
        if not world.watch.told.get("frames trip"):
            found.append(f"{scene.reason}: nobody is cut when it is over")
    world.kernel.kill_all()
    return found


def run(world: World, for_s: float) -> None:
    """Let time pass."""
    world.kernel.run(world.kernel.now_s + for_s, world.watch.after_step)


def owe(world: World, fen: int) -> None:
    """Charge what leaves so much missing to zero."""
    balance = world.database.tables["balance"][1]["fen"]
    key = f"charge {world.database.number('charge')}"
    world.post(1, -(balance + fen), key)


def told(table: str, **changes: Any) -> Change:
    """A fact that others than control write."""
    return lambda world: world.tell(table, 1, **changes)


def marked(kind: str, **of: str) -> Change:
    """Somebody says who is not to be cut."""

    def change(world: World) -> None:
        ramp = Ramp(4, 2) if kind == "amnesty" else None
        world.does(
            lambda it: set_mark(it, kind, Marked(**of), Said("li", "asked"), ramp=ramp), kind
        )

    return change


def lifted(world: World) -> None:
    """All of that is over."""

    async def lift(connection: Any) -> None:
        for number, mark in list(world.database.tables["mark"].items()):
            if await lift_mark(connection, number, {mark["kind"]}, Said("li", "over")) == "waits":
                await agree_to_lift(connection, number, "wang")

    world.does(lift, "lift")


def seen(*, keep_power: bool = False, ago: timedelta = timedelta(0)) -> Change:
    """What the meter told when it was looked at."""

    def change(world: World) -> None:
        at = world.database.now() - ago
        world.tell("supply", 1, keep_power_observed=keep_power, relay_observed_at=at)

    return change


def moved_by_another(*, to_open: bool) -> Change:
    """Somebody else moves the relay, and it is looked at."""

    def change(world: World) -> None:
        world.meters[1].relay.force(world.local_now(), to_open=to_open)
        world.look_at(1)

    return change


def published(days_ago: int | None) -> Change:
    """The newest published freeze is of so many days ago; before zero: of a day to come."""

    def change(world: World) -> None:
        today = world.database.now().astimezone(ZONE).date()
        day = None if days_ago is None else today - days_ago * DAY
        world.tell("point", 1, last_published_day=day)

    return change


def both(*changes: Change) -> Change:
    """One after another."""

    def change(world: World) -> None:
        for it in changes:
            it(world)

    return change


def host_ahead(by: timedelta) -> Change:
    """The host's clock is wrong by so much, without a step."""
    return lambda world: setattr(world.daemons[0], "ahead", by)


def another_tells(world: World) -> None:
    """Somebody else than before told a reading a moment ago."""
    told_by = {"line": "wire", "identity": "10.9.9.9", "proof": 2}
    world.tell("teller", 99, **told_by, first_at=world.database.now())


def breaker_opens(world: World) -> None:
    """The breaker of the site."""
    row = {"scope": "site", "name": "", "cause": "wrongful_trips", "reset_actor": None}
    world.tell("breaker", 77, **row, reset_at=None)


def breaker_is_reset(world: World) -> None:
    """By two persons."""
    world.tell("breaker", 77, reset_at=world.database.now())


def moved(times: int) -> Change:
    """Frames were sent to the relay a moment ago."""

    def change(world: World) -> None:
        at = world.database.now() - timedelta(minutes=30)
        world.tell("moves", 1, at=dict.fromkeys(range(times), at))

    return change


def reconnect_waits(point: int, minutes: float) -> Change:
    """A reconnect was asked for so long ago and waits on a line that nobody serves."""

    def change(world: World) -> None:
        now, tables = world.database.now(), world.database.tables
        at = now - timedelta(minutes=minutes)
        times = {"created_at": at, "expires_at": now + DAY, "next_at": now + DAY, "sent_at": None}
        kept = {"meter_id": point, "address": "0", "line": "elsewhere", "guard": None}
        told = {"action": "close", "cause": "paid", "state": "persisted", "detail": ""}
        counted = {"sends": 0, "checks": 0, "sequence": 0, "point_id": point}
        tables["command"]["waits"] = {**times, **kept, **told, **counted}
        tables["open"][point] = {"id": "waits"}
        if point != 1:
            tables["supply"][point]["supply_state"] = "reconnect_commanded"

    return change


def no_reconnect_waits(world: World) -> None:
    """It is done."""
    tables = world.database.tables
    tables["command"]["waits"]["state"] = "verified"
    tables["open"].clear()
    for there in tables["supply"].values():
        there["supply_state"] = "energised"


def notice(kind: str, *, ago: timedelta, planned_in: timedelta | None = None) -> Change:
    """As soon as there is an episode a notice of it is delivered, which is dated back."""

    def change(world: World) -> None:
        def say() -> None:
            for episode in world.database.tables["episode"]:
                at = world.database.now() - ago
                row = world.database.tables["episode"][episode]
                world.tell("episode", episode, started_at=min(row["started_at"], at))
                planned = None if planned_in is None else world.database.now() + planned_in
                world.say_notice(episode, kind, delivered_at=at, planned_at=planned)

        world.kernel.at_s(5, say)

    return change


def asked_and_approved(requester: str, *approvers: str) -> Change:
    """A person asks that the account be cut, others approve it."""

    async def ask(connection: Any) -> None:
        number = await request_cut(connection, "A1", Said(requester, "arrears"))
        for approver in approvers:
            await approve_cut(connection, number, approver)

    return lambda world: world.kernel.at_s(5, lambda: world.does(ask, "approval"))


def asked_and_approved_alone(requester: str) -> Change:
    """Who asked that the account be cut is in the rows as who approves it, too: past the command
    and the constraint that refuse it."""

    async def ask(connection: Any) -> None:
        number = await request_cut(connection, "A1", Said(requester, "arrears"))
        await cut_requests.approve(connection, number, requester.upper())

    return lambda world: world.kernel.at_s(5, lambda: world.does(ask, "approval"))


def of_itself(reason: str, holds: Change, ends: Change = nothing, **terms: Any) -> Scene:
    """A scene whose policy asks for something besides."""
    policy = {name: terms.pop(name) for name in Policy.__slots__ if name in terms}
    return Scene(reason, holds, ends, replace(NOTHING_ASKED, **policy), **terms)


def is_up_to_the_floor(world: World) -> None:
    """While its trip waits for a line that is down the account pays up to the floor."""
    world.lines["wire"].is_down = True

    def pay() -> None:
        world.pay(1, -world.database.tables["balance"][1]["fen"])
        world.kernel.at_s(10, lambda: setattr(world.lines["wire"], "is_down", False))

    world.kernel.at_s(20, pay)


NEVER_ENDS: Final[Any] = {"comes_to_an_end": False}
SCENES: Final = (
    of_itself(
        "BALANCE_OK",
        both(told("account", reconnect_fen=1_000), is_up_to_the_floor),
        lambda world: owe(world, 9_000),
    ),
    of_itself("DEBT_TOO_SMALL", nothing, lambda world: owe(world, 20_000), min_debt_fen=9_001),
    Scene("ACCOUNT_NOT_ACTIVE", told("account", state="closing"), told("account", state="active")),
    Scene("NO_AGREEMENT", told("account", agreement=None), told("account", agreement="signed")),
    Scene(
        "READING_NOT_PUBLISHED",
        told("point", newest_state="suspect"),
        told("point", newest_state="published"),
    ),
    Scene("STALE_READING", published(2), published(0)),
    Scene(
        "SPAN_GRACE",
        lambda world: world.tell("account", 1, span_grace_until=world.database.now() + HOUR),
        told("account", span_grace_until=None),
    ),
    Scene("USE_JUMP", told("point", use_jump=True), told("point", use_jump=False)),
    Scene(
        "CORRECTION_OPEN", told("point", correction_open=True), told("point", correction_open=False)
    ),
    Scene(
        "TARIFF_UNAPPROVED",
        lambda world: world.tell("account", 1, tariff_from=MORNING.astimezone(ZONE).date() - DAY),
        lambda world: world.tell("account", 1, tariff_from=MORNING.date() - 2 * DAY),
    ),
    Scene("NO_RELAY", told("point", has_relay=False), told("point", has_relay=True)),
    Scene("ALREADY_OPEN", moved_by_another(to_open=True), moved_by_another(to_open=False)),
    Scene("DEVICE_KEEP_POWER", seen(keep_power=True), seen()),
    of_itself("COMM_UNSTABLE", seen(ago=2 * HOUR), seen(), max_relay_age=HOUR),
    Scene("COMM_UNSTABLE", marked("planned_outage"), lifted),
    of_itself("RELAY_WEAR", moved(2), moved(1), max_moves_per_hour=2),
    of_itself("RELAY_WEAR", moved(6), moved(5), max_moves_per_day=6),
    Scene("CLOCK_UNSURE", host_ahead(timedelta(seconds=-6)), host_ahead(timedelta(0)), after_s=300),
    Scene("CLOCK_UNSURE", published(-1), published(0)),
    of_itself(
        "WINDOW_CLOSED",
        nothing,
        at=MORNING - timedelta(hours=1, minutes=5),
        window_start=time(9),
        window_end=time(15),
        after_s=290,
    ),
    of_itself(
        "WINDOW_CLOSED",
        nothing,
        at=MORNING + timedelta(hours=5),
        window_end=time(15),
        **NEVER_ENDS,
    ),
    of_itself(
        "NONWORKING_DAY", nothing, at=MORNING + 3 * DAY, working_days_only=True, **NEVER_ENDS
    ),
    of_itself(
        "EVE_OF_NONWORKING", nothing, at=MORNING + 2 * DAY, no_trip_on_eve=True, **NEVER_ENDS
    ),
    *(
        Scene(reason, marked(kind, **of), lifted)
        for reason, kind, of in (
            ("PROTECTED", "protected", {"point": "P1"}),
            ("LIFE_SUPPORT", "life_support", {"account": "A1"}),
            ("HOLD", "hold", {}),
            ("HOLD", "amnesty", {"line": "wire"}),
            ("LOCKED", "keep_power", {"point": "P1"}),
            ("DISPUTE", "dispute", {"account": "A1"}),
            ("PAYMENT_IN_FLIGHT", "payment_in_flight", {}),
            ("WEATHER", "weather", {}),
        )
    ),
    Scene("PROTECTED", told("point", protected=True), told("point", protected=False)),
    Scene("LIFE_SUPPORT", told("point", life_support=True), told("point", life_support=False)),
    Scene("SOURCE_CHANGED", another_tells, **NEVER_ENDS),
    Scene("BREAKER_OPEN", breaker_opens, breaker_is_reset),
    Scene("SHADOW_MODE", nothing, shadow_mode=True, **NEVER_ENDS),
    of_itself("SHADOW_MODE", nothing, shadow=True, **NEVER_ENDS),
    of_itself("STARTUP_HOLD", nothing, startup_hold=timedelta(minutes=3)),
    Scene("RECONNECT_PENDING", reconnect_waits(1, 1), no_reconnect_waits),
    of_itself(
        "RESTORE_CAPACITY",
        reconnect_waits(2, 11),
        no_reconnect_waits,
        points=2,
        max_failed_restores=0,
    ),
    of_itself("NOTICE_MISSING", nothing, notice("written", ago=DAY * 4), written_required=True),
    of_itself(
        "NOTICE_TOO_RECENT",
        notice("written", ago=71 * HOUR),
        notice("written", ago=73 * HOUR),
        written_required=True,
    ),
    of_itself(
        "NOTICE_EXPIRED",
        notice("written", ago=169 * HOUR),
        notice("written", ago=73 * HOUR),
        written_required=True,
    ),
    of_itself("FINAL_NOTICE_MISSING", nothing, notice("final", ago=HOUR), final_required=True),
    of_itself(
        "FINAL_NOTICE_TOO_RECENT",
        notice("final", ago=timedelta(minutes=20)),
        notice("final", ago=HOUR),
        final_required=True,
    ),
    of_itself(
        "FINAL_NOTICE_EXPIRED",
        notice("final", ago=25 * HOUR),
        notice("final", ago=HOUR),
        final_required=True,
    ),
    of_itself(
        "FINAL_NOTICE_EXPIRED",
        notice("final", ago=6 * HOUR, planned_in=-5 * HOUR),
        notice("final", ago=HOUR, planned_in=timedelta(0)),
        final_required=True,
    ),
    of_itself("APPROVAL_MISSING", nothing, asked_and_approved("li", "wang"), approvals_required=1),
    of_itself(
        "APPROVAL_MISSING",
        asked_and_approved("li", "wang"),
        asked_and_approved("li", "wang", "zhao"),
        approvals_required=2,
    ),
    of_itself(
        "APPROVAL_MISSING",
        asked_and_approved_alone("li"),
        asked_and_approved("li", "wang"),
        approvals_required=1,
    ),
    of_itself(
        "APPROVAL_MISSING",
        nothing,
        asked_and_approved("li", "wang"),
        approvals_of_several=1,
        points=2,
    ),
)


def all_faults() -> list[str]:
    """Of all scenes, in order."""
    return [it for scene in SCENES for it in faults(scene)]
