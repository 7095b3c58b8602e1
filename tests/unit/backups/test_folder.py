"""What a backup's folder says of itself."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.backups import folder
from daemon.backups.folder import Manifest, NotWhole
from storage.backup import Content, Server

MADE_AT = datetime(2026, 11, 30, 2, 0, tzinfo=UTC)
TABLES = {"journal": Content(3, "17"), "slot": Content(40, "-5")}


def made(directory: Path, made_at: datetime = MADE_AT, site: str = "house") -> Path:
    part = directory / "part"
    (part / "site").mkdir(parents=True)
    (part / "site" / "meterd.toml").write_text("[site]\n")
    (part / "database.dump").write_bytes(b"dump")
    manifest = Manifest(
        form=folder.FORM,
        made_at=made_at,
        program="0.1.0",
        site=site,
        settings="site/meterd.toml",
        server=Server(18, None),
        tables=TABLES,
        chain=(7, "ab" * 32),
        files=folder.digests(part),
    )
    place = directory / folder.name_of(made_at)
    folder.finish(part, manifest, place)
    return place


def test_what_was_written_is_read(tmp_path: Path) -> None:
    place = made(tmp_path)
    manifest = folder.read(place)
    folder.compare_files(place, manifest)
    assert manifest.made_at == MADE_AT
    assert manifest.tables == TABLES


def test_every_file_that_differs_is_named(tmp_path: Path) -> None:
    place = made(tmp_path)
    (place / "database.dump").unlink()
    (place / "site" / "meterd.toml").write_text("[site]\n# mine\n")
    (place / "notes.txt").write_text("not ours")
    with pytest.raises(NotWhole) as refused:
        folder.compare_files(place, folder.read(place))
    said = str(refused.value)
    assert "database.dump is missing" in said
    assert "site/meterd.toml was changed" in said
    assert "notes.txt was not there" in said


@pytest.mark.parametrize(
    ("restored", "named"),
    [
        ({**TABLES, "journal": Content(2, "17")}, "journal: 2 rows (sum 17) instead of 3 rows"),
        ({**TABLES, "journal": Content(3, "18")}, "journal: 3 rows (sum 18) instead of 3 rows"),
        ({"journal": TABLES["journal"]}, "slot: no table instead of 40 rows"),
        ({**TABLES, "mine": Content(0, "0")}, "mine: 0 rows (sum 0) instead of no table"),
    ],
)
def test_every_table_that_differs_is_named(restored: dict[str, Content], named: str) -> None:
    folder.compare_tables(TABLES, TABLES)
    with pytest.raises(NotWhole) as refused:
        folder.compare_tables(restored, TABLES)
    assert named in str(refused.value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"form": 1'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    place = made(tmp_path)
    (place / folder.MANIFEST).write_text(text)
    with pytest.raises(NotWhole):
        folder.read(place)


def test_a_folder_without_one_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(NotWhole, match="is no backup"):
        folder.read(tmp_path)


def test_the_newest_are_kept_and_what_is_no_backup_is_left(tmp_path: Path) -> None:
    places = [made(tmp_path, MADE_AT + timedelta(days=day)) for day in range(4)]
    (tmp_path / "20200101T000000Z").mkdir()
    assert folder.forget_older(tmp_path, "house", 2) == places[:2]
    assert folder.whole(tmp_path) == places[2:]
    assert (tmp_path / "20200101T000000Z").exists()
    assert folder.forget_older(tmp_path, "house", 2) == []
    assert folder.newest(tmp_path) == (MADE_AT + timedelta(days=3)).timestamp()


def test_a_backup_of_another_site_and_one_that_somebody_named_are_left(tmp_path: Path) -> None:
    old, new = (made(tmp_path, MADE_AT + timedelta(days=day)) for day in (1, 2))
    other = made(tmp_path, MADE_AT, site="market")
    named = made(tmp_path, MADE_AT - timedelta(days=1)).rename(tmp_path / "0-before-the-move")
    assert folder.forget_older(tmp_path, "house", 1) == [old]
    assert folder.whole(tmp_path) == [named, other, new]


def test_what_is_left_of_a_killed_backup_goes_after_days(tmp_path: Path) -> None:
    killed = tmp_path / ".unfinished-x"
    killed.mkdir()
    begun = datetime.fromtimestamp(killed.stat().st_mtime, UTC)
    folder.forget_unfinished(tmp_path, begun + timedelta(days=1))
    assert killed.exists()
    folder.forget_unfinished(tmp_path, begun + timedelta(days=3))
    assert not killed.exists()


def test_a_file_from_elsewhere_is_told_with_its_place(tmp_path: Path) -> None:
    laid = [tmp_path / "meterd.toml", tmp_path / "elsewhere" / "srv" / "tariffs.toml"]
    assert [*folder.from_elsewhere(laid, tmp_path)] == [(laid[1], Path("/srv/tariffs.toml"))]


def test_without_a_backup_the_newest_is_no_time(tmp_path: Path) -> None:
    assert folder.newest(tmp_path) == folder.newest(tmp_path / "none") == 0


def test_a_place_of_backups_that_cannot_be_looked_at_has_no_newest(tmp_path: Path) -> None:
    assert math.isnan(folder.newest(tmp_path / ("x" * 300)))


def test_files_outside_the_site_have_their_own_place(tmp_path: Path) -> None:
    base = Path("/etc/meterd")
    paths = [base / "meterd.toml", base / "archive" / "meters.csv", Path("/srv/tariffs.toml")]
    names = [name for _, name in folder.copies(paths, base)]
    assert names == ["meterd.toml", "archive/meters.csv", "elsewhere/srv/tariffs.toml"]
