"""The same file, the same faults at the same time, Debian's keepalived beside us: the tables must be equal whenever both have settled.

Two directors with the same addresses in one kernel that cannot see each other. The virtual address is left out of the comparison:
keepalived assigns none from this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, Lab, wait_until
from tests.kernel.postbox import Postbox

SORRY, FIRST, SECOND = "192.168.100.20:80", "192.168.100.21:80", "192.168.100.22:80"
SETTLED_WITHIN_S = 20


@dataclass(frozen=True)
class Pair:
    """Our lab and keepalived's."""

    ours: Lab
    theirs: Lab
    our_mails: Postbox
    their_mails: Postbox
    stop: Callable[[], None]

    def both(self, act: Callable[[Lab], None]) -> None:
        act(self.ours)
        act(self.theirs)

    def settle(self, weights: dict[str, int]) -> None:
        """Wait until each has these weights; then each must print the same for `ipvsadm -Sn`, to the letter."""
        wait_until(f"vipervisor: {weights}", lambda: self.ours.table.weights() == weights, SETTLED_WITHIN_S)
        wait_until(f"keepalived: {weights}", lambda: self.theirs.table.weights() == weights, SETTLED_WITHIN_S)
        assert self.ours.rules() == self.theirs.rules()


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[Pair]:
    (directory / "ours").mkdir()
    (directory / "theirs").mkdir()
    with ExitStack() as stack:
        ours = stack.enter_context(Lab(directory / "ours", "our-"))
        theirs = stack.enter_context(Lab(directory / "theirs", "their-"))
        our_mails, their_mails = Postbox(ours.clients), Postbox(theirs.clients)
        stack.callback(our_mails.close)
        stack.callback(their_mails.close)
        ours.start_all_web()
        theirs.start_all_web()
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(ARTICLE), *pids]
        keepalived = theirs.start(theirs.director, command, "keepalived.log")
        daemon = Daemon(ours, ARTICLE)

        def stop() -> None:
            theirs.stop(keepalived)
            daemon.stop()

        yield Pair(ours, theirs, our_mails, their_mails, stop)


def test_the_tables_are_equal_at_the_start(pair: Pair) -> None:
    pair.settle({FIRST: 1, SECOND: 1})


def test_the_tables_are_equal_when_one_server_is_dead(pair: Pair) -> None:
    pair.both(lambda lab: lab.kill_web(22))
    pair.settle({FIRST: 1, SECOND: 0})


def test_the_tables_are_equal_when_both_are_dead(pair: Pair) -> None:
    pair.both(lambda lab: lab.kill_web(21))
    pair.settle({FIRST: 0, SECOND: 0, SORRY: 1})


def test_the_tables_are_equal_when_one_is_back(pair: Pair) -> None:
    pair.both(lambda lab: lab.start_web(22))
    pair.settle({FIRST: 0, SECOND: 1})


def test_the_tables_are_equal_when_both_are_back(pair: Pair) -> None:
    pair.both(lambda lab: lab.start_web(21))
    pair.settle({FIRST: 1, SECOND: 1})


def test_the_mails_say_the_same(pair: Pair) -> None:
    wait_until("four mails each", lambda: min(len(pair.our_mails.mails), len(pair.their_mails.mails)) >= 4, within=30)

    def told(box: Postbox) -> list[tuple[str, tuple[str, ...], str, list[str]]]:
        return [(mail.sender, mail.recipients, mail.subject, mail.message.keys()) for mail in box.mails]

    assert told(pair.our_mails) == told(pair.their_mails)


def test_both_leave_an_empty_table(pair: Pair) -> None:
    pair.stop()
    assert pair.ours.rules() == pair.theirs.rules() == []
