"""Killing the daemon at random moments and starting it again loses no reading, doubles no posting,
sends no trip that the guard did not allow. Twenty seeded runs over a whole story: back-fill, bills,
a cut customer, payment, restored."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from daemon.audit.trips import objection
from storage.database import DAEMON
from tests.acceptance.stage import PATIENCE_S, POOR, Stage, stage
from tests.servers.postgres import Server

RUNS_OF_A_SERVER = 10
RUNS_IN_SHORT = 2
"""Of these in a run of the suite that does not ask for all servers."""
AT_ONCE = 5
KILLS = (2, 5)
LONGEST_LIFE_S = 5.0
TOP_UP_YUAN = "300"
POOR_ACCOUNT = f"C{int(POOR)}"


@dataclass(frozen=True)
class Story:
    """What a run left behind."""

    slots_missing: int
    balance_faults: list[str]
    ledger_faults: int
    top_ups: int
    trips_at_meters: Counter[str]
    trips_sent: int
    snapshots: list[dict[str, Any]]
    ends_closed: bool
    dead_letters: int
    exit_code: int


@pytest.fixture(scope="session")
def stories(
    server: Server,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[list[Future[Story]]]:
    """All runs on a server, a few at a time: they mostly wait. Each server has seeds of its own."""
    first = RUNS_OF_A_SERVER * sum(map(ord, server.name))

    # Two threads that ask for the first folder take it away from each other.
    folder = tmp_path_factory.mktemp("stories")

    def run(seed: int) -> Story:
        name = f"story_{seed}"
        server.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        try:
            with stage(folder / name, server.url(name, DAEMON), seed=seed) as staged:
                return tell(staged, random.Random(seed))
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    with ThreadPoolExecutor(AT_ONCE) as runs:
        yield [
            runs.submit(run, seed)
            for seed in range(first, first + runs_of_a_server(request.config))
        ]


def tell(staged: Stage, chance: random.Random) -> Story:
    """Run the daemon until everything is done, killing it again and again on the way."""
    staged.start_daemon()
    kills_left = chance.randint(*KILLS)
    kill_at = time.monotonic() + chance.uniform(0, LONGEST_LIFE_S)
    give_up_at = time.monotonic() + 2 * PATIENCE_S
    was_open = False
    while True:
        assert time.monotonic() < give_up_at, f"the story never ended\n{staged.log()[-4000:]}"
        if kills_left and time.monotonic() >= kill_at:
            staged.kill_daemon()
            staged.start_daemon()
            kills_left -= 1
            kill_at = time.monotonic() + chance.uniform(0, LONGEST_LIFE_S)
        if not was_open and staged.supply_of(POOR) == "disconnected":
            was_open = staged.bench.relay_is_open(POOR)
            assert was_open, "shown as disconnected while the relay is closed"
            for _ in range(2):
                staged.meterd("topup", POOR_ACCOUNT, TOP_UP_YUAN, "--key", "story")
        if (
            was_open
            and not kills_left
            and staged.supply_of(POOR) == "energised"
            and not staged.slots_missing()
        ):
            break
        time.sleep(0.05)
    staged.until("the last one is ready", lambda: staged.health()["status"] == "ok")
    exit_code = staged.stop_daemon()
    sent = staged.ask(
        "SELECT e.guard FROM command_event e JOIN command c ON c.id = e.command_id "
        "WHERE c.action = 'trip' AND e.state = 'sent'"
    )
    return Story(
        slots_missing=staged.slots_missing(),
        balance_faults=staged.balance_faults({POOR_ACCOUNT: TOP_UP_YUAN}),
        ledger_faults=ledger_faults(staged),
        top_ups=staged.ask(
            "SELECT count(*) FROM ledger_transaction WHERE key = 'pay:counter:story'"
        )[0][0],
        trips_at_meters=Counter(
            event["address"]
            for event in staged.bench.events()
            if event["kind"] == "control" and event["action"] == "1A"
        ),
        trips_sent=len(sent),
        snapshots=[snapshot for (snapshot,) in sent],
        ends_closed=not staged.bench.relay_is_open(POOR),
        dead_letters=staged.ask("SELECT count(*) FROM dead_letter")[0][0],
        exit_code=exit_code,
    )


def ledger_faults(staged: Stage) -> int:
    ((total,),) = staged.ask(
        "SELECT abs((SELECT sum(balance_fen) FROM account_balance))"
        " + (SELECT count(*) FROM (SELECT transaction_id FROM posting GROUP BY 1 HAVING sum(amount_fen) <> 0) x)"
        " + (SELECT count(*) FROM account_balance a WHERE balance_fen <>"
        "    (SELECT coalesce(sum(amount_fen), 0) FROM posting p WHERE p.ledger_account_id = a.id))"
    )
    return int(total)


def runs_of_a_server(config: pytest.Config) -> int:
    return RUNS_OF_A_SERVER if config.getoption("--all-servers") else RUNS_IN_SHORT


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    runs = range(runs_of_a_server(metafunc.config))
    metafunc.parametrize("story", runs, indirect=True, ids=[f"run{run}" for run in runs])


@pytest.fixture
def story(stories: list[Future[Story]], request: pytest.FixtureRequest) -> Story:
    chosen: Future[Story] = stories[request.param]
    return chosen.result()


@pytest.mark.acceptance
@pytest.mark.xdist_group("sigkill")
@pytest.mark.timeout(600)
def test_killing_the_daemon_loses_nothing_doubles_nothing_and_cuts_nobody_unguarded(
    story: Story,
) -> None:
    assert story.slots_missing == 0
    assert story.balance_faults == []
    assert story.ledger_faults == 0
    assert story.top_ups == 1
    assert story.dead_letters == 0
    assert set(story.trips_at_meters) == {POOR}
    assert 1 <= story.trips_at_meters[POOR] <= story.trips_sent
    for snapshot in story.snapshots:
        assert objection(snapshot) is None
        assert snapshot["facts"]["balance_fen"] < 0
    assert story.ends_closed
    assert story.exit_code == 0
