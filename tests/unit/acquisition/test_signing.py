"""What a program that signs may say, and what comes of one that does not."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from pathlib import Path

import pytest

from daemon.acquisition.meter_port import NotSent
from daemon.acquisition.signing import MOST_FRAMES, SigningHook
from protocols.errors import NoReply

ORDER = {"address": "000000000001", "action": "trip", "n1": "1A", "expires": "2026-03-11T10:10:00"}
HEAD = f"#!{sys.executable}\nimport json, sys\n"
ASKS = 'print(json.dumps({"function": "03", "payload": "0a"}), flush=True)\n'
SIGNS = (
    'print(json.dumps({"function": "1C", "payload": sys.stdin.readline().strip().encode().hex()}))'
)


def payload(folder: Path, program: str, answer: bytes | Exception = b"\x01\x02") -> bytes | None:
    path = folder / "sign"
    path.write_text(HEAD + program)
    path.chmod(0o700)

    async def ask(asked: bytes) -> bytes:
        assert asked == b"\n"
        if isinstance(answer, Exception):
            raise answer
        return answer

    return asyncio.run(SigningHook(path, within_s=5).payload(ORDER, ask))


def test_it_is_told_what_to_sign_and_what_the_meter_answered(tmp_path: Path) -> None:
    signed = payload(tmp_path, SIGNS)
    assert signed is not None
    assert signed.decode() == (
        '{"address": "000000000001", "action": "trip", "n1": "1A", "expires": "2026-03-11T10:10:00"}'
    )
    assert payload(tmp_path, f"sys.stdin.readline()\n{ASKS}{SIGNS}") == b'{"answer": "0102"}'


def test_who_says_nothing_leaves_it_to_the_password(tmp_path: Path) -> None:
    assert payload(tmp_path, "") is None


def test_it_gets_nothing_of_the_daemons_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "77")
    monkeypatch.setenv("LANG", "C.UTF-8")
    told = "import os\n" + (
        'print(json.dumps({"function": "1C", "payload": json.dumps(dict(os.environ)).encode().hex()}))'
    )
    signed = payload(tmp_path, told)
    assert signed is not None
    found = json.loads(signed)
    assert found["LANG"] == "C.UTF-8"
    assert found["PATH"] == os.environ["PATH"]
    assert "PGPASSWORD" not in found
    assert "SECRET" not in str(sorted(found))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("print('key 77')", "did not answer with a frame$"),
        ("print('7' * 200_000)", "did not answer with a frame$"),
        ("print('[' * 4_000)", "did not answer with a frame$"),
        (
            """print(json.dumps({"function": "1C", "payload": "98" * 256}))""",
            "wants 256 bytes in a frame",
        ),
        ("""print('{"function": "1C"}')""", "did not answer with a frame"),
        ("""print('{"function": "14", "payload": ""}')""", "asks for function 14"),
        ("while sys.stdin.readline():\n    " + ASKS, f"more than {MOST_FRAMES} frames"),
    ],
)
def test_anything_else_lets_nothing_leave(tmp_path: Path, program: str, words: str) -> None:
    with pytest.raises(NotSent, match=words):
        payload(tmp_path, program)


def test_a_meter_that_does_not_answer_gets_no_command(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match="the meter would not speak with"):
        payload(tmp_path, ASKS + SIGNS, NoReply("silent"))


def test_a_program_that_is_not_there_or_never_ends_signs_nothing(tmp_path: Path) -> None:
    async def never(asked: bytes) -> bytes:
        raise AssertionError("it asks for nothing")

    with pytest.raises(NotSent, match="cannot be started: No such file"):
        asyncio.run(SigningHook(tmp_path / "none").payload(ORDER, never))
    hangs = tmp_path / "hangs"
    hangs.write_text(f"{HEAD}sys.stdin.read()\n")
    hangs.chmod(0o700)
    with pytest.raises(NotSent, match=r"did not sign within 0\.2 s"):
        asyncio.run(SigningHook(hangs, within_s=0.2).payload(ORDER, never))


def test_what_a_program_started_neither_holds_up_the_line_nor_stays(tmp_path: Path) -> None:
    """A wrapper in the shell, whose child holds the pipes."""

    async def never(asked: bytes) -> bytes:
        raise AssertionError("it asks for nothing")

    async def signed() -> bytes | None:
        return await asyncio.wait_for(SigningHook(wrapper).payload(ORDER, never), 30)

    wrapper = tmp_path / "wrapper"
    child = f"#!/bin/sh\nsleep 3600 & echo $! > {tmp_path}/child\n"
    wrapper.write_text(f"""{child}echo '{{"function": "14", "payload": ""}}'\nwait\n""")
    wrapper.chmod(0o700)
    with pytest.raises(NotSent, match="asks for function 14"):
        asyncio.run(signed())
    assert ends(int((tmp_path / "child").read_text()))
    wrapper.write_text(f"""{child}echo '{{"function": "1C", "payload": "98"}}'\n""")
    assert asyncio.run(signed()) == b"\x98"
    assert ends(int((tmp_path / "child").read_text()))


def ends(pid: int) -> bool:
    """Whether a process is gone, or goes soon."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([ended], [], [], 20)[0])
    finally:
        os.close(ended)
