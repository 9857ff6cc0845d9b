"""What can be said of a program's file without running it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import programs

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="what belongs to root is made by root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's whose way down is root's too."""
    path = Path(f"/run/vipervisor-{os.getpid()}-{os.urandom(4).hex()}")
    path.mkdir(mode=0o755)
    yield path
    for each in sorted(path.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()
    path.rmdir()


def program(path: Path, mode: int = 0o755) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_a_name_is_the_first_executable_of_that_name(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    program(tmp_path / "a" / "x", 0o644)
    program(tmp_path / "b" / "x")
    program(tmp_path / "c" / "x")
    assert programs.find("x", f"{tmp_path}/a::{tmp_path}/b:{tmp_path}/c") == f"{tmp_path}/b/x"
    assert programs.find("y", str(tmp_path)) == ""
    assert programs.find("/no/x", str(tmp_path)) == "/no/x"


@as_root
def test_what_only_root_can_change_is_nobodys_else(folder: Path) -> None:
    assert programs.changeable(str(program(folder / "x"))) == ""


@as_root
@pytest.mark.parametrize(
    ("mode", "group", "why"),
    [(0o757, 0, "everybody"), (0o775, 65534, "group 65534"), (0o775, 0, ""), (0o755, 65534, "")],
)
def test_a_file_is_changeable_by_its_mode(folder: Path, mode: int, group: int, why: str) -> None:
    path = program(folder / "x")
    os.chown(path, 0, group)
    path.chmod(mode)
    assert why in programs.changeable(str(path))
    assert bool(programs.changeable(str(path))) == bool(why)


@as_root
def test_every_folder_on_the_way_counts_and_links_do_not_hide_one(folder: Path) -> None:
    open_folder = folder / "open"
    open_folder.mkdir()
    program(open_folder / "x")
    (folder / "link").symlink_to("open/x")
    (folder / "folder-link").symlink_to(open_folder)
    ways = [open_folder / "x", folder / "link", folder / "folder-link" / "x", folder / "no" / ".." / "open" / "x"]
    (folder / "no").mkdir()
    assert {programs.changeable(str(way)) for way in ways} == {""}
    open_folder.chmod(0o777)
    assert {programs.changeable(str(way)) for way in ways} == {f"{open_folder} can be written by everybody"}
    open_folder.chmod(0o1777)
    assert {programs.changeable(str(way)) for way in ways} == {""}, "with the sticky bit nobody renames what is root's"
    os.chown(open_folder, 65534, 0)
    assert {programs.changeable(str(way)) for way in ways} == {f"{open_folder} belongs to another user (uid 65534)"}


@as_root
def test_links_that_lead_in_a_circle_end(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    assert programs.changeable(str(folder / "a")).endswith("too many symbolic links")
