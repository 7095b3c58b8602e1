"""What commands of this machine may ask of the daemon."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from daemon.acquisition.lines import Lines
from daemon.acquisition.on_demand import OnDemand
from daemon.acquisition.wire_line import WireLine
from daemon.api.bad_request import BadRequest
from daemon.api.live_trace import MOST_UNREAD
from daemon.api.operations import Requests
from daemon.runtime.supervision import Supervisor
from daemon.transactions.payment import Payment
from tests.unit.test_health import an_idle_line

ZONE = ZoneInfo("Asia/Shanghai")


def requests_of(
    *lines: WireLine, off: Sequence[str] = (), listeners: Sequence[str] = ()
) -> Requests:
    """`off`: lines that are configured and switched off, each with a meter at the point P-NAME."""
    settings = SimpleNamespace(
        line=[SimpleNamespace(name=name, enabled=False) for name in off],
        gateway=[],
        listener=[SimpleNamespace(name=name) for name in listeners],
        collection=None,
        log=SimpleNamespace(trace_lines=()),
        site=SimpleNamespace(name="s"),
    )
    archive = SimpleNamespace(
        meters=[SimpleNamespace(address="1", point=f"P-{name}", line=name) for name in off]
    )
    site = SimpleNamespace(
        settings=settings, archive=archive, terminals=dict.fromkeys(listeners, ())
    )
    configuration = cast(Any, SimpleNamespace(site=site))
    routes = Lines(Supervisor())
    routes._lines.update((line.name, line) for line in lines)
    return Requests(
        routes,
        OnDemand(routes, today=lambda: date(2026, 3, 11)),
        configuration,
        {},
        ZONE,
        nothing_withheld,
        no_payment,
    )


async def no_payment(payment: Payment) -> None:
    assert payment.account == "nobody"


async def nothing_withheld() -> list[tuple[int, date]]:
    return []


async def answers(requests: Requests, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [told async for told in requests.answer(request)]


async def let_run() -> None:
    """Until everybody waits for somebody else."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "do must be one of collect, trace"),
        ({"do": "dance"}, "do must be one of"),
        ({"do": "collect"}, "name meters, a line, those that failed, or what is withheld"),
        (
            {"do": "collect", "meters": ["1"], "failed": True},
            "name meters, a line, those that failed, or what is withheld",
        ),
        (
            {"do": "collect", "failed": True, "withheld": True},
            "name meters, a line, those that failed, or what is withheld",
        ),
        (
            {"do": "collect", "line": "a", "meters": ["1"], "withheld": True},
            "name meters, a line, those that failed, or what is withheld",
        ),
        ({"do": "collect", "withheld": 1}, "failed and withheld true or false"),
        (
            {"do": "collect", "withheld": True, "what": "clock"},
            "what is withheld are freezes",
        ),
        (
            {"do": "collect", "withheld": True, "day": "2026-03-01"},
            "what is withheld has its days",
        ),
        ({"do": "collect", "meters": "1"}, "list of addresses or points"),
        ({"do": "collect", "meters": [1]}, "list of addresses or points"),
        ({"do": "collect", "line": 7}, "line must be a name"),
        (
            {"do": "collect", "line": "a", "what": "everything"},
            "what must be one of freeze, registers",
        ),
        ({"do": "collect", "line": "a", "within_s": 0}, "within_s must be a number"),
        ({"do": "collect", "line": "a", "within_s": True}, "within_s must be a number"),
        ({"do": "collect", "line": "a", "within_s": float("nan")}, "within_s must be a number"),
        ({"do": "collect", "line": "a", "day": "yesterday"}, "no date"),
        ({"do": "collect", "line": "a", "day": 5}, "no date"),
        (
            {"do": "collect", "line": "a", "what": "clock", "day": "2026-03-01"},
            "a day belongs to a freeze",
        ),
        ({"do": "trace", "line": "gate1"}, r"no line gate1 runs here \(did you mean gate-1\?\)"),
        ({"do": "collect", "line": "gate1"}, r"no line gate1 runs here \(did you mean gate-1\?\)"),
        ({"do": "collect", "line": "bus-1"}, r"line bus-1 is switched off \(enabled = false\)"),
        (
            {"do": "collect", "meters": ["P-bus-1"]},
            "P-bus-1 is on line bus-1, which is switched off",
        ),
        ({"do": "trace", "line": "bus-1"}, r"line bus-1 is switched off \(enabled = false\)"),
        ({"do": "collect", "line": "gprs"}, "gprs is a listener: name one of its terminals' lines"),
        ({"do": "trace", "line": "gprs"}, "gprs is a listener: name one of its terminals' lines"),
        ({"do": "collect", "line": "gate-1", "day": "2026-03-12"}, "that day has no midnight yet"),
        ({"do": "trace", "line": "gate-1", "seconds": -1}, "seconds must be"),
        ({"do": "plan"}, "path must be"),
    ],
)
def test_a_request_that_is_none_is_refused_in_words(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        asyncio.run(
            answers(
                requests_of(an_idle_line("gate-1"), off=["bus-1"], listeners=["gprs"]), request_
            )
        )


def test_a_trace_that_is_read_too_slowly_drops_pieces_and_says_how_many() -> None:
    async def test() -> None:
        line = an_idle_line("gate-1")
        told = requests_of(line).answer({"do": "trace", "line": "gate-1", "seconds": 0.5})
        assert await anext(told) == {"line": "gate-1", "up": False, "reason": "not opened yet"}
        reading = asyncio.ensure_future(anext(told))
        await let_run()
        assert line.trace.is_open
        for number in range(MOST_UNREAD + 7):
            line.trace.info("wire", direction="tx", bytes=f"{number:04X}")
        pieces = [await reading, *[piece async for piece in told]]
        assert [piece.get("bytes") for piece in pieces] == [
            *(f"{number:04X}" for number in range(MOST_UNREAD)),
            None,
        ]
        assert pieces[-1] == {"dropped": 7}
        assert not line.trace.is_open

    asyncio.run(test())


def test_whoever_stops_reading_a_trace_is_forgotten() -> None:
    async def test() -> None:
        line = an_idle_line("gate-1")
        told = requests_of(line).answer({"do": "trace", "line": "gate-1"})
        await anext(told)
        reading = asyncio.ensure_future(anext(told))
        await let_run()
        assert line.trace.is_open
        line.trace.info("wire", direction="rx", bytes="68")
        assert (await reading)["bytes"] == "68"
        await told.aclose()
        assert not line.trace.is_open

    asyncio.run(test())
