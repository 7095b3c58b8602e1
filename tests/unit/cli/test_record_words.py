"""A customer's record reads the same in both languages."""

from datetime import UTC, datetime

import pytest

from daemon.cli.record_words import HEADS, rows_of
from storage.fee_control import Event

AT = datetime(2026, 3, 11, 2, tzinfo=UTC)
EVENTS = [
    Event(
        AT,
        "notice made",
        None,
        "li",
        {"notice": 3, "kind": "final", "fen": 1250, "channel": "sms", "until": "2026-03-12T18:00:00+08:00"},
    ),
    Event(AT, "guard", "P1", None, {"decision": "deny", "reasons": ["HOLD", "WEATHER"]}),
    Event(AT, "guard", "P1", None, {"decision": "allow", "reasons": []}),
    Event(AT, "trip", "P1", None, {"command": "0123456789ab", "kind": "arrears", "state": "verified"}),
    Event(AT, "credit exhausted", None, None, {}),
]  # fmt: skip
NOTES = {
    "en": [
        "final, 12.50 yuan, by sms, until 2026-03-12 18:00, notice 3",
        "deny, HOLD WEATHER",
        "allow",
        "arrears, verified, command 01234567",
        None,
    ],
    "zh": [
        "停电前通知，12.50 元，渠道 sms，至 2026-03-12 18:00，通知 3",
        "不得停电，HOLD WEATHER",
        "可以停电",
        "欠费，已核实，命令 01234567",
        None,
    ],
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_event_has_its_words(language: str) -> None:
    rows = list(rows_of(EVENTS, language))
    assert all(len(row) == len(HEADS[language]) for row in rows)
    assert [row[4] for row in rows] == NOTES[language]
    assert rows[0][3] == "li"
    assert rows[3][1] == {"en": "trip", "zh": "跳闸命令"}[language]
