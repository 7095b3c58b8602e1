"""Who may speak for a terminal (A1): certificates, networks, and what is asked of two callers."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from protocols.channels.dial_in.endpoint import Limits
from protocols.channels.dial_in.events import DialInEvent
from protocols.channels.dial_in.terminals import UNASKED_TIMES
from protocols.channels.tls import server_tls
from protocols.dial_in.callers import ANYONE, PermittedCallers, is_within
from protocols.dial_in.rivals import PING_PONG_TIMES, QUESTION_S, REST_S, Rivals
from protocols.errors import LineDown
from protocols.peer import Proof
from tests.wire.channels.dialling import (
    ALL_FROM_HERE,
    BEAT,
    Caller,
    Listener,
    Run,
    calling,
    client_tls,
    listening,
    received,
    reg,
    until,
)

HERE = PermittedCallers(networks=(ip_network("127.0.0.0/8"),))
ELSEWHERE = PermittedCallers(networks=(ip_network("10.0.0.0/8"), ip_network("127.0.0.2/32")))
PATIENT = Limits(most_per_address=5000, accept_per_s=5000, challenge_s=30)
"""Time enough for an answer on any machine: a test that waits for its end would not pass."""


def told(terminals: Listener, event: DialInEvent) -> list[tuple[str, str]]:
    return [(terminal, detail) for it, terminal, detail in terminals.told if it is event]


# --- what a caller shows


@asynccontextmanager
async def authority(certificates: Path, **known: PermittedCallers) -> AsyncIterator[Listener]:
    tls = server_tls(
        certificates / "server.pem", certificates / "server.key", certificates / "ca.pem"
    )
    async with listening(tls=tls, known=known) as terminals:
        yield terminals


def fingerprint(certificates: Path, who: str) -> str:
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", f"{who}.pem"],
        cwd=certificates,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return printed.partition("=")[2].strip().replace(":", "").lower()


@pytest.mark.parametrize(("who", "terminal"), [("T1", "T1"), ("dtu", "T2"), ("dtu", "T3")])
def test_a_certificate_speaks_for_the_terminals_that_it_names(
    run: Run, certificates: Path, who: str, terminal: str
) -> None:
    async def scene() -> None:
        async with (
            authority(certificates, T1=ANYONE, T2=ANYONE, T3=ANYONE) as terminals,
            calling(terminals, reg(terminal), ssl=client_tls(certificates, who)) as caller,
            terminals.channel(terminal) as channel,
        ):
            await caller.hears(b"OK\r\n")
            peer = channel.peer
            assert (peer.proof, peer.terminal) == (Proof.CERTIFICATE, terminal)
            assert peer.certificate == fingerprint(certificates, who) == peer.identity

    run(scene())


@pytest.mark.parametrize(("who", "terminal"), [("dtu", "T1"), ("T1", "T2")])
def test_the_certificate_of_another_terminal_is_refused_and_told(
    run: Run, certificates: Path, who: str, terminal: str
) -> None:
    async def scene() -> None:
        async with (
            authority(certificates, T1=ANYONE, T2=ANYONE) as terminals,
            calling(terminals, reg(terminal), ssl=client_tls(certificates, who)) as caller,
        ):
            assert await caller.hears_the_end() == b""
            assert terminals.sessions == {}
            ((about, detail),) = told(terminals, DialInEvent.SOURCE_REFUSED)
            assert about == terminal
            assert "127.0.0.1: its certificate is for" in detail
            assert terminals.quarantine[terminal].why in detail

    run(scene())


def test_a_fingerprint_binds_one_certificate_whatever_it_names(
    run: Run, certificates: Path
) -> None:
    async def scene() -> None:
        bound = PermittedCallers(fingerprint=fingerprint(certificates, "dtu"))
        async with authority(certificates, T1=bound) as terminals:
            async with calling(terminals, reg(), ssl=client_tls(certificates, "T1")) as thief:
                assert await thief.hears_the_end() == b""
            async with calling(terminals, reg(), ssl=client_tls(certificates, "dtu")) as caller:
                await caller.hears(b"OK\r\n")

    run(scene())


def test_who_calls_from_no_permitted_network_is_refused_and_told(run: Run) -> None:
    async def scene() -> None:
        async with listening(known={"T1": ELSEWHERE, "T2": HERE, "T3": ANYONE}) as terminals:
            async with calling(terminals, reg("T1")) as stranger:
                assert await stranger.hears_the_end() == b""
            assert told(terminals, DialInEvent.SOURCE_REFUSED) == [
                ("T1", "127.0.0.1: 127.0.0.1 is in none of its permitted networks")
            ]
            for terminal, proof in (("T2", Proof.NETWORK), ("T3", Proof.NONE)):
                async with (
                    calling(terminals, reg(terminal)) as caller,
                    terminals.channel(terminal) as channel,
                ):
                    await caller.hears(b"OK\r\n")
                    assert channel.peer.proof is proof

    run(scene())


def test_a_caller_that_is_not_permitted_any_more_is_hung_up_on(run: Run) -> None:
    async def scene() -> None:
        async with listening(known={"T1": HERE}) as terminals, calling(terminals, reg()) as caller:
            await caller.hears(b"OK\r\n")
            terminals.allow({"T1": ELSEWHERE})
            assert await caller.hears_the_end() == b""
            assert told(terminals, DialInEvent.SOURCE_REFUSED)

    run(scene())


def test_addresses_and_networks_of_both_versions() -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]
    assert is_within(networks, "10.255.0.1")
    assert is_within(networks, "fe80::1%eth0")
    assert not is_within(networks, "11.0.0.1")
    assert not is_within(networks, "::1")


# --- two callers


@asynccontextmanager
async def two_callers(limits: Limits, **how: Any) -> AsyncIterator[tuple[Listener, Caller, Caller]]:
    async with (
        listening(limits=limits, **how) as terminals,
        calling(terminals, reg()) as old,
    ):
        await old.hears(b"OK\r\n")
        async with calling(terminals, reg()) as new:
            await until(lambda: terminals.question("T1"))
            yield terminals, old, new


def test_the_old_one_answers_a_question_and_the_newcomer_is_refused(run: Run) -> None:
    asked: list[str] = []

    async def scene() -> None:
        async with listening(limits=PATIENT) as terminals, calling(terminals, reg()) as old:
            terminals.ask = asked.append
            await old.hears(b"OK\r\n")
            async with terminals.channel("T1") as channel, calling(terminals, reg()) as new:
                await until(lambda: asked)
                assert channel.question == "another caller says that it is this terminal"
                await channel.send(b"question")
                await old.hears(b"question")
                old.say(b"answer")
                assert await received(channel, 6) == b"answer"
                assert await new.hears_the_end() == b""
                ((about, detail),) = told(terminals, DialInEvent.CONTESTED)
                assert (about, detail) == (
                    "T1",
                    "127.0.0.1: 127.0.0.1 answers as this terminal",
                )
                assert channel.question == "two callers say that they are this terminal"
                # The next ones are refused at once, and nothing is asked for them.
                async with calling(terminals, reg()) as next_one:
                    assert await next_one.hears_the_end() == b""
                assert asked == ["T1"]
                await channel.send(b"more")
                await old.hears(b"more")

    run(scene())


def test_what_was_asked_before_the_newcomer_came_proves_nothing(run: Run) -> None:
    """An answer that was on its way from a terminal that is gone."""

    async def scene() -> None:
        async with listening(limits=PATIENT) as terminals, calling(terminals, reg()) as old:
            await old.hears(b"OK\r\n")
            async with terminals.channel("T1") as channel:
                await channel.send(b"question")
                await old.hears(b"question")
                async with calling(terminals, reg()):
                    await until(lambda: terminals.question("T1"))
                    old.say(b"answer" + BEAT)
                    assert await received(channel, 6) == b"answer"
                    assert told(terminals, DialInEvent.CONTESTED) == []

    run(scene())


def test_a_heartbeat_that_was_sent_since_is_an_answer(run: Run) -> None:
    async def scene() -> None:
        async with two_callers(PATIENT) as (terminals, old, new):

            def beat() -> bool:
                old.say(BEAT)
                return bool(told(terminals, DialInEvent.CONTESTED))

            await until(beat)
            assert await new.hears_the_end() == b""

    run(scene())


def test_a_silent_one_is_replaced_by_the_newest_caller(run: Run) -> None:
    async def scene() -> None:
        async with two_callers(ALL_FROM_HERE) as (terminals, old, new):
            async with calling(terminals, reg()) as newest:
                await newest.hears(b"OK\r\n")
                assert await new.hears_the_end() == b""
            assert await old.hears_the_end() == b""
            assert len(told(terminals, DialInEvent.REPLACED)) == 1
            assert told(terminals, DialInEvent.CONTESTED) == []

    run(scene())


def test_who_was_asked_nothing_is_given_time_and_not_for_ever(run: Run) -> None:
    """Just before midnight a line asks nothing: that is no silence of its terminal."""
    asked: list[str] = []

    async def scene() -> None:
        async with listening(limits=ALL_FROM_HERE) as terminals, calling(terminals, reg()) as old:
            terminals.ask = asked.append
            await old.hears(b"OK\r\n")
            async with calling(terminals, reg()) as new:
                await new.hears(b"OK\r\n")
            assert asked == ["T1"] * (1 + UNASKED_TIMES)

    run(scene())


def test_the_newcomer_has_the_place_as_soon_as_the_old_one_is_gone(run: Run) -> None:
    async def scene() -> None:
        async with two_callers(PATIENT) as (terminals, old, new):
            old.hang_up()
            await new.hears(b"OK\r\n")
            assert terminals.question("T1") == ""

    run(scene())


def test_a_newcomer_that_hangs_up_is_told_when_the_old_one_answers(run: Run) -> None:
    async def scene() -> None:
        async with listening(limits=PATIENT) as terminals, calling(terminals, reg()) as old:
            await old.hears(b"OK\r\n")
            async with terminals.channel("T1") as channel:
                async with calling(terminals, reg()):
                    await until(lambda: terminals.question("T1"))
                await until(lambda: not terminals.question("T1"))
                await channel.send(b"question")
                await old.hears(b"question")
                old.say(b"answer")
                await until(lambda: told(terminals, DialInEvent.CONTESTED))

    run(scene())


def test_the_same_certificate_takes_its_place_at_once(run: Run, certificates: Path) -> None:
    async def scene() -> None:
        tls = server_tls(
            certificates / "server.pem", certificates / "server.key", certificates / "ca.pem"
        )
        how = {"ssl": client_tls(certificates, "T1")}
        async with (
            listening(tls=tls, limits=PATIENT) as terminals,
            calling(terminals, reg(), **how) as old,
        ):
            await old.hears(b"OK\r\n")
            async with (
                terminals.channel("T1") as first,
                calling(terminals, reg(), **how) as new,
            ):
                await new.hears(b"OK\r\n")
                with pytest.raises(LineDown, match="replaced by a newer session"):
                    await first.receive()
                async with terminals.channel("T1") as second:
                    assert second.question == ""
                    assert second.peer.identity == first.peer.identity

    run(scene())


def test_callers_from_several_addresses_that_replace_each_other_are_ping_pong(run: Run) -> None:
    async def scene() -> None:
        async with listening(limits=ALL_FROM_HERE) as terminals, AsyncExitStack() as callers:
            for number in range(PING_PONG_TIMES + 1):
                assert terminals.question("T1") == ""
                address = f"127.0.0.{1 + number % 2}"
                call = calling(terminals, reg(), local_addr=(address, 0))
                caller = await callers.enter_async_context(call)
                await caller.hears(b"OK\r\n")
            assert "callers from several addresses" in terminals.question("T1")
            assert len(told(terminals, DialInEvent.REPLACED_FROM_ELSEWHERE)) == PING_PONG_TIMES
            assert len(told(terminals, DialInEvent.PING_PONG)) == 1

    run(scene())


# --- what is remembered of rivals


def test_a_dispute_is_a_question_for_a_while_and_its_challenge_rests_for_less() -> None:
    rivals = Rivals()
    assert not rivals.may_rest("T1", 0)
    rivals.answered("T1", 100.0)
    assert rivals.may_rest("T1", 100.0 + REST_S - 0.1)
    assert not rivals.may_rest("T1", 100.0 + REST_S)
    assert rivals.question("T1", 100.0 + QUESTION_S - 0.1)
    assert rivals.question("T1", 100.0 + QUESTION_S) == ""
    assert rivals.question("T2", 100.0) == ""


def test_a_ping_pong_is_told_once_in_a_while_and_slow_changes_are_none() -> None:
    rivals = Rivals()
    told = [rivals.replaced_from_elsewhere("T1", 10.0 * n) for n in range(8)]
    assert told == [False] * (PING_PONG_TIMES - 1) + [True] + [False] * (8 - PING_PONG_TIMES)
    assert rivals.replaced_from_elsewhere("T1", QUESTION_S + 60) is False
    slow = [rivals.replaced_from_elsewhere("T2", QUESTION_S * n / 3) for n in range(20)]
    assert not any(slow)
    assert rivals.question("T2", QUESTION_S * 19 / 3) == ""
