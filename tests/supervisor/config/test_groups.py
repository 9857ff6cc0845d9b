from __future__ import annotations

import pathlib

import pytest

from supervisor.config import Outcome, load
from supervisor.config.groups import MAX_GROUP_ADDRESSES
from supervisor.model import AddressKey, FwmarkKey
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server

USER = virtual_server(real_server(head="10.1.0.1 8080"), head="group web")


def group(*lines: str, name: str = "web") -> str:
    return "\n".join([f"virtual_server_group {name} {{", *lines, "}\n"])


def keys(*lines: str) -> list[str]:
    return [str(server.key) for server in config_of(group(*lines) + USER).virtual_servers]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("10.0.0.1 80", ["10.0.0.1:80/tcp"]),
        ("10.0.0.1-3 80", ["10.0.0.1:80/tcp", "10.0.0.2:80/tcp", "10.0.0.3:80/tcp"]),
        ("10.8.0.254-10.8.1.1 80", ["10.8.0.254:80/tcp", "10.8.0.255:80/tcp", "10.8.1.0:80/tcp", "10.8.1.1:80/tcp"]),
        ("10.0.0.4/31 80", ["10.0.0.4:80/tcp", "10.0.0.5:80/tcp"]),
        ("10.0.0.4/32 80", ["10.0.0.4:80/tcp"]),
        ("fwmark 7", ["fwm:7/ipv4"]),
        ("fwmark 7 inet", ["fwm:7/ipv4"]),
    ],
)
def test_a_line_stands_for_each_of_its_addresses(line: str, wanted: list[str]) -> None:
    assert keys(line) == wanted


def test_the_short_end_of_an_ipv6_range_is_hexadecimal() -> None:
    text = group("fd00::f-11 80", "fd00::20/127 80") + virtual_server(
        real_server(head="fd00:1::1 80"), head="group web"
    )
    addresses = [str(server.key) for server in config_of(text).virtual_servers]
    assert addresses == [f"[fd00::{last}]:80/tcp" for last in ("f", "10", "11", "20", "21")]


def test_a_network_may_be_larger_than_256_addresses_up_to_the_limit() -> None:
    assert len(keys("10.8.0.0/23 80")) == 512
    assert len(keys("10.8.0.0/20 80")) == MAX_GROUP_ADDRESSES == 4096


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("10.8.0.0/19 80", '"10.8.0.0/19" stands for 8192 addresses; a group may have 4096'),
        ("fd00::-fd00::ffff 80", '"fd00::-fd00::ffff" stands for 65536 addresses'),
        ("10.0.0.5-3 80", "ends before it begins"),
        ("10.0.0.5-5 80", "ends before it begins"),
        ("10.0.0.5-fd00::1 80", "begins and ends in different address families"),
        ("10.0.0.5/31 80", "has host bits"),
        ("10.0.0.0/0 80", "has no prefix length from 1 to 32"),
        ("10.0.0.0/x 80", "has no prefix length from 1 to 32"),
        ("10.0.0.300 80", "is not a numeric address"),
        ("10.0.0.1-300 80", "is not a numeric address"),
        ("224.0.0.1 80", "is a multicast address"),
        ("10.0.0.1 http", '"http" is not a port'),
        ("10.0.0.1 80 extra", 'extra words "extra"'),
        ("fwmark", '"fwmark" needs the mark'),
        ("fwmark 0", "outside 1 to 4294967295"),
        ("fwmark 7 ipv4", "is no address family"),
        ("10.0.0.1 80 { }", "holds addresses, not blocks"),
    ],
)
def test_a_line_that_is_none_is_one_error_in_its_place(line: str, message: str) -> None:
    (problem,) = [found for found in outcome_of(group(line)).problems if found.severity.value == "error"]
    assert problem.line == 2
    assert message in problem.message


def test_addresses_come_before_marks_and_twice_is_once() -> None:
    text = group("fwmark 3", "10.0.0.2 80", "10.0.0.1-2 80") + USER
    assert [str(server.key) for server in config_of(text, warnings=1).virtual_servers] == [
        "10.0.0.2:80/tcp",
        "10.0.0.1:80/tcp",
        "fwm:3/ipv4",
    ]


def test_each_address_is_a_virtual_server_of_its_own_with_the_same_real_servers() -> None:
    text = group("10.0.0.1-2 80") + virtual_server(real_server("TCP_CHECK { }"), head="group web")
    first, second = config_of(text).virtual_servers
    assert first.group == second.group == "web"
    assert first.key != second.key
    assert first.real_servers == second.real_servers
    assert config_of(virtual_server(real_server())).virtual_servers[0].group == ""


@pytest.mark.parametrize(("method", "ports"), [("NAT", [0, 0]), ("DR", [80, 443])])
def test_ports_of_a_group_may_differ_and_real_servers_without_one_follow(method: str, ports: list[int]) -> None:
    base = f"lb_algo rr\nlb_kind {method}\nprotocol TCP"
    user = virtual_server(real_server("TCP_CHECK { }", head="10.1.0.1"), head="group web", base=base)
    found = config_of(group("10.0.0.1 80", "10.0.0.1 443") + user, warnings=len(set(ports)) // 2 * 2).virtual_servers
    assert [server.real_servers[0].endpoint.port for server in found] == ports
    assert [server.real_servers[0].checks[0].target.port for server in found] == [80, 443]


def test_one_address_for_all_ports_makes_the_whole_group_persistent() -> None:
    text = group("10.0.0.1", "10.0.0.2 80") + USER
    assert [server.persistence_timeout for server in config_of(text, warnings=2).virtual_servers] == [360, 360]


def test_ops_of_a_group_with_addresses_is_for_udp_also_on_its_marks() -> None:
    text = group("10.0.0.1 80", "fwmark 1") + virtual_server("ops", real_server(), head="group web")
    assert [server.one_packet for server in config_of(text, warnings=1).virtual_servers] == [False, False]
    marks = group("fwmark 1") + virtual_server("ops", real_server(), head="group web")
    assert [server.one_packet for server in config_of(marks, warnings=1).virtual_servers] == [True]


def test_a_mistake_in_a_virtual_server_of_a_group_is_told_of_once() -> None:
    text = group("10.0.0.1-9 80", "10.0.0.1-9 81") + virtual_server(
        "quorum 9", real_server("weight x"), head="group web"
    )
    assert [line.split(": ")[0] for line in said(outcome_of(text))] == ["9:8", "11:8"]


def test_a_group_may_follow_its_users_and_serve_two_protocols() -> None:
    udp = virtual_server(real_server(), head="group web", base="lb_algo rr\nlb_kind NAT\nprotocol UDP")
    servers = config_of(USER + udp + group("10.0.0.1 80")).virtual_servers
    assert [str(server.key) for server in servers] == ["10.0.0.1:80/tcp", "10.0.0.1:80/udp"]


def test_a_mark_that_two_users_of_a_group_share_has_the_real_servers_of_both() -> None:
    udp = virtual_server(
        real_server(head="10.1.0.2 80"), head="group web", base="lb_algo lc\nlb_kind NAT\nprotocol UDP"
    )
    (server,) = config_of(group("fwmark 1") + USER + udp, warnings=1).virtual_servers
    assert isinstance(server.key, FwmarkKey)
    assert server.scheduler == "rr"
    assert [str(each.endpoint) for each in server.real_servers] == ["10.1.0.1:8080", "10.1.0.2:80"]


def test_an_address_of_a_group_that_another_virtual_server_has_is_refused() -> None:
    outcome = outcome_of(group("10.0.0.1 80") + virtual_server(real_server()) + USER)
    assert [problem.code for problem in outcome.problems] == ["E031"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (USER, 'there is no virtual_server_group "web"'),
        (group(name="") + USER.replace("group web", "group"), '"virtual_server group" needs the name'),
        (group() + USER, "this group has no address"),
        (group("10.0.0.1 80") + group("10.0.0.2 80") + USER, "stands in line 1 already"),
    ],
)
def test_a_group_must_be_there_once_with_an_address(text: str, message: str) -> None:
    assert any(message in line for line in said(outcome_of(text)))
    assert outcome_of(text).config is None


def test_a_group_that_was_mistyped_is_suggested() -> None:
    outcome = outcome_of(group("10.0.0.1 80", name="wbe") + USER)
    assert outcome.problems[0].suggestion == 'did you mean "wbe"?'


def test_both_families_need_a_tunnel() -> None:
    mixed = group("10.0.0.1 80", "fd00::1 80")
    assert [problem.code for problem in outcome_of(mixed + USER).problems] == ["E045"]
    tunnel = virtual_server(real_server(), head="group web", base="lb_algo rr\nlb_kind TUN\nprotocol TCP")
    assert len(config_of(mixed + tunnel).virtual_servers) == 2


def test_the_granularity_does_not_count_in_a_group() -> None:
    text = group("10.0.0.1 80") + virtual_server(
        "persistence_granularity 255.255.255.0", real_server(), head="group web"
    )
    (server,) = config_of(text, warnings=1).virtual_servers
    assert (server.persistence_timeout, server.persistence_prefix) == (360, 0)
    assert isinstance(server.key, AddressKey)


# What --lenient lets pass


def lenient(tmp_path: pathlib.Path, text: str) -> Outcome:
    path = tmp_path / "main.conf"
    path.write_text(text)
    strict = load(path)
    assert strict.config is None
    assert {problem.code for problem in strict.problems if problem.code[0] == "E"} <= {"E010", "E012"}
    return load(path, lenient=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (virtual_server("delay_loop 6 lb_algo rr", real_server()), 'extra words "lb_algo rr" after "delay_loop"'),
        (virtual_server("delay_lop 6 x", real_server()), 'unknown keyword "delay_lop"; ignored with "6 x"'),
        (virtual_server(real_server(), head="10.0.0.1 80 tcp"), 'extra words "tcp"'),
        (virtual_server(real_server(head="10.1.0.1 80 x")), 'extra words "x"'),
        (virtual_server(real_server("TCP_CHECK { connect_timeout 1 retry 1 }")), 'extra words "retry 1"'),
        (virtual_server(real_server("lvs_method NAT x")), 'extra words "x"'),
        (virtual_server(real_server("FOO_CHECK {", "a b", "}")), "its block is skipped"),
        ("global_defs x {\n}\n" + virtual_server(real_server()), 'extra words "x" before the block of "global_defs"'),
        (group("10.0.0.1 80 x") + USER, 'extra words "x"'),
        (group("10.0.0.1 80") + virtual_server(real_server(), head="group web x"), 'extra words "x" after the group'),
        ("global_defs {\nsmtp_server a 25 x\n}\n" + virtual_server(real_server()), 'extra words "x"'),
    ],
)
def test_lenient_ignores_what_keepalived_ignores_and_says_so(tmp_path: pathlib.Path, text: str, told: str) -> None:
    outcome = lenient(tmp_path, text)
    (problem,) = outcome.problems
    assert (problem.code, problem.severity.value) == ("W109", "warning")
    assert told in problem.message
    assert outcome.config is not None
    assert len(outcome.config.virtual_servers[0].real_servers) == 1


def test_lenient_keeps_the_words_that_count(tmp_path: pathlib.Path) -> None:
    outcome = lenient(tmp_path, virtual_server(real_server("weight 7 9", "TCP_CHECK { connect_timeout 1 retry 9 }")))
    assert outcome.config is not None
    (server,) = outcome.config.virtual_servers[0].real_servers
    assert (server.weight, server.checks[0].schedule.connect_timeout, server.checks[0].schedule.retry) == (7, 1.0, 1)


def test_lenient_takes_no_wrong_value() -> None:
    text = virtual_server(real_server("weight 12x"))
    assert outcome_of(text).config is None


def test_the_first_address_of_each_block_leads_and_the_others_follow() -> None:
    text = group("10.0.0.1-2 80", "fwmark 7") + group("10.0.1.1 80", name="other")
    blocks = [
        virtual_server(real_server(), head="group web"),
        virtual_server(real_server(), head="group other"),
        virtual_server(real_server(), head="group web", base="lb_algo rr\nlb_kind NAT\nprotocol UDP"),
        virtual_server(real_server(), head="10.0.2.1 80"),
    ]
    found = config_of(text + "".join(blocks), warnings=1).virtual_servers
    assert [(str(one.key), one.group, one.group_use, one.follower) for one in found] == [
        ("10.0.0.1:80/tcp", "web", 0, False),
        ("10.0.0.2:80/tcp", "web", 0, True),
        ("fwm:7/ipv4", "web", 0, True),
        ("10.0.1.1:80/tcp", "other", 0, False),
        ("10.0.0.1:80/udp", "web", 1, False),
        ("10.0.0.2:80/udp", "web", 1, True),
        ("10.0.2.1:80/tcp", "", 0, False),
    ]


def test_a_mark_beside_addresses_has_their_family_when_all_servers_are_tunnelled() -> None:
    tunnel = virtual_server(
        real_server(head="fd00::1 80"), head="group web", base="lb_algo rr\nlb_kind TUN\nprotocol TCP"
    )
    found = config_of(group("10.0.0.1 80", "fwmark 3") + tunnel, warnings=1).virtual_servers
    assert [server.key.family for server in found] == [4, 4]
