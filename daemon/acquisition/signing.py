"""Meters with a security module: a program of the site makes what a control frame carries.

Keys stay with it. For each command it is started anew and told, as one JSON object on a line, what
to ask for; it answers in kind with frames. What comes back for one of function 03 it is told, and
what it says for 1C is sent as it is. Saying nothing, it lets the meter take the password."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.acquisition.meter_port import NotSent
from protocols.dlt645.functions import CONTROL, SECURITY
from protocols.errors import FrameError, MeterRefused, NoReply

WITHIN_S: Final = 20.0
"""With what it asks of the meter: who paid waits for it."""
MOST_FRAMES: Final = 8
LONGEST_LINE: Final = 4096
KNOWN_TO_IT: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""Of the environment; the rest is the daemon's, passwords among it."""
LONGEST_PAYLOAD: Final = 255
"""Bytes of data that a frame has room for."""


@dataclass(frozen=True, slots=True)
class SigningHook:
    """`program`: an executable file, started without arguments."""

    program: Path
    within_s: float = WITHIN_S

    async def payload(
        self, order: Mapping[str, str], ask: Callable[[bytes], Awaitable[bytes]]
    ) -> bytes | None:
        """What the control frame carries; None: a password. NotSent: it does not say.

        `ask`: sends a frame of function 03 and returns the data of its answer."""
        try:
            async with asyncio.timeout(self.within_s), _started(self.program) as process:
                told = order
                for _ in range(MOST_FRAMES):
                    frame = await _say(process, told)
                    if frame is None:
                        return None
                    function, payload = frame
                    if function == CONTROL:
                        return payload
                    told = {"answer": (await ask(payload)).hex()}
                raise NotSent(f"{self.program} asks for more than {MOST_FRAMES} frames")
        except TimeoutError as error:
            raise NotSent(f"{self.program} did not sign within {self.within_s:g} s") from error
        except OSError as error:
            raise NotSent(f"{self.program} cannot be started: {error.strerror}") from error
        except (NoReply, FrameError, MeterRefused) as error:
            raise NotSent(f"the meter would not speak with {self.program}: {error}") from error


@asynccontextmanager
async def _started(program: Path) -> AsyncIterator[Process]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(LONGEST_LINE, loop),
        str(program),
        stdin=PIPE,
        stdout=PIPE,
        stderr=None,
        env={name: os.environ[name] for name in KNOWN_TO_IT if name in os.environ},
        start_new_session=True,
    )
    process = Process(transport, protocol, loop)
    try:
        yield process
    finally:
        # With what it started. The pipes too: it counts as running while anybody else holds them.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        transport.close()
        await process.wait()


async def _say(process: Process, told: Mapping[str, str]) -> tuple[int, bytes] | None:
    """What it answers: function and payload; None: nothing, and it ended well."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(told).encode() + b"\n")
    try:
        line = await process.stdout.readline()
        if not line:
            if code := await process.wait():
                raise NotSent(f"the program that signs ended with exit code {code}")
            return None
        frame = json.loads(line)
        function, payload = int(frame["function"], 16), bytes.fromhex(frame["payload"])
    except (ValueError, KeyError, TypeError, RecursionError):
        # Not what it said: that may be half a key.
        raise NotSent("the program that signs did not answer with a frame") from None
    if function not in (SECURITY, CONTROL):
        raise NotSent(f"the program that signs asks for function {function:02X}")
    if len(payload) > LONGEST_PAYLOAD:
        raise NotSent(f"the program that signs wants {len(payload)} bytes in a frame")
    return function, payload
