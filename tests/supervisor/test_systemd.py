"""systemd.Notifier against a real notification socket."""

import os
import pathlib
import resource
import socket
import time

import pytest

from supervisor.systemd import Notifier


def listening(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    listener.settimeout(5)
    return listener


def test_without_a_socket_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.status("fine")
    notifier.reloading()
    notifier.watchdog()
    notifier.stopping()
    assert notifier.watchdog_period_s is None


def test_every_message_arrives_in_systemds_words(tmp_path: pathlib.Path) -> None:
    with listening(str(tmp_path / "notify")) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        notifier.ready()
        assert manager.recv(1000) == f"READY=1\nMAINPID={os.getpid()}".encode()
        notifier.status("1 virtual server,\n2/2 up")
        assert manager.recv(1000) == b"STATUS=1 virtual server, 2/2 up"
        notifier.watchdog()
        assert manager.recv(1000) == b"WATCHDOG=1"
        notifier.stopping()
        assert manager.recv(1000) == b"STOPPING=1"


def test_a_status_is_told_once_until_there_is_another(tmp_path: pathlib.Path) -> None:
    with listening(str(tmp_path / "notify")) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for text in ("2 up", "2 up", "1 up", "2 up"):
            notifier.status(text)
        assert [manager.recv(1000) for _ in range(3)] == [b"STATUS=2 up", b"STATUS=1 up", b"STATUS=2 up"]
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1000)


def test_a_status_that_was_not_taken_is_told_again(tmp_path: pathlib.Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.status("2 up")  # nobody is there yet
    with listening(str(tmp_path / "notify")) as manager:
        notifier.status("2 up")
        assert manager.recv(1000) == b"STATUS=2 up"


def test_a_reload_carries_the_monotonic_clock(tmp_path: pathlib.Path) -> None:
    with listening(str(tmp_path / "notify")) as manager:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).reloading()
        first, second = manager.recv(1000).decode().split("\n")
        assert first == "RELOADING=1"
        assert second.startswith("MONOTONIC_USEC=")
        assert before <= int(second.split("=")[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_an_abstract_socket_is_reached() -> None:
    name = f"vipervisor-test-{os.getpid()}"
    with listening("\0" + name) as manager:
        Notifier({"NOTIFY_SOCKET": "@" + name}).watchdog()
        assert manager.recv(1000) == b"WATCHDOG=1"


def test_children_do_not_inherit_the_socket(tmp_path: pathlib.Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier(environ)
    assert environ == {"HOME": "/"}


def test_the_watchdogs_period_is_known_in_seconds() -> None:
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_period_s == 10.0
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}).watchdog_period_s is None


def test_a_manager_that_does_not_read_stops_nobody(tmp_path: pathlib.Path) -> None:
    with listening(str(tmp_path / "notify")):
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        begin = time.monotonic()
        for _ in range(5000):
            notifier.watchdog()
        assert time.monotonic() - begin < 5
    notifier.ready()  # and neither does one that is gone


def test_without_a_descriptor_left_the_watchdog_is_fed_all_the_same(tmp_path: pathlib.Path) -> None:
    with listening(str(tmp_path / "notify")) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            notifier.watchdog()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert manager.recv(1000) == b"WATCHDOG=1"
