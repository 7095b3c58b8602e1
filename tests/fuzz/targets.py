"""What each format of bytes from outside is fuzzed by: samples to begin with, and a function that
takes any bytes. It returns, or raises what its caller tells a user; anything else is a finding."""

from __future__ import annotations

import asyncio
import atexit
import json
import socket
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from click.exceptions import ClickException
from openpyxl import Workbook

from config import meters
from config.archive import ACCOUNT_COLUMNS, POINT_COLUMNS
from config.problems import ConfigError, Mistakes
from config.profiles import parse_profile
from config.settings import Site
from config.settings_file import SettingsFile
from config.table import Keys, read_table
from config.table_text import table_bytes
from config.tariff_files import load_tariffs
from config.toml_lines import locate, parse_toml
from daemon.api import http
from daemon.api.collect_request import collect_request
from daemon.api.payment_request import payment_request
from daemon.api.unix_socket import parsed_request
from daemon.billing.proof import verify
from daemon.billing.proof.bill import bill_files
from daemon.cli.tariff_cases import result_of as tariff_result
from daemon.quality.case_fields import CaseError
from daemon.quality.cases import result_of as quality_result
from protocols.dial_in.registration import (
    HeartbeatFilter,
    RegistrationSettings,
    heartbeat,
    registration,
)
from protocols.errors import MeterdError
from protocols.modbus import describe as modbus
from protocols.mqtt.own import OwnForm
from protocols.mqtt.shelly import Shelly
from protocols.mqtt.state_grid import StateGrid
from protocols.mqtt.tasmota import Tasmota
from protocols.mqtt.transparent import unwrap
from protocols.mqtt.zigbee2mqtt import Zigbee2Mqtt
from simulators.bench.scenario import parse_scenario
from tests.unit.bills import bills_of

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "config" / "example"


class Target(NamedTuple):
    """`most_bytes` of an input."""

    samples: Callable[[], list[bytes]]
    take: Callable[[bytes], None]
    most_bytes: int


def _modbus(data: bytes) -> None:
    for describe in (
        modbus.describe_any,
        modbus.describe_rtu,
        modbus.describe_tcp,
        modbus.describe_pdu,
    ):
        describe(data)


def _modbus_samples() -> list[bytes]:
    frames = ("01030C00000006C6C8", "0003000000060B030C000006", "0B8302", "01030400010002")
    return [bytes.fromhex(frame) for frame in frames]


FORMS: Final = tuple(
    RegistrationSettings(first, beat, b"OK", "echo")
    for first, beat in (
        (registration("text", "REG:{id}\r\n"), heartbeat("text", "BEAT")),
        (registration("hex", "EB90 {id:6} 16"), heartbeat("hex", "FE")),
        (registration("regex", r"\*(?P<id>[0-9]{11}),.*#"), heartbeat("regex", "P.N[0-9]")),
    )
)


def _dial_in(data: bytes) -> None:
    for form in FORMS:
        form.read(data)
        whole = _through(form, [data])
        middle = len(data) // 2
        assert whole == b"".join([whole])
        _through(form, [data[:middle], data[middle:]])


def _through(form: RegistrationSettings, segments: list[bytes]) -> bytes:
    """What is for the line; nothing is made of nothing."""
    sieve = HeartbeatFilter(form, "1234")
    passed = b"".join(sieve.feed(segment, float(at))[0] for at, segment in enumerate(segments))
    passed += sieve.settle()[0]
    assert len(passed) <= sum(map(len, segments))
    return passed


FAMILIES: Final = (
    OwnForm("meterd", "gw-1"),
    Tasmota(["plug-1"]),
    Shelly(["shellypro3em-1"], "meterd-1"),
    Zigbee2Mqtt(["plug"]),
    StateGrid("meterd", ["SupWh", "SupWh1"], {}, ["collector"]),
)
TOPICS: Final = tuple(
    (family, topic.replace("+", "daily_freeze"))
    for family in FAMILIES
    for topic in family.subscriptions
)


def _mqtt(data: bytes) -> None:
    """The first byte chooses whose message it is."""
    if not data:
        return
    family, topic = TOPICS[data[0] % len(TOPICS)]
    family.events(topic, data[1:])
    family.is_control(topic, data[1:])
    unwrap(topic, data[1:], "hex")


def _mqtt_samples() -> list[bytes]:
    said: list[dict[str, Any]] = [
        {
            "v": 1,
            "type": "daily_freeze",
            "meter": "000000001600",
            "frozen_at": "2026-05-02T00:00:00",
            "read_at": "2026-05-02T00:06:11+08:00",
            "registers": ["1234.56", None],
        },
        {"Time": "2026-05-02T00:00:00", "ENERGY": {"Total": 1.5, "Power": [1, 2]}},
        {"method": "NotifyStatus", "params": {"emdata:0": {"total_act": 1.5}}},
        {"energy": 1.5, "state": "ON"},
        {"token": "1", "body": [{"name": "SupWh", "val": "1.5", "timestamp": "2026-05-02"}]},
    ]
    return [
        bytes([number]) + json.dumps(it).encode() for number in range(len(TOPICS)) for it in said
    ]


TABLES: Final = (meters.COLUMNS, POINT_COLUMNS, ACCOUNT_COLUMNS)


def _csv(data: bytes) -> None:
    for columns in TABLES:
        mistakes = Mistakes("x.csv")
        for _ in read_table(data, columns, mistakes, Keys()):
            pass
        str(ConfigError(mistakes.problems))


def _csv_samples() -> list[bytes]:
    return [path.read_bytes() for path in sorted((EXAMPLE / "archive").glob("*.csv"))]


@cache
def _room() -> TemporaryDirectory[str]:
    room = TemporaryDirectory(prefix="meterd-fuzz")
    atexit.register(room.cleanup)
    return room


def _xlsx(data: bytes) -> None:
    path = Path(_room().name) / "meters.xlsx"
    path.write_bytes(data)
    table = table_bytes(path.with_suffix(".csv"), Mistakes("meters.xlsx"))
    if table is not None:
        _csv(table)


def _xlsx_samples() -> list[bytes]:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["address", "line", "point", "installed_on"])
    sheet.append(["000000000001", "gate-1", "P1", "2026-01-01"])
    written = BytesIO()
    book.save(written)
    return [written.getvalue()]


def _site(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    content = parse_toml(text, "meterd.toml")
    SettingsFile("meterd.toml", Path("/nowhere"), content, locate(text)).validated(Site)


def _tariff(data: bytes) -> None:
    path = Path(_room().name) / "tariffs.toml"
    path.write_bytes(data)
    load_tariffs(path, "tariffs.toml")


def _profile(data: bytes) -> None:
    parse_profile(data.decode("utf-8", "replace"), "x", "x.toml")


def _scenario(data: bytes) -> None:
    parse_scenario(data.decode("utf-8", "replace"))


def _files(*patterns: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for it in patterns for path in sorted(ROOT.glob(it))]


def _control(data: bytes) -> None:
    request = parsed_request(data)
    for understand in (collect_request, payment_request):
        try:
            understand(request)
        except MeterdError:
            continue


def _control_samples() -> list[bytes]:
    asked: list[dict[str, Any]] = [
        {"do": "collect", "meters": ["P1"], "within_s": 5, "day": "2026-03-01"},
        {
            "do": "topup",
            "account": "A1",
            "amount_fen": 1000,
            "channel": "bank",
            "reference": "R1",
            "actor": "person:li",
            "by_way_of": "li on no terminal",
        },
    ]
    return [json.dumps(it).encode() for it in asked]


class _HttpServer:
    """The daemon's own, in a loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._port = http.listen("127.0.0.1", 0)
        self._serving = self._loop.create_task(
            http.serve(self._port, lambda: (True, {}), lambda: None)
        )

    def take(self, data: bytes) -> None:
        """One caller says this and hangs up; whatever it was, the next one is answered."""
        self._loop.run_until_complete(self._said(data))
        answer = self._loop.run_until_complete(
            self._said(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        )
        assert answer.startswith(b"HTTP/1.1 200"), answer

    async def _said(self, data: bytes) -> bytes:
        with socket.create_connection(self._port.getsockname()) as caller:
            reader, writer = await asyncio.open_connection(sock=caller)
            writer.write(data)
            writer.write_eof()
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()


@cache
def _http_server() -> _HttpServer:
    return _HttpServer()


def _http(data: bytes) -> None:
    _http_server().take(data)


def _http_samples() -> list[bytes]:
    return [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    ]


def _proof(data: bytes) -> None:
    path = Path(_room().name) / "bill.zip"
    path.write_bytes(data)
    verify.verify(str(path), lambda *_: None)


def _proof_samples() -> list[bytes]:
    cases = json.loads((ROOT / "tests" / "unit" / "golden_open.json").read_text())["cases"]
    given = next(case["input"] for case in cases if case["kind"] == "settle")
    return [verify.packed(bill_files(bill)) for bill in bills_of(given)[:1]]


def _cases(data: bytes) -> None:
    found = json.loads(data, parse_float=Decimal)
    if isinstance(found, dict):
        for result_of in (tariff_result, quality_result):
            try:
                result_of(found)
            except CaseError:
                continue


def _case_samples() -> list[bytes]:
    golden = json.loads((ROOT / "tests" / "unit" / "golden_open.json").read_text())["cases"]
    judged = json.loads((ROOT / "tests" / "data" / "judge_open.json").read_text())["cases"]
    return [json.dumps(case).encode() for case in (*golden, *judged)]


TOLD: Final = (
    MeterdError,
    verify.Wrong,
    ClickException,
    json.JSONDecodeError,
    UnicodeDecodeError,
    RecursionError,
)
"""What a caller tells a user, as `case_file` does of JSON."""
TARGETS: Final = {
    "modbus": Target(_modbus_samples, _modbus, 300),
    "dial_in": Target(lambda: [b"REG:1234\r\nBEAT", b"*13800000000,a#"], _dial_in, 600),
    "mqtt": Target(_mqtt_samples, _mqtt, 1024),
    "csv": Target(_csv_samples, _csv, 2048),
    "xlsx": Target(_xlsx_samples, _xlsx, 16_384),
    "site": Target(_files("config/example/meterd.toml"), _site, 8192),
    "tariff": Target(_files("config/example/tariffs.toml"), _tariff, 4096),
    "profile": Target(_files("config/profiles/eastron-*.toml"), _profile, 4096),
    "scenario": Target(_files("config/example/bench.toml"), _scenario, 4096),
    "control": Target(_control_samples, _control, 1024),
    "http": Target(_http_samples, _http, 1024),
    "proof": Target(_proof_samples, _proof, 65_536),
    "cases": Target(_case_samples, _cases, 16_384),
}
