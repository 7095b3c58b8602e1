"""From a job in the field to whom is on call, by the installed daemon and its own clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.stage import stage
from tests.acceptance.test_notices import KEY, Receiver, post_receipt, receiver

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
ADDRESS: Final = "13800009999"
JOB: Final = """
    INSERT INTO field_job (kind, point_id, route, cause, opened_at, due_at)
    SELECT 'restore', id, 'line', 'no verified close', now(), now() + interval '1 day' FROM point
    ORDER BY id LIMIT 1 RETURNING id
"""


BREAKER: Final = """
    INSERT INTO breaker (scope, cause, found, allowed, opened_at)
    VALUES ('site', 'trips_in_an_hour', 21, 20, now()) RETURNING id
"""


def numbers(told: Receiver, kind: str) -> list[int]:
    """Of the calls of a kind."""
    posted = [json.loads(it["body"]) for it in told.posted()]
    return [it["call"] for it in posted if it["kind"] == kind]


def levels(told: Receiver) -> list[int]:
    """Which were told of the job, in the order in which they were."""
    posted = [json.loads(it["body"]) for it in told.posted()]
    return [it["level"] for it in posted if it["kind"] == "job_restore"]


def test_a_job_goes_from_level_to_level_until_somebody_has_it(
    database_url: str, tmp_path: Path
) -> None:
    with (
        receiver(tmp_path / "received") as told,
        stage(tmp_path / "site", database_url, mode="shadow") as staged,
    ):
        staged.start_daemon()
        staged.until("it runs", lambda: staged.slots_missing() == 0)
        (staged.folder / "key").write_text(KEY)
        (staged.folder / "webhook").write_text(f"{told.url}/app")
        persons = "".join(
            f'[[on_call]]\nname = "{name}"\nlevel = {level}\nchannel = "app"\n'
            f'address = "{ADDRESS}"\n'
            for name, level in (("li", 1), ("wu", 2))
        )
        staged.site.write_text(
            staged.site.read_text()
            + '\n[[notice_channel]]\nname = "app"\nwebhook = { file = "webhook" }\n'
            + f'key = {{ file = "key" }}\n{persons}[alarms]\nescalate_after_min = 0.1\n'
        )
        done = json.loads(staged.meterd("reload", "--json"))
        assert {"on_call.li", "on_call.wu", "alarms.escalate_after_min"} <= set(done["settings"])
        ((job,),) = staged.ask(JOB)
        staged.until("the first level", lambda: levels(told)[:1] == [1])
        staged.until("the second level", lambda: levels(told) == [1, 2])
        staged.ask(BREAKER)
        staged.until("a breaker is told", lambda: numbers(told, "breaker_open") != [])
        numbered = [{"call": numbers(told, kind)[0]} for kind in ("breaker_open", "job_restore")]
        calls = [{**call, "state": "acknowledged"} for call in numbered]
        assert post_receipt(staged, {"channel": "app", "calls": calls}, key="guessed") == 401
        assert post_receipt(staged, {"channel": "app", "calls": calls}) == 200
        taken = "SELECT kind, acknowledged_by FROM staff_alarm WHERE acknowledged_at IS NOT NULL"
        assert staged.ask(taken) == [("breaker_open", "li, over app")]
        staged.stop_daemon()
        staged.start_daemon()
        staged.meterd("job", "assign", str(job), "zhang")
        open_calls = (
            "SELECT count(*) FROM staff_alarm WHERE over_at IS NULL AND kind = 'job_restore'"
        )
        staged.until("it is over", lambda: staged.ask(open_calls) == [(0,)])
        assert levels(told) == [1, 2]
        assert ADDRESS not in staged.log()
