"""What Modbus frames say, told field by field for people and for other programs, in the shape of
`meterd decode`.

Nothing here is needed to read a meter. Registers are told as they come; what they mean only a
profile knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pymodbus.pdu import ModbusPDU

from protocols.errors import FrameError
from protocols.exchange import Skipped
from protocols.modbus.frame import (
    ALL_FUNCTIONS,
    AS_MONITOR,
    BIT_READS,
    EXCEPTION,
    READ_COILS,
    READ_HOLDING,
    READ_INPUT_REGISTERS,
    READ_INPUTS,
    REGISTER_READS,
    WRITE_COIL,
    WRITE_COILS,
    WRITE_REGISTER,
    WRITE_REGISTERS,
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

RTU: Final = "modbus-rtu"
TCP: Final = "modbus-tcp"
PDU: Final = "modbus-pdu"
"""Function and data alone, as in the examples of the standard: no unit, no checksum."""
LONG_RECORDING: Final = 16 * 1024
"""Bytes. From there on it is faster to find out first where no frame can begin."""
FrameDescription = dict[str, Any]
"""One frame or one skipped stretch, ready for JSON, with the keys of `meterd decode`."""

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
"""Modbus Application Protocol V1.1b3, section 7."""


def describe_rtu(data: bytes) -> list[FrameDescription]:
    """Every RTU frame in `data` and what lies between, in order of appearance; nothing follows it.

    Whether a frame is a request or an answer stands nowhere in it: the reading whose length and
    checksum fit counts, an answer before a request, and a write of one register or coil (whose
    answer repeats it) is told as the request."""
    return _describe_stream(data, RTU, look_rtu, encode_rtu)


def describe_tcp(data: bytes) -> list[FrameDescription]:
    """Likewise, for Modbus TCP."""
    return _describe_stream(data, TCP, look_tcp, encode_tcp)


def describe_pdu(data: bytes) -> list[FrameDescription]:
    """One PDU alone, which must fill `data`; otherwise one skipped stretch."""
    frame = exact_pdu(data)
    return [_skipped(Skipped(data, "noise"))] if frame is None else [_describe(frame, PDU, data)]


def describe_any(data: bytes) -> list[FrameDescription]:
    """TCP, RTU or one PDU, whichever accounts for the bytes; what none of them does, as broken
    RTU."""
    as_rtu = describe_rtu(data)
    for told in (describe_tcp(data), as_rtu, describe_pdu(data)):
        if all("skipped" not in item for item in told):
            return told
    return as_rtu


def _describe_stream(
    data: bytes,
    protocol: str,
    look: Callable[[bytes, bool, Rules], Look],
    encode: Callable[[Frame], bytes],
) -> list[FrameDescription]:
    find_starts = None
    if len(data) >= LONG_RECORDING:
        from protocols.modbus.frame_starts import (  # numpy: only when it pays
            frame_starts_rtu,
            frame_starts_tcp,
        )

        find_starts = frame_starts_rtu if protocol == RTU else frame_starts_tcp
    decoder = Decoder(look, AS_MONITOR, find_starts)
    return [
        _skipped(item) if isinstance(item, Skipped) else _describe(item, protocol, encode(item))
        for item in decoder.feed(data) + decoder.flush()
    ]


def _skipped(item: Skipped) -> FrameDescription:
    return {"skipped": item.data.hex().upper(), "reason": item.reason}


def _describe(frame: Frame, protocol: str, raw: bytes) -> FrameDescription:
    identifier: str | None = None
    values: list[FrameDescription] = []
    error: FrameDescription | None = None
    is_request = frame.is_request or frame.pdu[0] in (WRITE_COIL, WRITE_REGISTER)
    try:
        message = parse(frame.pdu, is_request=frame.is_request)
    except FrameError as wrong:
        error = {"bits": [], "text": str(wrong)}
        values = [_value("data", frame.pdu[1:].hex().upper(), "hex")]
    else:
        if frame.exception:
            name = EXCEPTION_NAMES.get(frame.exception, "unknown_exception")
            values = [_value("exception", str(frame.exception))]
            words = name.replace("_", " ")
            error = {
                "bits": [name],
                "text": f"the meter refused: {words} (exception {frame.exception:02X})",
            }
        else:
            identifier, values = _values(frame, message)
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


def _values(frame: Frame, message: ModbusPDU) -> tuple[str | None, list[FrameDescription]]:
    """The register in four hexadecimal digits, where there is one, and the fields."""
    data = frame.pdu[1:]
    function = frame.function
    if function in REGISTER_READS | BIT_READS and not frame.is_request:
        values = [_value("data", data[1:].hex().upper(), "hex")]
        if function in REGISTER_READS:
            values.append(_value("registers", " ".join(map(str, message.registers))))
        return None, values
    if function not in OUR_FIELDS:
        return None, [_value("data", data.hex().upper(), "hex")] if data else []
    fields = zip(OUR_FIELDS[function], (data[0:2], data[2:4]), strict=True)
    values = [_value(name, str(int.from_bytes(two, "big"))) for name, two in fields]
    if len(data) > 5:
        values.append(_value("data", data[5:].hex().upper(), "hex"))
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


def _value(name: str, value: str, unit: str = "") -> FrameDescription:
    return {
        "name": name,
        "value": value,
        "unit": unit,
    }
