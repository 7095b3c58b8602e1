"""Simulated Modbus meters answer what a public reader asks the real ones for.

The reads are those of mbmd (github.com/volkszaehler/mbmd, meters/rs485), one register group at a
time and with its lengths; they leave by pymodbus's client, which is not ours."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

from config.profiles import load_profile, shipped_profiles
from protocols.modbus.profile import ORDERS, TYPES
from simulators.lines.bus import SimulatedBus
from simulators.lines.stream_lines import serve_tcp
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.modbus.more_registers import more_registers
from simulators.state.meter import MeterState

UNIT = 5
NOW = datetime(2026, 3, 4, 12, 0)
READS: Final = {
    # profile: function, registers a read has unless it says otherwise, reads
    "eastron-sdm630": (
        4,
        2,
        "0000 0002 0004 0006 0008 000A 000C 000E 0010 0034 0038 003C 0054 015A 015C 015E 0048 0160"
        " 0162 0164 004A 0166 0168 016A 0156 001E 0020 0022 003E 00EA 00EC 00EE 00F8 0046",
    ),
    "eastron-sdm120": (
        4,
        2,
        "0000 0006 000C 0048 004A 001E 0046 004C 004E 0012 0018 0156 0024",
    ),
    "eastron-sdm72dm": (4, 2, "0034 0048 004A 0156"),
    "chint-dtsu666-101e": (
        3,
        2,
        "101E 1028 2000 2002 2004 200C 200E 2010 2012 2014 2016 2018 201A 202A 202C 202E 2030 2044",
    ),
    "chint-dtsu666-h": (
        3,
        2,
        "0836 0838 083A 083E 0840 0842 084C 084E 0850 0852 0854 0856 0858 085A 085C 0860 0862 0864"
        " 0866 0876 0884",
    ),
    "orno-we504": (3, 1, "02 00 01 03 04 05 06 07/2 09/2"),
    "orno-we514": (3, 1, "0130 0131 0139/2 0140/2 0148/2 0150/2 0158 A000/2 A01E/2"),
    "orno-we516": (
        3,
        2,
        "0014 000E 0016 001E 0026 002E 0036 0010 0018 0020 0028 0030 0038 0012 001A 0022 002A 0032"
        " 003A 001C 0024 002C 0034 0100 0102 0104 0106 0108 010A 010C 010E 0110 0112 0114 0116 0118"
        " 011A 011C 011E 0120 0122 0124 0126 0128 012A 012C 012E 0130 0132 0134 0136 0138 013A 013C"
        " 013E 0140 0142 0144 0146",
    ),
    "orno-we525": (
        4,
        2,
        "010A/1 0100 0102 0104 0108 0106 010B/1 010E 0110 0112 0118 011A 011C 0122 0124 0126 012C"
        " 012E 0130 0136 0138 013A 0140 0142 0144",
    ),
    "inepro-pro380": (
        3,
        2,
        "5000 5002 5004 5006 5008 500A 500C 500E 5010 5012 5014 5016 5018 501A 501C 501E 5020 5022"
        " 5024 5026 5028 502A 502C 502E 5030 6000 6002 6004 6006 6008 600A 600C 600E 6010 6012 6014"
        " 6016 6018 601A 601C 601E 6020 6022 6024 6026 6028 602A 602C 602E 6030 6032 6034 6036 6038"
        " 603A 603C 603E 6040 6042 6044 6046",
    ),
    "abb-b23": (
        3,
        2,
        "5B00 5B02 5B04 5B0C 5B0E 5B10 5B14 5B16 5B18 5B1A 5460/4 5464/4 5468/4 5000/4 546C/4"
        " 5470/4 5474/4 5004/4 5B3A/1 5B3B/1 5B3C/1 5B3D/1 5B2C/1",
    ),
    "janitza-umg96rm": (
        3,
        2,
        "4A38 4A3A 4A3C 4A44 4A46 4A48 4A4C 4A4E 4A50 4A76 4A78 4A7A 4A7C 4A7E 4A80 4A82 4A84 4A64"
        " 4A66 4A68",
    ),
    "dzg-dvh4013": (
        3,
        2,
        "0000 0002 0004 0006 0008 000A 000C 000E 0010 0012 4000 4020 4040 4060 4100 4120 4140 4160",
    ),
    "bernecker-mpm3pm": (
        3,
        2,
        "00 02 04 06 08 0A 0C 0E 10 12 14 16 18 1A 1C 1E 2A 20 22 24 26 28 2C",
    ),
    "bg-ds100": (
        3,
        2,
        "0400 0402 0404 0410 0412 0414 0416 041A 041C 041E 0420 0422 0424 0426 0428 042A 042C 042E"
        " 0430 0432/1 0433/1 0434/1 0435/1 0436/1 0437/1 0438/1 0439/1 050A 056E 05D2 010E 0514 0578"
        " 05DC 118A 0500 0564 05C8 0122",
    ),
    "carlo-gavazzi-em340": (
        4,
        2,
        "00 02 04 0C 0E 10 12 14 16 28 2E/1 2F/1 30/1 31/1 33/1 34 40 42 44 4E",
    ),
    "carlo-gavazzi-em24": (
        4,
        2,
        "00 02 04 0C 0E 10 12 14 16 28 32/1 33/1 34/1 35/1 37/1 42 46 48 4A 5C",
    ),
    "finder-7m38": (
        4,
        2,
        "09C4 09C6 09C8 09D4 09D6 09D8 09E2 09E4 09E6 09E8 09EA 09EC 09EE 09F0 09F2 09F4 09F6 09F8"
        " 09FA 09FC 09FE 0A00 0A10 0A18 0A22 0A24 0A26 0AC0 0AC2 0AC4 0AC6",
    ),
    "finder-7m24": (
        4,
        2,
        "09C4 09D4 09E8 09F0 09F8 0A00 0A10 0A18 0A22 0AC0 0AC2 0AC4 0AC6",
    ),
    "lovato-dmg610": (
        4,
        2,
        "31 07 09 0B 01 03 05 13 15 17 19 1B 1D 1F 21 23 39 3B 3D 53 55 57 1B1F/4 1E1F/4 1E47/4"
        " 1E6F/4 1B23/4 1E23/4 1E4B/4 1E73/4 1B27/4 1B2B/4",
    ),
    "eltako-dsz15": (4, 2, "00 02 04 06 08 0A 0C 0E 10 34 1E 20 22 3E 48 4A"),
    "socomec-countis-e44": (
        3,
        2,
        "C552 C554 C556 C558 C55A C55C C58C C55E C560 C562 C564 C588 C568 C570 C572 C574 C56A C576"
        " C578 C57A C56C C57C C57E C580 C56E C582 C584 C586 C652 C658 C654 C65A",
    ),
    "ddm18sd": (4, 2, "0000 0008 0012 001A 002A 0036 0100 0400"),
}


def reads(profile: str) -> Iterator[tuple[int, int]]:
    """(register, registers) of each read."""
    _, usual, text = READS[profile]
    for word in text.split():
        register, _, count = word.partition("/")
        yield int(register, 16), int(count or usual)


def bus(profile: str) -> SimulatedBus:
    state = MeterState(f"line/{UNIT}", now=lambda: NOW)
    meter = SimulatedModbusMeter(state, UNIT, load_profile(profile))
    return SimulatedBus([meter], modbus_form="tcp")


async def read(client: AsyncModbusTcpClient, function: int, register: int, count: int) -> ModbusPDU:
    ask = client.read_input_registers if function == 4 else client.read_holding_registers
    return await ask(register, count=count, device_id=UNIT)


def answers(profile: str, wanted: list[tuple[int, int, int]]) -> list[ModbusPDU]:
    """What comes to (function, register, registers)."""

    async def story() -> list[ModbusPDU]:
        async with serve_tcp(bus(profile)) as line:
            client = AsyncModbusTcpClient(line.host, port=line.port, timeout=5, retries=0)
            await client.connect()
            try:
                return [await read(client, *one) for one in wanted]
            finally:
                client.close()

    return asyncio.run(story())


@pytest.mark.parametrize("profile", READS)
def test_a_public_reader_reads_the_meter_whole(profile: str) -> None:
    function = READS[profile][0]
    wanted = [(function, register, count) for register, count in reads(profile)]
    refused = {
        f"{register:04X}/{count}": answer.exception_code
        for (_, register, count), answer in zip(wanted, answers(profile, wanted), strict=True)
        if answer.isError() or len(answer.registers) != count
    }
    assert refused == {}


@pytest.mark.parametrize("profile", shipped_profiles())
def test_every_quantity_of_a_profile_is_read_alone(profile: str) -> None:
    items = load_profile(profile).items
    wanted = [(item.function, item.first, item.span) for item in items]
    assert not any(answer.isError() for answer in answers(profile, wanted))


def test_what_stands_between_the_registers_of_a_profile_is_no_zero() -> None:
    (block,) = answers("eastron-sdm630", [(4, 0, 80)])
    data = struct.pack(">80H", *block.registers)
    values = struct.unpack(">40f", data)
    # Apparent power and power factor of the three phases, that no quantity of ours names.
    assert all(value > 1 for value in values[9:12])
    assert values[15:18] == pytest.approx([0.95] * 3)
    assert values[9] * values[15] == pytest.approx(values[6])


def test_the_phases_add_up_to_the_total() -> None:
    total, *phases = answers("eastron-sdm630", [(4, at, 2) for at in (0x48, 0x15A, 0x15C, 0x15E)])
    kwh = [struct.unpack(">f", struct.pack(">2H", *it.registers))[0] for it in (total, *phases)]
    assert sum(kwh[1:]) == pytest.approx(kwh[0])
    assert kwh[0] > 0


@pytest.mark.parametrize(("function", "register"), [(4, 0x0200), (4, 0xFFF0), (4, 0x0180)])
def test_what_a_meter_does_not_have_is_refused(function: int, register: int) -> None:
    (answer,) = answers("eastron-sdm630", [(function, register, 2)])
    assert answer.exception_code == 2


def test_a_function_that_no_meter_has_is_refused() -> None:
    async def story() -> bytes:
        async with serve_tcp(bus("eastron-sdm630")) as line:
            reader, writer = await asyncio.open_connection(line.host, line.port)
            writer.write(
                bytes.fromhex("0001 0000 000A 05 14 07 06 0001 0000 0001".replace(" ", ""))
            )
            answer = await reader.readexactly(9)
            writer.close()
            return answer

    assert asyncio.run(story()).hex() == "000100000003059401"


@pytest.mark.parametrize("profile", shipped_profiles())
def test_what_is_told_besides_lies_beside_the_profile(profile: str) -> None:
    own = {
        (item.function, register)
        for item in load_profile(profile).items
        for register in range(item.register, item.register + item.count)
    }
    for told in more_registers(profile):
        item = told.item
        assert item.type in TYPES
        assert item.order in ORDERS
        assert item.factor > Decimal(0)
        places = {(item.function, item.register + number) for number in range(item.count)}
        assert not places & own
        own |= places
