"""Who may do what, by the roles of a site's persons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from config.persons import Role
from daemon.cli import cli
from daemon.cli.rights import (
    ANYBODY,
    CONTROL,
    FINANCE,
    RIGHTS,
    confirm_right,
    confirm_right_to_document,
)
from protocols.errors import MeterdError

PERSONS = """
[[person]]
name = "li"
roles = ["finance"]

[[person]]
name = "Wang Wei"
roles = ["station", "control"]
"""


@pytest.fixture
def site_path(tmp_path: Path) -> Path:
    path = tmp_path / "meterd.toml"
    path.write_text('[site]\nname = "s"\n' + PERSONS)
    return path


def commands(
    group: click.Group, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def test_every_command_that_asks_who_says_it_is_somebody_s_and_no_other() -> None:
    asking = {
        words
        for words, command in commands(cli)
        if "--actor" in {it for each in command.params for it in each.opts}
    }
    assert {*RIGHTS} == asking


def test_whoever_has_a_say_in_money_has_none_in_cuts() -> None:
    both = {command for command, roles in RIGHTS.items() if roles >= FINANCE | CONTROL}
    # They stop a cut, whoever does them.
    assert both == {"supply hold", "dispute open", "protect add"}
    assert all(roles and roles <= ANYBODY for roles in RIGHTS.values())


@pytest.mark.parametrize(
    ("actor", "command", "refused"),
    [
        ("li", "topup", None),
        ("LI ", "payment reverse", None),
        ("wang  wei", "supply trip", None),
        ("Wang Wei", "job close", None),
        ("li", "supply hold", None),
        (
            "li",
            "supply trip",
            "li may not supply trip here: that is for control, and li works as finance "
            "([[person]] in meterd.toml)",
        ),
        (
            "Wang Wei",
            "topup",
            "Wang Wei may not topup here: that is for finance, and Wang Wei works as control and "
            "station ([[person]] in meterd.toml)",
        ),
        (
            "zhou",
            "job close",
            "zhou may not job close here: that is for control or service or station, and zhou is "
            "none of its persons ([[person]] in meterd.toml)",
        ),
    ],
)
def test_a_command_is_for_those_who_work_as_what_it_is_for(
    site_path: Path, actor: str, command: str, refused: str | None
) -> None:
    if refused is None:
        confirm_right(f"meterd {command}", actor, "root", site_path)
        return
    with pytest.raises(MeterdError) as told:
        confirm_right(f"meterd {command}", actor, "root", site_path)
    assert str(told.value) == refused


@pytest.mark.parametrize("command", RIGHTS)
@pytest.mark.parametrize("text", ['[site]\nname = "s"\n', None])
def test_without_persons_everybody_does_everything(
    tmp_path: Path, command: str, text: str | None
) -> None:
    path = tmp_path / "meterd.toml"
    if text is not None:
        path.write_text(text)
    confirm_right(f"meterd {command}", "zhou", "root", path)
    confirm_right_to_document(is_of_money=True, actor="zhou", login="root", site_path=path)


def test_documents_are_decided_about_by_those_whom_they_concern(site_path: Path) -> None:
    confirm_right_to_document(is_of_money=True, actor="li", login="root", site_path=site_path)
    confirm_right_to_document(
        is_of_money=False, actor="Wang Wei", login="root", site_path=site_path
    )
    with pytest.raises(MeterdError, match="that is for finance, and Wang Wei works as"):
        confirm_right_to_document(
            is_of_money=True, actor="Wang Wei", login="root", site_path=site_path
        )
    with pytest.raises(MeterdError, match="that is for marketing or station, and li works as"):
        confirm_right_to_document(is_of_money=False, actor="li", login="root", site_path=site_path)


def test_a_login_is_asked_for_before_a_role(site_path: Path) -> None:
    site_path.write_text('[site]\nactors = "logins"\n' + PERSONS)
    confirm_right("meterd topup", "Li", "li", site_path)
    with pytest.raises(MeterdError, match="nobody acts as li here"):
        confirm_right("meterd topup", "li", "wang", site_path)


def test_roles_are_what_r95_names() -> None:
    named: set[Role] = {"marketing", "finance", "control", "station", "service", "system"}
    assert named == ANYBODY
