"""One writer to a table: real sockets, because the name is the kernel's business."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from supervisor.ipvs import sole
from supervisor.ipvs.sole import Squatter, TableTaken


@pytest.fixture(autouse=True)
def own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs on this machine has nothing to do with it."""
    monkeypatch.setattr(sole, "NAME", f"\0vipervisor test {os.getpid()}")


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the name."""
    code = f"from supervisor.ipvs import sole; sole.NAME = {sole.NAME!r}; m = sole.take(); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert _stream(process.stdout).readline() == b"held\n"
        yield process
        process.kill()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def status(proc: Path, pid: int, capabilities: str) -> Path:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "status").write_text(f"Name:\tx\nCapPrm:\t0\nCapEff:\t{capabilities}\nCapBnd:\t0\n")
    return proc


def test_difference_second_instance_does_not_start(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    proc = status(tmp_path, holder.pid, "0000000000001000")
    with pytest.raises(TableTaken, match=rf"another vipervisor \(process {holder.pid}\) writes .* --dry-run"):
        sole.take(proc)


def test_a_holder_whose_rights_are_not_to_be_seen_counts(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    assert holder.poll() is None
    with pytest.raises(TableTaken):
        sole.take(tmp_path)


def test_who_cannot_write_a_table_keeps_nobody_from_starting(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    proc = status(tmp_path, holder.pid, "000001ffffffefff")
    assert sole.take(proc) == Squatter(holder.pid, os.getuid())


def test_the_mark_is_free_again_as_soon_as_its_holder_is_killed(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    for _ in range(2):
        mark = sole.take()
        assert not isinstance(mark, Squatter)
        mark.close()


def test_many_who_ask_do_not_hide_that_the_table_is_taken(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    proc = status(tmp_path, holder.pid, "0000000000001000")
    for _ in range(20):
        with pytest.raises(TableTaken):
            sole.take(proc)


def test_the_mark_does_not_outlive_us_in_a_child() -> None:
    mark = sole.take()
    assert not isinstance(mark, Squatter)
    with mark:
        assert not os.get_inheritable(mark.fileno())
