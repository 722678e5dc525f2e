"""Atomic writes: what is on disk when, by the calls that say so, and what a failure leaves."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charloom import files
from charloom.files import discard, open_atomic, remove, sync_folder, write_atomic, write_folder_atomic
from tests.disk import Disk


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_on_disk_before_its_name_and_its_name_before_the_call_returns(monkeypatch, tmp_path):
    disk = Disk(monkeypatch)
    write_atomic(tmp_path / "a", b"new" * 10)
    assert disk.order == [("sync", ".partial-a"), ("rename", "a"), ("sync", tmp_path.name)]
    assert disk.events[0][2] == 30  # all of it was handed to the system before it was synced
    assert (tmp_path / "a").read_bytes() == b"new" * 10
    assert names(tmp_path) == ["a"]


def test_a_folder_appears_after_all_its_files_in_their_order(monkeypatch, tmp_path):
    disk = Disk(monkeypatch)
    write_folder_atomic(tmp_path / "new", {"weights": b"w" * 9, "text": b"t" * 5, "manifest": b"m"})
    assert disk.order == [
        ("sync", "weights"),
        ("sync", "text"),
        ("sync", "manifest"),
        ("sync", ".partial-new"),
        ("rename", "new"),
        ("sync", tmp_path.name),
    ]
    assert [size for _, path, size in disk.events[:3]] == [9, 5, 1]
    assert names(tmp_path / "new") == ["manifest", "text", "weights"]


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch, sync: int) -> Iterator[None]:
    """A disk that is full at its `sync`-th sync, counted from 0."""
    synced, fsync = [0], os.fsync

    def fail(descriptor: int) -> None:
        if synced[0] == sync:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced[0] += 1
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            yield


def test_a_failed_write_leaves_what_was_there(monkeypatch, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with full(monkeypatch, 0):
        write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    for sync in range(3):
        with full(monkeypatch, sync):
            write_folder_atomic(tmp_path / "folder", {"one": b"1", "two": b"2"})
    assert names(tmp_path) == ["a"]


def test_an_error_of_the_writer_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    def interrupted():
        with open_atomic(tmp_path / "a") as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    (tmp_path / ".partial-new").mkdir()
    (tmp_path / ".partial-new" / "half").write_bytes(b"h")
    write_folder_atomic(tmp_path / "new", {"one": b"1"})
    assert names(tmp_path) == ["new"]
    assert names(tmp_path / "new") == ["one"]


def test_a_folder_is_renamed_before_any_of_it_is_deleted(monkeypatch, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "one").write_bytes(b"1")

    def interrupted(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            discard(folder)
    assert names(tmp_path) == [".partial-old"]
    remove(tmp_path / ".partial-old")
    remove(tmp_path / ".partial-old")  # there is none any more
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", sorted(files.UNSYNCABLE))
def test_a_folder_that_cannot_be_synced_is_no_error(code, monkeypatch, tmp_path):
    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    sync_folder(tmp_path)
    with pytest.raises(OSError, match=os.strerror(code)):
        write_atomic(tmp_path / "a", b"a")  # a file can be synced everywhere
