"""A place for one state does the same, whether it is a directory of this machine or a fake in a story: one suite, both of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from supervisor.statefolder import ASIDE_MAX, JOURNAL, Folder, Store
from tests.fakes.store import FakeStore


@pytest.fixture(params=["folder", "fake"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Folder(tmp_path / "not" / "there yet") if request.param == "folder" else FakeStore()


def test_nothing_is_there_before_the_first_write(store: Store) -> None:
    assert store.read(100) is None
    with pytest.raises(FileNotFoundError):
        store.touch()
    with pytest.raises(FileNotFoundError):
        store.set_aside("damaged-1")


def test_what_was_written_last_is_there_whole(store: Store) -> None:
    for data in (b"first, and longer", b"second"):
        store.write(data)
        found = store.read(100)
        assert found is not None
        assert found.data == data


def test_no_more_is_read_than_tells_that_it_is_too_much(store: Store) -> None:
    store.write(b"0123456789")
    found = store.read(4)
    assert found is not None
    assert found.data == b"01234"


def test_what_is_appended_follows_what_was_written_and_a_write_begins_anew(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.append(b"nowhere")
    assert store.read(100) is None
    store.write(b"one ")
    store.append(b"two ")
    store.append(b"three")
    found = store.read(100)
    assert found is not None
    assert found.data == b"one two three"
    store.write(b"four")
    found = store.read(100)
    assert found is not None
    assert found.data == b"four"


def test_what_is_set_aside_is_out_of_the_way_and_the_newest_few_damaged_ones_stay(store: Store) -> None:
    names = []
    for number in range(ASIDE_MAX + 2):
        store.write(b"damaged")
        names.append(store.set_aside(f"damaged-{number}"))
        assert store.read(100) is None
    assert [name.name for name in names][-1] == f"state.json.damaged-{ASIDE_MAX + 1}"
    assert all(name.parent == store.path.parent for name in names)


def test_a_folder_keeps_the_newest_damaged_files_and_every_newer_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number in range(ASIDE_MAX + 2):
        for suffix in (f"damaged-{number}", "newer"):
            folder.write(suffix.encode())
            folder.set_aside(suffix)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"state.json.newer", *(f"state.json.damaged-{n}" for n in range(2, ASIDE_MAX + 2))}


def test_a_folder_and_its_file_are_nobody_elses_business(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "state")
    folder.write(b"x")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700


def test_a_writer_that_died_in_the_middle_left_the_old_file_and_does_not_hinder_the_next(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(b"old")
    (tmp_path / "state.json.new").write_bytes(b"ha")
    found = folder.read(100)
    assert found is not None
    assert found.data == b"old"
    folder.write(b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"state.json"}


def test_two_files_of_a_folder_do_not_know_each_other(tmp_path: Path) -> None:
    state, journal = Folder(tmp_path), Folder(tmp_path, JOURNAL)
    state.write(b"state")
    journal.write(b"journal")
    for number in range(ASIDE_MAX + 1):
        journal.write(b"journal")
        journal.set_aside(f"damaged-{number}")
    state.set_aside("damaged-0")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"state.json.damaged-0", *(f"history.jsonl.damaged-{n}" for n in range(1, ASIDE_MAX + 1))}


def test_a_link_is_not_followed_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder, secret = Folder(tmp_path / "state"), tmp_path / "secret"
    secret.write_bytes(b"secret")
    folder.folder.mkdir()
    folder.path.symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        folder.read(100)
    with pytest.raises(OSError, match="symbolic"):
        folder.append(b"more")
    folder.write(b"new")
    assert secret.read_bytes() == b"secret"
    assert not folder.path.is_symlink()
    folder.path.unlink()
    os.mkfifo(folder.path)
    with pytest.raises(OSError, match="no regular file"):
        folder.read(100)
    with pytest.raises(OSError, match="No such device or address"):
        folder.append(b"nobody reads this")


def test_a_folder_that_cannot_be_made_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        Folder(tmp_path / "file" / "state").write(b"x")
