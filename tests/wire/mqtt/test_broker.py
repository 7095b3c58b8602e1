"""A real broker: what it promised outlives it, refusals are heard, and a line runs through the
topics of a DTU."""

import asyncio
import hashlib
import json
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from protocols.channels.backoff import reconnect_pause_s
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.mqtt.broker_socket import Broker, Tls
from protocols.channels.mqtt.channel import MqttChannel
from protocols.channels.mqtt.connection import (
    MOST_IN_A_ROW,
    MOST_UNREAD,
    Message,
    MqttConnection,
    PublishRefused,
    SubscriptionRefused,
)
from protocols.dlt645.exchanges import CODEC_2007, read_energy
from protocols.dlt645.frame import Frame
from protocols.errors import ControlForbidden, LineDown, NoReply
from protocols.mqtt.transparent import Wrapping
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import Fault
from simulators.lines.mqtt_gateway import SimulatedGateway
from tests.servers.certificates import make_certificates, tls_settings
from tests.servers.mosquitto import KEPT, LISTENER, Mosquitto, plugin
from tests.simulated_meters import simulated_meter

PATIENCE_S = 20
ADDRESSES = ["000000001601", "000000001602"]


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, PATIENCE_S * 2))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), LISTENER) as running:
        yield running


@pytest.fixture(params=["3.1.1", "5"])
def me(request: pytest.FixtureRequest, broker: Mosquitto) -> Broker:
    """We at the broker, in each version of the protocol; somebody else in each test: no session is
    left over."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-") + request.param
    return Broker("127.0.0.1", broker.port, name, version=request.param)


async def received(connection: MqttConnection, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            found.append(await connection.receive())
    return found


async def hears_nothing(connection: MqttConnection, within_s: float = 0.2) -> bytes | None:
    try:
        async with asyncio.timeout(within_s):
            return (await connection.receive()).payload
    except TimeoutError:
        return None


@asynccontextmanager
async def connected(me: Broker, *topics: str, **how: Any) -> AsyncIterator[MqttConnection]:
    async with MqttConnection(me, **how) as connection:
        for topic in topics:
            await connection.subscribe(topic)
        yield connection


def test_a_foreign_publisher_is_heard_and_a_foreign_subscriber_hears_us(
    broker: Mosquitto, me: Broker
) -> None:
    async def scene() -> None:
        async with connected(me, "there/#") as connection:
            broker.publish("there/电表", "1600 度")
            (message,) = await received(connection, 1)
            assert (message.topic, message.payload, message.retained) == (
                "there/电表",
                "1600 度".encode(),
                False,
            )
            listener = broker.subscriber("-t", "back/#", "-C", "1", "-F", "%t %q %r %p")
            await connection.publish("back/1", b"hello")
            assert (await asyncio.to_thread(listener.communicate, timeout=PATIENCE_S))[
                0
            ] == "back/1 0 0 hello\n"

    run(scene())


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(
    broker: Mosquitto, me: Broker
) -> None:
    async def scene() -> None:
        async with connected(me, "again") as connection:
            for number in range(6):
                await connection.publish("again", b"%d" % number)
            messages = await received(connection, 6)
            for number in (
                3,
                1,
                0,
            ):  # 2 is not: 3 has to wait for it, acknowledgements keep the order
                connection.acknowledge(messages[number])
            await connection.publish(
                "elsewhere", b""
            )  # what was written before it is with the broker now
        async with connected(me) as connection:
            assert connection.session_present
            messages = await received(connection, 4)
            assert [message.payload for message in messages] == [b"2", b"3", b"4", b"5"]
            assert all(message.duplicate for message in messages)
            for message in messages:
                connection.acknowledge(message)
            await connection.publish("elsewhere", b"")
        async with connected(me) as connection:
            assert await hears_nothing(connection) is None

    run(scene())


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_dead_broker_is_noticed_and_nothing_pushed_meanwhile_is_lost(
    tmp_path: Path, me: Broker, how: str
) -> None:
    with Mosquitto(tmp_path) as mortal:
        me = replace(me, port=mortal.port)

        async def scene() -> None:
            async with connected(me, "freeze/+", "other/#") as connection:
                mortal.publish("freeze/1", "before")
                (unacknowledged,) = await received(connection, 1)
                mortal.wait_until_kept(me.client_id, "freeze/+", "other/#")
                getattr(mortal, how)()
                with pytest.raises(LineDown, match="connection lost"):
                    await asyncio.wait_for(connection.receive(), PATIENCE_S)
                with pytest.raises(LineDown):
                    await connection.publish("freeze/2", b"x")
                connection.acknowledge(unacknowledged)  # too late, and harmless
            with pytest.raises(LineDown, match="cannot connect"):
                await MqttConnection(me).__aenter__()
            mortal.start()
            mortal.publish("freeze/2", "while we were away")
            async with connected(me, "freeze/+", "other/#") as connection:
                assert connection.session_present
                mortal.publish("other/3", "afterwards")
                expected = {b"while we were away", b"afterwards"} | (
                    {b"before"} if how == "stop" else set()
                )
                assert {
                    message.payload for message in await received(connection, len(expected))
                } == expected

        run(scene())


def test_a_retained_message_is_marked_old(broker: Mosquitto, me: Broker) -> None:
    async def scene() -> None:
        topic = f"retained/{me.client_id}"
        broker.publish(topic, "old", "-r")
        async with connected(me, topic) as connection:
            (message,) = await received(connection, 1)
            assert (message.payload, message.retained) == (b"old", True)
            broker.publish(topic, "new", "-r")
            (message,) = await received(connection, 1)
            assert (message.payload, message.retained) == (b"new", False)

    run(scene())


def test_a_backlog_larger_than_what_may_wait_for_us_is_read_bit_by_bit(
    broker: Mosquitto, me: Broker
) -> None:
    """QoS 0 has no window: it is the socket that is left alone. The broker's word is heard
    nevertheless."""

    async def scene() -> None:
        count = MOST_UNREAD + 500
        async with (
            connected(me) as connection,
            connected(replace(me, client_id="sender")) as sender,
        ):
            await connection.subscribe("flood", 0)
            for number in range(count):
                await sender.publish("flood", b"%d" % number, qos=0)
                if number % 100 == 0:
                    await sender.publish("elsewhere", b"")
            await connection.subscribe("another", 1)
            messages = await received(connection, count)
            assert [message.payload for message in messages] == [
                b"%d" % number for number in range(count)
            ]

    run(scene())


def test_who_publishes_without_end_leaves_others_a_turn(broker: Mosquitto, me: Broker) -> None:
    async def scene() -> None:
        count = 1500
        turns = 0
        read: Counter[int] = Counter()
        taken: Counter[int] = Counter()

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with connected(me, "flood") as connection:
            async with connected(replace(me, client_id="sender")) as sender:
                for number in range(count):
                    await sender.publish("flood", b"%d" % number, qos=0)
            waiting = connection._unread  # what a turn reads shows nowhere else
            turning = asyncio.create_task(others())
            for _ in range(count):
                before = len(waiting), turns
                await received(connection, 1)
                read[turns] = max(read[turns], len(waiting) - before[0])
                taken[turns] += 1
            turning.cancel()
        assert max(taken.values()) <= MOST_IN_A_ROW
        # What was in the buffer, and what the network had.
        assert max(read.values()) <= 2 * MOST_IN_A_ROW

    run(scene())


def test_many_messages_under_way_at_once_are_all_acknowledged(me: Broker) -> None:
    async def scene() -> None:
        async with connected(me, "many") as connection:
            await asyncio.gather(*(connection.publish("many", b"x" * 5000) for _ in range(300)))
            for _ in range(300):
                (message,) = await received(connection, 1)
                connection.acknowledge(message)

    run(scene())


def access(folder: Path) -> str:
    """The settings of a broker where `meterd` with password `secret` may use open/# only."""
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", b"secret", salt, 101)
    may = [
        {"acltype": kind, "topic": "open/#", "allow": True}
        for kind in ("subscribePattern", "publishClientSend")
    ]
    forbidden = dict.fromkeys(("publishClientSend", "subscribe"), False)
    secrets = {
        "password": b64encode(digest).decode(),
        "salt": b64encode(salt).decode(),
        "iterations": 101,
    }
    rights = {
        "defaultACLAccess": {**forbidden, "publishClientReceive": True, "unsubscribe": True},
        "clients": [{"username": "meterd", "roles": [{"rolename": "reader"}], **secrets}],
        "roles": [{"rolename": "reader", "acls": may}],
    }
    (folder / "rights.json").write_text(json.dumps(rights))
    return f"listener {{port}} 127.0.0.1\nplugin {plugin()}\nplugin_opt_config_file {folder}/rights.json\n"


def test_refusals_of_the_broker_are_heard(tmp_path: Path) -> None:
    """Subscriptions with both versions; publications with 5, where the broker says so."""

    async def scene(me: Broker) -> None:
        async with connected(me) as connection:
            assert await connection.subscribe("open/#") == 1
            with pytest.raises(SubscriptionRefused, match="subscription to closed/# refused"):
                await connection.subscribe("closed/#")
            await connection.publish("open/1", b"still here")
            assert [message.payload for message in await received(connection, 1)] == [b"still here"]
            if me.version == "5":
                with pytest.raises(PublishRefused, match="closed/1 refused: Not authorized"):
                    await connection.publish("closed/1", b"x")
        with pytest.raises(LineDown, match="the broker refused us"):
            await MqttConnection(replace(me, password="wrong")).__aenter__()

    with Mosquitto(tmp_path, access(tmp_path)) as strict:
        for version in ("3.1.1", "5"):
            run(
                scene(
                    Broker(
                        "127.0.0.1",
                        strict.port,
                        version,
                        version=version,
                        user="meterd",
                        password="secret",
                    )
                )
            )
    assert "secret" not in repr(Broker("h", 1, "c", password="secret"))


def test_the_last_will_is_published_after_a_death_and_not_after_a_good_bye(
    broker: Mosquitto, me: Broker
) -> None:
    async def scene() -> None:
        topic = f"will/{me.client_id}"
        mortal = replace(me, client_id="mortal", will=(topic, b"gone"))
        async with connected(me, topic) as witness:
            async with connected(mortal):
                pass
            assert await hears_nothing(witness) is None
            async with connected(mortal) as connection:
                connection.abort()
                assert [message.payload for message in await received(witness, 1)] == [b"gone"]
                with pytest.raises(LineDown):
                    await connection.receive()
        broker.publish(topic, "", "-r")

    run(scene())


def test_commands_leave_only_with_the_right_to_control_and_never_retained(
    broker: Mosquitto, me: Broker
) -> None:
    is_control = lambda topic, payload: topic.startswith("cmnd/")  # noqa: E731

    async def scene() -> None:
        async with connected(me, "cmnd/#", is_control=is_control) as connection:
            with pytest.raises(ControlForbidden, match="held back"):
                await connection.publish("cmnd/x", b"OFF")
            await connection.publish("other", b"x")
            assert await hears_nothing(connection) is None
        async with connected(me, "cmnd/#", is_control=is_control, may_control=True) as connection:
            with pytest.raises(ControlForbidden, match="retained"):
                await connection.publish("cmnd/x", b"OFF", retain=True)
            await connection.publish("cmnd/x", b"OFF", expires_s=60)
            assert [message.payload for message in await received(connection, 1)] == [b"OFF"]

    run(scene())


@pytest.mark.parametrize(
    "greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x02\x00", b"\xff" * 50]
)
def test_who_is_no_broker_is_given_up(
    me: Broker, monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    async def scene() -> None:
        with pytest.raises(LineDown, match="cannot connect"):
            await MqttConnection(replace(me, port=1)).__aenter__()
        with pytest.raises(LineDown, match="not open"):
            await MqttConnection(me).publish("a", b"")
        monkeypatch.setattr("protocols.channels.mqtt.connection.ANSWER_TIMEOUT_S", 0.1)
        gone = asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            while await reader.read(1000):
                pass
            writer.close()
            gone.set()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        with pytest.raises(LineDown, match=r"not greeted|connection lost"):
            await MqttConnection(replace(me, port=server.sockets[0].getsockname()[1])).__aenter__()
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        server.close()

    run(scene())


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


def test_tls_with_a_client_certificate_and_without_trust(
    tmp_path: Path, certificates: Path, me: Broker
) -> None:
    settings = LISTENER + KEPT + tls_settings(certificates)
    ours = Tls(certificates / "ca.pem", certificates / "client.pem", certificates / "client.key")

    async def scene(secure: Mosquitto) -> None:
        me_there = replace(me, port=secure.port, tls=ours)
        async with connected(me_there, "secure/#") as connection:
            await asyncio.gather(
                *(connection.publish("secure/1", b"x" * 20_000) for _ in range(50))
            )
            for _ in range(50):
                (message,) = await received(connection, 1)
                connection.acknowledge(message)
        with pytest.raises(
            LineDown, match=r"unable to get local issuer certificate|self-signed certificate"
        ):
            await MqttConnection(
                replace(me_there, tls=replace(ours, ca=certificates / "stranger.pem"))
            ).__aenter__()
        with pytest.raises(LineDown, match=r"Hostname mismatch|is not valid"):
            await MqttConnection(replace(me_there, host="127.0.0.2")).__aenter__()
        with pytest.raises(LineDown):
            await MqttConnection(replace(me_there, tls=Tls(certificates / "ca.pem"))).__aenter__()

    with Mosquitto(tmp_path, settings.replace(" 127.0.0.1\n", " 0.0.0.0\n", 1)) as secure:
        run(scene(secure))


# --- a transparent DTU ----------------------------------------------------------------------------


def meters() -> list[SimulatedMeter2007]:
    return [simulated_meter(address, now=lambda: datetime(2026, 5, 2, 12)) for address in ADDRESSES]


@asynccontextmanager
async def dtu(
    broker: Mosquitto, me: Broker, *, wrapping: Wrapping = "raw", faults: Sequence[Fault] = ()
) -> AsyncIterator[tuple[Conversation[Frame], SimulatedGateway, list[str]]]:
    """A line of simulated meters behind a DTU, and a conversation with it; `heard` counts
    outcomes."""
    heard: list[str] = []
    gateway = SimulatedGateway(
        SimulatedBus(meters(), faults=faults),
        Broker("127.0.0.1", broker.port, f"dtu-{me.client_id}"),
        flavour="transparent",
        prefix=me.client_id,
        name="dtu",
        wrapping=wrapping,
    )
    await gateway.open()
    await asyncio.wait_for(gateway.is_up.wait(), PATIENCE_S)
    channel = MqttChannel(
        me, down=f"{gateway.root}/in", up=f"{gateway.root}/out", wrapping=wrapping
    )
    try:
        async with channel:
            timing = Timing(reply_timeout_s=1.0, byte_gap_s=0.1, retries=1)
            yield (
                Conversation(
                    channel, CODEC_2007, line="dtu", timing=timing, on_outcome=heard.append
                ),
                gateway,
                heard,
            )
    finally:
        await gateway.close()


@pytest.mark.parametrize("wrapping", ["raw", "hex"])
def test_a_conversation_runs_through_the_topics_of_a_dtu(
    broker: Mosquitto, me: Broker, wrapping: Wrapping
) -> None:
    async def scene() -> None:
        async with dtu(broker, me, wrapping=wrapping) as (talk, gateway, heard):
            for address in ADDRESSES:
                true = gateway.bus.meters[address].state.true_register(datetime(2026, 5, 2, 12))
                assert await talk.run(read_energy(address)) == true > Decimal(0)
            assert heard == ["ok", "ok"]
            with pytest.raises(NoReply, match="000000001699"):
                await talk.run(read_energy("000000001699"), retries=0)

    run(scene())


def test_split_and_doubled_answers_through_a_dtu_are_understood(
    broker: Mosquitto, me: Broker
) -> None:
    async def scene() -> None:
        faults = [Fault("split", every=2, delay_ms=5), Fault("duplicate", every=3)]
        async with dtu(broker, me, faults=faults) as (talk, gateway, _):
            for _ in range(6):
                for address in ADDRESSES:
                    true = gateway.bus.meters[address].state.true_register(datetime(2026, 5, 2, 12))
                    assert await talk.run(read_energy(address)) == true

    run(scene())


def test_retained_bytes_and_payloads_that_are_not_as_agreed_do_not_hurt_a_line(
    broker: Mosquitto, me: Broker
) -> None:
    async def scene() -> None:
        topic = f"{me.client_id}/dtu/out"
        broker.publish(topic, "old bytes of another conversation", "-r")
        async with dtu(broker, me, wrapping="hex") as (talk, gateway, heard):
            broker.publish(topic, "not JSON")
            broker.publish(topic, '{"data": "68 6"}')
            true = gateway.bus.meters[ADDRESSES[0]].state.true_register(datetime(2026, 5, 2, 12))
            assert await talk.run(read_energy(ADDRESSES[0])) == true
            assert heard[-1] == "ok"
        broker.publish(topic, "", "-r")

    run(scene())


def test_a_dtu_behind_a_dead_broker_is_a_line_that_is_down(tmp_path: Path, me: Broker) -> None:
    with Mosquitto(tmp_path) as mortal:

        async def scene() -> None:
            async with dtu(mortal, replace(me, port=mortal.port)) as (talk, _, _):
                mortal.kill()
                with pytest.raises(LineDown):
                    await talk.run(read_energy(ADDRESSES[0]))

        run(scene())


def test_the_first_pause_is_random_already_and_none_is_longer_than_it_may_be() -> None:
    for failures, longest in ((1, 2.0), (3, 8.0), (30, 60.0)):
        pauses = [reconnect_pause_s(failures, 60.0) for _ in range(500)]
        assert 0 <= min(pauses) < longest / 4
        assert longest * 3 / 4 < max(pauses) <= longest
