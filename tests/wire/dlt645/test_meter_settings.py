"""What is set in a meter and what it settled, on scripts and of simulated meters."""

from datetime import datetime
from decimal import Decimal

import pytest

from protocols.dlt645.settings import MeterSettings, read_settings
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import run_on_script
from tests.simulated_meters import simulated_meter
from tests.wire.dlt645.test_identity import METER, asked, said
from tests.wire.simulators.test_settings import run

NOON = datetime(2026, 5, 20, 12, 0)
CURRENT = "06030004"
VOLTAGE = "07030004"
RATES = "04020004"
DAYS = ("010B0004", "020B0004", "030B0004")
"""DI0 to DI3 of 04000306, 04000307, 04000204 and 04000B01 to 03."""
SETTLED = "01FF0100"
SETTLED_TOTAL = "01000100"
NO_SUCH_DATA = said("02", 0xD1)
NO_DAYS = [(asked(day), said(day + "9999")) for day in DAYS]
NO_RATES = (asked(RATES), NO_SUCH_DATA)
NO_RATIO = [(asked(CURRENT), NO_SUCH_DATA), (asked(VOLTAGE), NO_SUCH_DATA), NO_RATES]


def test_the_ratio_is_that_of_both_transformers() -> None:
    script = [
        (asked(CURRENT), said(CURRENT + "800000")),
        (asked(VOLTAGE), said(VOLTAGE + "000100")),
        NO_RATES,
        *NO_DAYS,
    ]
    assert run_on_script(read_settings(METER), script) == MeterSettings(8000, None, (), None)


@pytest.mark.parametrize(("answer", "rates"), [("04", 4), ("12", 12), ("00", None), ("FF", None)])
def test_the_number_of_rates_is_told_where_the_meter_has_any(
    answer: str, rates: int | None
) -> None:
    script = [*NO_RATIO[:2], (asked(RATES), said(RATES + answer)), *NO_DAYS]
    assert run_on_script(read_settings(METER), script).rates == rates


@pytest.mark.parametrize("answer", ["000000", "FFFFFF"])
def test_a_ratio_that_was_never_set_is_none(answer: str) -> None:
    script = [
        (asked(CURRENT), said(CURRENT + answer)),
        (asked(VOLTAGE), said(VOLTAGE + "010000")),
        NO_RATES,
        *NO_DAYS,
    ]
    assert run_on_script(read_settings(METER), script).ratio is None


def test_the_last_settlement_is_told_with_the_days_that_it_can_be_of() -> None:
    script = [
        *NO_RATIO,
        (asked(DAYS[0]), said(DAYS[0] + "0001")),
        (asked(DAYS[1]), said(DAYS[1] + "1215")),
        (asked(DAYS[2]), said(DAYS[2] + "9999")),
        (asked(SETTLED), said(SETTLED + "34120000" + "30120000" + "04000000")),
    ]
    told = run_on_script(read_settings(METER), script)
    assert told.settles_at == ((1, 0), (15, 12))
    assert told.settled == (Decimal("12.34"), Decimal("12.30"), Decimal("0.04"))


def test_a_meter_that_knows_no_block_is_asked_for_the_total_alone() -> None:
    script = [
        *NO_RATIO,
        (asked(DAYS[0]), said(DAYS[0] + "0001")),
        *NO_DAYS[1:],
        (asked(SETTLED), NO_SUCH_DATA),
        (asked(SETTLED_TOTAL), said(SETTLED_TOTAL + "34120000")),
    ]
    assert run_on_script(read_settings(METER), script).settled == (Decimal("12.34"),)


def test_a_settlement_that_never_was_is_none() -> None:
    script = [
        *NO_RATIO,
        (asked(DAYS[0]), said(DAYS[0] + "0001")),
        *NO_DAYS[1:],
        (asked(SETTLED), said(SETTLED + "FFFFFFFF" * 5)),
    ]
    assert run_on_script(read_settings(METER), script).settled is None


@pytest.mark.parametrize("answer", ["01", "0A0000", "01000000"])
def test_what_is_no_ratio_is_said(answer: str) -> None:
    with pytest.raises(FrameError):
        run_on_script(read_settings(METER), [(asked(CURRENT), said(CURRENT + answer))])


def test_another_refusal_is_none_of_an_unknown_identifier() -> None:
    with pytest.raises(MeterRefused):
        run_on_script(read_settings(METER), [(asked(CURRENT), said("04", 0xD1))])


def test_a_simulated_meter_settles_what_it_froze_that_midnight() -> None:
    meter = simulated_meter(METER, now=lambda: NOON)
    told = run(meter, read_settings(METER))
    assert (told.ratio, told.settles_at) == (1, ((1, 0),))
    assert told.settled is not None
    assert list(told.settled) == meter.state.registers_kwh(datetime(2026, 5, 1))
