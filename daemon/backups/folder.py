"""A backup is a folder: what the database said, the files of the site, what waited on disk, and a
manifest of all of it, which is written last."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from protocols.errors import MeterdError
from storage.backup import Content, Server

MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"
SITE: Final = "site"
SPOOL: Final = "spool"
ELSEWHERE: Final = "elsewhere"
"""Where files of the site are that did not lie beside its meterd.toml."""
UNFINISHED: Final = ".unfinished-"
UNFINISHED_FOR: Final = timedelta(days=2)
"""No backup takes so long."""
FORM: Final = 1
NAME: Final = "%Y%m%dT%H%M%SZ"


class NotWhole(MeterdError):
    """A backup lacks something, or is not as it was made; the message says what."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds.

    `files`: SHA-256 of each by its path in the folder. `settings`: which of them is the site's
    meterd.toml. `chain`: number and hash of the last sealed block, None before the first."""

    form: int
    made_at: datetime
    program: str
    site: str
    settings: str
    server: Server
    tables: dict[str, Content]
    chain: tuple[int, str] | None
    files: dict[str, str]


def digest(path: Path) -> str:
    """SHA-256 of a file, as 64 digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(made_at: datetime) -> str:
    """Folders in the order of their names are in the order of time."""
    return made_at.astimezone(UTC).strftime(NAME)


def digests(folder: Path) -> dict[str, str]:
    """Of every file below it but the manifest."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): digest(path) for path in found}


def finish(folder: Path, manifest: Manifest, place: Path) -> None:
    """Make sure that it is on disk, and only then let it be found under its name."""
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    for path in [*folder.rglob("*"), folder]:
        _sync(path)
    folder.rename(place)
    _sync(place.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(folder: Path) -> Manifest:
    """The manifest of a backup. NotWhole where there is none that can be read."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise NotWhole(f"{folder} is no backup: it has no {MANIFEST}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotWhole(f"{folder / MANIFEST}: {error}") from None
    if manifest.form != FORM:
        raise NotWhole(f"{folder} was made by meterd {manifest.program}; use that version")
    return manifest


def compare_files(folder: Path, manifest: Manifest) -> None:
    """NotWhole with every file that is missing, changed or new."""
    found = digests(folder)
    wrong = [
        f"{name} {_what(found.get(name), manifest.files.get(name))}"
        for name in sorted({*found, *manifest.files})
        if found.get(name) != manifest.files.get(name)
    ]
    if wrong:
        raise NotWhole(f"{folder}: " + "; ".join(wrong))


def _what(found: str | None, made: str | None) -> str:
    if found is None:
        return "is missing"
    return "was not there" if made is None else "was changed"


def compare_tables(restored: Mapping[str, Content], made: Mapping[str, Content]) -> None:
    """NotWhole with every table that came out otherwise than it was."""
    wrong = [
        f"{name}: {_rows(restored.get(name))} instead of {_rows(made.get(name))}"
        for name in sorted({*restored, *made})
        if restored.get(name) != made.get(name)
    ]
    if wrong:
        raise NotWhole("what was restored is not what was there: " + "; ".join(wrong))


def _rows(content: Content | None) -> str:
    return "no table" if content is None else f"{content.rows} rows (sum {content.sum})"


def whole(directory: Path) -> list[Path]:
    """The finished backups of a directory, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path.parent for path in directory.glob(f"*/{MANIFEST}"))


def newest(directory: Path) -> float:
    """When the newest finished backup of a directory was made, in seconds of Unix time; 0 before
    the first, NaN where the directory cannot be looked at."""
    try:
        places = whole(directory)
    except OSError:
        return math.nan
    times = [
        made_at.timestamp() for place in places if (made_at := _named_time(place.name)) is not None
    ]
    return max(times, default=0.0)


def _named_time(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


def forget_older(directory: Path, site: str, keep: int) -> list[Path]:
    """Remove all backups of a site but the newest `keep`; those that were removed.

    Those of other sites are left, and so is what somebody gave a name of its own."""
    own = [place for place in whole(directory) if _named_time(place.name) and _is_of(place, site)]
    old = own[:-keep]
    for folder in old:
        # Without its manifest it is no backup any more, however far this comes.
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder)
    return old


def _is_of(folder: Path, site: str) -> bool:
    try:
        return read(folder).site == site
    except NotWhole:
        return False


def forget_unfinished(directory: Path, now: datetime) -> None:
    """Remove what is left of backups that were killed."""
    for part in directory.glob(f"{UNFINISHED}*"):
        begun = datetime.fromtimestamp(part.stat().st_mtime, UTC)
        if now - begun > UNFINISHED_FOR:
            shutil.rmtree(part, ignore_errors=True)


def copies(paths: Collection[Path], base: Path) -> Iterator[tuple[Path, str]]:
    """Where each file goes below the backup's folder of the site."""
    for path in paths:
        inside = path.is_relative_to(base)
        yield path, str(path.relative_to(base) if inside else Path(ELSEWHERE, *path.parts[1:]))


def from_elsewhere(paths: Collection[Path], base: Path) -> Iterator[tuple[Path, Path]]:
    """Of files that were laid out below `base` those that did not lie there, and where they lay."""
    for path in paths:
        if path.is_relative_to(base / ELSEWHERE):
            yield path, Path("/") / path.relative_to(base / ELSEWHERE)
