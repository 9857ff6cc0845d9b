"""Real servers that are written alike are read once: whatever they say, each is what it would be alone."""

from __future__ import annotations

import itertools

import pytest

from supervisor.model import RealServer
from tests.supervisor.config.written import outcome_of, real_server, virtual_server

BODIES = (
    (),
    ("TCP_CHECK { }",),
    ("weight 7", "TCP_CHECK { }", "HTTP_GET {", "url { path /a }", "}"),
    ("TCP_CHECK {", "connect_ip 10.1.0.1", "connect_port 80", "}"),
    ("TCP_CHECK {", "connect_port 80", "}"),
    ("TCP_CHECK {", "bindto 10.9.9.9", "}"),
    ('MISC_CHECK {\nmisc_path "/bin/true"\n}',),
    ("lvs_method TUN", "TCP_CHECK { }"),
    ("uthreshold 1", "lthreshold 2", "TCP_CHECK { }"),
    ("notify_up /nowhere/at/all",),
)
HEADS = (
    "10.1.0.1 80",
    "10.1.0.2 80",
    "10.1.0.3 8080",
    "10.1.0.4",
    "10.1.0.5 0",
    "2001:db8::1 80",
    "fe80::1 80",
    "0.1.2.3 80",
    "10.1.0.6 99999",
)
OUTERS = ((), ("delay_loop 7", "weight 3"), ("lb_kind DR",), ("retry 9",))


def _read(outer: tuple[str, ...], *servers: str) -> tuple[list[RealServer], list[str]]:
    outcome = outcome_of(virtual_server(*outer, *servers, head="10.0.0.1 80"))
    servers_read = outcome.config.virtual_servers[0].real_servers if outcome.config else ()
    return list(servers_read), [problem.message for problem in outcome.problems]


@pytest.mark.parametrize("outer", OUTERS)
@pytest.mark.parametrize("body", BODIES)
def test_a_real_server_beside_one_like_it_is_what_it_is_alone(body: tuple[str, ...], outer: tuple[str, ...]) -> None:
    for first, second in itertools.permutations(HEADS, 2):
        one, wrong_with_one = _read(outer, real_server(*body, head=first))
        other, wrong_with_other = _read(outer, real_server(*body, head=second))
        if not one or not other:
            continue  # nothing is left of a file with an error, or of a virtual server without real servers
        both, wrong_with_both = _read(outer, real_server(*body, head=first), real_server(*body, head=second))
        assert both == [*one, *other]
        assert [check.target for server in both for check in server.checks] == [
            check.target for server in (*one, *other) for check in server.checks
        ]
        assert set(wrong_with_both) == {*wrong_with_one, *wrong_with_other}


def test_the_same_words_mean_another_thing_in_another_virtual_server() -> None:
    text = virtual_server("weight 3", real_server("TCP_CHECK { }")) + virtual_server(
        "weight 4", "retry 9", real_server("TCP_CHECK { }"), head="10.0.0.2 80"
    )
    outcome = outcome_of(text)
    assert outcome.config is not None
    servers = [virtual_server.real_servers[0] for virtual_server in outcome.config.virtual_servers]
    assert [(server.weight, server.checks[0].schedule.retry) for server in servers] == [(3, 1), (4, 9)]


def test_a_mistake_in_a_real_server_that_is_like_one_without_is_told_of() -> None:
    fine, wrong = (real_server("TCP_CHECK { }", head=head) for head in ("2001:db8::1 80", "fe80::1 80"))
    outcome = outcome_of(virtual_server(fine, wrong, head="2001:db8::ff 80"))
    assert [problem.code for problem in outcome.problems] == ["E038"]
