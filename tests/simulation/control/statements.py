"""What the model of the database makes of the statements that control puts.

Each does to rows what its SQL says; that it says the same is what the stories on a real server show
(test_real_control.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from daemon.control.facts import PointFacts, SupplyFacts
from storage import (
    amnesties,
    archive,
    breakers,
    cut_orders,
    cut_requests,
    field_jobs,
    ledger,
    marks,
    site_lock,
    supply,
    supply_cases,
)
from storage.cut_orders import OrderedPoint
from storage.cut_requests import Owing
from storage.ledger import AccountRow
from storage.supply import Command, OpenCommand, PayerSupply
from tests.simulation.control.model import Handler, Row, Session

Values = Mapping[str, Any]
ANSWERS: Final[dict[str, Handler]] = {}
SCOPES: Final = ("area", "line", "account_id", "point_id")
OPEN_STATES: Final = ("persisted", "sent", "acked", "unknown", "verifying")
IN_VAIN_STATES: Final = ("expired", "cancelled", "failed", "refused")
A_WORD_LASTS: Final = timedelta(hours=4)
MUST_BE_ON: Final = ("protected", "life_support")
NOT_HEARD: Final[Mapping[str, Collection[str]]] = {
    "arrears": (),
    "safety": ("payment_in_flight", "dispute", "wrongful_cut", "weather"),
    "theft": ("payment_in_flight",),
    "customer_request": ("payment_in_flight",),
}
"""By cause of a cut the marks that do not stop its frame."""


def answers(statement: str) -> Callable[[Handler], Handler]:
    """The decorated function stands for this statement."""

    def known(handler: Handler) -> Handler:
        ANSWERS[statement] = handler
        return handler

    return known


# Accounts and money


@answers(ledger.SQL["lock_accounts"])
async def _lock_accounts(session: Session, values: Values) -> list[Any]:
    for number in values["accounts"]:
        await session.lock("account", number)
    return [(number,) for number in values["accounts"]]


@answers(ledger.SQL["lock_accounts_by_number"])
async def _lock_accounts_by_number(session: Session, values: Values) -> list[Any]:
    wanted = sorted(int(it.removeprefix("A")) for it in values["numbers"])
    for number in wanted:
        await session.lock("account", number)
    return [(number,) for number in wanted]


@answers(ledger.SQL["accounts"])
async def _accounts(session: Session, values: Values) -> list[Any]:
    return [_account_row(session, number) for number in sorted(values["accounts"])]


def _account_row(session: Session, number: int) -> AccountRow:
    row = session.get("account", number)
    assert row is not None, "accounts are never deleted"
    episode = _open_episode(session, number)
    return AccountRow(
        id=number,
        number=row["number"],
        tariff_id="T",
        state=row["state"],
        opened_on=row.get("opened_on"),
        agreement=row["agreement"],
        warn_fen=row["warn_fen"],
        trip_fen=row["trip_fen"],
        reconnect_fen=row["reconnect_fen"],
        credit_limit_fen=row["credit_limit_fen"],
        credit_state=row["credit_state"],
        episode_started_at=episode[1]["started_at"] if episode else None,
    )


def _open_episode(session: Session, account: int) -> tuple[int, Row] | None:
    # The newest one is kept beside the account: it is asked for with every look.
    newest = session.get("newest_episode", account)
    if newest is None:
        return None
    row = session.get("episode", newest["id"])
    assert row is not None
    return None if row["ended_at"] is not None else (newest["id"], row)


@answers(ledger.SQL["balances"])
async def _balances(session: Session, values: Values) -> list[Any]:
    return [(number, balance(session, number)) for number in values["accounts"]]


def balance(session: Session, account: int) -> int:
    """Of an account, as this session sees it."""
    row = session.get("balance", account)
    fen: int = row["fen"] if row else 0
    return fen


@answers(ledger.SQL["put_credit"])
async def _put_credit(session: Session, values: Values) -> list[Any]:
    for number, state in zip(values["accounts"], values["states"], strict=True):
        await session.put("account", number, credit_state=state)
    return []


@answers(ledger.SQL["begin_episodes"])
async def _begin_episodes(session: Session, values: Values) -> list[Any]:
    for account, started_at in zip(values["accounts"], values["starts"], strict=True):
        if _open_episode(session, account):
            raise psycopg.errors.UniqueViolation("one_open_episode")
        number = session.database.number("episode")
        row = {"account_id": account, "started_at": started_at, "ended_at": None}
        await session.put("episode", number, **row)
        await session.put("newest_episode", account, id=number)
    return []


@answers(ledger.SQL["end_episodes"])
async def _end_episodes(session: Session, values: Values) -> list[Any]:
    for account in values["accounts"]:
        if found := _open_episode(session, account):
            ended_at = max(values["now"], found[1]["started_at"])
            await session.put("episode", found[0], ended_at=ended_at)
    return []


@answers(ledger.SQL["account_ids"])
async def _ledger_account_ids(session: Session, values: Values) -> list[Any]:
    found = ((name, session.get("ledger_account", name)) for name in values["names"])
    return [(name, row["id"]) for name, row in found if row is not None]


@answers(ledger.SQL["ensure_accounts"])
async def _ensure_accounts(session: Session, values: Values) -> list[Any]:
    for name in values["names"]:
        await session.lock("ledger_account", name)
        number = session.database.number("ledger_account")
        if not name.startswith("customer:"):
            number = -number  # whose balance is not kept
        if session.get("ledger_account", name) is None:
            await session.put("ledger_account", name, id=number)
            await session.put("ledger_name", number, name=name)
    return []


@answers(ledger.SQL["add_transactions"])
async def _add_transactions(session: Session, values: Values) -> list[Any]:
    new = []
    for position in sorted(range(len(values["keys"])), key=lambda it: str(values["keys"][it])):
        key = values["keys"][position]
        await session.lock("journal", key)
        if session.get("journal", key) is not None:
            continue
        names = [
            _ledger_name(session, int(number))
            for number in values["accounts"][position].strip("{}").split(",")
        ]
        fens = [int(fen) for fen in values["amounts"][position].strip("{}").split(",")]
        if sum(fens):
            raise psycopg.errors.CheckViolation("legs do not sum to zero")
        kind, content = values["kinds"][position], values["contents"][position].obj
        await session.put(
            "journal", key, kind=kind, content=content, legs=tuple(zip(names, fens, strict=True))
        )
        for name, fen in zip(names, fens, strict=True):
            if name.startswith("customer:"):
                number = int(name.split(":")[1].removeprefix("A"))
                await session.lock("balance", number)
                await session.put("balance", number, fen=balance(session, number) + fen)
        new.append((key,))
    return new


def _ledger_name(session: Session, number: int) -> str:
    row = session.get("ledger_name", number)
    assert row is not None
    name: str = row["name"]
    return name


@answers(ledger.SQL["known_contents"])
async def _known_contents(session: Session, values: Values) -> list[Any]:
    found = ((key, session.get("journal", key)) for key in values["keys"])
    return [(key, row["kind"], row["content"]) for key, row in found if row is not None]


@answers(archive.SQL["payees"])
async def _payees(session: Session, values: Values) -> list[Any]:
    found: list[Any] = []
    for account in values["accounts"]:
        points = [it for _, it in _points_of(session, account)]
        held = [(it["number"], it["area"], it["address"]) for it in points]
        found += [(account, "", "", *it) for it in held or [(None, None, None)]]
    return found


@answers(archive.SQL["account_id"])
async def _account_id(session: Session, values: Values) -> list[Any]:
    return [(int(values["account"].removeprefix("A")),)]


@answers(archive.SQL["point_id"])
async def _point_id(session: Session, values: Values) -> list[Any]:
    return [(int(values["point"].removeprefix("P")),)]


# What persons say


@answers(marks.SQL["add_mark"])
async def _add_mark(session: Session, values: Values) -> list[Any]:
    number = session.database.number("mark")
    row = {**values, "from_at": values["from_at"] or session.database.now()}
    await session.put("mark", number, **row, lifted_at=None, lift_actor=None)
    return [(number,)]


@answers(marks.SQL["is_known"])
async def _is_known(session: Session, values: Values) -> list[Any]:
    return [(True,)]


@answers(marks.SQL["lock_mark"])
async def _lock_mark(session: Session, values: Values) -> list[Any]:
    await session.lock("mark", values["number"])
    row = session.get("mark", values["number"])
    if row is None:
        return []
    asked_by = _still_asking(session, row["lift_actor"], row.get("lift_asked_at"))
    return [(row["kind"], asked_by, row["lifted_at"] is not None)]


def _still_asking(session: Session, actor: str | None, asked_at: datetime | None) -> str | None:
    """Who asked for something that needs a second person, unless that is too long ago."""
    since = session.database.now() - A_WORD_LASTS
    return actor if asked_at is not None and asked_at > since else None


@answers(marks.SQL["ask_to_lift"])
async def _ask_to_lift(session: Session, values: Values) -> list[Any]:
    now = session.database.now()
    lifted_at = now if values["at_once"] else None
    asked = {"lift_actor": values["actor"], "lift_asked_at": now}
    await session.put("mark", values["number"], **asked, lifted_at=lifted_at)
    return []


@answers(marks.SQL["agree_to_lift"])
async def _agree_to_lift(session: Session, values: Values) -> list[Any]:
    await session.put("mark", values["number"], lifted_at=session.database.now())
    return []


@answers(supply.SQL["marks_that_hold"])
async def _marks_that_hold(session: Session, values: Values) -> list[Any]:
    kinds: defaultdict[tuple[str, Any], set[str]] = defaultdict(set)
    for _, row in session.rows("mark"):
        if holds(row, values["now"]):
            named = [(name, row[name]) for name in SCOPES if row[name] is not None]
            for scope in named or [("site", None)]:
                kinds[scope].add(row["kind"])
    orders = orders_in_force(session)
    if not kinds and not orders:
        return []
    found = []
    for number in values["points"]:
        point = session.get("point", number)
        assert point is not None
        own = ((name, value) for name, value in scopes_of(number, point).items())
        ordered = {orders[number]["cause"]} if number in orders else set()
        of_point = (kinds[it] for it in own if it in kinds)
        told = sorted(ordered.union(*of_point, kinds[("site", None)]))
        if told:
            found.append((number, told))
    return found


def scopes_of(number: int, point: Row) -> Row:
    """What a mark that is of this point names."""
    return {
        "area": point["area"],
        "line": point["line"],
        "account_id": point["account_id"],
        "point_id": number,
    }


def holds(mark: Row, now: datetime) -> bool:
    """Whether a mark holds at a time."""
    is_begun = mark["from_at"] <= now and (mark["to_at"] is None or mark["to_at"] > now)
    return mark["lifted_at"] is None and is_begun


def is_of(mark: Row, number: int, point: Row) -> bool:
    """Whether a mark is of this point, or of all."""
    scope = scopes_of(number, point)
    named = [name for name in SCOPES if mark[name] is not None]
    return not named or any(mark[name] == scope[name] for name in named)


# Orders that a supply is off


def orders_in_force(session: Session) -> dict[int, Row]:
    """By point what two persons ordered off; whoever must be on is off for safety only."""
    return {
        row["point_id"]: {**row, "id": number}
        for number, row in session.rows("order")
        if row["agreed_at"] is not None
        and row["ended_at"] is None
        and (row["cause"] == "safety" or not _must_be_on(session, row["point_id"]))
    }


def _must_be_on(session: Session, number: int) -> bool:
    point = session.get("point", number)
    assert point is not None
    is_listed: bool = point["protected"] or point["life_support"]
    return is_listed or _is_marked(session, number, MUST_BE_ON)


def _is_marked(session: Session, number: int, kinds: Collection[str]) -> bool:
    point, now = session.get("point", number), session.database.now()
    assert point is not None
    return any(
        mark["kind"] in kinds and holds(mark, now) and is_of(mark, number, point)
        for _, mark in session.rows("mark")
    )


def _is_kept_off(session: Session, number: int) -> bool:
    return number in orders_in_force(session) or _is_marked(session, number, ("keep_off",))


def _reconnects_to_do(session: Session) -> Iterator[tuple[int, Row, datetime]]:
    """Those that may leave: the point, the command, since when it waits and nothing keeps it."""
    for point, row in _open_commands(session):
        if row["action"] != "trip" and not _is_kept_off(session, point):
            yield point, row, max([row["created_at"], *_freed_at(session, point)])


def _freed_at(session: Session, number: int) -> Iterator[datetime]:
    """When something ended that kept a point off."""
    point, now = session.get("point", number), session.database.now()
    assert point is not None
    for _, mark in session.rows("mark"):
        ended_at = min(filter(None, (mark["lifted_at"], mark["to_at"])), default=mark["from_at"])
        is_over = mark["from_at"] < ended_at <= now
        if mark["kind"] == "keep_off" and is_of(mark, number, point) and is_over:
            yield ended_at
    for _, order in session.rows("order"):
        if order["point_id"] == number and order["agreed_at"] and order["ended_at"]:
            yield order["ended_at"]


def _order_of(session: Session, point: int) -> tuple[int, Row] | None:
    """The one that has not ended."""
    for number, row in session.rows("order"):
        if row["point_id"] == point and row["ended_at"] is None:
            return number, row
    return None


def _is_not_done(session: Session, point: int) -> bool:
    """What is ordered off and on all the same."""
    there = _there(session, point)
    if there["supply_state"] == "energised":
        return bool(there["relay_observed"] != "open")
    return bool(there["supply_state"] == "wait_customer_button")


@answers(cut_orders.SQL["lock_point"])
async def _lock_point(session: Session, values: Values) -> list[Any]:
    point = session.get("point", int(values["point"].removeprefix("P")))
    assert point is not None
    await session.lock("account", point["account_id"])
    return [(point["account_id"],)]


@answers(cut_orders.SQL["ordered_point"])
async def _ordered_point(session: Session, values: Values) -> list[Any]:
    number = int(values["point"].removeprefix("P"))
    point, found = session.get("point", number), _order_of(session, number)
    assert point is not None
    must_be_on = _must_be_on(session, number)
    told: tuple[Any, ...]
    if found is None:
        told = (None, None, None, False, None, must_be_on)
    else:
        order, row = found
        is_fresh = row["asked_at"] > session.database.now() - A_WORD_LASTS
        is_agreed = row["agreed_at"] is not None
        told = (order, row["actor"], row["cause"], is_agreed, is_fresh, must_be_on)
    return [tuple(OrderedPoint(number, point["account_id"], *told))]


@answers(cut_orders.SQL["point_of"])
async def _point_of(session: Session, values: Values) -> list[Any]:
    row = session.get("order", values["number"])
    return [] if row is None else [(f"P{row['point_id']}",)]


@answers(cut_orders.SQL["add_order"])
async def _add_order(session: Session, values: Values) -> list[Any]:
    number = session.database.number("order")
    if _order_of(session, values["point_id"]):
        raise psycopg.errors.UniqueViolation("one_order_of_a_point")
    kept = {name: values[name] for name in ("point_id", "cause", "actor", "reason")}
    asked = {"asked_at": session.database.now(), "second": None, "agreed_at": None}
    await session.put("order", number, **kept, **asked, ended_at=None, ended_by=None)
    return [(number,)]


@answers(cut_orders.SQL["agree"])
async def _agree(session: Session, values: Values) -> list[Any]:
    now = session.database.now()
    await session.put("order", values["number"], second=values["actor"], agreed_at=now)
    return []


@answers(cut_orders.SQL["end_order"])
async def _end_order(session: Session, values: Values) -> list[Any]:
    return await _ended(session, "order", values["number"], "ended_at", ended_by=values["actor"])


async def _ended(session: Session, table: str, number: int, when: str, **more: Any) -> list[Any]:
    """What nobody has ended yet ends now. `when`: the column that says so."""
    await session.lock(table, number)
    row = session.get(table, number)
    if row is None or row[when] is not None:
        return []
    await session.put(table, number, **{when: session.database.now()}, **more)
    return [(number,)]


@answers(cut_orders.SQL["end_former_orders"])
async def _end_former_orders(session: Session, values: Values) -> list[Any]:
    """What the trigger does of points that this transaction gave to others."""
    for number in list(session.own["point"]):
        found, before = _order_of(session, number), session.database.tables["point"][number]
        now_there = session.get("point", number)
        assert now_there is not None
        passed_on = now_there["account_id"] != before["account_id"]
        if passed_on and found and found[1]["cause"] != "safety":
            ended = {"ended_at": session.database.now(), "ended_by": "daemon"}
            await session.put("order", found[0], **ended)
        supply_there = session.get("supply", number)
        assert supply_there is not None
        is_cut = supply_there["supply_state"] != "energised"
        if passed_on and is_cut and supply_there["cut_for"] == "arrears":
            await session.put("supply", number, cut_for="former_customer")
    return []


@answers(cut_orders.SQL["end_later_ones_at_commit"])
async def _end_later_ones_at_commit(session: Session, values: Values) -> list[Any]:
    return []


@answers(supply.SQL["persons_of_orders"])
async def _persons_of_orders(session: Session, values: Values) -> list[Any]:
    orders = orders_in_force(session)
    return [
        (it, row["actor"], row["second"], row["agreed_at"], row["agreed_at"] + A_WORD_LASTS)
        for it in values["points"]
        if (row := orders.get(it)) is not None
    ]


@answers(field_jobs.SQL["open_order_jobs"])
async def _open_order_jobs(session: Session, values: Values) -> list[Any]:
    now, opened = session.database.now(), []
    for point, order in orders_in_force(session).items():
        jobs = [job for _, job in session.rows("job") if _is_trip_job(job, point)]
        is_opened = any(
            job["opened_at"] >= order["agreed_at"] and job["closed_by"] != "daemon" for job in jobs
        )
        is_over = order["agreed_at"] + A_WORD_LASTS <= now
        if not is_over or is_opened or not _is_not_done(session, point):
            continue
        # What meets one that is there draws a number, too.
        number = session.database.number("job")
        if all(job["closed_at"] is not None for job in jobs):
            job = {"kind": "trip", "point_id": point, "opened_at": now}
            await session.put("job", number, **job, closed_at=None, closed_by=None)
            opened.append((number,))
    return opened


@answers(field_jobs.SQL["close_order_jobs"])
async def _close_order_jobs(session: Session, values: Values) -> list[Any]:
    orders, closed = orders_in_force(session), []
    for number, job in session.rows("job"):
        if not _is_trip_job(job, job["point_id"]) or job["closed_at"] is not None:
            continue
        order = orders.get(job["point_id"])
        if order is None or order["agreed_at"] > job["opened_at"]:
            now = session.database.now()
            await session.put("job", number, closed_at=now, closed_by="daemon")
            closed.append((number,))
    return closed


def _is_trip_job(job: Row, point: int) -> bool:
    return (job["kind"], job["point_id"]) == ("trip", point)


@answers(supply.SQL["delivered_notices"])
async def _delivered_notices(session: Session, values: Values) -> list[Any]:
    return [
        (episode, it["kind"], it["delivered_at"], it["planned_at"])
        for episode in dict.fromkeys(values["episodes"])
        for it in (session.get("notices", episode) or {"told": ()})["told"]
        if it["delivered_at"] is not None
    ]


@answers(supply.SQL["approvals_given"])
async def _approvals_given(session: Session, values: Values) -> list[Any]:
    found: list[Any] = []
    for episode in dict.fromkeys(values["episodes"]):
        request = _open_request(session, episode)
        if request is None:
            continue
        head = (episode, request["requester"], request["debt_fen"])
        told = [(it["approver"], it["approved_at"], it["expires_at"]) for it in request["given"]]
        found += [(*head, *it) for it in told or [(None, None, None)]]
    return found


def _open_request(session: Session, episode: int | None) -> Row | None:
    newest = session.get("newest_request", episode)
    row = session.get("request", newest["id"]) if newest else None
    return None if row is None or row["withdrawn_at"] is not None else row


@answers(cut_requests.SQL["owing"])
async def _owing(session: Session, values: Values) -> list[Any]:
    account = int(values["account"].removeprefix("A"))
    await session.lock("account", account)
    row, episode = session.get("account", account), _open_episode(session, account)
    assert row is not None
    owed = row["trip_fen"] - row["credit_limit_fen"] - balance(session, account)
    number = episode[0] if episode else None
    request = _open_request(session, number)
    return [Owing(account, row["number"], number, owed, request["id"] if request else None)]


@answers(cut_requests.SQL["account_of"])
async def _account_of(session: Session, values: Values) -> list[Any]:
    row = session.get("request", values["number"])
    return [] if row is None else [(f"A{row['account_id']}",)]


@answers(cut_requests.SQL["add_request"])
async def _add_request(session: Session, values: Values) -> list[Any]:
    number = session.database.number("request")
    row = {name: values[name] for name in ("account_id", "episode_id", "debt_fen")}
    told = {"id": number, "requester": values["actor"], "withdrawn_at": None, "given": ()}
    await session.put("request", number, **row, **told)
    await session.put("newest_request", values["episode_id"], id=number)
    return [(number,)]


@answers(cut_requests.SQL["withdraw_request"])
async def _withdraw_request(session: Session, values: Values) -> list[Any]:
    return await _ended(session, "request", values["number"], "withdrawn_at")


@answers(cut_requests.SQL["request"])
async def _request(session: Session, values: Values) -> list[Any]:
    row = session.get("request", values["number"])
    assert row is not None
    told = (row["requester"], row["debt_fen"], row["episode_id"], row["withdrawn_at"] is None)
    return [told]


@answers(cut_requests.SQL["approve"])
async def _approve(session: Session, values: Values) -> list[Any]:
    now = session.database.now()
    await session.lock("request", values["number"])
    row = session.get("request", values["number"])
    assert row is not None
    told = {"approver": values["actor"], "approved_at": now, "expires_at": now + A_WORD_LASTS}
    await session.put("request", values["number"], given=(*row["given"], told))
    return [(told["expires_at"],)]


# What the guard must know


@answers(supply.SQL["supply_facts"])
async def _supply_facts(session: Session, values: Values) -> list[Any]:
    return [
        SupplyFacts(**_supply_columns(session, number, point))
        for account in values["accounts"]
        for number, point in _points_of(session, account)
    ]


@answers(supply.SQL["plan_once"])
async def _plan_once(session: Session, values: Values) -> list[Any]:
    return [("force_generic_plan", "off")]


@answers(supply.SQL["plan_as_usual"])
async def _plan_as_usual(session: Session, values: Values) -> list[Any]:
    return [("auto", "on")]


@answers(supply.SQL["control_facts"])
async def _control_facts(session: Session, values: Values) -> list[Any]:
    wanted = set(values["accounts"])
    of_site = _of_site(session, values)
    return [
        _point_facts(session, number, point, values, of_site)
        for account in sorted(wanted)
        for number, point in _points_of(session, account)
    ]


def _points_of(session: Session, account: int) -> Iterator[tuple[int, Row]]:
    row = session.get("account", account)
    assert row is not None
    for number in row["points"]:
        point = session.get("point", number)
        assert point is not None
        yield number, point


def _of_site(session: Session, values: Values) -> Row:
    """What is counted over all points, and who told readings on each line."""
    now = values["now"]
    minute_ago = session.database.now() - timedelta(minutes=1)
    trips = session.get("sent_trips", "site") or {"at": ()}
    overdue = sum(
        since <= now - timedelta(minutes=10)
        and _there(session, point)["supply_state"] != "wait_customer_button"
        for point, _, since in _reconnects_to_do(session)
    )
    reconnecting = {point for point, row in _open_commands(session) if row["action"] != "trip"}
    return {
        "trips": sum(at > minute_ago for at in trips["at"]),
        "overdue": overdue,
        "reconnecting": reconnecting,
        "breakers": {(it["scope"], it["name"]) for _, it in _open_breakers(session)},
        "sources": _sources(session, values["sources_since"]),
    }


def groups_of(point: Row) -> list[tuple[str, str]]:
    """Of which breakers a point is: (scope, name)."""
    return [("site", ""), ("area", point["area"]), ("line", point["line"]), ("tariff", "T")]


def _open_breakers(session: Session) -> Iterator[tuple[int, Row]]:
    return (it for it in session.rows("breaker") if it[1]["reset_at"] is None)


def _there(session: Session, point: int) -> Row:
    """What is known of a point's supply."""
    row = session.get("supply", point)
    assert row is not None
    return row


def _moves(session: Session, point: int, now: datetime) -> list[datetime]:
    row = session.get("moves", point) or {"at": {}}
    return [at for at in row["at"].values() if at > now - timedelta(days=1)]


def _open_commands(session: Session) -> Iterator[tuple[int, Row]]:
    for point, index in session.rows("open"):
        row = session.get("command", index["id"])
        assert row is not None
        yield point, {**row, "id": index["id"]}


async def _locked_open_commands(
    session: Session, points: Collection[int] | None = None
) -> AsyncIterator[tuple[int, Row]]:
    """What an UPDATE meets: rows that were waited for are looked at again."""
    for point, row in list(_open_commands(session)):
        if points is not None and point not in points:
            continue
        await session.lock("command", row["id"])
        as_it_is = session.get("command", row["id"])
        assert as_it_is is not None
        if as_it_is["state"] in OPEN_STATES:
            yield point, {**as_it_is, "id": row["id"]}


def _point_facts(
    session: Session, number: int, point: Row, values: Values, of_site: Row
) -> PointFacts:
    account, now_there = session.get("account", point["account_id"]), _there(session, number)
    assert account is not None
    episode = _open_episode(session, point["account_id"])
    lines = {it["line"] for _, it in _points_of(session, point["account_id"])}
    sources = of_site["sources"]
    identity, _ = sources.get(point["line"], (None, []))
    return PointFacts(
        **_supply_columns(session, number, point),
        relay_observed_at=now_there["relay_observed_at"],
        keep_power_observed=now_there["keep_power_observed"],
        relay_moves=_moves(session, number, values["now"]),
        has_agreement=account["agreement"] is not None,
        trip_fen=account["trip_fen"],
        credit_limit_fen=account["credit_limit_fen"],
        credit_state=account["credit_state"],
        episode_id=episode[0] if episode else None,
        profile=account["profile"],
        newest_state=point["newest_state"],
        last_published_day=point["last_published_day"],
        span_grace_until=account["span_grace_until"],
        use_jump=point["use_jump"],
        correction_open=point["correction_open"],
        tariff_from=account["tariff_from"],
        reconnect_pending=number in of_site["reconnecting"],
        breaker_open=not of_site["breakers"].isdisjoint(groups_of(point)),
        failed_restores=of_site["overdue"],
        trips_last_minute=of_site["trips"],
        meters=len(account["points"]),
        source_identity=identity,
        sources=[sources[line][1] for line in sorted(lines) if line in sources],
    )


def _supply_columns(session: Session, number: int, point: Row) -> Row:
    account, now_there = session.get("account", point["account_id"]), _there(session, number)
    assert account is not None
    episode = _open_episode(session, point["account_id"])
    return {
        "point_id": number,
        "point": point["number"],
        "account_id": point["account_id"],
        "account": account["number"],
        "supply_state": now_there["supply_state"],
        "cut_for": now_there["cut_for"],
        "relay_observed": now_there["relay_observed"],
        "has_relay": point["has_relay"],
        "protected": point["protected"],
        "life_support": point["life_support"],
        "reconnect": point["reconnect"],
        "meter_id": number,
        "address": point["address"],
        "line": point["line"],
        "account_state": account["state"],
        "reconnect_fen": account["reconnect_fen"],
        "balance_fen": balance(session, point["account_id"]),
        "episode_started_at": episode[1]["started_at"] if episode else None,
    }


def _sources(session: Session, since: datetime) -> dict[str, tuple[str, list[int]]]:
    """By line who told readings last, and what is known of all who did."""
    told: defaultdict[str, list[Row]] = defaultdict(list)
    for _, row in sorted(session.rows("teller"), key=lambda it: (it[1]["first_at"], it[0])):
        told[row["line"]].append(row)
    return {line: (rows[-1]["identity"], _source(rows, since)) for line, rows in told.items()}


def _source(told: list[Row], since: datetime) -> list[int]:
    young = [row for row in told if row["first_at"] > since]
    old = [row for row in told if row["first_at"] <= since][-1:]
    identities = {row["identity"] for row in young + old}
    return [told[-1]["proof"], int(not old), int(len(identities) > 1)]


@answers(supply.SQL["accounts_not_energised"])
async def _accounts_not_energised(session: Session, values: Values) -> list[Any]:
    return [
        (account,)
        for account in sorted(set(values["accounts"]))
        if any(
            _there(session, point)["supply_state"] != "energised"
            for point, _ in _points_of(session, account)
        )
    ]


@answers(supply.SQL["payers_to_look_at"])
async def _payers_to_look_at(session: Session, values: Values) -> list[Any]:
    found: list[Any] = []
    for account in sorted(set(values["accounts"])):
        states = [_there(session, point) for point, _ in _points_of(session, account)]
        is_dark = any(
            it["supply_state"] != "energised" or it["relay_observed"] == "open" for it in states
        )
        is_unknown = any(it["relay_observed"] == "unknown" for it in states)
        if is_dark or is_unknown:
            found.append(PayerSupply(account, is_dark, is_unknown))
    return found


@answers(supply.SQL["accounts_with_orders"])
async def _accounts_with_orders(session: Session, values: Values) -> list[Any]:
    points = [(it, session.get("point", it)) for it in orders_in_force(session)]
    accounts = [
        point["account_id"]
        for it, point in points
        if point and _there(session, it)["supply_state"] == "energised"
    ]
    return [(it,) for it in sorted(accounts)]


@answers(supply.SQL["accounts_to_ask_about"])
async def _accounts_to_ask_about(session: Session, values: Values) -> list[Any]:
    found = sorted({point["account_id"] for _, point, _, _ in _energised_and_exhausted(session)})
    behind = [(account,) for account in found if account > values["after"]]
    return behind[: values["most"]]


@answers(supply.SQL["accounts_that_may_be_cut"])
async def _accounts_that_may_be_cut(session: Session, values: Values) -> list[Any]:
    if ("site", "") in {(it["scope"], it["name"]) for _, it in _open_breakers(session)}:
        return []
    found = {
        point["account_id"]
        for _, point, account, there in _energised_and_exhausted(session)
        if account["state"] == "active"
        and there["relay_observed"] != "open"
        and point["has_relay"]
        and not (point["protected"] or point["life_support"])
        and _are_notices_there(session, point["account_id"], account["profile"], values)
    }
    in_order = sorted(found, key=lambda account: (account <= values["after"], account))
    return [(account,) for account in in_order[: values["most"]]]


def _are_notices_there(session: Session, account: int, profile: str | None, values: Values) -> bool:
    name = profile if profile in values["known"] else ""
    if name not in values["profiles"]:
        return False
    asked = values["profiles"].index(name)
    episode = _open_episode(session, account)
    told = session.get("notices", episode[0]) if episode else None
    for kind in ("written", "final"):
        since, until = values[f"{kind}_from"][asked], values[f"{kind}_to"][asked]
        if since is not None and not any(
            it["kind"] == kind and it["delivered_at"] and since <= it["delivered_at"] <= until
            for it in (told or {"told": ()})["told"]
        ):
            return False
    return True


def _energised_and_exhausted(session: Session) -> Iterator[tuple[int, Row, Row, Row]]:
    owing = [it for it in session.rows("account") if it[1]["credit_state"] == "exhausted"]
    for account, row in owing:
        for number, point in _points_of(session, account):
            there = _there(session, number)
            if there["supply_state"] == "energised":
                yield number, point, row, there


@answers(supply.SQL["accounts_to_restore"])
async def _accounts_to_restore(session: Session, values: Values) -> list[Any]:
    found: set[int] = set()
    dark = [
        (number, there)
        for number, there in session.rows("supply")
        if there["supply_state"] != "energised" or there["relay_observed"] == "open"
    ]
    for number, there in dark:
        point = session.get("point", number)
        assert point is not None
        account = session.get("account", point["account_id"])
        assert account is not None
        if there["supply_state"] == "energised":
            found.add(point["account_id"])
        elif there["supply_state"] in ("disconnected", "trip_commanded"):
            is_paid = balance(session, point["account_id"]) >= account["reconnect_fen"]
            must_be_on = point["protected"] or point["life_support"]
            marked = any(
                mark["kind"] in ("protected", "life_support")
                and mark["lifted_at"] is None
                and (
                    mark["point_id"] == number
                    or mark["account_id"] == point["account_id"]
                    or mark["area"] == point["area"]
                )
                for _, mark in session.rows("mark")
            )
            if is_paid or must_be_on or marked or there["cut_for"] != "arrears":
                found.add(point["account_id"])
    return [(account,) for account in sorted(found)]


@answers(supply.SQL["last_verdicts"])
async def _last_verdicts(session: Session, values: Values) -> list[Any]:
    found = ((number, session.get("verdict", number)) for number in values["points"])
    return [(number, row["decision"], row["reasons"]) for number, row in found if row is not None]


@answers(supply.SQL["add_verdicts"])
async def _add_verdicts(session: Session, values: Values) -> list[Any]:
    told = zip(values["points"], values["decisions"], values["reasons"], strict=True)
    for point, decision, reasons in told:
        row = {"decision": decision, "reasons": tuple(reasons.split()), "at": values["at"]}
        await session.put("verdict", point, **row)
    return []


@answers(supply.SQL["database_clock"])
async def _database_clock(session: Session, values: Values) -> list[Any]:
    return [(session.database.now(),)]


@answers(site_lock.SQL["holds_site"])
async def _holds_site(session: Session, values: Values) -> list[Any]:
    holder = session.database.holder
    return [(holder is not None and holder[1] == values["token"],)]


# Commands


@answers(supply.SQL["ended_in_vain"])
async def _ended_in_vain(session: Session, values: Values) -> list[Any]:
    found = []
    for point in values["points"]:
        for number in (session.get("of_point", point) or {"ids": ()})["ids"]:
            row = session.get("command", number)
            assert row is not None
            of_kind = (row["action"] == "trip") == values["is_trip"]
            is_late = row["created_at"] > values["since"]
            if of_kind and is_late and row["state"] in IN_VAIN_STATES:
                found.append((point, row["state"], row["created_at"]))
    return found


@answers(supply.SQL["add_command"])
async def _add_command(session: Session, values: Values) -> list[Any]:
    point = values["point_id"]
    await session.lock("open", point)
    if session.get("open", point) is not None:
        raise psycopg.errors.UniqueViolation("one_open_command_of_a_point")
    kept = ("point_id", "meter_id", "address", "line", "action", "cause", "expires_at")
    await _write(
        session,
        values["id"],
        **{name: values[name] for name in kept},
        guard=values["guard"] and values["guard"].obj,
        sequence=session.database.number("command"),
        state="persisted",
        created_at=values["now"],
        next_at=values["now"],
        sends=0,
        checks=0,
        sent_at=None,
        detail="",
        fence=None,
    )
    session.lines.append(values["line"])
    return []


async def _write(session: Session, number: Any, **changes: Any) -> None:
    """Change a command, and what is found by it."""
    before = session.get("command", number)
    row = await session.put("command", number, **changes)
    point = row["point_id"]
    if before is None:
        ids = (session.get("of_point", point) or {"ids": ()})["ids"]
        await session.put("of_point", point, ids=(*ids[-7:], number))
        await session.put("open", point, id=number)
    if row["state"] not in OPEN_STATES:
        await session.delete("open", point)
    if before is not None and row["sends"] > before["sends"]:
        moves = (session.get("moves", point) or {"at": {}})["at"]
        await session.put("moves", point, at={**moves, number: row["sent_at"]})
        if row["action"] == "trip":
            trips = (session.get("sent_trips", "site") or {"at": ()})["at"]
            await session.put("sent_trips", "site", at=(*trips[-31:], session.database.now()))


@answers(supply.SQL["set_supply"])
async def _set_supply(session: Session, values: Values) -> list[Any]:
    cut_for = {} if values["cut_for"] is None else {"cut_for": values["cut_for"]}
    for point in values["points"]:
        await session.put("supply", point, supply_state=values["supply_state"], **cut_for)
    return []


@answers(supply.SQL["lock_open_trips"])
async def _lock_open_trips(session: Session, values: Values) -> list[Any]:
    return [
        (row["id"], point, row["sends"])
        async for point, row in _locked_open_commands(session, values["points"])
        if row["action"] == "trip"
    ]


@answers(supply.SQL["move_commands"])
async def _move_commands(session: Session, values: Values) -> list[Any]:
    for number, state in zip(values["ids"], values["states"], strict=True):
        changes = {"detail": values["detail"], "next_at": values["now"]}
        await _write(session, number, state=state, **changes)
    return []


@answers(supply.SQL["due_command"])
async def _due_command(session: Session, values: Values) -> list[Any]:
    due = [
        (
            row["action"] == "trip",
            row["state"] != "persisted",
            row["next_at"],
            row["sequence"],
            row["id"],
            point,
        )
        for point, row in _open_commands(session)
        if _line_of(session, point) == values["line"]
        and row["next_at"] <= values["now"]
        and (values["sending"] or row["state"] != "persisted")
    ]
    if not due:
        return []
    *_, command, point = min(due)
    found = session.get("point", point)
    assert found is not None
    return [(command, found["account_id"])]


def _line_of(session: Session, point: int) -> str:
    row = session.get("point", point)
    assert row is not None
    line: str = row["line"]
    return line


@answers(supply.SQL["next_due"])
async def _next_due(session: Session, values: Values) -> list[Any]:
    due = [
        row["next_at"]
        for point, row in _open_commands(session)
        if _line_of(session, point) == values["line"]
    ]
    return [(min(due, default=None),)]


@answers(supply.SQL["lines_with_commands"])
async def _lines_with_commands(session: Session, values: Values) -> list[Any]:
    return [(it,) for it in {_line_of(session, point) for point, _ in _open_commands(session)}]


@answers(supply.SQL["is_sent"])
async def _is_sent(session: Session, values: Values) -> list[Any]:
    row, now = session.get("command", values["id"]), session.database.now()
    assert row is not None
    is_sent = row["state"] == "sent" and row["sends"] == values["sends"]
    point = session.get("point", row["point_id"])
    assert point is not None
    is_trip = row["action"] == "trip"
    cause = row["guard"]["facts"]["cause"] if is_trip else "arrears"
    is_marked = any(
        holds(mark, now)
        and is_of(mark, row["point_id"], point)
        and is_trip == (mark["kind"] != "keep_off")
        and not (is_trip and mark["kind"] in NOT_HEARD[cause])
        for _, mark in session.rows("mark")
    )
    is_ordered = row["point_id"] in orders_in_force(session)
    if not (is_trip and cause == "arrears") and is_trip != is_ordered:
        return [(False,)]
    opened = {(it["scope"], it["name"]) for _, it in _open_breakers(session)}
    is_kept = is_trip and (
        point["protected"] or point["life_support"] or not opened.isdisjoint(groups_of(point))
    )
    return [(is_sent and not is_marked and not is_kept,)]


@answers(supply.SQL["lock_account_of"])
async def _lock_account_of(session: Session, values: Values) -> list[Any]:
    point = session.get("point", values["point"])
    assert point is not None
    await session.lock("account", point["account_id"])
    return [(point["account_id"],)]


@answers(supply.SQL["lock_trips"])
async def _lock_trips(session: Session, values: Values) -> list[Any]:
    await session.lock("advisory", values["lock"])
    # The lock of ramps is put in the same words.
    if values["lock"] == supply.TRIP_LOCK:
        session.database.releasing(session)
    return [("",)]


@answers(supply.SQL["lock_command"])
async def _lock_command(session: Session, values: Values) -> list[Any]:
    row = session.get("command", values["id"])
    if row is None or row["state"] not in OPEN_STATES:
        return []
    await session.lock("command", values["id"])
    row = session.get("command", values["id"])
    assert row is not None
    if row["state"] not in OPEN_STATES:
        return []
    return [Command(id=values["id"], point=f"P{row['point_id']}", **row)]


@answers(supply.SQL["move_command"])
async def _move_command(session: Session, values: Values) -> list[Any]:
    await session.lock("command", values["id"])
    row = session.get("command", values["id"])
    assert row is not None
    changes = {name: values[name] for name in ("state", "detail", "next_at")}
    if values["guard"] is not None:
        changes["guard"] = values["guard"].obj
    if values["expires_at"] is not None:
        changes["expires_at"] = values["expires_at"]
    if values["fence"] is not None:
        changes["fence"] = values["fence"]
    if values["sends"]:
        changes["sent_at"] = values["now"]
    for counter in ("sends", "checks"):
        changes[counter] = row[counter] + values[counter]
    await _write(session, values["id"], **changes)
    return []


@answers(supply.SQL["answer_command"])
async def _answer_command(session: Session, values: Values) -> list[Any]:
    await session.lock("command", values["id"])
    row = session.get("command", values["id"])
    assert row is not None
    if row["state"] != "sent":
        return []
    changes = {key: values[key] for key in ("state", "detail", "next_at")}
    await _write(session, values["id"], **changes)
    return [(row["point_id"],)]


@answers(supply.SQL["observe_relay"])
async def _observe_relay(session: Session, values: Values) -> list[Any]:
    await session.put(
        "supply",
        values["point"],
        relay_observed=values["relay"],
        command_observed=values["command"],
        relay_observed_at=values["now"],
        keep_power_observed=values["keep_power"],
    )
    return []


@answers(supply.SQL["trips_before"])
async def _trips_before(session: Session, values: Values) -> list[Any]:
    found = []
    for point, of_point in session.rows("of_point"):
        there, ids = _there(session, point), of_point["ids"]
        commands = [session.get("command", it) for it in ids]
        until = [
            row["expires_at"]
            for row in commands
            if row
            and row["action"] == "trip"
            and row["sent_at"]
            # One more row that was sent before does no harm, one less would.
            and row["sent_at"] > values["sent_since"]
        ]
        if until and there["supply_state"] == "energised" and there["relay_observed_at"]:
            is_held = (there["relay_observed"], there["command_observed"]) == ("closed", "open")
            found.append((point, max(until), there["relay_observed_at"], is_held))
    return found


@answers(supply.SQL["look_at_relays"])
async def _look_at_relays(session: Session, values: Values) -> list[Any]:
    session.relays += values["meters"]
    return [("",) for _ in values["meters"]]


@answers(supply.SQL["accounts_of_meters"])
async def _accounts_of_meters(session: Session, values: Values) -> list[Any]:
    points = [session.get("point", meter) for meter in values["meters"]]
    return [(it,) for it in sorted({point["account_id"] for point in points if point})]


@answers(supply.SQL["see_relays"])
async def _see_relays(session: Session, values: Values) -> list[Any]:
    for meter, relay, command, keep_power, at in zip(
        *(values[it] for it in ("meters", "relays", "commands", "keep_powers", "ats")), strict=True
    ):
        if _there(session, meter)["relay_observed_at"] < at:
            await session.put(
                "supply",
                meter,
                relay_observed=relay,
                command_observed=command,
                relay_observed_at=at,
                keep_power_observed=keep_power,
            )
    return []


@answers(supply.SQL["lock_open_commands"])
async def _lock_open_commands(session: Session, values: Values) -> list[Any]:
    names = OpenCommand.__slots__
    return [
        OpenCommand(**{name: row[name] for name in names})
        async for _, row in _locked_open_commands(session)
    ]


@answers(supply.SQL["last_reconnect"])
async def _last_reconnect(session: Session, values: Values) -> list[Any]:
    sent = [
        (row["sent_at"], row["state"])
        for _, row in session.rows("command")
        if row["action"] != "trip" and row["sent_at"]
    ]
    return [(state, at) for at, state in [max(sent)]] if sent else []


@answers(supply.SQL["hurry_reconnects"])
async def _hurry_reconnects(session: Session, values: Values) -> list[Any]:
    hurried = []
    points = [it for account in values["accounts"] for it, _ in _points_of(session, account)]
    async for point, row in _locked_open_commands(session, points):
        if row["action"] != "trip" and row["next_at"] > values["now"]:
            await _write(session, row["id"], next_at=values["now"], checks=0)
            session.lines.append(_line_of(session, point))
            hurried.append(("",))
    return hurried


@answers(supply.SQL["due_at_once"])
async def _due_at_once(session: Session, values: Values) -> list[Any]:
    async for _, row in _locked_open_commands(session):
        if row["next_at"] > values["now"]:
            await _write(session, row["id"], next_at=values["now"])
    return []


@answers(supply.SQL["expire_trips"])
async def _expire_trips(session: Session, values: Values) -> list[Any]:
    async for point, row in _locked_open_commands(session):
        is_unsent = row["state"] == "persisted" and row["action"] == "trip" and not row["sends"]
        if is_unsent and row["expires_at"] <= values["now"]:
            await _write(session, row["id"], state="expired", detail="waited too long to be sent")
            await session.put("supply", point, supply_state="energised")
    return []


@answers(field_jobs.SQL["open_reconnects"])
async def _open_reconnects(session: Session, values: Values) -> list[Any]:
    has_job = _to_restore(session)
    now = session.database.now()
    return [
        (row["id"], _there(session, point)["supply_state"], now - since)
        for point, row, since in _reconnects_to_do(session)
        if point not in has_job
    ]


@answers(field_jobs.SQL["open_restore_jobs"])
async def _open_restore_jobs(session: Session, values: Values) -> list[Any]:
    now, opened = session.database.now(), []
    has_job = _to_restore(session)
    for point, row, _ in list(_reconnects_to_do(session)):
        if row["id"] not in values["commands"]:
            continue
        # What meets one that is there draws a number, too.
        number = session.database.number("job")
        if point not in has_job:
            job = {"kind": "restore", "point_id": point, "command_id": row["id"], "opened_at": now}
            await session.put("job", number, **job, closed_at=None, closed_by=None)
            opened.append((number,))
    return opened


def _to_restore(session: Session) -> set[int]:
    """The points where somebody has to restore."""
    return {
        job["point_id"]
        for _, job in session.rows("job")
        if job["kind"] == "restore" and job["closed_at"] is None
    }


# Breakers and ramps


@answers(breakers.SQL["breaker_figures"])
async def _breaker_figures(session: Session, values: Values) -> list[Any]:
    now, far_past = values["now"], session.database.began - timedelta(days=999)
    reset_at: dict[tuple[str, str], datetime] = {}
    for _, it in session.rows("breaker"):
        if it["reset_at"] is not None:
            group = (it["scope"], it["name"])
            reset_at[group] = max(it["reset_at"], reset_at.get(group, far_past))
    site_since = reset_at.get(("site", ""), far_past)
    counted: dict[tuple[str, str], list[int]] = {}
    ended, stuck = [], 0
    for command in _lately(session, now):
        point = session.get("point", command["point_id"])
        assert point is not None
        if command["state"] in ("verified", "refused", "failed"):
            ended.append(command)
        waits = _there(session, command["point_id"])["supply_state"] == "wait_customer_button"
        if command["state"] == "verifying" and command["sent_at"] and not waits:
            is_late = command["sent_at"] < now - timedelta(minutes=15)
            stuck += is_late and command["created_at"] > site_since
        if command["action"] != "trip":
            continue
        at = max(command["created_at"], command["sent_at"] or command["created_at"])
        for group in groups_of(point):
            is_new = command["created_at"] > reset_at.get(group, far_past)
            if at > now - timedelta(days=1) and (command["sends"] or is_new):
                hour_day = counted.setdefault(group, [0, 0])
                hour_day[0] += at > now - timedelta(hours=1)
                hour_day[1] += 1
    last = sorted(ended, key=lambda it: int(it["sequence"]))[-values["commands"] :]
    failed = sum(it["state"] != "verified" and it["created_at"] > site_since for it in last)
    marks = [it for _, it in session.rows("mark") if it["kind"] == "wrongful_cut"]
    figures = {
        "trips": [[*group, *hour_day] for group, hour_day in counted.items()],
        "exhausted_today": 0,
        "exhausted_before": [],
        "paid_hours": [],
        "silent_hours": None,
        "failed_commands": failed + stuck,
        "wrongful_trips": len(marks),
    }
    return [figures]


def _lately(session: Session, now: datetime) -> Iterator[Row]:
    """Commands of the last day, and those that are open."""
    for number, row in reversed(list(session.rows("command"))):
        as_it_is = session.get("command", number) or row
        if as_it_is["created_at"] <= now - timedelta(days=2):
            return
        yield as_it_is


@answers(breakers.SQL["group_sizes"])
async def _group_sizes(session: Session, values: Values) -> list[Any]:
    asked = list(zip(values["scopes"], values["names"], strict=True))
    sizes = dict.fromkeys(asked, 0)
    for _, point in session.rows("point"):
        account = session.get("account", point["account_id"])
        for group in groups_of(point):
            if group in sizes and account and account["state"] == "active":
                sizes[group] += 1
    return [(*group, size) for group, size in sizes.items()]


@answers(breakers.SQL["open_breaker"])
async def _open_breaker(session: Session, values: Values) -> list[Any]:
    group = (values["scope"], values["name"])
    await session.lock("one_open_breaker", group)
    number = session.database.number("breaker")
    if any((it["scope"], it["name"]) == group for _, it in _open_breakers(session)):
        return []
    row = {
        "scope": group[0],
        "name": group[1],
        "cause": values["cause"],
        "reset_actor": None,
        "reset_at": None,
    }
    await session.put("breaker", number, **row)
    return [(number,)]


@answers(breakers.SQL["is_open"])
async def _is_open(session: Session, values: Values) -> list[Any]:
    open_of_site = [it for _, it in _open_breakers(session) if it["scope"] == "site"]
    return [(any(it["cause"] == values["cause"] for it in open_of_site),)]


@answers(breakers.SQL["cancel_waiting_trips"])
async def _cancel_waiting_trips(session: Session, values: Values) -> list[Any]:
    groups = {(it["scope"], it["name"]) for _, it in _open_breakers(session)}
    ended = 0
    for point, row in list(_open_commands(session)):
        there = session.get("point", point)
        assert there is not None
        is_meant = row["action"] == "trip" and not groups.isdisjoint(groups_of(there))
        if not is_meant or row["state"] != "persisted":
            continue
        if not session.try_lock("command", row["id"]):
            continue  # SKIP LOCKED
        state = "verifying" if row["sends"] else "cancelled"
        changes = {"detail": "BREAKER_OPEN", "next_at": values["now"]}
        await _write(session, row["id"], state=state, **changes)
        if not row["sends"]:
            await session.put("supply", point, supply_state="energised")
        ended += 1
    return [(ended,)]


@answers(breakers.SQL["lock_breaker"])
async def _lock_breaker(session: Session, values: Values) -> list[Any]:
    await session.lock("breaker", values["number"])
    row = session.get("breaker", values["number"])
    if row is None:
        return []
    asked_by = _still_asking(session, row["reset_actor"], row.get("reset_asked_at"))
    return [(asked_by, row["reset_at"] is not None)]


@answers(breakers.SQL["ask_to_reset"])
async def _ask_to_reset(session: Session, values: Values) -> list[Any]:
    asked = {"reset_actor": values["actor"], "reset_asked_at": session.database.now()}
    await session.put("breaker", values["number"], **asked)
    return []


@answers(breakers.SQL["agree_to_reset"])
async def _agree_to_reset(session: Session, values: Values) -> list[Any]:
    await session.put("breaker", values["number"], reset_at=session.database.now())
    return []


@answers(amnesties.SQL["amnesties"])
async def _amnesties(session: Session, values: Values) -> list[Any]:
    return [
        (number, row["kw_per_minute"], row["kw_per_point"])
        for number, row in session.rows("mark")
        if row["kind"] == "amnesty" and holds(row, values["now"])
    ]


@answers(amnesties.SQL["still_cut"])
async def _still_cut(session: Session, values: Values) -> list[Any]:
    mark = session.get("mark", values["number"])
    assert mark is not None
    cut = []
    for number, there in session.rows("supply"):
        point = session.get("point", number)
        assert point is not None
        is_cut = there["supply_state"] in ("disconnected", "trip_commanded")
        if is_cut and not _is_kept_off(session, number) and is_of(mark, number, point):
            last = (session.get("of_point", number) or {"ids": ()})["ids"][-1:]
            command = session.get("command", last[0]) if last else None
            sequence = command["sequence"] if command else 10**9
            cut.append((sequence, number, point["account_id"]))
    return [(account, point) for _, point, account in sorted(cut)[: values["most"]]]


@answers(amnesties.SQL["coming_back"])
async def _coming_back(session: Session, values: Values) -> list[Any]:
    mark = session.get("mark", values["number"])
    assert mark is not None
    count = 0
    for number, row in session.rows("command"):
        point = session.get("point", row["point_id"])
        assert point is not None
        is_meant = row["action"] != "trip" and number != values["but"]
        if is_meant and is_of(mark, row["point_id"], point):
            since = values["now"] - values["window"]
            is_lately = row["sent_at"] and row["sent_at"] > since
            is_soon = not row["sends"] and row["state"] in OPEN_STATES and row["next_at"] > since
            is_free = is_soon and not _is_kept_off(session, row["point_id"])
            count += bool(is_lately or (values["with_unsent"] and is_free))
    return [(count,)]


@answers(supply_cases.SQL["alarms"])
async def _alarms(session: Session, values: Values) -> list[Any]:
    """Of the alarms those of commands and orders: what else there is has rows of other rooms."""
    now, found = values["now"], []
    for point, row in _open_commands(session):
        waits = _there(session, point)["supply_state"] == "wait_customer_button"
        if row["action"] == "trip":
            is_late = row["sent_at"] and row["sent_at"] <= now - values["trip_after"]
            kind, since = "trip_unverified", row["sent_at"]
        else:
            is_late = not waits and row["created_at"] <= now - values["reconnect_after"]
            kind, since = "reconnect_late", row["created_at"]
        if is_late:
            told = {"kind": kind, "point": f"P{point}", "since": since, "detail": row["state"]}
            found.append({**told, "account": None, "line": row["line"]})
    for point, order in orders_in_force(session).items():
        if order["agreed_at"] <= now - values["trip_after"] and _is_not_done(session, point):
            told = {"kind": "order_not_done", "point": f"P{point}", "since": order["agreed_at"]}
            found.append({**told, "detail": order["cause"], "account": None, "line": None})
    return found
