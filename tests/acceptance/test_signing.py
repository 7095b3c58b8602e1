"""A meter with a security module is cut and restored by the installed program: another signs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import POOR, Stage, stage

pytestmark = pytest.mark.acceptance
SIGNER = """#!{python}
import json, sys

order = json.loads(sys.stdin.readline())
if order["address"] == "{poor}":
    print(json.dumps({{"function": "03", "payload": "01000007" + "00" * 4}}), flush=True)
    assert len(bytes.fromhex(json.loads(sys.stdin.readline())["answer"])) == 16
    clock = order["expires"][2:]
    expires = [clock[at : at + 2] for at in (15, 12, 9, 6, 3, 0)]
    text = [order["n1"], "00", *expires, "00" * 8]
    print(json.dumps({{"function": "1C", "payload": "98" + "00" * 7 + "".join(text) + "00" * 4}}))
"""


@pytest.fixture
def staged(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, database_url, days=6, poor="security_module = true") as staged:
        staged.site.write_text(
            staged.site.read_text().replace("[control]\n", '[control]\nsigner = "sign"\n')
        )
        yield staged


def sign(staged: Stage, program: str) -> None:
    path = staged.folder / "sign"
    path.write_text(program)
    path.chmod(0o700)


def levels(staged: Stage) -> set[tuple[str, str]]:
    """Of control frames that reached the poor one: action and level."""
    return {(it["action"], it["level"]) for it in staged.control_frames() if it["address"] == POOR}


def test_who_owes_is_cut_and_who_pays_is_lit_by_what_another_signed(staged: Stage) -> None:
    sign(staged, SIGNER.format(python=sys.executable, poor=POOR))
    staged.start_daemon()
    staged.until("it is dark", lambda: staged.supply_of(POOR) == "disconnected")
    assert staged.bench.relay_is_open(POOR)
    assert levels(staged) == {("1A", "98")}
    staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "r1")
    staged.until("it is lit", lambda: staged.supply_of(POOR) == "energised")
    assert not staged.bench.relay_is_open(POOR)
    assert {level for _, level in levels(staged)} == {"98"}


def test_where_nobody_signs_no_trip_leaves(staged: Stage) -> None:
    sign(staged, f"#!{sys.executable}\nraise SystemExit(1)\n")
    staged.start_daemon()
    staged.until("it is told", lambda: "ended with exit code 1" in str(staged.ask(DETAILS)))
    assert levels(staged) == set()


DETAILS = "SELECT detail FROM command_event"
