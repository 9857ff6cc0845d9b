"""The rows of docs/differences.md about the language and the table at the start: what is said there about Vipervisor is so."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile

import pytest

from supervisor.config import Outcome, load
from supervisor.core.director import Director, table_at_start
from supervisor.core.rules import rules
from supervisor.model import Config, VirtualServer
from tests.supervisor.config.written import config_of, outcome_of, real_server, virtual_server


def codes(text: str) -> list[str]:
    """The codes of all errors."""
    outcome = outcome_of(text)
    assert (outcome.config is None) == any(problem.code[0] == "E" for problem in outcome.problems)
    return [problem.code for problem in outcome.problems if problem.code[0] == "E"]


def lenient(text: str | bytes) -> Outcome:
    """What comes of the text with --lenient."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "main.conf")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, lenient=True)


def let_pass(text: str | bytes, *, told: str = "ignored") -> Config:
    """The configuration that --lenient makes; a warning must say what it let pass."""
    outcome = lenient(text)
    assert outcome.config is not None, [str(problem) for problem in outcome.problems]
    assert any(problem.code == "W109" and told in problem.message for problem in outcome.problems)
    return outcome.config


def only(config: Config) -> VirtualServer:
    """The one virtual server."""
    (found,) = config.virtual_servers
    return found


def plain(config: Config) -> Config:
    """The configuration without what tells where it came from."""
    return dataclasses.replace(config, source="", digest="", files=(), warnings=0)


SERVED = virtual_server(real_server("weight 7"))
"""A file without a fault."""
GROUP = "virtual_server_group web {\n10.0.0.1 80\n10.0.0.2 80\n}\n"


def test_difference_unknown_keyword_is_an_error() -> None:
    text = virtual_server(real_server("weigth 7"))
    assert codes(text) == ["E010"]
    assert outcome_of(text).problems[0].suggestion == 'did you mean "weight"?'
    assert only(let_pass(text)).real_servers[0].weight == 1


def test_difference_unknown_block_skipped_whole() -> None:
    text = virtual_server(
        real_server("FOO_CHECK {", "weight 9", "}", "weight 7"), real_server("weight 8", head="10.1.0.2 80")
    )
    assert codes(text) == ["E010"]
    assert [server.weight for server in only(let_pass(text)).real_servers] == [7, 8]
    misplaced = virtual_server("TCP_CHECK {\nretry 1\n}", real_server("weight 7"))
    assert codes(misplaced) == ["E010"]
    assert plain(let_pass(misplaced)) == plain(config_of(SERVED))


def test_difference_extra_words_are_an_error() -> None:
    text = virtual_server(real_server("weight 7 inhibit_on_failure"))
    assert codes(text) == ["E012"]
    assert plain(let_pass(text)) == plain(config_of(SERVED))


@pytest.mark.parametrize(
    "text",
    [
        virtual_server("lb_algo robin", real_server("weight 7")),
        virtual_server("lb_kind nat", real_server("weight 7")),
        virtual_server("protocol http", real_server("weight 7")),
        virtual_server("ip_family inet6", real_server("weight 7")),
        virtual_server("delay_loop 6s", real_server("weight 7")),
        virtual_server("sorry_server localhost 80", real_server("weight 7")),
        virtual_server(real_server("weight 7"), real_server(head="10.1.0.300 80")),
        virtual_server(real_server("weight 7"), real_server(head="10.1.0.2 99999")),
        SERVED + virtual_server(real_server(), head="10.0.0.300 80"),
        virtual_server(real_server("weight 7", "inhibit_on_failure maybe")),
    ],
)
def test_difference_bad_value_is_an_error(text: str) -> None:
    assert len(codes(text)) == 1
    assert plain(let_pass(text)) == plain(config_of(SERVED))


@pytest.mark.parametrize("number", ["12x", "1.5", "abc", "$TYPO"])
def test_difference_bad_number_keeps_the_default(number: str) -> None:
    text = virtual_server("weight 50", real_server(f"weight {number}"))
    assert codes(text) == ["E020"]
    assert only(let_pass(text)).real_servers[0].weight == 50


@pytest.mark.parametrize("several", ["10.0.0.1-9", "10.0.0.1/24", "10.0.0.1-10.0.0.9"])
def test_difference_range_in_a_head_is_an_error(several: str) -> None:
    text = virtual_server(real_server("weight 7"), head=f"{several} 80")
    assert codes(text) == ["E024"]
    assert plain(let_pass(text, told="only 10.0.0.1 is taken")) == plain(config_of(SERVED))
    sorry = virtual_server(f"sorry_server {several} 80", real_server(head="10.1.0.1/32 80"))
    assert codes(sorry) == ["E024", "E024"]
    found = only(let_pass(sorry, told="only 10.1.0.1 is taken"))
    assert str(found.real_servers[0].endpoint) == "10.1.0.1:80"
    assert str(found.sorry_server and found.sorry_server.endpoint) == "10.0.0.1:80"


def test_difference_virtual_server_without_real_servers_is_an_error() -> None:
    for empty in (
        virtual_server(head="10.0.0.9 80"),
        virtual_server(real_server(head="fd00::1 80"), head="10.0.0.9 80"),
    ):
        assert codes(SERVED + empty) == ["E033"]
        assert plain(let_pass(SERVED + empty)) == plain(config_of(SERVED))


def test_difference_duplicate_virtual_server_is_an_error() -> None:
    text = SERVED + virtual_server("lb_algo wlc", real_server("weight 9"), real_server(head="10.1.0.2 80"))
    assert codes(text) == ["E031"]
    outcome = lenient(text)
    assert outcome.config is not None
    found = only(outcome.config)
    assert found.scheduler == "rr"
    assert [(str(server.endpoint), server.weight) for server in found.real_servers] == [
        ("10.1.0.1:80", 7),
        ("10.1.0.2:80", 1),
    ]


@pytest.mark.parametrize(
    "group",
    [
        "",
        "virtual_server_group web {\n}\n",
        "virtual_server_group web {\nfd00::1 80\n}\n",
        "virtual_server_group web {\n10.0.0.9 80\nfd00::1 80\n}\n",
    ],
)
def test_difference_group_that_cannot_be_used_is_an_error(group: str) -> None:
    text = SERVED + group + virtual_server(real_server(), head="group web")
    assert set(codes(text)) == {"E045"}
    assert plain(let_pass(text)) == plain(config_of(SERVED))
    twice = GROUP + "virtual_server_group web {\n10.0.0.9 80\n}\n" + virtual_server(real_server(), head="group web")
    assert codes(twice) == ["E045"]
    assert [str(server.key) for server in let_pass(twice).virtual_servers] == ["10.0.0.1:80/tcp", "10.0.0.2:80/tcp"]


def test_difference_group_range_may_leave_its_slash_24() -> None:
    group = "virtual_server_group web {\n10.0.0.254-10.0.1.1 80\n}\n"
    found = config_of(group + virtual_server(real_server(), head="group web")).virtual_servers
    assert [str(server.key) for server in found] == [
        f"{address}:80/tcp" for address in ("10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1")
    ]


def test_difference_group_address_is_a_virtual_server_of_its_own() -> None:
    config = config_of(GROUP + virtual_server(real_server("TCP_CHECK { }"), head="group web"))
    assert len(config.virtual_servers) == 2
    director = Director(config, now=0.0)
    assert len(director.jobs.jobs) == 1, "and the check runs once"


def test_difference_group_server_without_a_port_is_probed_where_clients_go() -> None:
    config = config_of(GROUP + virtual_server(real_server("TCP_CHECK { }", head="10.1.0.1"), head="group web"))
    (server,) = config.virtual_servers[0].real_servers
    assert (server.endpoint.port, server.checks[0].target.port) == (0, 80)


def test_difference_sorry_server_that_is_a_real_server_serves() -> None:
    servers = real_server("weight 5", "TCP_CHECK { }"), real_server("weight 6", "TCP_CHECK { }", head="10.1.0.2 80")
    text = virtual_server("alpha", "inhibit_on_failure", "sorry_server 10.1.0.1 80", *servers)
    table = table_at_start(config_of(text, warnings=1))
    assert [line for line in rules(table).splitlines() if "-r" in line] == [
        "-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1",
        "-a -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 0",
    ]


def test_difference_real_servers_that_become_one_are_one() -> None:
    servers = real_server("weight 5", head="10.1.0.1 81"), real_server("weight 6", head="10.1.0.1 82")
    text = virtual_server(*servers, base="lb_algo rr\nlb_kind DR\nprotocol TCP")
    assert [server.weight for server in only(config_of(text, warnings=3)).real_servers] == [5]


def test_difference_thresholds_the_wrong_way_round_are_an_error() -> None:
    text = virtual_server(real_server("weight 7"), real_server("uthreshold 10", "lthreshold 20", head="10.1.0.2 80"))
    assert codes(text) == ["E036"]
    assert plain(let_pass(text)) == plain(config_of(SERVED))


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "0.1.2.3"])
def test_difference_address_that_nobody_can_have_is_an_error(address: str) -> None:
    for text in (
        virtual_server(real_server("weight 7"), real_server(head=f"{address} 80")),
        virtual_server(f"sorry_server {address} 80", real_server("weight 7")),
        SERVED + virtual_server(real_server(), head=f"{address} 80"),
    ):
        assert codes(text) == ["E035"]
        assert plain(let_pass(text)) == plain(config_of(SERVED))


def test_difference_mark_zero_is_an_error() -> None:
    text = SERVED + virtual_server(real_server(), head="fwmark 0", base="lb_algo rr\nlb_kind DR")
    assert codes(text) == ["E021"]
    assert plain(let_pass(text)) == plain(config_of(SERVED))


@pytest.mark.parametrize("mask", ["24", "255.0.255.0", "0.0.0.0"])
def test_difference_granularity_with_holes_is_an_error(mask: str) -> None:
    text = virtual_server(f"persistence_granularity {mask}", real_server("weight 7"))
    assert codes(text) == ["E024"]
    assert plain(let_pass(text)) == plain(config_of(SERVED))


def test_difference_weight_above_65535_is_an_error() -> None:
    assert codes(virtual_server(real_server("weight 65536"))) == ["E021"]
    assert only(config_of(virtual_server(real_server("weight 65535")))).real_servers[0].weight == 65535


def test_difference_brace_that_does_not_fit_is_an_error() -> None:
    assert codes(SERVED + "}\n") == ["E007"]
    assert plain(let_pass(SERVED + "}\n")) == plain(config_of(SERVED))
    missing = SERVED.removesuffix("}\n") + virtual_server(real_server(), head="10.0.0.2 80")
    assert codes(missing) == ["E006"]
    assert lenient(missing).config is None


def test_difference_open_quote_is_an_error() -> None:
    text = virtual_server('virtualhost "www.example.com', real_server())
    assert codes(text) == ["E005"]
    assert lenient(text).config is None


def test_difference_byte_order_mark_is_an_error() -> None:
    text = "\ufeff" + SERVED
    assert codes(text) == ["E002"]
    assert plain(let_pass(text.encode())) == plain(config_of(SERVED))


def test_difference_missing_value_is_one_error_among_others() -> None:
    text = virtual_server("lb_algo", real_server("weight x"))
    assert codes(text) == ["E011", "E020"]
    assert lenient(text).config is None


def test_difference_file_that_is_not_there_is_an_error() -> None:
    assert load(pathlib.Path("/no/such/file")).config is None
    outcome = outcome_of("include nothing.conf\n" + SERVED)
    assert [problem.code for problem in outcome.problems] == ["W107"]


def test_difference_undefined_name_in_braces_is_an_error() -> None:
    text = virtual_server(real_server("weight 7", "virtualhost ${NAME}"))
    assert codes(text) == ["E041"]
    let_pass(text)
    outcome = outcome_of(text.replace("${NAME}", "$NAME"))
    assert [problem.code for problem in outcome.problems] == ["W106"]


def test_difference_repetition_has_a_limit() -> None:
    assert codes("~SEQ(I, 200000) # $I\n" + SERVED) == []
    assert codes("~SEQ(I, 300000) # $I\n" + SERVED) == ["E044"]


def test_difference_random_numbers_are_the_same_each_time(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "main.conf"
    path.write_text(
        "".join(virtual_server(real_server("weight ${_RANDOM 0 60000}"), head=f"10.0.0.{n} 80") for n in range(1, 9))
    )
    first, second = load(path).config, load(path).config
    assert first is not None
    assert first == second
    assert len({server.real_servers[0].weight for server in first.virtual_servers}) > 1


def test_difference_long_line_is_read_whole() -> None:
    text = virtual_server(real_server(f'virtualhost "{"a" * 1500}" # weight 9'), real_server(head="10.1.0.2 80"))
    assert len(only(config_of(text)).real_servers) == 2


def test_difference_conditional_include_is_read_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "part.conf").write_text(SERVED)
    path = tmp_path / "main.conf"
    path.write_text("@here include part.conf\n")
    outcome = load(path, config_id="here")
    assert outcome.problems == ()
    assert outcome.config is not None
    assert plain(outcome.config) == plain(config_of(SERVED))


def test_difference_table_has_what_the_kernel_refuses() -> None:
    text = virtual_server("lb_algo twos", real_server(), base="lb_kind NAT\nprotocol TCP")
    assert rules(table_at_start(config_of(text))).startswith("-A -t 10.0.0.1:80 -s twos\n")


def test_difference_hysteresis_never_underflows() -> None:
    found = only(config_of(virtual_server("hysteresis 5", real_server("weight 0")), warnings=2))
    assert (found.quorum, found.hysteresis) == (1, 0)


def test_difference_check_that_is_not_handled_counts_as_passed() -> None:
    config = config_of(virtual_server(real_server("BFD_CHECK {", "name first", "}")), warnings=1)
    assert "-r 10.1.0.1:80 -m -w 1" in rules(table_at_start(config))


def test_difference_unknown_track_file_is_an_error() -> None:
    text = virtual_server(real_server("weight 7", "FILE_CHECK {", "track_file nothing", "}"))
    assert codes(text) == ["E046"]
    assert plain(let_pass(text)) == plain(config_of(SERVED))


def test_difference_check_of_an_unknown_user_fails() -> None:
    check = "MISC_CHECK {", "misc_path /bin/true", "user nobody-of-that-name", "}"
    outcome = outcome_of(virtual_server(real_server("alpha", *check)))
    assert [problem.code for problem in outcome.problems] == ["W123"]
    assert outcome.config is not None
    assert "-r " not in rules(table_at_start(outcome.config)), "nothing has shown yet that it is well"


def test_difference_vrrp_is_not_handled() -> None:
    vrrp = "vrrp_instance A {\nstate BACKUP\nvirtual_ipaddress {\n10.0.0.1/24 dev eth0\n}\n}\n"
    twice = vrrp + vrrp.replace("A", "B", 1)
    assert plain(config_of(twice + SERVED, warnings=1)) == plain(config_of(SERVED))


def test_difference_nftables_ipvs_is_not_handled() -> None:
    group = "virtual_server_group web {\n10.0.0.1-2 80\n}\n"
    served = group + SERVED.replace("virtual_server 10.0.0.1 80 {", "virtual_server group web {", 1)
    assert "group web" in served
    outcome = outcome_of("global_defs {\nnftables_ipvs\n}\n" + served)
    assert outcome.config is not None
    assert [problem.message for problem in outcome.problems] == ['"nftables_ipvs" is not handled by this version']
    assert plain(outcome.config) == plain(config_of(served))


def test_difference_certificate_that_is_not_there_stops_nothing() -> None:
    ssl = "SSL {\ncertificate /no/such/cert.pem\nkey /no/such/key.pem\n}\n"
    outcome = outcome_of(ssl + SERVED)
    assert outcome.config is not None
    assert rules(table_at_start(outcome.config)) == rules(table_at_start(config_of(SERVED)))


def test_difference_http_path_with_blanks_is_an_error() -> None:
    text = virtual_server(real_server("HTTP_GET {", 'url { path "/a b" }', "}"))
    assert codes(text) == ["E038"]
    assert lenient(text).config is None
