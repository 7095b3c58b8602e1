"""The command `meterd decode`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from daemon.cli.decode import decode
from protocols.dlt645.describe.frames import describe_stream
from protocols.dlt645.describe.recordings import describe_streams
from protocols.dlt645.frame import Frame, checksum, encode

VOLTAGES = "6812000000102068910A333234358955323232322116"


def run(*arguments: str, standard_input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(decode, arguments, input=standard_input)


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_a_frame_is_one_object_on_one_line() -> None:
    assert objects(run("--json", f"FEFE{VOLTAGES}")) == [
        {
            "protocol": "dlt645-2007",
            "direction": "response",
            "address": "201000000012",
            "control": "91",
            "function": "read",
            "identifier": "0201FF00",
            "values": [
                {"name": "voltage_a", "value": "225.6", "unit": "V"},
                {"name": "voltage_b", "value": None, "unit": "V"},
                {"name": "voltage_c", "value": None, "unit": "V"},
            ],
            "error": None,
            "follow": False,
            "raw": VOLTAGES,
        }
    ]


def test_an_error_has_its_bits_and_its_text() -> None:
    (told,) = objects(run("--json", "6811111111111168D101353D16"))
    assert told["error"] == {
        "bits": ["no_such_data"],
        "text": "the meter refused: no such data (ERR 02)",
    }
    assert told["identifier"] is None


def test_what_is_no_frame_is_told_in_its_place() -> None:
    told = objects(run("--json", "--protocol", "dlt645-2007", f"0102{VOLTAGES}6812"))
    assert told[0] == {"skipped": "0102", "reason": "noise"}
    assert told[1]["raw"] == VOLTAGES
    assert told[2] == {"skipped": "6812", "reason": "truncated"}


def test_each_argument_is_a_stream_of_its_own() -> None:
    told = objects(run("--json", VOLTAGES[:10], VOLTAGES[10:]))
    assert [item["reason"] for item in told] == ["truncated", "noise"]


@pytest.mark.parametrize("arguments", [["--json"], ["--json", "-"]])
def test_without_arguments_standard_input_is_one_stream(arguments: list[str]) -> None:
    broken_up = "\n".join(VOLTAGES[i : i + 10] for i in range(0, len(VOLTAGES), 10))
    assert objects(run(*arguments, standard_input=broken_up))[0]["raw"] == VOLTAGES


@pytest.mark.parametrize("text", ["68XY", "686", "hello"])
def test_what_is_no_hexadecimal_is_wrong_use_and_prints_nothing(text: str) -> None:
    result = run("--json", VOLTAGES, text)
    assert result.exit_code == 2
    assert "position" in result.stderr
    assert result.stdout == ""


def test_bytes_that_are_no_text_are_wrong_use() -> None:
    result = run(standard_input=b"\xff\xfe\x00")
    assert result.exit_code == 2
    assert "standard input" in result.stderr


def test_a_terminal_without_bytes_gets_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    with CliRunner().isolation():
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        with pytest.raises(Exception, match="or - to read them from standard input"):
            decode.main([], standalone_mode=False)


def test_for_people_the_values_are_told_in_words() -> None:
    lines = run(f"01{VOLTAGES}", "6811111111111168D101353D16").output.splitlines()
    assert lines[0] == "skipped (noise): 01"
    assert lines[1] == "read response from 201000000012  control 91"
    assert lines[2:6] == [
        "  identifier 0201FF00",
        "  voltage_a  225.6 V  A相电压",
        "  voltage_b  no data  B相电压",
        "  voltage_c  no data  C相电压",
    ]
    assert lines[6] == "  " + " ".join(VOLTAGES[i : i + 2] for i in range(0, len(VOLTAGES), 2))
    assert lines[8] == "  wrong: the meter refused: no such data (ERR 02)"


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_make_it_fail(data: bytes, as_json: bool) -> None:
    arguments = ["--json", data.hex()] if as_json else [data.hex()]
    assert run(*arguments).exit_code == 0


@given(st.text(max_size=60))
def test_no_text_makes_it_crash(text: str) -> None:
    result = run("--json", "--", text)
    assert result.exit_code in (0, 2)
    assert result.exception is None or isinstance(result.exception, SystemExit)


STORED = [
    encode(
        Frame(
            f"{number:012d}",
            0x91,
            bytes.fromhex("01010605") + bytes.fromhex(f"{number:08d}")[::-1] * 5,
        )
    )
    for number in range(300)
]


def test_a_file_of_lines_is_told_line_by_line(tmp_path: Path) -> None:
    frames = [
        *STORED[:20],
        bytes.fromhex(VOLTAGES),
        STORED[20][:-1],
        b"\x01",
        b"\xfe\xfe" + STORED[21],
    ]
    path = tmp_path / "frames.txt"
    path.write_text("\n".join(frame.hex(" ") for frame in frames) + "\n\n")
    assert objects(run("--json", "--file", str(path))) == objects(
        run("--json", *(frame.hex() for frame in frames))
    )


@pytest.mark.parametrize("wake_up", [b"", b"\xfe\xfe\xfe\xfe"])
@pytest.mark.parametrize("spoil", [False, True])
def test_a_binary_file_is_one_stream(tmp_path: Path, wake_up: bytes, spoil: bool) -> None:
    path = tmp_path / "recording.bin"
    recording = bytearray(b"".join(wake_up + frame for frame in STORED))
    if spoil:
        recording[1000] ^= 0xFF
        recording[1040] ^= 0xFF
    path.write_bytes(recording)
    told = objects(run("--json", "--file", str(path)))
    assert told == objects(run("--json", recording.hex()))
    assert len(told) >= 299


def test_a_file_of_1997_or_modbus_frames_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "frames.txt"
    path.write_text("6803000000000068010244E90316\n010300000001840A\n")
    told = objects(run("--json", "--file", str(path)))
    assert [item["protocol"] for item in told] == ["dlt645-1997", "modbus-rtu"]
    assert [
        item["protocol"]
        for item in objects(run("--json", "--protocol", "dlt645-2007", "--file", str(path)))[:1]
    ] == ["dlt645-2007"]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 35), st.integers(0, 255)), max_size=30)
)
def test_many_frames_are_told_as_each_of_them(damage: list[tuple[int, int, int]]) -> None:
    frames = [bytearray(frame) for frame in STORED[:41]]
    for number, place, byte in damage:
        frames[number][place] = byte
        frames[number][-2] = checksum(frames[number][:-2])
    streams = [bytes(frame) for frame in frames]
    streams += [
        encode(Frame(address, 0x91, bytes.fromhex("0000010056341200")))
        for address in ("A" * 12, "9" * 12)
    ]
    streams.append(
        encode(Frame("000000001600", 0x91, bytes.fromhex("00000100 56341200 56341200")))
    )  # a tail
    assert describe_streams(streams) == [
        [item.as_dict() for item in describe_stream(stream)] for stream in streams
    ]


def test_bytes_that_are_not_in_quotes_are_one_stream() -> None:
    frame = [
        "68",
        "12",
        "00",
        "00",
        "00",
        "10",
        "20",
        "68",
        "11",
        "04",
        "33",
        "32",
        "34",
        "33",
        "F3",
        "16",
    ]
    done = CliRunner().invoke(decode, ["--json", *frame])
    (told,) = [json.loads(line) for line in done.output.splitlines()]
    assert (told["address"], told["identifier"]) == ("201000000012", "0001FF00")


def test_a_line_of_a_file_that_is_no_hexadecimal_is_named(tmp_path: Path) -> None:
    frame = "68120000001020681104 33323433F316"
    (tmp_path / "good.hex").write_text(
        f"# taken at noon\n{frame}  # a read\n\n{frame}\n", encoding="utf-8-sig"
    )
    done = CliRunner().invoke(decode, ["--json", "--file", str(tmp_path / "good.hex")])
    assert [json.loads(line)["function"] for line in done.output.splitlines()] == ["read", "read"]
    (tmp_path / "bad.hex").write_text(f"{frame}\nnoon\n")
    done = CliRunner().invoke(decode, ["--file", str(tmp_path / "bad.hex")])
    assert done.exit_code == 2
    assert "line 2" in done.output
