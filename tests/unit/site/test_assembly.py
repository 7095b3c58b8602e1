"""What a line's settings become."""

from __future__ import annotations

from config.lines import LineKind, LineSpec
from config.settings import LineCollectionSection, LineSection
from daemon.site.assembly import _opener
from protocols.channels.serial import SerialChannel


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
