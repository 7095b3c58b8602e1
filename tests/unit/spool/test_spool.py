"""Readings wait on disk in order of arrival, in so many bytes, and what goes when there are more."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from daemon import metrics
from daemon.quality.arrival import Arrival
from daemon.spool.record import framed, waiting
from daemon.spool.spool import Kind, Spool, SpoolInUse, open_spool
from tests.spooled import an_arrival

MB = 2**20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    with open_spool(folder, 16 * MB) as spool:
        yield spool


def arrivals(numbers: range, *, has_memory: bool = True) -> list[Arrival]:
    return [an_arrival(number, has_memory=has_memory) for number in numbers]


def drain(spool: Spool, most: int = 100) -> list[int]:
    """The numbers of all readings, in the order in which they come out; they are forgotten."""
    found = []
    while (portion := spool.next(most)) is not None:
        assert len(portion.readings) <= most
        found += [int(reading.address) for reading in portion.readings]
        spool.forget(portion)
    return found


def waiting_in(folder: Path) -> list[int]:
    """What a daemon that is started after a kill finds. A copy: the other one was not killed."""
    copy = folder.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    with open_spool(copy, 1024 * MB) as spool:
        return drain(spool)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def test_what_arrived_first_is_stored_first(spool: Spool) -> None:
    spool.append(arrivals(range(1, 500)))
    spool.append(arrivals(range(500, 1000)))
    assert spool.readings == 999
    assert drain(spool) == list(range(1, 1000))
    assert (spool.readings, spool.size, spool.oldest) == (0, 0, None)


def test_what_cannot_be_told_again_is_stored_before_the_rest(spool: Spool) -> None:
    spool.append([an_arrival(1), an_arrival(2, has_memory=False), an_arrival(3)])
    assert drain(spool) == [2, 1, 3]


def test_what_cannot_be_told_again_does_not_keep_the_rest_waiting(spool: Spool) -> None:
    spool.append([*arrivals(range(1, 101)), *arrivals(range(101, 106), has_memory=False)])
    portion = spool.next(50)
    assert portion is not None
    found = [int(reading.address) for reading in portion.readings]
    assert found == [*range(101, 106), *range(1, 46)]
    spool.forget(portion)
    assert drain(spool) == list(range(46, 101))


def test_a_reading_survives_a_kill_as_soon_as_it_is_appended(spool: Spool, folder: Path) -> None:
    spool.append(arrivals(range(1, 4), has_memory=False))
    assert waiting_in(folder)[:3] == [1, 2, 3]
    spool.append(arrivals(range(4, 6)))
    assert waiting_in(folder) == [1, 2, 3, 4, 5]


def test_a_kill_between_storing_and_forgetting_gives_the_same_readings_again(
    spool: Spool, folder: Path
) -> None:
    spool.append(arrivals(range(1, 11)))
    portion = spool.next(4)
    assert portion is not None
    assert waiting_in(folder) == list(range(1, 11))
    spool.forget(portion)
    assert set(waiting_in(folder)) >= set(range(5, 11))


def test_what_could_not_be_stored_is_the_next_again(spool: Spool) -> None:
    spool.append(arrivals(range(1, 11)))
    portion = spool.next(4)
    assert portion is not None
    spool.put_back(portion)
    assert drain(spool) == list(range(1, 11))


def test_no_file_is_left_when_all_is_stored(spool: Spool, folder: Path) -> None:
    spool.append(arrivals(range(1, 50)))
    drain(spool)
    assert files(folder) == []
    spool.append([an_arrival(50)])
    assert waiting_in(folder) == [50]


def test_what_arrives_while_a_file_is_drained_comes_behind_it(spool: Spool) -> None:
    spool.append(arrivals(range(1, 4)))
    portion = spool.next(2)
    assert portion is not None
    spool.append(arrivals(range(4, 6)))
    spool.forget(portion)
    assert drain(spool) == [3, 4, 5]


def test_files_are_small_so_that_little_is_stored_twice_or_dropped_at_once(
    spool: Spool, folder: Path
) -> None:
    spool.append(arrivals(range(1, 40_001)))
    sizes = [file.stat().st_size for file in files(folder)]
    assert len(sizes) > 3
    assert max(sizes) <= MB
    assert drain(spool, 5000) == list(range(1, 40_001))


# --- when it is full ------------------------------------------------------------------------------


def test_what_meters_can_tell_again_goes_first_and_the_oldest_of_it(folder: Path) -> None:
    with open_spool(folder, MB) as spool, structlog.testing.capture_logs() as logged:
        before = metrics.SPOOL_DROPPED.labels("with_memory")._value.get()
        spool.append(arrivals(range(1, 101), has_memory=False))
        spool.append(arrivals(range(101, 30_001)))
        assert spool.size <= MB
        dropped = spool.dropped[Kind.AGAIN]
        assert dropped > 10_000
        assert spool.dropped[Kind.ONCE] == 0
        assert metrics.SPOOL_DROPPED.labels("with_memory")._value.get() - before == dropped
        kept = drain(spool)
        assert kept == [*range(1, 101), *range(101 + dropped, 30_001)]
    said = [line for line in logged if line["event"] == "spool full, readings dropped"]
    assert [line["kind"] for line in said] == ["with_memory"], "said once, not for every reading"
    (ended,) = [line for line in logged if line["event"] == "spool has room again"]
    assert ended["dropped"] == dropped


def test_what_meters_cannot_tell_again_goes_only_when_nothing_else_is_left(folder: Path) -> None:
    with open_spool(folder, MB) as spool:
        spool.append(arrivals(range(1, 5001)))
        spool.append(arrivals(range(5001, 30_001), has_memory=False))
        assert spool.dropped[Kind.AGAIN] == 5000
        lost = spool.dropped[Kind.ONCE]
        assert lost > 0
        assert drain(spool) == list(range(5001 + lost, 30_001))


def test_what_can_be_told_again_takes_no_room_from_what_cannot(folder: Path) -> None:
    with open_spool(folder, MB) as spool:
        spool.append(arrivals(range(1, 30_001), has_memory=False))
        lost = spool.dropped[Kind.ONCE]
        kept = spool.readings
        spool.append(arrivals(range(30_001, 60_001)))
        assert spool.dropped[Kind.ONCE] == lost
        assert [number for number in drain(spool) if number <= 30_000] == list(
            range(30_001 - kept, 30_001)
        )


def test_a_file_that_is_dropped_while_it_is_being_stored_is_no_trouble(folder: Path) -> None:
    with open_spool(folder, MB) as spool:
        spool.append(arrivals(range(1, 5001)))
        portion = spool.next(100)
        assert portion is not None
        spool.append(arrivals(range(5001, 30_001), has_memory=False))
        spool.forget(portion)
        assert spool.readings == len(drain(spool))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=40))
def test_whatever_comes_the_bound_holds_and_every_reading_is_stored_or_counted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with open_spool(folder, MB // 16) as spool:
        given_ = 0
        stored = 0
        for has_memory, count in steps:
            numbers = range(given_ + 1, given_ + count + 1)
            spool.append(arrivals(numbers, has_memory=has_memory))
            given_ += count
            assert spool.size <= MB // 16
            if count % 3 == 0 and (portion := spool.next(count)) is not None:
                spool.forget(portion)
                stored += len(portion.readings)
        stored += len(drain(spool))
        assert stored + sum(spool.dropped.values()) == given_


# --- what a kill, a power cut or a bad disk leaves ------------------------------------------------


def one_file(folder: Path, numbers: range) -> Path:
    folder.mkdir()
    path = folder / "000000000007-with_memory.spool"
    path.write_bytes(b"".join(framed(waiting(an_arrival(number))) for number in numbers))
    return path


def test_a_torn_tail_is_cut_and_said(folder: Path) -> None:
    path = one_file(folder, range(1, 6))
    os.truncate(path, path.stat().st_size - 5)
    with structlog.testing.capture_logs() as logged, open_spool(folder, MB) as spool:
        assert drain(spool) == [1, 2, 3, 4]
    assert [line["event"] for line in logged][:1] == ["torn record cut"]
    assert list(folder.glob("*.bad")) == []


def test_a_damaged_record_is_set_aside_and_counted_and_the_rest_is_stored(folder: Path) -> None:
    path = one_file(folder, range(1, 6))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    before = metrics.SPOOL_BAD._value.get()
    with open_spool(folder, MB) as spool:
        assert (folder / f"{path.name}.bad").read_bytes() in bytes(data)
        assert metrics.SPOOL_BAD._value.get() == before + 1
        assert spool.readings == 4
    with open_spool(folder, MB) as spool:
        assert metrics.SPOOL_BAD._value.get() == before + 1, "set aside a second time"
        assert drain(spool) == [1, 2, 4, 5]


def test_a_record_that_is_damaged_while_it_waits_stops_no_other(spool: Spool, folder: Path) -> None:
    spool.append(arrivals(range(1, 6)))
    (path,) = files(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert drain(spool) == [1, 2, 4, 5]
    assert len(list(folder.glob("*.bad"))) == 1
    assert files(folder) == []


def test_a_quantity_that_only_a_newer_program_knows_stops_no_other(folder: Path) -> None:
    path = one_file(folder, range(1, 4))
    newer = msgspec.structs.replace(waiting(an_arrival(9)), quantity="phase_of_the_moon")
    path.write_bytes(framed(newer) + path.read_bytes())
    with open_spool(folder, MB) as spool:
        assert drain(spool) == [1, 2, 3]
    assert (folder / f"{path.name}.bad").read_bytes() == framed(newer)


def test_a_file_of_something_else_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.spool").write_text("not ours")
    with open_spool(folder, MB) as spool:
        assert spool.readings == 0
    assert (folder / "notes.spool").read_text() == "not ours"


def test_a_disk_that_is_full_for_a_while_loses_and_doubles_nothing(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(arrivals(range(1, 4)))
    write = os.pwrite

    def half(descriptor: int, data: bytes, at: int) -> int:
        return write(descriptor, data[: len(data) // 2], at)

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", half)
        with pytest.raises(OSError, match="No space left") as refused:
            spool.append(arrivals(range(4, 6)))
        assert refused.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space left"):
            spool.append(arrivals(range(4, 6), has_memory=False))
    assert waiting_in(folder)[:3] == [1, 2, 3]
    spool.append(arrivals(range(4, 6)))
    assert waiting_in(folder) == [1, 2, 3, 4, 5]


def test_two_daemons_do_not_share_one(spool: Spool, folder: Path) -> None:
    with pytest.raises(SpoolInUse, match="another meterd uses"), open_spool(folder, MB):
        pass


def test_syncing_reaches_every_file_that_was_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    sync = os.fdatasync

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", note)
    spool.append([*arrivals(range(1, 20_001)), an_arrival(20_001, has_memory=False)])
    spool.syncing()()
    assert len(synced) == len(set(synced)) >= 3
    opened = len(os.listdir("/proc/self/fd"))
    spool.syncing()()
    assert len(os.listdir("/proc/self/fd")) == opened
