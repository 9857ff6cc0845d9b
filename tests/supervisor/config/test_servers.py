from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from supervisor.model import (
    AddressKey,
    Endpoint,
    Forwarding,
    FwmarkKey,
    Method,
    MinHealthy,
    MinHealthyUnit,
    Protocol,
    SorryServer,
    TunnelChecksum,
    TunnelType,
)
from tests.supervisor.config.written import (
    config_of,
    only_real_server,
    only_virtual_server,
    outcome_of,
    real_server,
    said,
    virtual_server,
)

NAT, DR, TUN = Method(Forwarding.NAT), Method(Forwarding.DR), Method(Forwarding.TUN)
HERE = Endpoint(IPv4Address("10.0.0.1"), 80)


def warnings_of(text: str) -> list[str]:
    outcome = outcome_of(text)
    assert outcome.config is not None, said(outcome)
    return [problem.message for problem in outcome.problems if problem.severity.value == "warning"]


def test_the_head_names_protocol_address_and_port() -> None:
    assert only_virtual_server().key == AddressKey(Protocol.TCP, HERE)
    (ipv6,) = config_of(virtual_server(real_server(head="fd00::9 080"), head="fd00::1 080")).virtual_servers
    assert ipv6.key == AddressKey(Protocol.TCP, Endpoint(IPv6Address("fd00::1"), 80))
    assert ipv6.real_servers[0].endpoint.port == 80


@pytest.mark.parametrize(("word", "protocol"), [("tcp", Protocol.TCP), ("Udp", Protocol.UDP), ("SCTP", Protocol.SCTP)])
def test_the_protocol_may_be_written_in_any_case(word: str, protocol: Protocol) -> None:
    config = config_of(virtual_server(real_server(), base=f"lb_algo rr\nlb_kind NAT\nprotocol {word}"))
    assert config.virtual_servers[0].key == AddressKey(protocol, HERE)


def test_a_mark_has_the_family_of_its_servers_unless_told() -> None:
    base = "lb_algo rr\nlb_kind NAT"
    first, second, third = config_of(
        virtual_server(real_server(), head="fwmark 1", base=base)
        + virtual_server(real_server(head="fd00::9 80"), head="fwmark 1", base=base)
        + virtual_server("ip_family inet6", real_server(head="fd00::9 80"), head="fwmark 2", base=base)
    ).virtual_servers
    assert [first.key, second.key, third.key] == [FwmarkKey(4, 1), FwmarkKey(6, 1), FwmarkKey(6, 2)]


def test_what_is_missing_is_taken_as_keepalived_takes_it_and_told_of() -> None:
    text = virtual_server(real_server(), base="")
    assert warnings_of(text) == [
        'this virtual server has no "lb_kind"; NAT is taken',
        'this virtual server has no "protocol"; UDP is taken',
        'this virtual server has no "lb_algo"; wlc is taken',
    ]
    (found,) = config_of(text, warnings=3).virtual_servers
    assert (found.scheduler, found.method, found.key) == ("wlc", NAT, AddressKey(Protocol.UDP, HERE))


def test_old_and_new_spellings_mean_the_same() -> None:
    old = config_of(virtual_server(real_server(), base="lvs_sched sh\nlvs_method DR\nprotocol TCP"))
    new = config_of(virtual_server(real_server(), base="lb_algo sh\nlb_kind DR\nprotocol TCP"))
    assert old.virtual_servers == new.virtual_servers


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("TUN", TUN),
        ("TUN type ipip", TUN),
        ("TUN type ipip nocsum", TUN),
        ("TUN type gre csum", Method(Forwarding.TUN, TunnelType.GRE, 0, TunnelChecksum.CSUM)),
        ("TUN type gue port 6080 remcsum", Method(Forwarding.TUN, TunnelType.GUE, 6080, TunnelChecksum.REMCSUM)),
    ],
)
def test_tunnels_have_types_ports_and_checksums(words: str, method: Method) -> None:
    assert only_real_server(f"lvs_method {words}").method == method


def test_scheduler_flags_count_only_after_the_scheduler_they_belong_to() -> None:
    def flags(*lines: str) -> int:
        text = virtual_server(*lines, real_server(), base="lb_kind NAT\nprotocol TCP")
        outcome = outcome_of(text)
        assert outcome.config is not None, said(outcome)
        return outcome.config.virtual_servers[0].scheduler_flags

    assert flags("lb_algo sh", "sh-port", "sh-fallback") == 0x18
    assert flags("lb_algo mh", "mh-port") == 0x10
    assert flags("lb_algo mh", "flag-1", "flag-2", "flag-3") == 0x38
    assert flags("sh-port", "lb_algo sh") == 0
    assert flags("lb_algo rr", "sh-port") == 0
    assert flags("lb_algo rr", "flag-1", "flag-3") == 0x28, "the numbered ones are told to the kernel in any case"
    assert flags("flag-2", "lb_algo sh") == 0x10
    assert flags("lb_algo sh", "sh-port", "lb_algo rr") == 0x10, "it was right at its line"
    assert flags("lb_algo sh", "mh-port") == 0
    text = virtual_server("sh-port", real_server())
    assert warnings_of(text) == ['"sh-port" has no effect: it belongs to lb_algo sh']


def test_one_packet_scheduling_is_for_udp_and_marks() -> None:
    udp = virtual_server("ops", real_server(), base="lb_algo rr\nlb_kind DR\nprotocol UDP")
    assert config_of(udp).virtual_servers[0].one_packet
    assert not only_virtual_server("ops", warnings=1).one_packet
    mark = virtual_server("ops", real_server(head="10.1.0.1"), head="fwmark 3", base="lb_algo rr\nlb_kind DR")
    assert config_of(mark).virtual_servers[0].one_packet


def test_one_packet_scheduling_with_nat_is_warned_of() -> None:
    text = virtual_server("ops", real_server(), base="lb_algo rr\nlb_kind NAT\nprotocol UDP")
    assert "most clients drop them" in warnings_of(text)[0]


def test_persistence_has_a_default_and_a_granularity() -> None:
    assert only_virtual_server().persistence_timeout == 0
    assert only_virtual_server("persistence_timeout").persistence_timeout == 360
    assert only_virtual_server("persistence_timeout 50").persistence_timeout == 50
    found = only_virtual_server("persistence_granularity 255.255.255.0")
    assert (found.persistence_timeout, found.persistence_prefix) == (360, 24)
    (ipv6,) = config_of(
        virtual_server(
            "persistence_granularity 64", "persistence_timeout 9", real_server(head="fd00::2 80"), head="fd00::1 80"
        )
    ).virtual_servers
    assert (ipv6.persistence_timeout, ipv6.persistence_prefix) == (9, 64)


def test_a_virtual_server_for_all_ports_becomes_persistent() -> None:
    text = virtual_server(real_server(head="10.1.0.1"), head="10.0.0.1")
    assert warnings_of(text) == ["a virtual server for all ports needs persistence; 360 s is taken"]
    (found,) = config_of(text, warnings=1).virtual_servers
    assert (found.persistence_timeout, found.real_servers[0].endpoint.port) == (360, 0)


@pytest.mark.parametrize(
    ("lines", "quorum", "hysteresis", "warnings"),
    [
        (["quorum 2", "hysteresis 1"], 2, 1, 0),
        (["quorum 0"], 1, 0, 1),
        (["quorum 9"], 3, 0, 1),
        (["quorum 2", "hysteresis 2"], 2, 1, 1),
        (["quorum 9", "hysteresis 5"], 3, 2, 2),
        (["hysteresis 1"], 1, 0, 1),
    ],
)
def test_quorum_and_hysteresis_are_corrected_in_the_open(
    lines: list[str], quorum: int, hysteresis: int, warnings: int
) -> None:
    text = virtual_server(*lines, real_server("weight 2"), real_server(head="10.1.0.2 80"))
    (found,) = config_of(text, warnings=warnings).virtual_servers
    assert (found.quorum, found.hysteresis) == (quorum, hysteresis)


def test_a_quorum_that_nothing_can_reach_is_warned_of_and_stays_at_least_one() -> None:
    found = config_of(virtual_server("quorum 4", "hysteresis 1", real_server("weight 0")), warnings=1).virtual_servers[
        0
    ]
    assert (found.quorum, found.hysteresis) == (4, 1)


def test_the_sorry_server_takes_port_and_method_of_the_virtual_server() -> None:
    address = IPv4Address("10.2.0.1")
    assert only_virtual_server().sorry_server is None
    assert only_virtual_server("sorry_server 10.2.0.1").sorry_server == SorryServer(Endpoint(address, 0), NAT)
    assert only_virtual_server("sorry_server 10.2.0.1 0").sorry_server == SorryServer(Endpoint(address, 0), NAT)
    assert only_virtual_server("sorry_server 10.2.0.1 81").sorry_server == SorryServer(Endpoint(address, 81), NAT)
    other = only_virtual_server(
        "sorry_server 10.2.0.1 81", "sorry_server_lvs_method DR", "sorry_server_inhibit", warnings=1
    )
    assert other.sorry_server == SorryServer(Endpoint(address, 80), DR, inhibit=True)
    bare = only_virtual_server("sorry_server 10.2.0.1", "sorry_server_lvs_method DR")
    assert bare.sorry_server == SorryServer(Endpoint(address, 80), DR)


def test_a_method_counts_from_its_line_on() -> None:
    lines = ("lb_kind DR", "sorry_server 10.2.0.1 80", real_server(), "lb_kind TUN", real_server(head="10.1.0.2 80"))
    (found,) = config_of(virtual_server(*lines), warnings=2).virtual_servers
    assert found.sorry_server is not None
    assert found.sorry_server.method == DR
    assert [server.method.forwarding for server in found.real_servers] == [Forwarding.DR, Forwarding.TUN]
    below = virtual_server(real_server(), "lb_kind DR", base="lb_algo rr\nprotocol TCP")
    assert config_of(below).virtual_servers[0].real_servers[0].method == DR


def test_a_method_of_a_sorry_server_must_follow_it() -> None:
    found = only_virtual_server("sorry_server_lvs_method DR", "sorry_server 10.2.0.1 80", warnings=1)
    assert found.sorry_server == SorryServer(Endpoint(IPv4Address("10.2.0.1"), 80), NAT)


def test_the_same_real_server_twice_is_one_and_the_first_counts() -> None:
    text = virtual_server(real_server("weight 5"), real_server("weight 6"), real_server("weight 7", head="10.1.0.1"))
    (found,) = config_of(text, warnings=3).virtual_servers
    assert [server.weight for server in found.real_servers] == [5]


def test_a_real_server_of_another_family_is_left_out() -> None:
    text = virtual_server(real_server(head="fd00::9 80"), real_server(), "sorry_server fd00::8 80")
    (found,) = config_of(text, warnings=2).virtual_servers
    assert [str(server.endpoint) for server in found.real_servers] == ["10.1.0.1:80"]
    assert found.sorry_server is None


def test_a_virtual_server_with_nothing_but_the_other_family_is_an_error() -> None:
    outcome = outcome_of(virtual_server(real_server(head="fd00::9 80")))
    assert [problem.code for problem in outcome.problems] == ["E033", "W103"]
    assert outcome.config is None


def test_inhibit_before_the_sorry_server_has_no_effect() -> None:
    found = only_virtual_server("sorry_server_inhibit", "sorry_server 10.2.0.1", warnings=1)
    assert found.sorry_server is not None
    assert not found.sorry_server.inhibit


def test_a_sorry_server_that_is_a_real_server_too_is_inhibited_like_it() -> None:
    text = virtual_server("sorry_server 10.1.0.1 80", real_server("inhibit_on_failure"))
    (found,) = config_of(text, warnings=1).virtual_servers
    assert found.sorry_server is not None
    assert found.sorry_server.inhibit


@pytest.mark.parametrize("method", ["DR", "TUN"])
def test_a_port_that_cannot_be_translated_becomes_the_virtual_servers(method: str) -> None:
    text = virtual_server(
        real_server("TCP_CHECK { }", head="10.1.0.1 8080"), base=f"lb_algo rr\nlb_kind {method}\nprotocol TCP"
    )
    assert warnings_of(text) == [f"{method} cannot change the port from 80 to 8080; 80 is taken"]
    (server,) = config_of(text, warnings=1).virtual_servers[0].real_servers
    assert server.endpoint.port == 80
    assert server.checks[0].target.port == 80


def test_nat_translates_ports_and_takes_the_virtual_servers_for_none() -> None:
    text = virtual_server(real_server(head="10.1.0.1 8080"), real_server(head="10.1.0.2"))
    servers = config_of(text, warnings=1).virtual_servers[0].real_servers
    assert [server.endpoint.port for server in servers] == [8080, 80]


def test_a_mark_keeps_ports_unless_it_uses_nat_and_the_check_keeps_the_written_one() -> None:
    def ports(method: str, warnings: int) -> tuple[int, int]:
        text = virtual_server(real_server("TCP_CHECK { }"), head="fwmark 1", base=f"lb_algo rr\nlb_kind {method}")
        (server,) = config_of(text, warnings=warnings).virtual_servers[0].real_servers
        return server.endpoint.port, server.checks[0].target.port

    assert ports("NAT", 0) == (80, 80)
    assert ports("DR", 1) == (0, 80)


def test_a_tunnel_carries_the_other_address_family() -> None:
    text = virtual_server(real_server(head="fd00::9 80"), base="lb_algo rr\nlb_kind TUN\nprotocol TCP")
    assert config_of(text).virtual_servers[0].real_servers[0].endpoint.address == IPv6Address("fd00::9")


def test_the_same_address_with_another_protocol_is_another_virtual_server() -> None:
    udp = virtual_server(real_server(), base="lb_algo rr\nlb_kind NAT\nprotocol UDP")
    assert len(config_of(virtual_server(real_server()) + udp).virtual_servers) == 2


@pytest.mark.parametrize(
    ("defaults", "own", "real", "virtual"),
    [
        ("", "", True, False),
        ("smtp_alert", "", True, True),
        ("smtp_alert off", "", False, False),
        ("smtp_alert off\nsmtp_alert_checker on", "", True, True),
        ("smtp_alert on\nsmtp_alert_checker off", "", False, False),
        ("smtp_alert on", "smtp_alert off", False, False),
        ("", "smtp_alert", True, True),
    ],
)
def test_who_gets_mail_is_decided_from_the_inside_out(defaults: str, own: str, real: bool, virtual: bool) -> None:
    text = f"global_defs {{\n{defaults}\n}}\n" + virtual_server(own, real_server(own))
    (found,) = config_of(text).virtual_servers
    assert (found.real_servers[0].mail, found.mail) == (real, virtual)


def test_real_servers_inherit_weight_method_and_inhibit() -> None:
    outer = ("weight 7", "inhibit_on_failure")
    plain = only_real_server(outer=outer)
    assert (plain.weight, plain.method, plain.inhibit_on_failure) == (7, NAT, True)
    own = only_real_server("weight 0", "lvs_method DR", "inhibit_on_failure no", outer=outer, warnings=1)
    assert (own.weight, own.method, own.inhibit_on_failure) == (0, DR, False)


def test_a_repeated_keyword_counts_the_last_time_and_is_told_of() -> None:
    text = virtual_server("delay_loop 5", "delay_loop 9", real_server("TCP_CHECK { }"))
    assert warnings_of(text) == ['"delay_loop" stands in this block twice; this one counts, not the one in line 5']
    assert config_of(text, warnings=1).virtual_servers[0].real_servers[0].checks[0].schedule.delay_loop == 9


def test_thresholds_are_passed_on() -> None:
    server = only_real_server("uthreshold 10", "lthreshold 5")
    assert (server.upper_threshold, server.lower_threshold) == (10, 5)


@pytest.mark.parametrize("address", ["0.1.2.3", "::ffff:10.1.0.1", "ff02::1", "255.255.255.255", "0.0.0.0"])
def test_addresses_that_no_server_can_have_are_refused(address: str) -> None:
    family = "10.0.0.1 80" if ":" not in address else "fd00::1 80"
    outcome = outcome_of(virtual_server(real_server(head=f"{address} 80"), head=family))
    assert [problem.code for problem in outcome.problems] == ["E035"]


@pytest.mark.parametrize(
    ("lines", "protocol", "message"),
    [
        (["persistence_engine sip", "persistence_timeout 9"], "UDP", ""),
        (["persistence_engine sip"], "UDP", 'has no effect without "persistence_timeout"'),
        (["persistence_engine sip", "persistence_timeout 9"], "TCP", "has no effect on tcp"),
        (["persistence_engine http", "persistence_timeout 9"], "UDP", 'no persistence engine "http"'),
    ],
)
def test_a_persistence_engine_must_be_able_to_work(lines: list[str], protocol: str, message: str) -> None:
    text = virtual_server(*lines, real_server(), base=f"lb_algo rr\nlb_kind NAT\nprotocol {protocol}")
    found = warnings_of(text)
    assert len(found) == (1 if message else 0)
    assert not message or message in found[0]


def test_a_virtual_server_for_all_ports_translates_none() -> None:
    text = virtual_server("persistence_timeout 9", real_server("TCP_CHECK { }", head="10.1.0.1 80"), head="10.0.0.1")
    assert "keeps the port that clients use" in warnings_of(text)[0]
    (server,) = config_of(text, warnings=1).virtual_servers[0].real_servers
    assert (server.endpoint.port, server.checks[0].target.port) == (80, 80)


def test_real_servers_that_are_written_alike_are_one_whatever_their_methods_make_of_the_port() -> None:
    servers = real_server("weight 5", head="10.1.0.1 81"), real_server("weight 6", "lvs_method DR", head="10.1.0.1 81")
    (found,) = config_of(
        virtual_server(*servers, head="fwmark 1", base="lb_algo rr\nlb_kind NAT"), warnings=2
    ).virtual_servers
    assert [(str(server.endpoint), server.weight) for server in found.real_servers] == [("10.1.0.1:81", 5)]


def test_a_mark_has_the_family_that_the_first_line_with_a_say_gives_it() -> None:
    old, new = real_server(), real_server(head="fd00::2 80")
    base = "lb_algo rr\nlb_kind NAT"
    below = config_of(virtual_server(old, new, "ip_family inet6", head="fwmark 1", base=base), warnings=2)
    assert [server.key.family for server in below.virtual_servers] == [4]
    above = config_of(virtual_server("ip_family inet6", old, new, head="fwmark 1", base=base), warnings=1)
    assert [server.key.family for server in above.virtual_servers] == [6]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("50%", MinHealthy(MinHealthyUnit.PERCENT, 50)),
        ("2", MinHealthy(MinHealthyUnit.SERVERS, 2)),
        ("weight 3", MinHealthy(MinHealthyUnit.WEIGHT, 3)),
        ("off", None),
    ],
)
def test_min_healthy_is_a_share_a_number_or_a_weight(words: str, found: MinHealthy | None) -> None:
    inherited = "global_defs {\n min_healthy 10%\n}\n"
    servers = real_server("weight 2"), real_server(head="10.1.0.2 80")
    (server,) = config_of(inherited + virtual_server(f"min_healthy {words}", *servers)).virtual_servers
    assert server.min_healthy == found
    (server,) = config_of(inherited + virtual_server(*servers)).virtual_servers
    assert server.min_healthy == MinHealthy(MinHealthyUnit.PERCENT, 10)
    (server,) = config_of(virtual_server(*servers)).virtual_servers
    assert server.min_healthy is None


def test_a_min_healthy_that_nothing_can_reach_is_warned_of() -> None:
    assert warnings_of(virtual_server("min_healthy weight 4", real_server("weight 3"))) == [
        "min_healthy weight 4 is more than all real servers have together, 3: none of them that may be held ever leaves"
    ]
