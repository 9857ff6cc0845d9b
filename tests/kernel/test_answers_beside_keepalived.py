"""Every answer that a check can get, Debian's keepalived beside us: each case has the same verdict with both, or a difference has a name.

Each case is one test of what the two tables said when both programs had settled (`beside`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

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
from tests.kernel.beside import AnyCase, Pair, beside_keepalived, require_equal
from tests.kernel.lab import inside, wait_until
from tests.kernel.value_cases import FILE_CASES, FileCase

FOLLOWED_WITHIN_S = 8

SLOWEST = next(case for case in CASES if str(case) == "SMTP_CHECK silence")
"""Each probe of it takes the whole time limit."""


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[Pair]:
    with beside_keepalived(directory, [*CASES, *FILE_CASES], SLOWEST) as both:
        yield both


@pytest.mark.parametrize("case", [*CASES, *FILE_CASES], ids=str)
def test_the_weight_is_keepaliveds_or_a_difference_has_a_name(pair: Pair, case: AnyCase) -> None:
    require_equal(pair, case)


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
    assert theirs[retried] > 1.2 * theirs[plain]


@pytest.mark.parametrize(
    "case", [case for case in SOCKET_CASES if case.check == "TCP_CHECK" and case.source and case.source[1]], ids=str
)
def test_a_connection_from_a_given_port_is_tried_each_loop_by_us_alone(pair: Pair, case: Case) -> None:
    ours, theirs = (len(side.answering.sources[case]) for side in (pair.ours, pair.theirs))
    assert ours > 2 * theirs > 0


def test_the_worker_that_marks_and_binds_and_pings_has_no_privilege(pair: Pair) -> None:
    (started,) = (event for event in pair.daemon.events("worker.started") if event["worker"] == "checker-0")
    assert started["caged"].startswith("uid=65534 gid=65534 caps=0 nnp=1 ")


def test_a_ping_leaves_from_where_its_check_says(pair: Pair) -> None:
    assert {DIRECTOR_ALIAS, DIRECTOR_OTHER} <= {ping.source for ping in pair.ours.answering.pings}


@pytest.mark.parametrize("case", [case for case in FILE_CASES if case.lines and "init" in case.lines[-1]], ids=str)
def test_a_file_begins_with_keepaliveds_value_and_mode(pair: Pair, case: FileCase) -> None:
    ours, theirs = pair.ours.path(case), pair.theirs.path(case)
    assert ours.read_text() == theirs.read_text() == (case.text if case.begins is None else case.begins)
    assert ours.stat().st_mode == theirs.stat().st_mode


def follow(pair: Pair, case: FileCase, weight: int | None) -> None:
    for side in (pair.ours, pair.theirs):
        followed = functools.partial(side.has_weight, case, weight)
        wait_until(f"{side.street.director}: {weight}", followed, FOLLOWED_WITHIN_S)


def test_a_file_is_followed_when_it_is_written_replaced_and_deleted(pair: Pair) -> None:
    case = FILE_CASES[0]
    files = pair.ours.path(case), pair.theirs.path(case)
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
    wait_until("pings by the other kind of socket", lambda: sum(not ping.raw for ping in pings[seen:]) > 8, within=40)
    wait_until(
        "the same weights",
        lambda: all(pair.ours.has_weight(case, our_weight(case)) for case in PING_CASES),
        FOLLOWED_WITHIN_S,
    )
