"""SOURCE_CHANGED: whose word neither causes a cut nor proves one (A1)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daemon.control.sources import (
    PROBATION,
    FarEnd,
    LineSource,
    has_changed,
    is_another,
    is_in_question,
)
from protocols.peer import Peer, Proof

AT = datetime(2026, 3, 1, tzinfo=UTC)
SESSION = Peer("10.0.0.7", Proof.NETWORK, "T1", "", AT)


@pytest.mark.parametrize(
    ("proof", "settled", "first_day", "changed"),
    [
        # What we opened ourselves is where the files say, whatever else was there.
        (Proof.NAMED, False, False, False),
        (Proof.CERTIFICATE, False, False, True),
        (Proof.VOUCHED, False, False, True),
        # In plain text a session proves itself by a day in which no other came.
        (Proof.NETWORK, False, True, True),
        (Proof.NONE, True, True, True),
    ],
)
def test_what_each_proof_is_worth(
    proof: Proof, settled: bool, first_day: bool, changed: bool
) -> None:
    assert is_in_question(LineSource(proof, is_new=False, has_changed=False)) is settled
    assert is_in_question(LineSource(proof, is_new=True, has_changed=False)) is first_day
    assert is_in_question(LineSource(proof, is_new=False, has_changed=True)) is changed
    assert is_in_question(LineSource(proof, is_new=True, has_changed=True)) is changed


@pytest.mark.parametrize(
    ("far_end", "identity", "is_other"),
    [
        (SESSION, SESSION.identity, False),
        (replace(SESSION, session_at=AT.replace(hour=1)), SESSION.identity, True),
        (replace(SESSION, address="10.0.0.8"), SESSION.identity, True),
        (SESSION, None, True),
        (replace(SESSION, proof=Proof.NONE), SESSION.identity, True),
        (Peer("10.0.0.7", Proof.VOUCHED, "T1", "", AT), "10.0.0.7", False),
        (Peer("10.0.0.8", Proof.VOUCHED, "T1", "", AT), "10.0.0.7", True),
        (Peer("10.0.0.7", Proof.VOUCHED, "T1", "", AT), None, False),
        (Peer("10.0.0.8", Proof.CERTIFICATE, "T1", "ab", AT), "ab", False),
        (Peer("10.0.0.8", Proof.CERTIFICATE, "T1", "cd", AT), "ab", True),
        (Peer("10.0.0.8", Proof.CERTIFICATE, "T1", "ab", AT), None, False),
        (Peer("tcp 10.0.0.9:4001"), "tcp 10.0.0.7:4001", False),
    ],
)
def test_who_would_get_the_frame_is_who_told_the_reading(
    far_end: Peer, identity: str | None, is_other: bool
) -> None:
    assert is_another(FarEnd(far_end), identity) is is_other


def test_while_it_is_open_who_speaks_nobody_is_the_same() -> None:
    for peer in (SESSION, Peer("10.0.0.7", Proof.VOUCHED, "T1", "", AT)):
        assert is_another(FarEnd(peer, "two callers"), peer.identity)


def test_who_is_new_is_in_question_for_a_day() -> None:
    assert timedelta(hours=24) == PROBATION


def test_any_line_of_the_account_may_have_emptied_it() -> None:
    good = LineSource(Proof.NAMED, is_new=False, has_changed=False)
    bad = LineSource(Proof.NETWORK, is_new=False, has_changed=True)
    assert not has_changed([good], None, None)
    assert has_changed([good, bad], None, None)
    assert not has_changed([], None, None)
    assert has_changed([], None, FarEnd(SESSION))
    assert not has_changed([], SESSION.identity, FarEnd(SESSION))
