"""Traces on disk belong to one living process at a time, and survive it."""

import os
import stat

import pytest

from mlflow_dspy_plugin.delivery.spool import Spool, SpoolFull


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept" / "spool"


@pytest.fixture
def make(folder):
    """Opens the spool as a process would; all are closed at the end."""
    spools = []

    def make_(max_bytes=1000, segment_bytes=100):
        spools.append(Spool(folder, max_bytes, segment_bytes))
        return spools[-1]

    yield make_
    for spool in spools:
        spool.close()


def drain(spool, count=10):
    """All lines, file by file."""
    found = []
    while segment := spool.next_segment():
        lines = segment.read(count)
        found += lines
        spool.advance(segment, lines)
    return found


def names(folder):
    return sorted(path.suffix for path in folder.iterdir())


def test_lines_come_back_in_the_order_they_were_written(make):
    spool = make(segment_bytes=10)
    for number in range(20):
        spool.append(b"%d" % number)
    assert spool.lines == 20
    assert drain(spool, count=3) == [b"%d\n" % number for number in range(20)]
    assert spool.lines == 0


def test_nothing_is_made_before_the_first_line_and_nothing_left_after_the_last(make, folder):
    spool = make()
    assert spool.next_segment() is None
    assert not folder.exists()
    spool.append(b"a")
    drain(spool)
    spool.close()
    assert names(folder) == []


def test_only_the_user_can_read_it(make, folder):
    make().append(b"a")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_folder_of_somebody_else_is_not_used(make, folder, tmp_path):
    folder.parent.mkdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="does not belong to this user"):
        make().append(b"a")


def test_it_takes_no_more_than_it_may_and_more_once_there_is_room(make):
    spool = make(max_bytes=10, segment_bytes=4)
    spool.append(b"1234")
    spool.append(b"5678")
    with pytest.raises(SpoolFull):
        spool.append(b"9")
    drain(spool)
    spool.append(b"9")
    assert drain(spool) == [b"9\n"]


def test_what_other_processes_have_written_counts(make):
    make(max_bytes=10).append(b"12345678")
    with pytest.raises(SpoolFull):
        make(max_bytes=10).append(b"9")


def test_files_of_a_living_process_are_not_claimed(make):
    mine, other = make(), make()
    mine.append(b"a")
    other.claim_orphans()
    assert other.next_segment() is None
    assert drain(mine) == [b"a\n"]


def test_files_that_a_process_has_left_are_claimed_once(make, folder):
    left = make()
    left.append(b"a")
    left.close()
    first, second = make(), make()
    first.claim_orphans()
    second.claim_orphans()
    assert (first.lines, second.lines) == (1, 0)
    assert drain(first) == [b"a\n"]
    assert names(folder) == []


def test_files_without_an_owner_are_claimed(make, folder):
    folder.mkdir(parents=True)
    (folder / "1234-abcd-000001.jsonl").write_bytes(b"a\n")
    spool = make()
    spool.claim_orphans()
    assert drain(spool) == [b"a\n"]


def test_a_line_that_was_being_written_when_the_process_died_is_left_out(make, folder):
    folder.mkdir(parents=True)
    (folder / "1234-abcd-000001.jsonl").write_bytes(b"a\nb\nhalf a li")
    spool = make()
    spool.claim_orphans()
    assert spool.lines == 2
    assert drain(spool, count=1) == [b"a\n", b"b\n"]
    assert names(folder) == []


def test_a_process_that_dies_between_writing_and_deleting_leaves_the_lines(make):
    spool = make()
    spool.append(b"a")
    assert spool.next_segment().read(10) == [b"a\n"]
    spool.close()
    other = make()
    other.claim_orphans()
    assert drain(other) == [b"a\n"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_none_of_its_parent_s_files_and_does_not_keep_them_locked(make, folder):
    parent = make()
    parent.append(b"parent")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        parent.forget()
        parent.append(b"child")
        os.write(writing, b"%d" % parent.lines)
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 10) == b"1"
    assert parent.lines == 1
    parent.claim_orphans()
    assert sorted(drain(parent)) == [b"child\n", b"parent\n"]
