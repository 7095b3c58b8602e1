"""A policy that asks for notices and an approval: nobody is cut while one of them is missing, and who
has all of them is cut, pays and is restored; by the installed program over simulated meters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stage import POOR, Stage, stage

pytestmark = pytest.mark.acceptance

ACCOUNT = f"C{int(POOR)}"
POINT = f"P{int(POOR)}"
STRICT = {
    # The ages have to pass in the test's own time; that they count is proved by the guard's tests.
    "written_notice_required = false": "written_notice_min_h = 0",
    "final_notice_required = false": "final_notice_min_min = 0",
    "approvals_required = 0": "approvals_required = 1",
}
TOLD = ("--channel", "paper", "--text", "pay 5 yuan", "--evidence", "form 7", "--reason", "arrears")


@pytest.fixture
def strict(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, database_url) as staged:
        text = staged.site.read_text()
        for lax, asked in STRICT.items():
            assert lax in text
            text = text.replace(lax, asked)
        staged.site.write_text(text)
        yield staged


def told(staged: Stage, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(staged.meterd(*arguments, "--json"))
    return found


def reasons(staged: Stage) -> set[str]:
    """What the running daemon's guard said last of the customer in arrears."""
    found = staged.ask(
        "SELECT reasons FROM guard_verdict v JOIN point p ON p.id = v.point_id"
        " WHERE p.number = %s ORDER BY v.id DESC LIMIT 1",
        POINT,
    )
    return set(found[0][0]) if found else set()


def deliver(staged: Stage, kind: str) -> None:
    """A notice that is written down without a receipt does not count; with one it does."""
    told(staged, "notice", "record", ACCOUNT, "--kind", kind, *TOLD)
    before = reasons(staged)
    ((now,),) = staged.ask(
        "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00:00')"
    )
    assert reasons(staged) == before
    told(staged, "notice", "record", ACCOUNT, "--kind", kind, *TOLD, "--delivered", now)


def until_reasons(staged: Stage, expected: set[str]) -> None:
    staged.until(f"the guard says {expected}", lambda: reasons(staged) == expected)
    assert staged.control_frames() == []


def test_without_notice_and_approval_nobody_is_cut_and_with_them_is_and_is_restored(
    strict: Stage,
) -> None:
    strict.start_daemon()
    until_reasons(strict, {"NOTICE_MISSING", "FINAL_NOTICE_MISSING", "APPROVAL_MISSING"})
    deliver(strict, "written")
    until_reasons(strict, {"FINAL_NOTICE_MISSING", "APPROVAL_MISSING"})
    request = told(strict, "approve", "request", ACCOUNT, "--reason", "owes", "--actor", "li")
    number = str(request["request"])
    strict.meterd("approve", "give", number, "--actor", "Li", code=1)
    hold = told(strict, "supply", "hold", "--reason", "storm", "--actor", "zhao")
    until_reasons(strict, {"FINAL_NOTICE_MISSING", "APPROVAL_MISSING", "HOLD"})
    told(strict, "approve", "give", number, "--actor", "wang")
    until_reasons(strict, {"FINAL_NOTICE_MISSING", "HOLD"})
    deliver(strict, "final")
    until_reasons(strict, {"HOLD"})
    told(strict, "supply", "release", str(hold["mark"]), "--reason", "over", "--actor", "zhao")
    strict.until("the customer is cut", lambda: strict.supply_of(POOR) == "disconnected")
    assert strict.bench.relay_is_open(POOR)
    told(strict, "topup", ACCOUNT, "500", "--key", "k")
    strict.until("the supply is restored", lambda: strict.supply_of(POOR) == "energised")
    assert not strict.bench.relay_is_open(POOR)
    the_record_tells_all_of_it(strict)


def the_record_tells_all_of_it(strict: Stage) -> None:
    """R40: cause, notices with receipts, who approved, every frame and the relay behind it."""
    lines = strict.meterd("supply", "record", ACCOUNT, "--json").splitlines()
    events = [json.loads(line) for line in lines]
    assert [it["at"] for it in events] == sorted(it["at"] for it in events)
    seen = [it for it in events if it["event"] not in {"guard", "paid"}]
    names = [it["event"] for it in seen]
    for event in ("credit exhausted", "cut asked for", "cut approved", "mark set", "mark lifted"):
        assert names.count(event) == 1, event
    told_of = Counter(it for it in names if it.startswith("notice"))
    assert told_of == {"notice made": 4, "notice sent": 4, "notice delivered": 2}
    (approved,) = [it for it in events if it["event"] == "cut approved"]
    assert approved["actor"] == "wang"
    states = [it["facts"]["state"] for it in events if it["event"] == "trip"]
    assert (states[0], states[-1]) == ("persisted", "verified")
    assert "sent" in states
    assert [it["facts"]["fen"] for it in events if it["event"] == "paid"][-1] == 50_000
    assert names.count("credit restored") == 1
    assert [it["facts"]["state"] for it in events if it["event"] == "close"][-1] == "verified"
    words = strict.meterd("supply", "record", ACCOUNT, "--language", "zh")
    assert "批准停电" in words

    command = next(it for it in events if it["event"] == "trip")["facts"]["command"]
    found = told(strict, "explain", "trip", command[:8])
    assert (found["id"], found["point"], found["account"]) == (command, POINT, ACCOUNT)
    assert (found["state"], found["second_guard"]) == ("verified", "it would be cut again")
    facts = found["guard"]["facts"]
    assert [it["kind"] for it in facts["notices"] if it["delivered_at"]] == ["written", "final"]
    assert [it["approver"] for it in facts["approvals"]] == ["wang"]
    assert {"cut approved", "notice delivered", "paid"} <= {it["event"] for it in found["record"]}
    shown = strict.meterd("explain", "trip", command)
    assert "the second guard: it would be cut again" in shown
    assert "who answers for it now: nobody is on call" in shown
    assert "balance_fen" in shown
    strict.meterd("explain", "trip", "no-such", code=1)
