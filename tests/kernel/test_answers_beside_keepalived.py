"""Every answer that a check can get, Debian's keepalived beside us: each case has the same verdict with both, or a difference has a name.

Two directors with the same addresses in one kernel, each with its own copy of the same scripted servers. Everything is checked once a
second without a retry. When both have settled the tables are read once, and each case is one test of what was read.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.kernel.answer_cases import (
    CASES,
    DIRECTOR_ALIAS,
    DIRECTOR_OTHER,
    DNS_CASES,
    OPPOSITE,
    PING_CASES,
    SOCKET_CASES,
    UP,
    Case,
    our_weight,
)
from tests.kernel.answering import Answering, Street
from tests.kernel.daemon import Daemon
from tests.kernel.lab import ROOT, inside, wait_until
from tests.kernel.value_cases import FILE_CASES, SCRIPT_CASES, FileCase, ScriptCase

Any: TypeAlias = Case | FileCase | ScriptCase
Key: TypeAlias = tuple[str, int]

ELSEWHERE = "203.0.113.200"
"""Address of the real servers of files and scripts; nobody probes it."""

FIRST_FILE_PORT, FIRST_SCRIPT_PORT = 5001, 6001
SETTLED_WITHIN_S = 40
FOLLOWED_WITHIN_S = 8

SCRIPTS = SCRIPT_CASES if (ROOT / "supervisor" / "runner").is_dir() else ()
SLOWEST = next(case for case in CASES if str(case) == "SMTP_CHECK silence")
"""Each probe of it takes the whole time limit: when it was probed again and again, so was everything else."""


class Side:
    """One director with its servers, files and scripts."""

    def __init__(self, stack: ExitStack, directory: Path, prefix: str) -> None:
        directory.mkdir()
        self.street = stack.enter_context(Street(directory, prefix))
        self.answering = stack.enter_context(Answering(self.street, CASES))
        self.place = Path("/run") / f"{prefix}values"  # where an unprivileged script may be found
        self.place.mkdir()
        for case in FILE_CASES:
            if case.text is not None:
                self.file(case).write_text(case.text)
        for script in SCRIPTS:
            path = self.script(script)
            path.write_text(f"#!/bin/sh\n{script.text}\n")
            path.chmod(0o755)
        self.config = directory / "answers.conf"
        self.config.write_text("\n".join(self._configuration()) + "\n")

    def file(self, case: FileCase) -> Path:
        return self.place / f"file{FILE_CASES.index(case)}"

    def script(self, case: ScriptCase) -> Path:
        return self.place / f"script{SCRIPTS.index(case)}"

    def key(self, case: Any) -> Key:
        """Return the address and port that the case's real server has in the table."""
        match case:
            case Case():
                return case.address, self.answering.ports[case]
            case FileCase():
                return ELSEWHERE, FIRST_FILE_PORT + FILE_CASES.index(case)
            case ScriptCase():
                return ELSEWHERE, FIRST_SCRIPT_PORT + SCRIPTS.index(case)

    def weights(self, cases: Iterable[Any]) -> dict[Any, int | None]:
        """Return the weight that each case has now; None: it is not in the table."""
        found = self.street.weights()
        return {case: found.get(self.key(case)) for case in cases}

    def _configuration(self) -> Iterator[str]:
        yield from ("global_defs {", "script_user nobody nogroup", "}")
        for case in FILE_CASES:
            yield from (f"track_file {self.file(case).name} {{", f"file {self.file(case)}", *case.lines, "}")
        ours = [case for case in CASES if ":" not in case.address]
        sixth = [case for case in CASES if ":" in case.address]
        yield from self._service(1, ours, "inhibit_on_failure")
        yield from self._service(2, sixth, "inhibit_on_failure", "ip_family inet6")
        yield from self._service(3, [*FILE_CASES, *SCRIPTS])

    def _service(self, mark: int, cases: Iterable[Any], *lines: str) -> Iterator[str]:
        yield f"virtual_server fwmark {mark} {{"
        yield from ("delay_loop 1", "connect_timeout 1", "warmup 0", "lb_algo rr", "lb_kind NAT", *lines)
        for case in cases:
            address, port = self.key(case)
            yield from (f"real_server {address} {port} {{", "weight 10", *self._check(case), "}")
        yield "}"

    def _check(self, case: Any) -> Iterator[str]:
        match case:
            case Case():
                yield from (f"{case.check} {{", "retry 0", *case.lines, "}")
            case FileCase():
                yield from ("FILE_CHECK {", f"track_file {self.file(case).name}", *case.check, "}")
            case ScriptCase():
                yield from ("MISC_CHECK {", f'misc_path "{self.script(case)} {case.arguments}"', *case.lines, "}")


@dataclass(frozen=True)
class Pair:
    """Both sides, and what their tables said when they had settled."""

    ours: Side
    theirs: Side
    daemon: Daemon
    our_weights: dict[Any, int | None]
    their_weights: dict[Any, int | None]


ALL: tuple[Any, ...] = (*CASES, *FILE_CASES, *SCRIPTS)


def wanted_of_us(case: Any) -> int | None:
    match case:
        case Case():
            return our_weight(case)
        case FileCase():
            return case.our_weight
        case ScriptCase():
            return case.weight


def settled(ours: Side, theirs: Side) -> bool:
    probed = min(len(side.answering.sources[SLOWEST]) for side in (ours, theirs)) >= 4
    return (
        probed
        and ours.weights(ALL) == {case: wanted_of_us(case) for case in ALL}
        and theirs.weights(ALL) == {case: case.weight for case in ALL}
    )


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        ours = Side(stack, directory / "ours", "our-")
        theirs = Side(stack, directory / "theirs", "their-")
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(theirs.config), *pids]
        keepalived = theirs.street.start(theirs.street.director, command, "keepalived.log")
        stack.callback(theirs.street.stop, keepalived)
        daemon = Daemon(ours.street, ours.config)
        stack.callback(daemon.stop)
        try:
            wait_until("settled", functools.partial(settled, ours, theirs), SETTLED_WITHIN_S, every=0.5)
        except TimeoutError:
            assert daemon.process.poll() is None, daemon.log_path.read_text()[-4000:]
        yield Pair(ours, theirs, daemon, ours.weights(ALL), theirs.weights(ALL))


@pytest.mark.parametrize("case", ALL, ids=str)
def test_the_weight_is_keepaliveds_or_a_difference_has_a_name(pair: Pair, case: Any) -> None:
    assert pair.their_weights[case] == case.weight, "keepalived itself"
    assert pair.our_weights[case] == wanted_of_us(case)


def test_every_named_difference_is_about_a_case_of_the_table() -> None:
    assert OPPOSITE.keys() <= {str(case) for case in CASES}


@pytest.mark.parametrize("case", [case for case in DNS_CASES if case.server is not None], ids=str)
def test_a_dns_query_has_keepaliveds_bytes_but_for_its_id(pair: Pair, case: Case) -> None:
    ours, theirs = ({asked[2:] for asked in side.answering.asked[case]} for side in (pair.ours, pair.theirs))
    assert len(ours) == 1
    assert ours == theirs


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.check == "SMTP_CHECK" and case.weight == our_weight(case) == UP], ids=str
)
def test_a_mail_server_is_told_the_same(pair: Pair, case: Case) -> None:
    ours, theirs = (set(side.answering.asked[case]) for side in (pair.ours, pair.theirs))
    assert ours == theirs
    assert len(ours) == 2


@pytest.mark.parametrize("case", [case for case in CASES if any("payload" in line for line in case.lines)], ids=str)
def test_a_payload_is_sent_as_it_is_written(pair: Pair, case: Case) -> None:
    for side in (pair.ours, pair.theirs):
        assert set(side.answering.asked[case]) == {b"\x00\xff\x10"}


@pytest.mark.parametrize("case", [case for case in SOCKET_CASES if case.source], ids=str)
def test_probes_come_from_where_the_check_says(pair: Pair, case: Case) -> None:
    assert case.source is not None
    address, port = case.source
    came = {source if port else (source[0], 0) for source in pair.ours.answering.sources[case]}
    assert came == {(address, port)}
    if str(case) != "UDP_CHECK bind_if":  # the difference udp-bind-if
        assert {source[0] for source in pair.theirs.answering.sources[case]} == {address}


def test_a_mail_server_that_is_down_is_tried_once_each_loop_by_us_alone(pair: Pair) -> None:
    retried, plain = (
        next(case for case in CASES if case.name == name) for name in ("554, with retries", "554 at once")
    )
    ours, theirs = ({case: len(side.answering.sources[case]) for case in CASES} for side in (pair.ours, pair.theirs))
    assert ours[retried] <= ours[plain] + 3  # the retries before it was down
    assert theirs[retried] > 2 * theirs[plain]


@pytest.mark.parametrize(
    "case", [case for case in SOCKET_CASES if case.check == "TCP_CHECK" and case.source and case.source[1]], ids=str
)
def test_a_connection_from_a_given_port_is_tried_each_loop_by_us_alone(pair: Pair, case: Case) -> None:
    ours, theirs = (len(side.answering.sources[case]) for side in (pair.ours, pair.theirs))
    assert ours >= 4
    assert theirs == 1


def test_the_worker_that_marks_and_binds_and_pings_has_no_privilege(pair: Pair) -> None:
    (started,) = (event for event in pair.daemon.events("worker.started") if event["worker"] == "checker-0")
    assert started["caged"] == "uid=65534 gid=65534 caps=0 nnp=1"


def test_a_ping_leaves_from_where_its_check_says(pair: Pair) -> None:
    assert {DIRECTOR_ALIAS, DIRECTOR_OTHER} <= {ping.source for ping in pair.ours.answering.pings}


@pytest.mark.parametrize("case", [case for case in FILE_CASES if case.lines and "init" in case.lines[-1]], ids=str)
def test_a_file_begins_with_keepaliveds_value_and_mode(pair: Pair, case: FileCase) -> None:
    ours, theirs = pair.ours.file(case), pair.theirs.file(case)
    assert ours.read_text() == theirs.read_text() == (case.text if case.begins is None else case.begins)
    assert ours.stat().st_mode == theirs.stat().st_mode


def has_weight(side: Side, case: Any, weight: int | None) -> bool:
    return side.weights([case]) == {case: weight}


def follow(pair: Pair, case: FileCase, weight: int | None) -> None:
    for side in (pair.ours, pair.theirs):
        followed = functools.partial(has_weight, side, case, weight)
        wait_until(f"{side.street.director}: {weight}", followed, FOLLOWED_WITHIN_S)


def test_a_file_is_followed_when_it_is_written_replaced_and_deleted(pair: Pair) -> None:
    case = FILE_CASES[0]
    files = pair.ours.file(case), pair.theirs.file(case)
    for file in files:
        file.write_text("7\n")
    follow(pair, case, 17)
    for file in files:
        file.with_suffix(".new").write_text("-4\n")
        file.with_suffix(".new").replace(file)
    follow(pair, case, 6)
    for file in files:
        file.unlink()
    follow(pair, case, 10)
    for file in files:
        file.write_text("3\n")
    follow(pair, case, 13)


def test_pings_go_by_a_raw_socket_where_our_group_may_not_have_the_other_kind_and_by_that_where_it_may(
    pair: Pair,
) -> None:
    pings = pair.ours.answering.pings
    assert pings
    assert all(ping.raw for ping in pings)
    seen = len(pings)
    allowed = "/proc/sys/net/ipv4/ping_group_range"
    inside(pair.ours.street.director, lambda: Path(allowed).write_text("0 65534"))
    wait_until("pings by the other kind of socket", lambda: sum(not ping.raw for ping in pings[seen:]) > 20, within=15)
    wait_until(
        "the same weights",
        lambda: pair.ours.weights(PING_CASES) == {case: our_weight(case) for case in PING_CASES},
        FOLLOWED_WITHIN_S,
    )
