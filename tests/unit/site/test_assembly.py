"""What a line's settings become."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.lines import LineKind, LineSpec
from config.settings import ControlSection, LineCollectionSection, LineSection, NoticesSection
from daemon.acquisition.drivers import driver_of
from daemon.acquisition.meter_port import NotSent
from daemon.site.assembly import _opener, credentials_of
from protocols.channels.serial import SerialChannel
from protocols.dlt645.exchanges import RelayAction
from storage.archive import SiteMeter


def test_a_serial_port_is_opened_as_its_line_says() -> None:
    section = LineSection.model_validate(
        {"name": "a", "serial": "/dev/ttyS9", "baud": 9600, "parity": "N", "stop_bits": 2}
    )
    spec = LineSpec(
        name="a",
        kind=LineKind.LINE,
        shown_as="a",
        enabled=True,
        settings=section,
        collection=LineCollectionSection(),
        is_traced=False,
        site="s",
    )
    channel = _opener(spec, section)()
    assert isinstance(channel, SerialChannel)
    assert channel.name == "serial /dev/ttyS9 9600 Bd 8N2"
    # Start, 8 data bits and two to stop.
    assert channel.byte_s == 11 / 9600


def test_who_has_a_program_that_signs_needs_no_password() -> None:
    assert credentials_of(ControlSection()) is None
    section = ControlSection().model_copy(update={"signer": Path("/usr/bin/sign")})
    credentials = credentials_of(section)
    assert credentials is not None
    assert credentials.password is None
    assert credentials.signing is not None
    assert credentials.signing.program == Path("/usr/bin/sign")


def test_without_a_password_nothing_leaves_of_which_nothing_was_signed() -> None:
    section = ControlSection().model_copy(update={"signer": Path("/usr/bin/sign")})
    meter = SiteMeter(
        meter_id=1,
        address="000000000001",
        line="a",
        protocol="dlt645-2007",
        modulus=10**8,
        decimals=2,
        installed_on=date(2026, 1, 1),
        point_id=1,
        point="P1",
        max_daily_kwh=Decimal(100),
    )
    driver = driver_of(meter, {}, has_relay=True, credentials=credentials_of(section))
    assert driver.control is not None
    with pytest.raises(NotSent, match=r"nobody signed for the meter"):
        driver.control(RelayAction.TRIP, datetime(2026, 3, 11, 10))


def test_days_of_dunning_are_days_of_a_year() -> None:
    section = NoticesSection.model_validate({"dunning_days": [0, 5, 10], "cycle": "quarter"})
    assert section.dunning_days == (0, 5, 10)
    for wrong in ([-1], [366], ["5"]):
        with pytest.raises(ValidationError):
            NoticesSection.model_validate({"dunning_days": wrong})


def test_somebody_goes_there_where_there_are_days_of_dunning_unless_the_site_says_no() -> None:
    for said, goes_there in (
        ({}, False),
        ({"personal_contact": False}, False),
        ({"dunning_days": [0, 10]}, True),
        ({"dunning_days": [0, 10], "personal_contact": True}, True),
        ({"dunning_days": [0, 10], "personal_contact": False}, False),
    ):
        assert NoticesSection.model_validate(said).goes_there == goes_there, said
    with pytest.raises(ValidationError, match="personal_contact has no day"):
        NoticesSection.model_validate({"personal_contact": True})
