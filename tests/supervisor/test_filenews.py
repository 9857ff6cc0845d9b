"""What the kernel tells of files, with its real news: every way in which a file becomes another."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from supervisor import filenews
from supervisor.filenews import KernelFiles

PATIENCE_S = 20.0


class Heard:
    """What was told, piece by piece."""

    def __init__(self) -> None:
        self.news = list[tuple[str, ...]]()
        self._something = trio.Event()

    def changed(self, files: Collection[str]) -> int:
        self.news.append(tuple(files))
        self._something.set()
        return len(files)

    async def next(self) -> tuple[str, ...]:
        """Wait for the next piece and return it."""
        with trio.fail_after(PATIENCE_S):
            while not self.news:
                self._something = trio.Event()
                await self._something.wait()
        return self.news.pop(0)


def listen(files: Callable[[], Collection[str]], part: Callable[[KernelFiles, Heard], Awaitable[None]]) -> None:
    """Have `part` play while somebody watches; the first piece of news, of all files, is heard already."""

    async def main() -> None:
        port, heard = KernelFiles(), Heard()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.watch, files, heard.changed)
            assert await heard.next() == tuple(files())
            await part(port, heard)
            nursery.cancel_scope.cancel()

    trio.run(main)


def replace(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("2\n")
    new.replace(path)


def write(path: Path) -> None:
    path.write_text("2\n")


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("2\n")


def move_away(path: Path) -> None:
    path.rename(path.with_name("away"))


CHANGES = (write, append, replace, Path.unlink, move_away)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("linked", [False, True])
def test_whoever_watches_a_file_hears_of_each_change_and_of_no_other_file(
    tmp_path: Path, change: Callable[[Path], None], linked: bool
) -> None:
    real, name = tmp_path / "there" / "real", tmp_path / "load"
    real.parent.mkdir()
    (name if not linked else real).write_text("1\n")
    if linked:
        name.symlink_to(real)

    async def part(_port: KernelFiles, heard: Heard) -> None:
        (tmp_path / "other").write_text("1\n")
        change(real if linked else name)
        assert await heard.next() == (str(name),)

    listen(lambda: (str(name),), part)


def test_a_file_that_is_not_there_yet_is_heard_of_when_it_comes(tmp_path: Path) -> None:
    async def part(_port: KernelFiles, heard: Heard) -> None:
        (tmp_path / "load").write_text("1\n")
        assert await heard.next() == (str(tmp_path / "load"),)

    listen(lambda: (str(tmp_path / "load"),), part)


def test_names_that_lead_nowhere_or_cannot_be_leave_the_others_watched(tmp_path: Path) -> None:
    loop, good = tmp_path / "loop", tmp_path / "load"
    loop.symlink_to(loop)

    async def part(_port: KernelFiles, heard: Heard) -> None:
        good.write_text("1\n")
        assert await heard.next() == (str(good),)
        loop.unlink()
        assert await heard.next() == (str(loop),)

    listen(lambda: (str(loop), "/nowhere/\0", str(good)), part)


def test_other_files_are_watched_after_a_new_configuration_and_the_old_ones_no_more(tmp_path: Path) -> None:
    wanted = [str(tmp_path / "one")]

    async def part(port: KernelFiles, heard: Heard) -> None:
        wanted[:] = [str(tmp_path / "other")]
        port.look_again()
        assert await heard.next() == (str(tmp_path / "other"),)
        (tmp_path / "one").write_text("1\n")
        (tmp_path / "other").write_text("1\n")
        assert await heard.next() == (str(tmp_path / "other"),)
        wanted.clear()
        port.look_again()
        await trio.testing.wait_all_tasks_blocked()
        wanted.append(str(tmp_path / "one"))
        port.look_again()
        assert await heard.next() == (str(tmp_path / "one"),)

    listen(lambda: tuple(wanted), part)


def test_a_folder_that_goes_and_comes_again_is_watched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filenews, "AGAIN_S", 0.2)
    file = tmp_path / "there" / "load"
    file.parent.mkdir()
    file.write_text("1\n")

    async def part(_port: KernelFiles, heard: Heard) -> None:
        file.unlink()
        assert await heard.next() == (str(file),)
        file.parent.rmdir()
        assert await heard.next() == (str(file),)  # nobody knows what was missed
        file.parent.mkdir()
        assert await heard.next() == (str(file),)
        heard.news.clear()
        file.write_text("2\n")
        assert await heard.next() == (str(file),)

    listen(lambda: (str(file),), part)


def test_where_nothing_can_be_watched_nobody_is_told_and_nothing_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoWatches:
        @staticmethod
        def inotify_init1(_flags: int) -> int:
            return -1

    monkeypatch.setattr(filenews, "_libc", NoWatches)

    async def part(_port: KernelFiles, heard: Heard) -> None:
        (tmp_path / "load").write_text("1\n")
        await trio.sleep(0.2)
        assert heard.news == []

    listen(lambda: (str(tmp_path / "load"),), part)


def test_when_the_kernel_had_more_than_it_keeps_all_files_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = tmp_path / "load", tmp_path / "other"
    overflow = filenews._EVENT.pack(-1, 0x4000, 0, 0)

    async def part(_port: KernelFiles, heard: Heard) -> None:
        monkeypatch.setattr(os, "read", lambda _descriptor, _bytes: overflow)
        file.write_text("1\n")
        assert await heard.next() == (str(file), str(other))
        monkeypatch.undo()

    listen(lambda: (str(file), str(other)), part)


def test_a_file_that_never_rests_is_told_of_a_few_times_a_second(tmp_path: Path) -> None:
    file = tmp_path / "load"

    async def part(_port: KernelFiles, heard: Heard) -> None:
        begun = trio.current_time()
        for number in range(200):
            file.write_text(f"{number}\n")
            await trio.lowlevel.checkpoint()
        assert await heard.next() == (str(file),)
        await trio.sleep(0.25)
        assert len(heard.news) <= (trio.current_time() - begun) / filenews.REST_MIN_S + 1

    listen(lambda: (str(file),), part)
