"""Which meter it is: DL/T 645 numbers on scripts, and recorded answers of other people's meters."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from protocols.dlt645 import exchanges, exchanges_1997
from protocols.dlt645.frame import Decoder, Frame
from protocols.dlt645.identity import asset_number, meter_number
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Exchange, run_on_script
from protocols.reading import MeterIdentity
from tests.simulated_meters import simulated_meter
from tests.wire.simulators.test_settings import run

METER = "000000001600"
NUMBER = "02040004"
ASSET = "03040004"
WORD_3 = "03050004"
"""DI0 to DI3 of 04000402, 04000403 and 04000503."""
NOON = datetime(2026, 5, 20, 12, 0)


def asked(identifier: str, control: int = 0x11) -> Frame:
    return Frame(METER, control, bytes.fromhex(identifier))


def said(data: str, control: int = 0x91) -> Frame:
    return Frame(METER, control, bytes.fromhex(data))


def recorded(version: str, identifier: str) -> list[Frame]:
    """Answers that hold this identifier, out of frames that were not made by us."""
    path = Path(__file__).with_name(f"vectors_dlt645_{version}.json")
    vectors: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["vectors"]
    wanted = bytes.fromhex(identifier)[::-1]
    found: list[Frame] = []
    for vector in vectors:
        for frame in Decoder().feed(bytes.fromhex(vector["hex"])):
            is_answer = isinstance(frame, Frame) and frame.is_response and not frame.is_abnormal
            if is_answer and isinstance(frame, Frame) and frame.data.startswith(wanted):
                found.append(frame)
    return found


def test_a_recorded_meter_of_2007_tells_its_number() -> None:
    """The stream d07-072: 04000402 of meter 000006605518."""
    (frame,) = recorded("2007", "04000402")
    script = [
        (Frame(frame.address, 0x11, bytes.fromhex(NUMBER)), frame),
        (
            Frame(frame.address, 0x11, bytes.fromhex(WORD_3)),
            Frame(frame.address, 0x91, bytes.fromhex(WORD_3 + "0000")),
        ),
    ]
    identity = run_on_script(exchanges.read_identity(frame.address), script)
    assert identity == MeterIdentity("000006605518", "none")


def test_a_recorded_meter_of_1997_tells_its_number() -> None:
    """The answer d97-030: C032 of meter 201708176934."""
    (frame,) = recorded("1997", "C032")
    script = [(Frame(frame.address, 0x01, bytes.fromhex("32C0")), frame)]
    identity = run_on_script(exchanges_1997.read_identity(frame.address), script)
    assert identity == MeterIdentity("201708176934", None)


@pytest.mark.parametrize(
    ("word", "mode"),
    [("0000", "none"), ("0001", "energy"), ("0002", "money"), ("0003", None), ("50C1", "energy")],
)
def test_bits_8_and_9_of_status_word_3_say_what_a_meter_deducts(
    word: str, mode: str | None
) -> None:
    script = [
        (asked(NUMBER), said(NUMBER + "160000000000")),
        (asked(WORD_3), said(WORD_3 + word)),
    ]
    identity = run_on_script(exchanges.read_identity(METER), script)
    assert identity == MeterIdentity("000000000016", mode)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "no_number",
    [
        said(NUMBER + "FFFFFFFFFFFF"),
        said(NUMBER + "000000000000"),
        said("02", 0xD1),
    ],
    ids=["fill", "zeros", "no such data"],
)
def test_without_a_number_the_asset_number_tells_the_meter(no_number: Frame) -> None:
    asset = b"SG-2026-0042".ljust(32, b"\0")[::-1].hex()
    script = [
        (asked(NUMBER), no_number),
        (asked(ASSET), said(ASSET + asset)),
        (asked(WORD_3), said(WORD_3 + "0000")),
    ]
    identity = run_on_script(exchanges.read_identity(METER), script)
    assert identity == MeterIdentity("SG-2026-0042", "none")


def test_a_meter_that_knows_none_of_it_has_no_serial() -> None:
    refusal = said("02", 0xD1)
    script = [(asked(NUMBER), refusal), (asked(ASSET), refusal), (asked(WORD_3), refusal)]
    assert run_on_script(exchanges.read_identity(METER), script) == MeterIdentity(None, None)


def test_a_meter_that_wants_to_be_authenticated_is_no_meter_without_a_number() -> None:
    script = [(asked(NUMBER), said("04", 0xD1))]
    with pytest.raises(MeterRefused):
        run_on_script(exchanges.read_identity(METER), script)


def test_the_device_code_stands_in_for_a_number_of_1997() -> None:
    def sent(identifier: str) -> Frame:
        return Frame(METER, 0x01, bytes.fromhex(identifier))

    def answer(data: str, control: int = 0x81) -> Frame:
        return Frame(METER, control, bytes.fromhex(data))

    script = [(sent("32C0"), answer("02", 0xC1)), (sent("34C0"), answer("34C0 420000000000"))]
    exchange = exchanges_1997.read_identity(METER)
    assert run_on_script(exchange, script) == MeterIdentity("000000000042", None)


@pytest.mark.parametrize(
    ("decode", "data"),
    [(meter_number, "0A0000000000"), (meter_number, "1600"), (asset_number, "41000142")],
)
def test_a_number_that_is_none_is_refused(decode: Callable[[bytes], str | None], data: str) -> None:
    with pytest.raises(FrameError):
        decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("meter_type", "mode"),
    [(0, "none"), (1, "energy"), (2, "money")],
)
def test_a_simulated_meter_tells_who_it_is_in_truth(meter_type: int, mode: str) -> None:
    meter = simulated_meter(METER, now=lambda: NOON, serial="202600000007", meter_type=meter_type)
    exchange: Exchange[Frame, MeterIdentity] = exchanges.read_identity(METER)
    assert run(meter, exchange) == MeterIdentity("202600000007", mode)  # type: ignore[arg-type]
    # The address is another thing: 04000401.
    assert run(meter, exchanges.read(METER, "04000401"))[::-1].hex() == METER


def test_another_meter_behind_an_address_has_its_own_number_and_nothing_of_the_old_one() -> None:
    meter = simulated_meter(METER, now=lambda: NOON)
    assert run(meter, exchanges.read_daily_freeze(METER, 1)) is not None
    meter.state.exchange("202600000009", Decimal("0.35"))
    identity = run(meter, exchanges.read_identity(METER))
    assert identity.serial == "202600000009"
    assert run(meter, exchanges.read_registers(METER))[0] == Decimal("0.35")
    assert run(meter, exchanges.read_daily_freeze(METER, 1)) is None
