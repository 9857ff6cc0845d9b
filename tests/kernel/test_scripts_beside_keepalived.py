"""The same file, the same faults, Debian's keepalived beside us: the same scripts run, the same lines are in the named pipes.

Each program has its own copy of the file, in which the scripts write to a log of its own. Lines are compared in their order for each
virtual server; scripts run at the same time, so of those only what ran between two settled states is compared.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kernel.daemon import Daemon
from tests.kernel.lab import Lab, ip_batch, wait_until

SETTLED_WITHIN_S = 20.0

HEAD = """global_defs {{
  router_id LVS
  script_user root
  notify_fifo {place}/all.fifo
  lvs_notify_fifo {place}/lvs.fifo
  startup_script "{place}/say startup"
  shutdown_script "{place}/say shutdown"
}}
virtual_server_group web {{
  203.0.113.110-111 80
  fwmark 9
}}
"""
BLOCK = """virtual_server {head} {{
  delay_loop 1
  warmup 0
  lb_algo rr
  lb_kind NAT
  {more}
  omega
  quorum_up "{place}/say {name} gained"
  quorum_down "{place}/say {name} lost"
{servers}}}
"""
SERVER = """  real_server {address} 80 {{
    weight 1
    notify_up "{place}/say {name} up {address}"
    notify_down "{place}/say {name} down {address}"
    TCP_CHECK {{
      connect_timeout 1
      retry 0
    }}
  }}
"""
FIRST, SECOND = "192.168.100.21", "192.168.100.22"
PLAIN, MARK, GROUP, SIX = "[203.0.113.100]:tcp:80", "FWM 7", "[web]:0", "[fd00::1]:tcp:80"


def block(place: Path, name: str, head: str, more: str, *addresses: str) -> str:
    servers = "".join(SERVER.format(place=place, name=name, address=address) for address in addresses)
    return BLOCK.format(place=place, name=name, head=head, more=more, servers=servers)


def file(place: Path, *plain: str) -> str:
    return (
        HEAD.format(place=place)
        + block(place, "plain", "203.0.113.100 80", "protocol TCP\n  sorry_server 192.168.100.20 80", *plain)
        + block(place, "mark", "fwmark 7", "", FIRST)
        + block(place, "group", "group web", "protocol TCP", SECOND)
        + block(place, "six", "fd00::1 80", "protocol TCP", "fd00::21")
    )


class Reader(threading.Thread):
    """Reads a named pipe, also one that takes the place of another."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self._path = path
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        descriptor, rest = -1, b""
        while not self._stop_wanted.is_set():
            try:
                if descriptor < 0 or self._path.stat().st_ino != os.fstat(descriptor).st_ino:
                    following = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
                    if descriptor >= 0:
                        rest = self._take(descriptor, rest)
                        os.close(descriptor)
                    descriptor = following
            except OSError:
                pass  # it is not there, yet or any more
            if descriptor >= 0:
                select.select([descriptor], [], [], 0.02)
                rest = self._take(descriptor, rest)
            self._stop_wanted.wait(0.01)

    def _take(self, descriptor: int, rest: bytes) -> bytes:
        try:
            *lines, rest = (rest + os.read(descriptor, 65536)).split(b"\n")
        except BlockingIOError:
            return rest
        self.lines.extend(line.decode() for line in lines)
        return rest

    def stop(self) -> None:
        self._stop_wanted.set()
        self.join()


@dataclass
class Side:
    """One program's lab and what its scripts and pipes said."""

    lab: Lab
    place: Path
    pipes: dict[str, Reader] = field(default_factory=dict)

    def prepare(self) -> Path:
        """Write script and file, and return the file."""
        script = self.place / "say"
        script.write_text(f'#!/bin/sh\necho "$*" >>{self.place}/said\n')
        script.chmod(0o755)
        (self.place / "said").touch()
        self.configure(FIRST, SECOND)
        for name in ("all", "lvs"):
            self.pipes[name] = Reader(self.place / f"{name}.fifo")
            self.pipes[name].start()
        return self.place / "keepalived.conf"

    def configure(self, *plain: str) -> None:
        (self.place / "keepalived.conf").write_text(file(self.place, *plain))

    def said(self) -> list[str]:
        return (self.place / "said").read_text().splitlines()

    def told(self, virtual_server: str, pipe: str = "all") -> list[str]:
        """The lines about one virtual server, which is the last or the last but one word of a line."""
        return [line for line in self.pipes[pipe].lines if f" {virtual_server} " in line]


@dataclass
class Pair:
    """Both programs."""

    ours: Side
    theirs: Side
    reload: Callable[[], None]
    stop: Callable[[], None]
    lines: int = 0  # about the plain virtual server, that each must have said by now
    scripts: int = 0  # the same of scripts

    def both(self, act: Callable[[Lab], None]) -> None:
        act(self.ours.lab)
        act(self.theirs.lab)

    def settle(self, lines: int, scripts: int) -> None:
        """Wait until each has said so much more of the plain virtual server, and both have said the same in all."""
        self.lines += lines
        self.scripts += scripts
        wait_until(f"{self.lines} lines from each", lambda: self._have_said(self.lines), SETTLED_WITHIN_S)
        try:
            wait_until("both have run the same", lambda: self._same() and self._enough(), SETTLED_WITHIN_S)
        except TimeoutError as error:
            error.add_note(f"ours {sorted(self.ours.said())}\ntheirs {sorted(self.theirs.said())}")
            raise
        self.compare_lines()

    def compare_lines(self) -> None:
        """Every line must be the same for each virtual server, in both pipes."""
        for virtual_server in (PLAIN, MARK, GROUP, SIX):
            for pipe in ("all", "lvs"):
                assert self.ours.told(virtual_server, pipe) == self.theirs.told(virtual_server, pipe)

    def _have_said(self, lines: int) -> bool:
        return min(len(self.ours.told(PLAIN)), len(self.theirs.told(PLAIN))) >= lines

    def _same(self) -> bool:
        return sorted(self.ours.said()) == sorted(self.theirs.said())

    def _enough(self) -> bool:
        return sum(line.startswith("plain") for line in self.ours.said()) >= self.scripts


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        sides = []
        for name in ("our", "their"):
            (directory / name).mkdir()
            lab = stack.enter_context(Lab(directory / name, f"{name}-"))
            lab.start_all_web()
            ip_batch(lab.director, ["addr add fd00::fe/64 dev eth1 nodad"])
            ip_batch(f"{name}-rs21", ["addr add fd00::21/64 dev eth0 nodad"])  # it is there, and nothing listens
            sides.append(Side(lab, directory / name))
        ours, theirs = sides
        our_file, their_file = ours.prepare(), theirs.prepare()
        for side in sides:
            for reader in side.pipes.values():
                stack.callback(reader.stop)
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(their_file), *pids]
        keepalived = theirs.lab.start(theirs.lab.director, command, "keepalived.log")
        daemon = Daemon(ours.lab, our_file)

        def reload() -> None:
            daemon.reload()
            keepalived.send_signal(1)

        def stop() -> None:
            theirs.lab.stop(keepalived)
            daemon.stop()

        yield Pair(ours, theirs, reload, stop)


def test_at_the_start_every_quorum_is_told_and_then_what_is_dead(pair: Pair) -> None:
    pair.settle(lines=1, scripts=1)
    wait_until("the dead one is told", lambda: len(pair.ours.told(SIX)) == len(pair.theirs.told(SIX)) == 3, within=30)
    pair.settle(lines=0, scripts=0)
    assert pair.ours.said()[0] == pair.theirs.said()[0] == "startup"
    assert pair.ours.told(PLAIN) == [f"VS {PLAIN} UP"]
    assert pair.ours.told(SIX) == [f"VS {SIX} UP", f"RS [fd00::21]:tcp:80 {SIX} DOWN", f"VS {SIX} DOWN"]


def test_one_dead_server_is_told_and_takes_a_group_with_it(pair: Pair) -> None:
    pair.both(lambda lab: lab.kill_web(22))
    wait_until("the group is told", lambda: len(pair.ours.told(GROUP)) == len(pair.theirs.told(GROUP)) == 3, within=30)
    pair.settle(lines=1, scripts=1)
    assert pair.ours.told(GROUP) == [f"VS {GROUP} UP", f"RS [{SECOND}]:tcp:80 {GROUP} DOWN", f"VS {GROUP} DOWN"]


def test_the_last_dead_server_takes_the_quorum_with_it(pair: Pair) -> None:
    pair.both(lambda lab: lab.kill_web(21))
    wait_until("the mark is told", lambda: len(pair.ours.told(MARK)) == len(pair.theirs.told(MARK)) == 3, within=30)
    pair.settle(lines=2, scripts=2)
    assert pair.ours.told(PLAIN)[-2:] == [f"RS [{FIRST}]:tcp:80 {PLAIN} DOWN", f"VS {PLAIN} DOWN"]
    assert pair.ours.told(MARK) == [f"VS {MARK} UP", f"RS [{FIRST}]:none:80 {MARK} DOWN", f"VS {MARK} DOWN"]


def test_recovery_is_told_server_first(pair: Pair) -> None:
    pair.both(lambda lab: lab.start_web(22))
    wait_until("the group is told", lambda: len(pair.ours.told(GROUP)) == len(pair.theirs.told(GROUP)) == 5, within=30)
    pair.settle(lines=2, scripts=2)
    pair.both(lambda lab: lab.start_web(21))
    wait_until("the mark is told", lambda: len(pair.ours.told(MARK)) == len(pair.theirs.told(MARK)) == 5, within=30)
    pair.settle(lines=1, scripts=1)
    assert pair.ours.told(PLAIN)[-3:-1] == [f"RS [{SECOND}]:tcp:80 {PLAIN} UP", f"VS {PLAIN} UP"]


def test_a_server_that_a_reload_takes_out_goes_down(pair: Pair) -> None:
    pair.ours.configure(FIRST)
    pair.theirs.configure(FIRST)
    pair.reload()
    pair.settle(lines=1, scripts=1)
    assert pair.ours.told(PLAIN)[-1] == f"RS [{SECOND}]:tcp:80 {PLAIN} DOWN"


def test_at_the_stop_omega_tells_the_servers_and_then_the_quorum(pair: Pair) -> None:
    before = len(pair.ours.said())
    pair.stop()
    wait_until("two more lines from each", lambda: pair._have_said(pair.lines + 2), SETTLED_WITHIN_S)
    pair.compare_lines()
    assert pair.ours.told(PLAIN)[-2:] == [f"RS [{FIRST}]:tcp:80 {PLAIN} DOWN", f"VS {PLAIN} DOWN"]
    assert pair.ours.told(SIX)[-1] == f"VS {SIX} DOWN", "it was down already, and is told once more"
    assert pair.ours.said()[-1] == pair.theirs.said()[-1] == "shutdown"
    assert sorted(pair.ours.said()[before:-1]) == sorted(
        [
            f"plain down {FIRST}",
            "plain lost",
            f"mark down {FIRST}",
            "mark lost",
            f"group down {SECOND}",
            "group lost",
            "six lost",
        ]
    )
    assert set(pair.theirs.said()) <= set(pair.ours.said()), (
        "keepalived ends some of its scripts before they have begun"
    )
    assert [*pair.ours.place.glob("*.fifo"), *pair.theirs.place.glob("*.fifo")] == []
