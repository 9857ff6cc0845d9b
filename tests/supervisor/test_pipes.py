"""Named pipes: made where they are missing, for whom the file says, and never in anybody's way."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.model import Fifo
from supervisor.pipes import open_pipe

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a pipe for somebody else")


def test_a_missing_pipe_is_made_for_us_alone_and_removed_again(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    pipe = open_pipe(Fifo(str(path)))
    found = path.stat()
    assert (stat.S_ISFIFO(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid) == (True, 0o600, os.geteuid())
    pipe.close()
    assert not path.exists()


def test_a_pipe_that_was_there_is_used_as_it_is_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o640)
    open_pipe(Fifo(str(path))).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_lines_wait_for_a_reader_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    pipe = open_pipe(Fifo(str(path)))
    assert pipe.write(b"VS a UP\n")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(reader, 100) == b"VS a UP\n"
    os.close(reader)
    pipe.close()


def test_a_full_pipe_takes_no_more_and_blocks_nobody(tmp_path: Path) -> None:
    pipe = open_pipe(Fifo(str(tmp_path / "fifo")))
    written = 0
    while pipe.write(b"x" * 1023 + b"\n"):
        written += 1
    assert written == 64
    pipe.close()


def test_what_is_no_pipe_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="it is no named pipe"):
        open_pipe(Fifo(str(path)))
    link = tmp_path / "link"
    os.mkfifo(tmp_path / "fifo")
    link.symlink_to(tmp_path / "fifo")
    with pytest.raises(OSError, match="it is no named pipe"):
        open_pipe(Fifo(str(link)))
    assert path.read_text() == "precious"


def test_a_pipe_that_somebody_put_in_the_place_of_ours_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    pipe = open_pipe(Fifo(str(path)))
    path.unlink()
    path.write_text("theirs")
    pipe.close()
    assert path.read_text() == "theirs"


def test_an_owner_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no such owner: no_such_user"):
        open_pipe(Fifo(str(tmp_path / "fifo"), "no_such_user"))
    assert list(tmp_path.iterdir()) == []


@as_root
@pytest.mark.parametrize("group", ["", "nogroup"])
def test_a_pipe_belongs_to_the_owner_that_the_file_names(tmp_path: Path, group: str) -> None:
    daemon = pwd.getpwnam("daemon")
    pipe = open_pipe(Fifo(str(tmp_path / "fifo"), "daemon", group))
    found = (tmp_path / "fifo").stat()
    assert (found.st_uid, found.st_gid) == (daemon.pw_uid, 65534 if group else daemon.pw_gid)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]
    pipe.close()
    assert list(tmp_path.iterdir()) == []


@as_root
@pytest.mark.parametrize("there", [False, True], ids=["made", "found"])
def test_the_capabilities_that_the_daemon_keeps_are_enough(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "fifo"
    if there:
        os.mkfifo(path, 0o600)
        shutil.chown(path, "daemon")
    code = (
        "from checkers.kit import cage\nfrom supervisor.launch import KEPT\nfrom supervisor.model import Fifo\n"
        "from supervisor.pipes import open_pipe\ncage.keep_only(KEPT)\n"
        f"pipe = open_pipe(Fifo({str(path)!r}, 'daemon'))\n"
        f"import os\nprint(os.stat({str(path)!r}).st_uid, pipe.write(b'x'), os.geteuid())\npipe.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == f"{pwd.getpwnam('daemon').pw_uid} True 0\n", done.stderr
    assert path.exists() is there
