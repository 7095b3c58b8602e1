"""Modbus frames described field by field, in the shape of `meterd decode`.

Nothing here is needed to read a meter. Registers are described as they come; what they mean only a
profile knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from protocols.errors import FrameError
from protocols.exchange import Skipped
from protocols.modbus.frame import (
    ALL_FUNCTIONS,
    AS_MONITOR,
    EXCEPTION,
    Decoder,
    Frame,
    Look,
    Rules,
    encode_rtu,
    encode_tcp,
    exact_pdu,
    look_rtu,
    look_tcp,
    parse,
)
from protocols.modbus.functions import (
    BIT_READS,
    READ_COILS,
    READ_HOLDING,
    READ_INPUT_REGISTERS,
    READ_INPUTS,
    REGISTER_READS,
    WRITE_COIL,
    WRITE_COILS,
    WRITE_REGISTER,
    WRITE_REGISTERS,
)

RTU: Final = "modbus-rtu"
TCP: Final = "modbus-tcp"
PDU: Final = "modbus-pdu"
"""Function and data alone, as in the examples of the standard: no unit, no checksum."""
LONG_RECORDING: Final = 16 * 1024
"""Bytes from which on it is faster to find out first where no frame can begin."""
FrameDescription = dict[str, Any]
"""One frame or one skipped stretch, ready for JSON, with the keys of `meterd decode`."""
Value = dict[str, str]
"""One field of a frame: its name, value and unit."""

FUNCTION_NAMES: Final = {
    READ_COILS: "read_coils",
    READ_INPUTS: "read_discrete_inputs",
    READ_HOLDING: "read_holding_registers",
    READ_INPUT_REGISTERS: "read_input_registers",
    WRITE_COIL: "write_coil",
    WRITE_REGISTER: "write_register",
    7: "read_exception_status",
    8: "diagnostics",
    11: "get_comm_event_counter",
    12: "get_comm_event_log",
    WRITE_COILS: "write_coils",
    WRITE_REGISTERS: "write_registers",
    17: "report_device_id",
    20: "read_file_record",
    21: "write_file_record",
    22: "mask_write_register",
    23: "read_write_registers",
    24: "read_fifo_queue",
    43: "encapsulated_interface",
}
COIL_VALUES: Final = (b"\x00\x00", b"\xff\x00")
EXCEPTION_NAMES: Final = {
    1: "illegal_function",
    2: "illegal_data_address",
    3: "illegal_data_value",
    4: "device_failure",
    5: "acknowledge",
    6: "device_busy",
    7: "negative_acknowledge",
    8: "memory_parity_error",
    10: "gateway_path_unavailable",
    11: "gateway_target_failed_to_respond",
}
"""MODBUS Application Protocol V1.1b3, section 7."""


def describe_rtu(data: bytes) -> list[FrameDescription]:
    """Every RTU frame in `data` and what lies between, in order of appearance; nothing follows it.

    Whether a frame is a request or an answer stands nowhere in it: the reading whose length and
    checksum fit counts, an answer before a request, and a write of one register or coil (whose
    answer repeats it) is described as the request.
    """
    return _describe_stream(data, RTU, look_rtu, encode_rtu)


def describe_tcp(data: bytes) -> list[FrameDescription]:
    """Every Modbus TCP frame in `data`, likewise."""
    return _describe_stream(data, TCP, look_tcp, encode_tcp)


def describe_pdu(data: bytes) -> list[FrameDescription]:
    """One PDU alone, which must fill `data`; otherwise one skipped stretch."""
    frame = exact_pdu(data)
    if frame is None:
        return [_skipped(Skipped(data, "noise"))]
    return [_describe(frame, PDU, data)]


def describe_any(data: bytes) -> list[FrameDescription]:
    """The bytes as TCP, RTU or one PDU, whichever accounts for all of them; else as broken RTU."""
    as_rtu = describe_rtu(data)
    for descriptions in (describe_tcp(data), as_rtu, describe_pdu(data)):
        if all("skipped" not in description for description in descriptions):
            return descriptions
    return as_rtu


def _describe_stream(
    data: bytes,
    protocol: str,
    look: Callable[[bytes, bool, Rules], Look],
    encode: Callable[[Frame], bytes],
) -> list[FrameDescription]:
    find_starts = None
    if len(data) >= LONG_RECORDING:
        # numpy: only when it pays
        from protocols.modbus.frame_starts import frame_starts_rtu, frame_starts_tcp

        find_starts = frame_starts_rtu if protocol == RTU else frame_starts_tcp
    decoder = Decoder(look, AS_MONITOR, find_starts)
    descriptions = []
    for item in decoder.feed(data) + decoder.flush():
        if isinstance(item, Skipped):
            descriptions.append(_skipped(item))
        else:
            descriptions.append(_describe(item, protocol, encode(item)))
    return descriptions


def _skipped(item: Skipped) -> FrameDescription:
    return {"skipped": item.data.hex().upper(), "reason": item.reason}


def _describe(frame: Frame, protocol: str, raw: bytes) -> FrameDescription:
    identifier, values, error = _content(frame)
    # A meter repeats these as they are: the first of the two is the request.
    is_request = frame.is_request or frame.pdu[0] in (WRITE_COIL, WRITE_REGISTER)
    return {
        "protocol": protocol,
        "direction": "request" if is_request else "response",
        "address": None if protocol == PDU else str(frame.unit),
        "control": f"{frame.pdu[0]:02X}",
        "function": FUNCTION_NAMES.get(frame.function, "unknown"),
        "identifier": identifier,
        "values": values,
        "error": error,
        "follow": False,
        "raw": raw.hex().upper(),
    }


def _content(frame: Frame) -> tuple[str | None, list[Value], dict[str, Any] | None]:
    """The register in four hexadecimal digits, where there is one, the fields, what is wrong."""
    try:
        message = parse(frame.pdu, is_request=frame.is_request)
    except FrameError as wrong:
        return None, [_data(frame.pdu[1:])], {"bits": [], "text": str(wrong)}
    if frame.exception:
        return None, [_value("exception", str(frame.exception))], _refusal(frame.exception)
    data = frame.pdu[1:]
    if frame.is_request or frame.function not in REGISTER_READS | BIT_READS:
        identifier, values = _fields(frame.function, data)
        return identifier, values, _wrong_coil(frame.function, data[2:4])
    values = [_data(data[1:])]
    if frame.function in REGISTER_READS:
        values.append(_value("registers", " ".join(map(str, message.registers))))
    return None, values, None


def _wrong_coil(function: int, written: bytes) -> dict[str, Any] | None:
    """MODBUS Application Protocol V1.1b3, section 6.5: every other value is illegal."""
    if function != WRITE_COIL or written in COIL_VALUES:
        return None
    shown = written.hex().upper()
    return {"bits": [], "text": f"{shown} is no value of a coil: 0000 is off, FF00 is on"}


def _refusal(code: int) -> dict[str, Any]:
    name = EXCEPTION_NAMES.get(code, "unknown_exception")
    text = f"the meter refused: {name.replace('_', ' ')} (exception {code:02X})"
    return {"bits": [name], "text": text}


def _fields(function: int, data: bytes) -> tuple[str | None, list[Value]]:
    if function not in OUR_FIELDS:
        return None, [_data(data)] if data else []
    first, second = OUR_FIELDS[function]
    values = [
        _value(first, str(int.from_bytes(data[0:2], "big"))),
        _value(second, str(int.from_bytes(data[2:4], "big"))),
    ]
    if len(data) > 5:
        values.append(_data(data[5:]))
    return data[:2].hex().upper(), values


OUR_FIELDS: Final = {
    **dict.fromkeys(
        (READ_COILS, READ_INPUTS, READ_HOLDING, READ_INPUT_REGISTERS), ("register", "count")
    ),
    **dict.fromkeys((WRITE_COILS, WRITE_REGISTERS), ("register", "count")),
    **dict.fromkeys((WRITE_COIL, WRITE_REGISTER), ("register", "value")),
}
"""What the first two words of the data are; a write of many has a byte count and the data behind
them."""
assert FUNCTION_NAMES.keys() >= ALL_FUNCTIONS, "a function of pymodbus without a name"
assert not EXCEPTION & max(FUNCTION_NAMES)


def _value(name: str, value: str, unit: str = "") -> Value:
    return {"name": name, "value": value, "unit": unit}


def _data(data: bytes) -> Value:
    return _value("data", data.hex().upper(), "hex")
