"""What a listener tells of its callers, and what of that is logged."""

from pathlib import Path

from structlog.testing import capture_logs

from config.settings import ListenerSection
from config.terminals import Terminal
from daemon.acquisition.planning.flapping import TOLD_EACH
from daemon.site.listeners import EVENT_WORDS, MOST_TOLD, Listener
from protocols.channels.dial_in.events import COUNTED_ONLY, DialInEvent

SECTION = {
    "name": "gprs",
    "listen": "127.0.0.1:1",
    "terminals": "t.csv",
    "registration": {"text": "{id:4}"},
    "heartbeat": {"text": "PING"},
}


def a_listener(**keys: object) -> Listener:
    """One that is never opened."""
    section = ListenerSection.model_validate({**SECTION, **keys}, context={"base": Path()})
    return Listener(section, [Terminal("dtu-1", "8601")])


def test_of_a_storm_a_few_are_told_one_by_one_and_the_others_counted() -> None:
    listener = a_listener()
    report = listener.terminals.events.report
    with capture_logs() as told:
        for _ in range(10_000):
            report(DialInEvent.REGISTERED, "8601", "10.0.0.1")
        report(DialInEvent.UNKNOWN, "8609", "10.0.0.9")
        listener.show()
        report(DialInEvent.REGISTERED, "8601", "10.0.0.1")
        listener.show()
    assert [it["event"] for it in told] == [
        *["terminal connected"] * MOST_TOLD,
        "unknown terminal",
        "terminals, not told one by one",
        "terminal connected",
    ]
    assert told[0]["line"] == "dtu-1"
    assert told[-2]["registered"] == 10_000 - MOST_TOLD


def test_a_terminal_that_comes_and_goes_is_one_line_with_a_count() -> None:
    listener = a_listener()
    report = listener.terminals.events.report
    with capture_logs() as told:
        for _ in range(1000):
            report(DialInEvent.REGISTERED, "8601", "10.0.0.1")
            report(DialInEvent.CLOSED, "8601", "10.0.0.1")
            listener.show()
        report(DialInEvent.REGISTERED, "8602", "10.0.0.2")
    assert [it["event"] for it in told] == [
        *["terminal connected", "terminal away"] * TOLD_EACH,
        "terminal connected",
        "terminal comes and goes",
        "terminal connected",
    ]
    assert told[-2]["times"] == TOLD_EACH + 1


def test_every_event_is_counted_only_or_has_words() -> None:
    assert EVENT_WORDS.keys() | COUNTED_ONLY == set(DialInEvent)
    assert EVENT_WORDS.keys().isdisjoint(COUNTED_ONLY)


def test_a_change_reaches_callers_that_are_there_without_opening_the_port_anew() -> None:
    listener = a_listener()
    changed = a_listener(silent_s=60, heartbeat={"text": "BEAT"})
    terminals = listener.terminals
    listener.change(
        ListenerSection.model_validate(
            {**SECTION, "silent_s": 60, "heartbeat": {"text": "BEAT"}}, context={"base": Path()}
        ),
        [Terminal("dtu-2", "8602")],
    )
    assert listener.terminals is terminals
    assert terminals.endpoint.limits == changed.terminals.endpoint.limits
    assert terminals.registration == changed.terminals.registration
    assert listener.lines == {"8602": "dtu-2"}
