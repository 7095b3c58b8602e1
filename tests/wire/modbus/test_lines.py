"""Modbus over real lines: simulated meters behind TCP and pseudo-terminals, the commands, and
foreign peers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from config.problems import ConfigError
from config.profiles import load_profile
from daemon.cli import cli
from protocols.channels import Channel
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.serial import SerialChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.exchanges import CODEC_2007, read_energy
from protocols.errors import MeterRefused, NoReply
from protocols.modbus.blocks import Block, Learnt
from protocols.modbus.exchanges import (
    codec_rtu,
    codec_tcp,
    read_block,
    read_quantities,
    read_registers,
    read_relay,
    set_relay,
)
from protocols.reading import Quantity
from simulators.bench.running import Bench
from simulators.bench.scenario import parse_scenario
from simulators.lines import stream_lines as lines
from simulators.state.meter import MeterState
from tests.servers.mbpoll import Polled, mbpoll

SDM, DDS = load_profile("eastron-sdm630"), load_profile("hiking-dds238-4w")
NOON = datetime(2026, 5, 2, 12)
CODECS = {"rtu": codec_rtu, "tcp": codec_tcp}
# The DL/T 645 address begins on the wire like a Modbus write of many registers, 68 10 ... 99, which
# goes on for long.
METERS = """
[[meters]]
protocol = "modbus"
line = "gate"
profile = "eastron-sdm630"
unit = 5
count = 2
[[meters]]
protocol = "modbus"
line = "gate"
profile = "hiking-dds238-4w"
unit = 9
{more}
[[meters]]
line = "gate"
address = "990000000010"
"""
PORT = "[lines.gate]\nport = 0\nreply_delay_ms = 1\nmodbus = '{form}'\n"


@asynccontextmanager
async def bench_of(text: str) -> AsyncIterator[Bench]:
    """Time stands still in it, so that a register says the same in each read."""
    async with Bench(parse_scenario(text), now=lambda: NOON) as bench:
        yield bench


def conversation(channel: Channel, codec: Any, **what: Any) -> Conversation[Any]:
    timing = what.pop("timing", Timing(reply_timeout_s=2, retries=0))
    return Conversation(channel, codec, line="gate", timing=timing, **what)


@asynccontextmanager
async def channel_of(bench: Bench) -> AsyncIterator[Channel]:
    where = bench.lines["gate"].whereabouts()
    way = (
        SerialChannel(str(where["device"]))
        if "device" in where
        else TcpChannel("127.0.0.1", int(where["port"]))
    )
    async with way as channel:
        yield channel


@pytest.mark.parametrize("kind", ["tcp", "rtu", "pty"])
def test_modbus_and_dlt645_meters_share_a_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No silence helps the meters here: what one protocol makes of the other's bytes must not keep
    it waiting."""
    monkeypatch.setattr(lines, "BYTE_GAP_S", 3600)
    line = (
        f"[lines.gate]\nlink = '{tmp_path / 'bus'}'\nreply_delay_ms = 1\n" if kind == "pty" else ""
    )
    text = (line or PORT.format(form=kind)) + METERS.format(more="")
    outcomes: list[str] = []

    async def run() -> None:
        async with bench_of(text) as bench, channel_of(bench) as channel:
            codec = CODECS["tcp" if kind == "tcp" else "rtu"]
            modbus = conversation(channel, codec, on_outcome=outcomes.append)
            dlt645 = conversation(channel, CODEC_2007, on_outcome=outcomes.append)
            for _ in range(3):
                for unit, profile in ((5, SDM), (6, SDM), (9, DDS)):
                    (total,) = await modbus.run(read_registers(unit, profile))
                    assert total == bench.meters[f"gate/{unit}"].true_register(bench.now())
                energy = await dlt645.run(read_energy("990000000010"))
                assert energy == bench.meters["990000000010"].true_register(bench.now())

    asyncio.run(run())
    assert outcomes == ["ok"] * 12


def is_cut(meter: MeterState) -> bool:
    return meter.relay.is_open


def test_a_relay_is_moved_only_by_who_may_and_read_back() -> None:
    async def run() -> None:
        async with (
            bench_of(PORT.format(form="rtu") + METERS.format(more="")) as bench,
            channel_of(bench) as channel,
        ):
            meter = bench.meters["gate/9"]
            with pytest.raises(AssertionError, match="may not control"):
                await conversation(channel, codec_rtu).run(set_relay(9, DDS, "trip"))
            assert not is_cut(meter)
            allowed = conversation(channel, codec_rtu, may_control=True)
            await allowed.run(set_relay(9, DDS, "trip"))
            assert is_cut(meter)
            assert await allowed.run(read_relay(9, DDS)) is True
            await allowed.run(set_relay(9, DDS, "close"))
            assert await allowed.run(read_relay(9, DDS)) is False

    asyncio.run(run())


def test_a_stuck_relay_acknowledges_and_stays() -> None:
    more = 'faults = [{ kind = "stuck_relay" }]'

    async def run() -> None:
        async with (
            bench_of(PORT.format(form="rtu") + METERS.format(more=more)) as bench,
            channel_of(bench) as channel,
        ):
            allowed = conversation(channel, codec_rtu, may_control=True)
            await allowed.run(set_relay(9, DDS, "trip"))
            assert await allowed.run(read_relay(9, DDS)) is False

    asyncio.run(run())


@pytest.mark.parametrize("form", ["rtu", "tcp"])
@pytest.mark.parametrize(
    "kind",
    [
        "noise_before",
        "noise_after",
        "split",
        "duplicate",
        "echo",
        "wrong_checksum",
        "foreign",
        "lost_answer",
    ],
)
def test_faults_of_the_line_never_give_a_wrong_value(form: str, kind: str) -> None:
    """Modbus TCP has no checksum: what is wrong inside a frame there comes out as it is, so that
    one is left out."""
    if (form, kind) == ("tcp", "wrong_checksum"):
        return
    more = f'faults = [{{ kind = "{kind}", every_request = 2 }}]'
    timing = Timing(reply_timeout_s=0.1, byte_gap_s=0.05, quiet_s=0.02, retries=2)

    async def run() -> list[Decimal | None]:
        async with (
            bench_of(PORT.format(form=form) + METERS.format(more=more)) as bench,
            channel_of(bench) as channel,
        ):
            talk = conversation(channel, CODECS[form], timing=timing)
            learnt = Learnt()
            return [(await talk.run(read_registers(9, DDS, learnt)))[0] for _ in range(4)] + [
                bench.meters["gate/9"].true_register(bench.now())
            ]

    found = asyncio.run(run())
    assert found == [found[-1]] * 5


def test_a_unit_that_is_not_there_meets_silence() -> None:
    async def run() -> None:
        async with (
            bench_of(PORT.format(form="rtu") + METERS.format(more="")) as bench,
            channel_of(bench) as channel,
        ):
            talk = conversation(channel, codec_rtu, timing=Timing(reply_timeout_s=0.1, retries=0))
            with pytest.raises(NoReply, match="no reply from unit 77 on gate"):
                await talk.run(read_registers(77, SDM))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('profile = "eastron-sdm630"', "meters.0.profile: missing"),
        ("unit = 5", "meters.0.unit: missing"),
        ("count = 2", "meters.0.count: units end at 247"),
        ("unit = 9", "meters.1.unit: gate/5 is also one of the [[meters]] in line 6"),
    ],
)
def test_a_mistake_in_a_modbus_fleet_is_told(change: str, message: str) -> None:
    good = PORT.format(form="rtu") + METERS.format(more="")
    to = {"count = 2": "count = 246", "unit = 9": "unit = 5"}.get(change, "")
    with pytest.raises(ConfigError) as caught:
        parse_scenario(good.replace(change, to))
    assert message in str(caught.value)
    with pytest.raises(
        ConfigError, match=r"no profile comes with this name \(did you mean eastron-sdm630"
    ):
        parse_scenario(good.replace("sdm630", "sdm63"))


# The commands


def run_command(text: str, *arguments: str) -> tuple[Result, dict[str, str]]:
    """A command against a bench that runs in this loop; GATE in the arguments is its port. And the
    true registers."""

    async def run() -> tuple[Result, dict[str, str]]:
        async with bench_of(text) as bench:
            where = f"127.0.0.1:{bench.lines['gate'].whereabouts()['port']}"
            filled = [argument.replace("GATE", where) for argument in arguments]
            result = await asyncio.to_thread(CliRunner().invoke, cli, filled)
            return result, {
                name: str(meter.true_register(bench.now())) for name, meter in bench.meters.items()
            }

    return asyncio.run(run())


TCP = PORT.format(form="tcp") + METERS.format(more="")
RTU = PORT.format(form="rtu") + METERS.format(more="")


@pytest.mark.parametrize(("text", "protocol"), [(TCP, "modbus-tcp"), (RTU, "modbus-rtu")])
def test_read_prints_quantities_by_profile(text: str, protocol: str) -> None:
    how = (
        "read",
        "--tcp",
        "GATE",
        "--protocol",
        protocol,
        "--unit",
        "9",
        "--profile",
        "hiking-dds238-4w",
    )
    result, true = run_command(text, *how, "--quantity", "forward_active_energy")
    assert (result.exit_code, result.output) == (0, f"{true['gate/9']} kWh\n")
    result, _ = run_command(text, *how, "--quantity", "voltage", "--quantity", "relay", "--json")
    assert [json.loads(line) for line in result.output.splitlines()] == [
        {"meter": "9", "name": "voltage", "value": "220.0", "unit": "V"},
        {"meter": "9", "name": "relay", "value": "closed", "unit": ""},
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("--unit", "9", "--profile", "hiking-dds238-4w", "--quantity", "volts"),
            2,
            "profile hiking-dds238-4w has energy",
        ),
        (("--unit", "9", "--profile", "hiking"), 1, "no profile comes with this name"),
        (("--unit", "9"), 2, "needs --unit and --profile"),
        (("--unit", "9", "--profile", "eastron-sdm630"), 1, "meter unit 9 refused registers 0048"),
        (
            ("--unit", "8", "--profile", "hiking-dds238-4w", "--timeout", "0.1"),
            1,
            "no reply from unit 8",
        ),
    ],
)
def test_read_says_what_is_wrong(arguments: tuple[str, ...], code: int, message: str) -> None:
    result, _ = run_command(TCP, "read", "--tcp", "GATE", "--protocol", "modbus-tcp", *arguments)
    assert result.exit_code == code or result.exception
    assert message in result.output + str(result.exception)


def test_read_prints_nothing_that_cannot_be_meant(tmp_path: Path) -> None:
    """The profile of an SDM630 with its words swapped, and its energy taken where its power is."""
    swapped = tmp_path / "swapped.toml"
    right = Path("config/profiles/eastron-sdm630.toml").read_text(encoding="utf-8")
    swapped.write_text(right.replace('"ABCD"', '"CDAB"'), encoding="utf-8")
    how = ("read", "--tcp", "GATE", "--protocol", "modbus-tcp", "--unit", "5")
    result, _ = run_command(TCP, *how, "--profile", str(swapped))
    assert (result.exit_code, result.stdout) == (1, "")
    told = str(result.exception)
    assert "these values cannot be meant:\n  forward_active_energy" in told
    assert "kWh: too small to be measured" in told
    assert "meterd probe" in told


@pytest.mark.parametrize("unit", [0, 255])
def test_a_meter_with_a_socket_of_its_own_answers_as_unit_0_or_255(unit: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(12)
        if request[6] == unit:
            # 0x47 01 BE 00 is 33214 as a float.
            answer = bytes([unit, 4, 4]) + bytes.fromhex("4701BE00")
            writer.write(request[:4] + len(answer).to_bytes(2, "big") + answer)
        await reader.read()
        writer.close()

    async def run() -> Result:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            how = ["read", "--tcp", where, "--protocol", "modbus-tcp", "--unit", str(unit)]
            what = ["--profile", "eastron-sdm630", "--quantity", "forward_active_energy"]
            return await asyncio.to_thread(CliRunner().invoke, cli, [*how, *what])

    result = asyncio.run(run())
    assert (result.exit_code, result.output) == (0, "33214 kWh\n")


@pytest.mark.parametrize("unit", ["0", "248", "255"])
def test_a_wire_has_no_such_unit(unit: str) -> None:
    how = ["read", "--tcp", "127.0.0.1:1", "--protocol", "modbus-rtu", "--unit", unit]
    result = CliRunner().invoke(cli, [*how, "--profile", "eastron-sdm630"])
    assert result.exit_code == 2
    assert "on a wire units go from 1 to 247" in result.stderr


def test_probe_prints_every_reading_and_marks_the_likely_one() -> None:
    probe = ("probe", "--tcp", "GATE", "--unit", "5", "--address", "0x48", "--function", "4")
    result, true = run_command(TCP, *probe)
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith("unit 5, function 4, from 72 (0048): ")
    assert len(lines) == 2 + 2 * 4 + 3 * 4
    (marked,) = (line.split("\t") for line in lines if "* " in line)
    energy = str(Decimal(true["gate/5"]).normalize())
    assert marked[:4] == ["72 (0048)", "float32", "ABCD", f"{Decimal(energy):f}"]
    assert marked[7].startswith(f"* energy {Decimal(energy):f} kWh (x 1)")
    result, _ = run_command(RTU, *probe, "--protocol", "modbus-rtu", "--best", "--json")
    told = [json.loads(line) for line in result.output.splitlines()]
    assert told[0]["registers"]
    assert told[1]["looks_like"][0]["quantity"] == "energy"
    assert told[1]["best"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--address", "0x200"),
            "refused registers 0200 to 0201 (function 4): illegal data address",
        ),
        (("--address", "70000"), "'70000' is not a register"),
        (("--address", "2", "--count", "126"), "126 is not in the range"),
        (("--address", "2", "--timeout", "nan"), "'nan' is no number"),
        (("--address", "2", "--timeout", "inf"), "'inf' is no number"),
        (("--address", "2", "--timeout", "0"), "0.0 is not in the range"),
        (("--address", "2", "--timeout", "-1"), "-1.0 is not in the range"),
    ],
)
def test_probe_says_what_is_wrong(arguments: tuple[str, ...], message: str) -> None:
    result, _ = run_command(
        TCP, "probe", "--tcp", "GATE", "--unit", "5", "--function", "4", *arguments
    )
    assert message in result.output + str(result.exception)
    assert result.exit_code != 0


# Foreign peers


@pytest.mark.parametrize(("form", "framer"), [("tcp", FramerType.SOCKET), ("rtu", FramerType.RTU)])
def test_our_master_reads_the_server_of_pymodbus(form: str, framer: FramerType) -> None:
    """Its registers hold what the sheet of a DDS238 says; 0002 to 0007 are missing, so a whole read
    is refused."""
    data = [
        SimData(
            0x0008,
            values=[0, 4734, 0, 2399, 2304, 62, 131, 0xFFFE, 917, 5000],
            datatype=DataType.REGISTERS,
        ),
        SimData(0x0000, values=[0, 7133], datatype=DataType.REGISTERS),
        SimData(0x001A, values=[1], datatype=DataType.REGISTERS),
    ]

    async def run() -> None:
        server = ModbusTcpServer(SimDevice(9, data), framer=framer, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        assert server.transport is not None
        port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        try:
            async with TcpChannel("127.0.0.1", port) as channel:
                talk = conversation(channel, CODECS[form], may_control=True)
                learnt = Learnt()
                found = await talk.run(read_quantities(9, DDS, DDS.quantities(), learnt))
                assert {quantity.label: str(value) for quantity, value in found.items()} == {
                    "forward_active_energy": "23.99",
                    "reverse_active_energy": "47.34",
                    "combined_active_energy": "71.33",
                    "voltage": "230.4",
                    "current": "0.62",
                    "active_power": "0.131",
                    "reactive_power": "-0.002",
                    "power_factor": "0.917",
                    "frequency": "50.00",
                }
                assert learnt.cuts
                assert await talk.run(read_relay(9, DDS, learnt)) is False
                await talk.run(set_relay(9, DDS, "trip"))
                assert await talk.run(read_relay(9, DDS, learnt)) is True
                with pytest.raises(MeterRefused, match="illegal data address"):
                    await talk.run(read_block(9, Block(3, 0x0100, 2)))
        finally:
            await server.shutdown()  # type: ignore[no-untyped-call] # pymodbus left it so

    asyncio.run(run())


Poll = Callable[..., Polled]


async def poll(port: int, *arguments: str) -> Polled:
    """mbpoll counts from 1 and speaks Modbus TCP."""
    return await asyncio.to_thread(
        mbpoll, "-m", "tcp", "-p", str(port), "-o", "2", *arguments, "127.0.0.1"
    )


def test_a_foreign_master_reads_our_simulated_meters() -> None:
    async def run() -> None:
        async with bench_of(TCP) as bench:
            port = int(bench.lines["gate"].whereabouts()["port"])
            energy = await poll(port, "-a", "5", "-t", "3:float", "-B", "-r", "73")
            true = bench.meters["gate/5"].true_register(bench.now())
            assert energy.exit_code == 0, energy.text
            assert abs(Decimal(energy.values[73]) - true) < Decimal("0.1"), (
                energy.text
            )  # it prints six digits
            volts = await poll(port, "-a", "5", "-t", "3:float", "-B", "-r", "1", "-c", "3")
            assert volts.values == {1: "220", 3: "220", 5: "220"}
            counter = await poll(port, "-a", "9", "-t", "4:int", "-B", "-r", "11")
            assert counter.values == {
                11: str(int(bench.meters["gate/9"].true_register(bench.now()) * 100))
            }
            assert (
                "Illegal data address"
                in (await poll(port, "-a", "5", "-t", "3", "-r", "1000")).text
            )
            assert (
                "Illegal data value"
                in (await poll(port, "-a", "5", "-t", "3", "-r", "1", "-c", "81")).text
            )
            assert "Illegal function" in (await poll(port, "-a", "5", "-t", "4", "-r", "1")).text

    asyncio.run(run())


def test_a_foreign_master_reads_over_a_pseudo_terminal(tmp_path: Path) -> None:
    text = f"[lines.gate]\nlink = '{tmp_path / 'bus'}'\nreply_delay_ms = 1\n" + METERS.format(
        more=""
    )

    async def run() -> None:
        async with bench_of(text) as bench:
            device = str(bench.lines["gate"].whereabouts()["device"])
            polled = await asyncio.to_thread(
                mbpoll,
                "-m",
                "rtu",
                "-b",
                "9600",
                "-P",
                "none",
                "-a",
                "9",
                "-t",
                "4",
                "-r",
                "13",
                "-o",
                "2",
                device,
            )
            assert polled.values == {13: "2200"}, polled.text

    asyncio.run(run())


def test_a_foreign_master_finds_the_relay_where_the_profile_says() -> None:
    """mbpoll writes one register with function 6, which this meter refuses as the real one does."""

    async def run() -> None:
        async with bench_of(TCP) as bench:
            port = int(bench.lines["gate"].whereabouts()["port"])
            state = await poll(port, "-a", "9", "-t", "4", "-r", "27")
            assert state.values == {27: "1"}
            write = (
                "-m",
                "tcp",
                "-p",
                str(port),
                "-a",
                "9",
                "-t",
                "4",
                "-r",
                "27",
                "127.0.0.1",
                "0",
            )
            assert "Illegal function" in (await asyncio.to_thread(mbpoll, *write)).text
            bench.meters["gate/9"].force_relay(to_open=True)
            assert (await poll(port, "-a", "9", "-t", "4", "-r", "27")).values == {27: "0"}
            assert Quantity.CURRENT in DDS.quantities()

    asyncio.run(run())
