"""LogWriter on real pipes, above all on one that nobody reads."""

import contextlib
import fcntl
import json
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from supervisor.log import Log, LogWriter, Sink, open_log

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 65536):
        data += chunk
    return data


def reading(fd: int) -> tuple[threading.Thread, list[bytes]]:
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.append(read_all(fd)))
    thread.start()
    return thread, seen


def fill(fd: int) -> None:
    """Fill a pipe with blank lines, so that the first line of the log finds it full already."""
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(fd, b"\n" * 4096):
            pass
    os.set_blocking(fd, True)


def test_a_reader_that_never_reads_stops_nobody(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    writer = LogWriter(fd, capacity_bytes=1 << 20, environ={})
    begin = time.monotonic()
    for _ in range(50_000):
        writer(LINE, "info")
    assert time.monotonic() - begin < 5
    assert writer.dropped > 30_000
    assert not writer.close(0.05), "it says that not everything was written"
    os.close(reader)
    writer._thread.join(10)  # nobody can read any more: it gives up the rest
    assert not writer._thread.is_alive()


def test_debug_is_refused_first_then_info_then_warnings_and_edges_and_errors_keep_a_reserve(
    pipe: tuple[int, int],
) -> None:
    reader, fd = pipe
    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)
    fill(fd)  # else some lines leave the queue, and when is the scheduler's business
    writer = LogWriter(fd, capacity_bytes=100_000, environ={})

    def accepted(put: Sink, level: str, tries: int = 2000) -> int:
        before = writer.dropped
        for _ in range(tries):
            put(LINE, level)
        return tries - (writer.dropped - before)

    debug, info, warning = (accepted(writer, level) for level in ("debug", "info", "warning"))
    edges = accepted(writer.keep, "info", 60)  # that somebody is UP is information, and yet not chatter
    error = accepted(writer, "error")
    assert 480 <= debug <= 560  # half of the queue, and what its writer holds
    assert 230 <= info <= 270
    assert 110 <= warning <= 140
    assert edges == 60
    assert 50 <= error <= 70
    assert accepted(writer.keep, "error") == 0
    os.close(reader)
    assert not writer.close(5)


def test_after_the_jam_everything_kept_comes_out_and_the_loss_is_told_once(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    fill(fd)
    log, writer = open_log("json", fd, environ={}, lowest="debug")
    for number in range(60_000):
        log.emit("worker.started", "Chatter.", worker_pid=number)
    log.emit("config.rejected", "This one must arrive.")
    lost = writer.dropped
    assert lost > 0
    thread, seen = reading(reader)
    deadline = time.monotonic() + 20
    while writer._tally.reported_lines < lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert writer.close(10)
    os.close(fd)
    thread.join(10)
    told = [json.loads(line) for line in seen[0].splitlines() if line]
    assert [line["worker_pid"] for line in told if line["event"] == "worker.started"] == list(range(60_000 - lost))
    assert [line["message"] for line in told if line["event"] == "config.rejected"] == ["This one must arrive."]
    (dropped,) = (line for line in told if line["event"] == "log.dropped")
    assert (dropped["count"], dropped["warnings"]) == (lost, 0)
    assert 0 < dropped["since_s"] < 60


def test_close_writes_what_is_queued(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    thread, seen = reading(reader)
    writer = LogWriter(fd, environ={})
    for number in range(3000):
        writer(b"%d\n" % number, "info")
    assert writer.close(10)
    os.close(fd)
    thread.join(10)
    assert seen[0].split() == [b"%d" % number for number in range(3000)]


def test_what_was_lost_is_the_last_word_when_the_program_ends_in_a_jam(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    fill(fd)
    log, writer = open_log("json", fd, environ={}, lowest="debug")
    for number in range(60_000):
        log.emit("worker.started", "Chatter.", worker_pid=number)
    log.emit("daemon.stopped", "An edge, and so it is kept.")
    lost = writer.dropped
    thread, seen = reading(reader)
    assert writer.close(20)
    os.close(fd)
    thread.join(20)
    told = [json.loads(line) for line in seen[0].splitlines() if line]
    assert sum(line["count"] for line in told if line["event"] == "log.dropped") == lost > 0
    assert {"log.dropped", "daemon.stopped"} <= {
        line["event"] for line in told[-1000:] if line["event"] != "worker.started"
    }


def test_a_reader_that_is_gone_costs_only_lines(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    os.close(reader)
    writer = LogWriter(fd, environ={}, on_drained=lambda _lost: pytest.fail("nobody can hear it"))
    for _ in range(10):
        writer(LINE, "error")
    assert not writer.close(5)
    assert writer.dropped == 10


def test_a_nonblocking_descriptor_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    os.set_blocking(fd, False)
    writer = LogWriter(fd, environ={})
    for _ in range(5000):
        writer(LINE, "info")
    thread, seen = reading(reader)
    assert writer.close(10)
    os.close(fd)
    thread.join(10)
    assert seen[0] == LINE * 5000


def test_journald_gets_the_priority_in_front(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "journal").open("wb") as out:
        status = os.fstat(out.fileno())
        writer = LogWriter(out.fileno(), environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        for level in ("debug", "info", "warning", "error"):
            writer(b"{}\n", level)
        assert writer.close(5)
    assert (tmp_path / "journal").read_bytes() == b"<7>{}\n<6>{}\n<4>{}\n<3>{}\n"


def test_a_stream_that_is_not_the_journals_gets_no_priority(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "file").open("wb") as out:
        writer = LogWriter(out.fileno(), environ={"JOURNAL_STREAM": "1:2"})
        writer(b"{}\n", "error")
        assert writer.close(5)
    assert (tmp_path / "file").read_bytes() == b"{}\n"


def test_many_threads_may_log_at_once(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    writer = LogWriter(fd, environ={})
    log = Log(writer, wall_clock=lambda: datetime.now(UTC), strict=True)
    thread, seen = reading(reader)

    def chatter() -> None:
        for _ in range(200):
            log.emit("daemon.ready", "Ready.")

    threads = [threading.Thread(target=chatter) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert writer.close(10)
    os.close(fd)
    thread.join(10)
    assert sorted(json.loads(line)["seq"] for line in seen[0].splitlines()) == list(range(1, 801))
