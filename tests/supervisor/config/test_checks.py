from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from checkers import ssl as ssl_get
from checkers.kit.api import TYPES
from supervisor.config.keywords import CHECK_DEFAULTS, check_table
from supervisor.model import CheckSpec, Endpoint, Schedule
from tests.fakes.tls import AUTHORITY
from tests.supervisor.config.written import config_of, only_real_server, outcome_of, real_server, said, virtual_server

URL = "url {\npath /\n}"


def only_check(
    *lines: str, inside: tuple[str, ...] = (), outer: tuple[str, ...] = (), kind: str = "TCP_CHECK"
) -> CheckSpec:
    """The check that these lines make, with lines of its real server and of its virtual server around it."""
    (check,) = only_real_server(*inside, f"{kind} {{", *lines, "}", outer=outer).checks
    return check


@pytest.mark.parametrize(
    ("kind", "lines", "wanted"),
    [
        ("TCP_CHECK", [], Schedule(60.0, 1, 1.0, 5.0, 60.0)),
        ("HTTP_GET", [URL], Schedule(60.0, 1, 3.0, 5.0, 60.0)),
        ("SSL_GET", [URL], Schedule(60.0, 1, 3.0, 5.0, 60.0)),
        ("SMTP_CHECK", [], Schedule(60.0, 1, 1.0, 5.0, 60.0)),
        ("DNS_CHECK", [], Schedule(60.0, 3, 60.0, 5.0, 60.0)),
        ("UDP_CHECK", [], Schedule(60.0, 1, 1.0, 5.0, 60.0)),
        ("MISC_CHECK", ["misc_path /bin/true"], Schedule(60.0, 0, 1.0, 60.0, 60.0)),
        ("MISC_CHECK", ["misc_path /bin/true", "misc_timeout 3"], Schedule(60.0, 0, 1.0, 3.0, 60.0)),
        ("PING_CHECK", [], Schedule(60.0, 1, 1.0, 5.0, 60.0)),
        ("DNS_CHECK", ["delay_loop 4"], Schedule(4.0, 3, 4.0, 5.0, 4.0)),
    ],
)
def test_each_type_has_its_own_defaults(kind: str, lines: list[str], wanted: Schedule) -> None:
    assert only_check(*lines, kind=kind).schedule == wanted


def test_no_type_is_without_defaults() -> None:
    assert set(CHECK_DEFAULTS) == set(TYPES)


TIMES = ("delay_loop {}", "retry {}", "delay_before_retry {}", "connect_timeout {}", "warmup {}", "rise {}")


def test_times_come_from_the_check_else_the_real_server_else_the_virtual_server() -> None:
    outer = tuple(line.format(2) for line in TIMES)
    inside = tuple(line.format(3) for line in TIMES)
    own = tuple(line.format(4) for line in TIMES)
    assert only_check(outer=outer).schedule == Schedule(2.0, 2, 2.0, 2.0, 2.0, 2)
    assert only_check(outer=outer, inside=inside).schedule == Schedule(3.0, 3, 3.0, 3.0, 3.0, 3)
    assert only_check(*own, outer=outer, inside=inside).schedule == Schedule(4.0, 4, 4.0, 4.0, 4.0, 4)


INTERVALS = ("fast_interval {}", "down_interval {}", "idle_interval {}")


def test_our_own_pauses_are_off_unless_set_and_come_from_the_innermost_block_that_sets_them() -> None:
    def pauses(*own: str, inside: tuple[str, ...] = (), outer: tuple[str, ...] = ()) -> list[float | None]:
        schedule = only_check(*own, inside=inside, outer=outer).schedule
        return [schedule.fast_interval, schedule.down_interval, schedule.idle_interval]

    outer, inside, own = (tuple(line.format(n) for line in INTERVALS) for n in (0.2, 0.3, 0.4))
    outer = ("delay_loop 0.1", *outer)
    own = ("delay_loop 0.1", *own)
    assert pauses() == [None, None, None]
    assert pauses(outer=outer) == [0.2, 0.2, 0.2]
    assert pauses(outer=outer, inside=inside) == [0.3, 0.3, 0.3]
    assert pauses(*own, outer=outer, inside=inside) == [0.4, 0.4, 0.4]


def test_global_defs_has_our_own_pauses_for_all_who_do_not_say_otherwise_and_the_most_probes_a_second() -> None:
    head = "global_defs {\nfast_interval 0.5\nidle_interval 30\nprobe_rate_max 4\n}\n"
    config = config_of(
        head + virtual_server(real_server("TCP_CHECK {\nidle_interval 40\n}"), "down_interval 2", "delay_loop 5")
    )
    ((check,),) = [server.checks for server in config.virtual_servers[0].real_servers]
    schedule = check.schedule
    assert (schedule.fast_interval, schedule.down_interval, schedule.idle_interval) == (0.5, 2.0, 40.0)
    assert config.probe_rate_max == 4


def test_the_warmup_is_the_delay_loop_of_this_very_check() -> None:
    assert only_check("delay_loop 1.5", outer=("delay_loop 9",)).schedule.warmup == 1.5
    assert only_check("warmup 0", outer=("delay_loop 9",)).schedule.warmup == 0


def test_a_check_may_have_no_retry_though_a_real_server_must_have_one() -> None:
    assert only_check("retry 0").schedule.retry == 0


def test_the_old_spelling_of_retry_is_noted_once_and_is_no_warning() -> None:
    text = virtual_server(
        real_server("HTTP_GET {", URL, "nb_get_retry 4", "}"),
        real_server("HTTP_GET {", URL, "nb_get_retry 4", "}", head="10.1.0.2 80"),
    )
    outcome = outcome_of(text)
    assert [problem.severity.value for problem in outcome.problems] == ["note"]
    assert outcome.config is not None
    assert [server.checks[0].schedule.retry for server in outcome.config.virtual_servers[0].real_servers] == [4, 4]


def test_the_target_is_the_real_server_unless_the_check_says_otherwise() -> None:
    assert only_check().target == Endpoint(IPv4Address("10.1.0.1"), 80)
    assert only_check("connect_ip 10.9.0.1").target == Endpoint(IPv4Address("10.9.0.1"), 80)
    assert only_check("connect_port 81").target == Endpoint(IPv4Address("10.1.0.1"), 81)


def test_the_source_of_a_probe_can_be_chosen() -> None:
    check = only_check("bindto 10.3.0.1", "bind_port 99", "bind_if eth1")
    assert (check.bind_address, check.bind_port, check.bind_interface) == (IPv4Address("10.3.0.1"), 99, "eth1")


@pytest.mark.parametrize(
    ("outer", "inside", "own", "wanted"),
    [
        ((), (), (), False),
        (("alpha",), (), (), True),
        (("alpha",), ("alpha off",), (), False),
        (("alpha",), ("alpha off",), ("alpha yes",), True),
    ],
)
def test_alpha_is_inherited(
    outer: tuple[str, ...], inside: tuple[str, ...], own: tuple[str, ...], wanted: bool
) -> None:
    assert only_check(*own, inside=inside, outer=outer).alpha is wanted


def test_logging_of_all_failures_has_a_global_default() -> None:
    text = "global_defs {\nchecker_log_all_failures\n}\n" + virtual_server(
        real_server("TCP_CHECK { }"), real_server("TCP_CHECK { log_all_failures no }", head="10.1.0.2 80")
    )
    checks = [server.checks[0] for server in config_of(text).virtual_servers[0].real_servers]
    assert [check.log_all_failures for check in checks] == [True, False]


def test_the_options_are_canonical_json_of_the_blocks_own_keywords() -> None:
    check = only_check(
        "url {",
        "path /b",
        "digest 9B3A0C85A887A256D6939DA88AABD8CD",
        "status_code 200-299 301",
        "status_code 404",
        "}",
        "url {",
        "regex_no_match",
        'regex "a{2} \\\\d"',
        "regex_options caseless multiline",
        "regex_min_offset 4",
        "path /a",
        "virtualhost inner.example",
        "}",
        "connect_timeout 2",
        "http_protocol 1.1",
        kind="HTTP_GET",
    )
    options = json.loads(check.options_json)
    assert options == {
        "http_protocol": "1.1",
        "url": [
            {
                "path": "/b",
                "digest": "9b3a0c85a887a256d6939da88aabd8cd",
                "status_code": [[200, 299], [301, 301], [404, 404]],
            },
            {
                "path": "/a",
                "regex": "a{2} \\d",
                "regex_no_match": True,
                "regex_options": ["caseless", "multiline"],
                "regex_min_offset": 4,
                "virtualhost": "inner.example",
            },
        ],
    }
    assert check.options_json == json.dumps(options, sort_keys=True, separators=(",", ":"))
    assert only_check().options_json == "{}"


@pytest.mark.parametrize(
    ("outer", "inside", "own", "wanted"),
    [
        ("", "", "", None),
        ("virtualhost v", "", "", "v"),
        ("virtualhost v", "virtualhost r", "", "r"),
        ("virtualhost v", "virtualhost r", "virtualhost c", "c"),
    ],
)
def test_the_virtual_host_is_inherited(outer: str, inside: str, own: str, wanted: str | None) -> None:
    check = only_check(URL, own, inside=(inside,), outer=(outer,), kind="HTTP_GET")
    assert json.loads(check.options_json).get("virtualhost") == wanted
    assert only_check(inside=(inside,), outer=(outer,)).options_json == "{}"


def test_equal_blocks_of_different_servers_are_alike_but_for_their_target() -> None:
    block = ("HTTP_GET {", URL, "connect_timeout 2", "}")
    first, second = (
        config_of(virtual_server(real_server(*block), real_server(*block, head="10.1.0.2 80")))
        .virtual_servers[0]
        .real_servers
    )
    assert first.checks[0].options_json == second.checks[0].options_json
    assert first.checks[0].schedule == second.checks[0].schedule
    assert first.checks[0].target != second.checks[0].target


def test_a_mistake_in_equal_blocks_is_told_of_in_each() -> None:
    block = ("HTTP_GET {", "url {", "path /", "regex (", "}", "}")
    outcome = outcome_of(virtual_server(real_server(*block), real_server(*block, head="10.1.0.2 80")))
    assert [(problem.code, problem.line) for problem in outcome.problems] == [("E038", 9), ("E038", 17)]


def test_checks_keep_the_order_of_the_file_and_the_same_one_twice_is_one() -> None:
    server = only_real_server("TCP_CHECK { }", "HTTP_GET {", URL, "}", "TCP_CHECK { }", warnings=1)
    assert [check.type for check in server.checks] == ["TCP_CHECK", "HTTP_GET"]


def test_each_host_of_an_old_smtp_check_is_a_check_of_its_own() -> None:
    host = ("host {", "connect_ip 10.1.0.9", "connect_port 25", "connect_timeout 2", "fwmark 7", "alpha", "}")
    lines = ("SMTP_CHECK {", "bindto 10.1.0.8", "connect_timeout 4", *host, "host {", "retry 0", "}", "}")
    first, second = only_real_server(*lines).checks
    assert (str(first.target), first.mark, first.alpha, first.schedule.connect_timeout) == ("10.1.0.9:25", 7, True, 2.0)
    assert (str(second.target), second.mark, second.alpha, second.schedule.connect_timeout) == (
        "10.1.0.1:80",
        0,
        False,
        4.0,
    )
    assert (first.schedule.retry, second.schedule.retry) == (1, 0)
    assert {str(check.bind_address) for check in (first, second)} == {"10.1.0.8"}
    assert {check.options_json for check in (first, second)} == {"{}"}


def test_a_host_that_cannot_be_reached_from_its_source_address_is_an_error() -> None:
    lines = ("SMTP_CHECK {", "host {", "connect_ip fd00::1", "bindto 10.1.0.8", "}", "}")
    assert said(outcome_of(virtual_server(real_server(*lines)))) == [
        "9:1: error: an IPv4 source address cannot reach fd00::1"
    ]


def test_a_record_type_may_be_written_small() -> None:
    check = only_check("type aaaa", "name www.example.org.", kind="DNS_CHECK")
    assert json.loads(check.options_json) == {"type": "AAAA", "name": "www.example.org."}


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        (["payload 0A0b", "require_reply"], {"payload": "0a0b", "require_reply": ""}),
        (["payload 0A 0b 0C0D", "require_reply 8X xx"], {"payload": "0a0b0c0d", "require_reply": "8xxx"}),
        (["min_reply_length 1", "max_reply_length 9"], {"min_reply_length": 1, "max_reply_length": 9}),
    ],
)
def test_the_bytes_of_a_udp_check_are_digits_in_pairs(lines: list[str], options: dict[str, object]) -> None:
    assert json.loads(only_check(*lines, kind="UDP_CHECK").options_json) == options


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("payload 0a0", '7:9: error: payload must be hexadecimal digits in pairs; "0a0" is not'),
        ("payload 0a hello", '7:12: error: payload must be hexadecimal digits in pairs; "hello" is not'),
        ("payload xx", "7:1: error: UDP_CHECK: payload must be exact: x stands for any digit in require_reply only"),
        ("payload", '7:1: error: "payload" needs a value: bytes to send (32 that mean nothing)'),
    ],
)
def test_bytes_that_are_none_are_told_of(line: str, message: str) -> None:
    assert said(outcome_of(virtual_server(real_server("UDP_CHECK {", line, "}")))) == [message]


def test_the_certificates_of_ca_travel_as_text_and_nothing_else_of_the_file_does(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n# Größe\n" + AUTHORITY)
    options = json.loads(only_check(URL, f"ca {file}", kind="SSL_GET").options_json)
    assert options["ca"] == AUTHORITY.strip()


@pytest.mark.parametrize(
    ("word", "content", "message"),
    [
        ("{}", None, "cannot be read: No such file or directory"),
        ("{}", "nothing", "holds no certificate in PEM form"),
        ("{}", AUTHORITY * 80, "bytes of certificates; at most 32768 fit"),
        ("ca.pem", None, 'ca must be a path that begins with /; not "ca.pem"'),
        ("/dev/zero", None, "is no ordinary file"),
        ("{}", AUTHORITY.replace("M", "N"), "SSL_GET: ca holds no certificate that can be read"),
    ],
)
def test_certificates_that_cannot_be_had_are_told_of(
    tmp_path: Path, word: str, content: str | None, message: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    lines = "SSL_GET {", URL, f"ca {word.format(file)}", "}"
    (problem,) = outcome_of(virtual_server(real_server(*lines))).problems
    assert message in problem.message
    assert problem.line == 10


@pytest.mark.parametrize("kind", ["BFD_CHECK"])
def test_a_check_that_is_not_handled_says_what_that_means_for_the_server(kind: str) -> None:
    outcome = outcome_of(virtual_server(real_server(f"{kind} {{", "inner {", "x }", "}")))
    (message,) = said(outcome)
    assert message.startswith(f'6:1: warning: "{kind}" is not handled by this version; ')
    assert "will count as healthy without this check (always, because nothing else checks it)" in message
    beside = outcome_of(virtual_server(real_server(f"{kind} {{", "}", "TCP_CHECK { }")))
    assert "(when its other checks succeed)" in said(beside)[0]


def test_every_keyword_of_every_check_is_handled() -> None:
    options = [option for kind in TYPES for option in check_table(kind).values()]
    assert all(keyword.handled for option in options for keyword in (option, *option.block))


URLS = "url {\npath /a\n}\nurl {\npath /b\n}"


@pytest.mark.parametrize(
    ("defaults", "line", "wanted"),
    [
        ("", "", None),
        ("", "urls_one_by_one", True),
        ("compat urls_one_by_one", "", True),
        ("compat urls_one_by_one", "urls_one_by_one false", False),
    ],
)
def test_one_url_in_each_loop_is_for_all_checks_or_for_one(defaults: str, line: str, wanted: bool | None) -> None:
    for kind in ("HTTP_GET", "SSL_GET"):
        text = f"global_defs {{\n{defaults}\n}}\n" + virtual_server(real_server(f"{kind} {{", URLS, line, "}"))
        (check,) = config_of(text).virtual_servers[0].real_servers[0].checks
        assert json.loads(check.options_json).get("urls_one_by_one") is wanted


def test_compat_knows_what_it_may_be_asked_for() -> None:
    text = "global_defs {\ncompat urls_one_by_on\n}\n" + virtual_server(real_server())
    assert said(outcome_of(text)) == ['2:8: error: compat knows no "urls_one_by_on"']
    assert outcome_of(text).problems[0].suggestion == 'did you mean "urls_one_by_one"?'


def test_our_own_keywords_of_a_url_come_through() -> None:
    lines = "url {", "path /", "method OPTIONS", 'header "X-A: b c"', "header X:y", "body_length 0-9", "}"
    (url,) = json.loads(only_check(*lines, kind="HTTP_GET").options_json)["url"]
    wanted = {"path": "/", "method": "OPTIONS", "header": ["X-A: b c", "X:y"], "body_length": "0-9"}
    assert url == wanted


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("header nonsense", '9:1: error: HTTP_GET: header must be "Name: value"'),
        ("body_length many", "9:1: error: HTTP_GET: body_length must be N or N-M, bytes up to 1048576; not 'many'"),
        ("method DELETE", '9:8: error: unknown value "DELETE" for method'),
        ("regex_stack 1 2\nregex a", "9:1: warning: regex_stack has no effect: a regular expression has a limit of memory, and no stack"),
        ("regex_options caseless", "9:1: warning: regex_options has no effect without regex"),
        ("regex_options case_less", "9:1: error: HTTP_GET: regex_options: 'case_less' is none of allow_empty_class alt_bsux"),
        ("tls_compliant", "9:1: warning: tls_compliant means nothing without TLS, which is SSL_GET"),
    ],
)  # fmt: skip
def test_what_a_checker_says_of_its_values_is_told_with_the_place(line: str, message: str) -> None:
    (told,) = said(outcome_of(virtual_server(real_server("HTTP_GET {", "url {", "path /", line, "}", "}"))))
    assert told.startswith(message)


def test_the_server_name_in_tls_is_the_host_also_where_the_real_server_gives_it() -> None:
    """keepalived skips the real server's and takes the virtual server's: another name in TLS than in Host."""
    around = {"inside": ("virtualhost r.example",), "outer": ("virtualhost v.example",)}
    options = json.loads(only_check(URL, "enable_sni", kind="SSL_GET", **around).options_json)
    (secure,) = ssl_get.prepare(options)  # type: ignore[misc]  # one url is no turns
    assert (secure.url.host, secure.server_name) == (b"r.example", "r.example")


def test_an_idle_interval_that_does_nothing_is_told_of_once() -> None:
    block = "TCP_CHECK {\n}"
    servers = (real_server(block), real_server(block, head="10.1.0.2 80"))
    outcome = outcome_of(virtual_server("delay_loop 6", "idle_interval 6", *servers))
    assert [line for line in said(outcome) if "idle_interval" in line] == [
        "8:1: warning: idle_interval 6 is no longer than delay_loop 6"
    ]
