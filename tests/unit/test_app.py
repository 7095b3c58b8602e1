"""What the composition root makes of a site before anything is opened."""

from pathlib import Path

from daemon.app import TERMINALS_AT_ONCE, serving_at_once
from tests.unit.config.test_terminals import LISTENER, site

LINE = '[[line]]\nname = "gate"\ntcp = "127.0.0.1:1"\n'


def serving(folder: Path, toml: str, *terminals: str) -> int:
    """How many more lines than without `toml` may serve commands at once."""
    before = serving_at_once(site(folder, "").settings)
    return serving_at_once(site(folder, toml, *terminals).settings) - before


def test_a_listener_without_terminals_has_connections_for_those_of_a_reload(
    tmp_path: Path,
) -> None:
    assert serving(tmp_path, LISTENER) == TERMINALS_AT_ONCE
    assert serving(tmp_path, LISTENER, "dtu-1,8601", "dtu-2,8602") == TERMINALS_AT_ONCE


def test_a_line_that_is_off_has_a_connection_for_when_it_is_switched_on(tmp_path: Path) -> None:
    assert serving(tmp_path, LINE) == 1
    assert serving(tmp_path, LINE + "enabled = false\n") == 1
