"""What the kernel takes without complaint although it cannot work (ipvs.md, sections 4 and 7): the check finds each of them."""

from __future__ import annotations

import pytest

from tests.supervisor.config.written import outcome_of, real_server, virtual_server

UDP = "lb_algo rr\nlb_kind DR\nprotocol UDP"
OPS_NAT = "W108 with ops and NAT, answers leave with the real server's address, so most clients drop them"
TWICE = "is a virtual server already, in line 1; the kernel has room for one"


def plain(head: str = "10.0.0.1 80", base: str = "lb_algo rr\nlb_kind NAT\nprotocol TCP") -> str:
    return virtual_server(real_server(head="10.1.0.1 80"), head=head, base=base)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (plain(base="lb_algo rr\nlb_kind NAT\nprotocol ICMP"), 'E026 unknown value "ICMP" for protocol'),
        (plain(base="lb_algo rr\nlb_kind NAT\nprotocol 1"), 'E026 unknown value "1" for protocol'),
        (plain(base="lb_algo rrr\nlb_kind NAT\nprotocol TCP"), 'E026 unknown value "rrr" for lb_algo'),
        (plain(base="lb_algo rr\nlb_kind LOCAL\nprotocol TCP"), 'E029 unknown forwarding method "LOCAL"'),
        (
            plain(base="lb_algo rr\nlb_kind TUN type vxlan\nprotocol TCP"),
            'E029 "type" needs one of: ipip, gue port N, gre',
        ),
        (
            virtual_server(real_server("weight 65536")),
            'E021 weight "65536" is outside 0 to 65535: ipvsadm takes no other',
        ),
        (
            virtual_server("weight 2147483647", real_server()),
            'E021 weight "2147483647" is outside 1 to 65535: ipvsadm takes no other',
        ),
        (
            virtual_server(real_server(head="10.1.0.1"), head="10.0.0.1"),
            "W103 a virtual server for all ports needs persistence; 360 s is taken",
        ),
        (
            virtual_server("persistence_timeout 0", real_server()),
            'E021 persistence_timeout "0" is outside 1 to 2678400 s',
        ),
        (
            virtual_server("persistence_timeout 9", "persistence_granularity 255.255.0.255", real_server()),
            'E024 "255.255.0.255" is no IPv4 mask',
        ),
        (
            virtual_server("persistence_timeout 9", "persistence_granularity 0.0.0.0", real_server()),
            'E024 "0.0.0.0" is no IPv4 mask',
        ),
        (
            virtual_server("persistence_timeout 9", "persistence_engine spi", real_server(), base=UDP),
            'W108 Linux has no persistence engine "spi"; without a module of that name this cannot be served',
        ),
        (
            virtual_server("persistence_timeout 9", "persistence_engine sixteen__letters", real_server(), base=UDP),
            "E030 the name of a persistence engine has at most 15 characters",
        ),
        (virtual_server("ops", real_server(), base=UDP.replace("DR", "NAT")), OPS_NAT),
        (virtual_server("ops", real_server("lvs_method NAT"), base=UDP), OPS_NAT),
        (
            virtual_server("ops", "sorry_server 10.1.0.9", "sorry_server_lvs_method NAT", real_server(), base=UDP),
            OPS_NAT,
        ),
        (
            virtual_server(real_server(head="10.1.0.1 8080"), base="lb_algo rr\nlb_kind DR\nprotocol TCP"),
            "W103 DR cannot change the port from 80 to 8080; 80 is taken",
        ),
        (
            virtual_server(real_server("uthreshold 1", "lthreshold 2")),
            "E036 lthreshold 2 is above uthreshold 1",
        ),
        (plain() + plain(), f"E031 10.0.0.1:80/tcp {TWICE}"),
        (
            plain("fwmark 7", "lb_algo rr\nlb_kind NAT") + plain("fwmark 7", "lb_algo wlc\nlb_kind NAT"),
            f"E031 fwm:7/ipv4 {TWICE}",
        ),
        (plain() + plain("group G") + "virtual_server_group G {\n10.0.0.1 80\n}\n", f"E031 10.0.0.1:80/tcp {TWICE}"),
    ],
)
def test_what_the_kernel_takes_in_silence_is_told_of(text: str, told: str) -> None:
    assert told in [f"{problem.code} {problem.message}" for problem in outcome_of(text).problems]


def test_ops_without_nat_is_fine_whatever_the_virtual_server_says() -> None:
    text = virtual_server("ops", real_server("lvs_method DR"), base=UDP.replace("DR", "NAT"))
    assert outcome_of(text).problems == ()
