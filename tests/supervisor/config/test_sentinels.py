"""Which checks have a sentinel, and which retry at once: by themselves, and when the file says so."""

from __future__ import annotations

import pytest

from supervisor.config.problems import Code
from supervisor.model import CheckSpec
from tests.supervisor.config.written import config_of, outcome_of, real_server, virtual_server

BLOCKS = {
    "TCP_CHECK": ("TCP_CHECK {", "}"),
    "HTTP_GET": ("HTTP_GET {", "url {", "path /", "}", "}"),
    "SSL_GET": ("SSL_GET {", "url {", "path /", "}", "}"),
    "SMTP_CHECK": ("SMTP_CHECK {", "}"),
    "DNS_CHECK": ("DNS_CHECK {", "}"),
    "UDP_CHECK": ("UDP_CHECK {", "}"),
    "PING_CHECK": ("PING_CHECK {", "}"),
    "MISC_CHECK": ("MISC_CHECK {", 'misc_path "/bin/true"', "}"),
}
USUALLY = {"TCP_CHECK", "HTTP_GET", "SSL_GET"}


def check(*server: str, before: str = "", outside: tuple[str, ...] = ()) -> CheckSpec:
    """The first check of a file: `server` are the lines of its real server, `outside` those of its virtual server."""
    text = before + virtual_server(*outside, real_server(*server))
    return config_of(text).virtual_servers[0].real_servers[0].checks[0]


def everywhere(*lines: str) -> str:
    return "\n".join(("global_defs {", *lines, "}", ""))


@pytest.mark.parametrize("kind", BLOCKS)
def test_checks_over_tcp_have_one_by_themselves_but_mail_servers_do_not(kind: str) -> None:
    found = check(*BLOCKS[kind])
    assert (found.sentinel, found.fast_retry) == (kind in USUALLY, kind in USUALLY)


@pytest.mark.parametrize("kind", BLOCKS)
def test_who_says_so_everywhere_means_what_is_so_by_itself_and_who_says_no_means_all(kind: str) -> None:
    assert check(*BLOCKS[kind], before=everywhere("sentinel")) == check(*BLOCKS[kind])
    found = check(*BLOCKS[kind], before=everywhere("sentinel no"))
    assert (found.sentinel, found.fast_retry) == (False, False)


def test_a_mail_server_has_one_where_its_own_block_says_so() -> None:
    assert check("SMTP_CHECK {", "sentinel", "}").sentinel


def test_the_innermost_word_counts() -> None:
    def said(everybody: str, virtual: str, real: str, own: str) -> bool:
        own_line = [f"sentinel {own}"] if own else []
        real_line = [f"sentinel {real}"] if real else []
        outside = (f"sentinel {virtual}",) if virtual else ()
        before = everywhere(f"sentinel {everybody}") if everybody else ""
        return check(*real_line, "TCP_CHECK {", *own_line, "}", before=before, outside=outside).sentinel

    assert not said("yes", "yes", "yes", "no")
    assert said("no", "no", "no", "yes")
    assert not said("yes", "yes", "no", "")
    assert said("no", "no", "yes", "")
    assert not said("yes", "no", "", "")
    assert said("no", "yes", "", "")


def test_a_server_with_few_slots_has_none_unless_the_file_says_so() -> None:
    assert not check("uthreshold 99", *BLOCKS["TCP_CHECK"]).sentinel
    assert check("uthreshold 100", *BLOCKS["TCP_CHECK"]).sentinel
    assert check("uthreshold 0", *BLOCKS["TCP_CHECK"]).sentinel
    assert check("uthreshold 99", "sentinel yes", *BLOCKS["TCP_CHECK"]).sentinel


def test_fast_retry_goes_with_the_sentinel_and_can_be_had_by_itself() -> None:
    assert not check("sentinel no", *BLOCKS["TCP_CHECK"]).fast_retry
    assert check("sentinel no", "fast_retry yes", *BLOCKS["TCP_CHECK"]).fast_retry
    found = check("fast_retry no", *BLOCKS["TCP_CHECK"])
    assert (found.sentinel, found.fast_retry) == (True, False)


@pytest.mark.parametrize("line", ["fwmark 7", "bind_port 2000"])
def test_a_check_with_a_mark_or_a_port_of_its_own_has_none_and_says_so_when_it_was_asked_for(line: str) -> None:
    assert not check("TCP_CHECK {", line, "}").sentinel
    assert not check("TCP_CHECK {", line, "}", before=everywhere("sentinel yes")).sentinel
    outcome = outcome_of(virtual_server(real_server("TCP_CHECK {", line, "sentinel yes", "}")))
    assert [problem.code for problem in outcome.problems] == [Code.NO_EFFECT]


def test_a_check_over_udp_does_not_know_the_word() -> None:
    outcome = outcome_of(virtual_server(real_server("UDP_CHECK {", "sentinel yes", "}")))
    assert outcome.config is None
