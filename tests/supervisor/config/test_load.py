from __future__ import annotations

import pathlib
import re
import string
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.kit.options import Kind
from supervisor.config import Severity, keywords, load, render
from supervisor.model import (
    AddressKey,
    CheckSpec,
    Config,
    Endpoint,
    MailSettings,
    Protocol,
    RealServer,
    Schedule,
    SorryServer,
    VirtualServer,
)
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server

ARTICLE = pathlib.Path(__file__).parents[3] / "deploy" / "examples" / "article.conf"


def test_the_article_loads_as_it_stands() -> None:
    outcome = load(ARTICLE)
    assert outcome.config is not None
    assert outcome.count(Severity.WARNING) == 0

    def server(last: int) -> RealServer:
        endpoint = Endpoint(IPv4Address(f"192.168.100.{last}"), 80)
        schedule = Schedule(delay_loop=5.0, retry=3, delay_before_retry=3.0, connect_timeout=5.0, warmup=5.0)
        options = '{"url":[{"path":"/","status_code":[[200,200]]}]}'
        check = CheckSpec("HTTP_GET", endpoint, schedule, options_json=options, sentinel=True, fast_retry=True)
        return RealServer(endpoint, weight=1, inhibit_on_failure=True, checks=(check,))

    wanted = VirtualServer(
        key=AddressKey(Protocol.TCP, Endpoint(IPv4Address("203.0.113.100"), 80)),
        scheduler="rr",
        sorry_server=SorryServer(Endpoint(IPv4Address("192.168.100.20"), 80)),
        real_servers=(server(21), server(22)),
    )
    assert outcome.config.virtual_servers == (wanted,)
    assert outcome.config.mail == MailSettings(
        recipients=("admin@example.org",),
        sender="admin@example.org",
        server="203.0.113.200",
        port=25,
        connect_timeout=30,
    )
    assert (outcome.config.router_id, outcome.config.default_interface) == ("LVS_DEVEL", "eth0")
    assert (outcome.config.source, outcome.config.files) == (str(ARTICLE), (str(ARTICLE),))
    assert re.fullmatch(r"[0-9a-f]{12}", outcome.config.digest)
    assert render(outcome).splitlines()[-1] == "fine: 1 virtual server, 2 real servers"


EIGHT = """\
global_defs {
  smtp_conect_timeout 30
}
virtual_server 10.0.0.1 80 {
  delay_loop 6 lb_algo rr
  lb_algo wllc
  lb_kind NAT
  protocol TCP
  real_server 10.1.0.1 80800 {
    weight 12x
    FOO_CHECK {
      path /
    }
  }
  real_server 10.1.0.2 80 {
    HTTP_GET {
      url {
        status_code 2000
      }
      connect_timeout 3s
    }
  }
}
"""


def test_eight_mistakes_are_all_named_at_once_with_their_places() -> None:
    outcome = outcome_of(EIGHT)
    assert outcome.config is None
    found = [(problem.line, problem.column, problem.code) for problem in outcome.problems]
    assert found == [
        (2, 3, "E010"),
        (5, 16, "E012"),
        (6, 11, "E026"),
        (9, 24, "E025"),
        (10, 12, "E020"),
        (11, 5, "E010"),
        (17, 7, "E015"),
        (18, 21, "E027"),
        (20, 23, "E022"),
    ]
    assert render(outcome).splitlines()[-1] == "9 errors"


def test_an_unknown_block_does_not_eat_its_neighbours() -> None:
    outcome = outcome_of(
        virtual_server(
            "FOO {", "real_server 10.9.9.9 80 {", "}", "}", real_server("weight x"), real_server(head="10.1.0.2 y")
        )
    )
    assert [problem.message for problem in outcome.problems] == [
        'unknown keyword "FOO"; its block is skipped',
        'weight "x" is not a whole number',
        '"y" is not a port',
    ]


def test_every_keyword_of_other_subsystems_is_told_of_once_with_all_its_blocks() -> None:
    names = [keyword.name for keyword in keywords.ROOT if not keyword.handled and keyword.kind is Kind.BLOCK]
    assert len(names) > 10
    text = "\n".join(f"{name} a b {{\n c d {{\n e\n }}\n }}" for name in (*names, *names))
    outcome = outcome_of(text + "\n" + virtual_server(real_server()))
    assert outcome.config is not None
    assert [problem.message for problem in outcome.problems] == [
        f'"{name}" is not handled by this version' for name in names
    ]


def test_global_settings_may_stand_in_several_blocks() -> None:
    config = config_of(
        "global_defs {\nrouter_id a\nnotification_email {\na@b c@d\n}\n}\n"
        "global_defs {\nnotification_email {\ne@f\n}\nsmtp_server mail.example.org 587\nsmtp_helo_name lb\nno_checker_emails\n"
        "notification_email_from lb@b\nsmtp_connect_timeout 9\nvirtual_server_addresses off\ndefault_interface bond0.5\n}\n"
    )
    assert config.mail == MailSettings(
        ("a@b", "c@d", "e@f"), "lb@b", "mail.example.org", 587, 9, "lb", every_check=False
    )
    assert (config.router_id, config.assign_addresses, config.default_interface) == ("a", False, "bond0.5")


def test_an_empty_file_is_a_configuration_with_nothing_in_it() -> None:
    assert config_of("").virtual_servers == ()


def test_the_digest_changes_with_the_text_of_included_files_too() -> None:
    def digest(text: str, inner: str) -> str:
        outcome = outcome_of(text, a_conf=inner)
        assert outcome.config is not None
        return outcome.config.digest

    plain = digest("include a.conf\n", "# one\n")
    assert plain == digest("include a.conf\n", "# one\n")
    assert plain != digest("include a.conf\n", "# two\n")


def test_blocks_too_deep_are_refused_and_not_followed() -> None:
    outcome = outcome_of("a {\n" * 50_000)
    assert outcome.problems[0].code == "E010"
    assert "blocks are nested more than 32 deep" in {problem.message for problem in outcome.problems}


WORDS = """
path digest status_code regex regex_options virtualhost fwmark group NAT DR TUN type gue port tcp rr mh { } { } { } { }
10.0.0.1 10.1.0.1 10.1.0.2 fd00::1 fe80::1 10.0.0.1/8 224.0.0.1 0 1 80 -1 1.5 99999999999999999999999999 12x
# ! " ' \\ $A $A=1 $A=${A} ${A} ~SEQ(A,3) ~SEQx(B,0x0a,${A}) ~LST(A,1,2) ~LST({A,B},{1,2},{3}) @x @^x @ include main.conf ( [ * a\\
$B=x\\ ${_RANDOM} ${_PWD} ${_HASH} ${_BANG} ${_INSTANCE} $_RANDOM virtual_server_group 10.0.0.1-9 10.0.0.0/30 fd00::1-3 include_check
"""

VOCABULARY = st.sampled_from(
    [
        *WORDS.split(),
        *[
            "\n",
            "\n\n",
            " \n",
            " \\\n",
            "virtual_server group g",
            "virtual_server_group g {\n",
            "\n$A=x \\\n",
            "\0",
            "\ufeff",
            "\r",
            "\u00a0",
        ],
        *sorted(
            {
                *keywords.ROOT_TABLE,
                *keywords.VIRTUAL_SERVER_TABLE,
                *keywords.REAL_SERVER_TABLE,
                *keywords.check_table("HTTP_GET"),
                *(name for name, keyword in keywords.GLOBAL_DEFS_TABLE.items() if keyword.handled),
            }
        ),
    ]
)
WRITTEN = st.lists(VOCABULARY, max_size=60).map(" ".join)


@settings(deadline=None, derandomize=True)
@given(st.one_of(WRITTEN, st.text(max_size=200)))
def test_no_text_ever_raises_and_every_problem_has_a_place_and_can_be_shown(text: str) -> None:
    outcome = outcome_of(text.encode("utf-8", "surrogatepass"))
    assert (outcome.config is None) == (outcome.count(Severity.ERROR) > 0)
    for problem in outcome.problems:
        assert problem.line >= 1
        assert 1 <= problem.column <= len(problem.source_line) + 1
        assert problem.length >= 1
    assert render(outcome)


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=100))
def test_no_bytes_ever_raise(data: bytes) -> None:
    outcome = outcome_of(data)
    assert (outcome.config is None) == (outcome.count(Severity.ERROR) > 0)


@pytest.fixture(scope="module")
def plain_article() -> Config:
    return without_origin(load(ARTICLE).config)


def without_origin(config: Config | None) -> Config:
    assert config is not None
    return replace(config, source="", digest="", files=())


NOISE = st.sampled_from(["", "", "", "\n", "\n\n  \n", ' # } a { "\n', "\t! it's {\n", "\r\n"])


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_comments_blank_lines_and_the_placing_of_braces_change_nothing(
    plain_article: Config, data: st.DataObject
) -> None:
    written: list[str] = []
    for line in ARTICLE.read_text().splitlines():
        statement = line.split("!")[0].strip()
        for part in re.split(r"([{}])", statement):
            if not part.strip():
                continue
            if part in "{}":
                written += [data.draw(NOISE), part, data.draw(st.sampled_from(["", " ", "\n", " #x\n"]))]
            else:
                separator = data.draw(st.sampled_from([" ", "\t", "   "]))
                written += ["\n", data.draw(NOISE), separator.join(part.split())]
    outcome = outcome_of("".join(written))
    assert without_origin(outcome.config) == plain_article, said(outcome)


@pytest.mark.parametrize("word", ["12x", "x12", "1.5", "++1", "0x10", "\u0661", "1_000", "1e3", "", "9" * 5000])
def test_only_whole_decimal_words_within_range_are_numbers(word: str) -> None:
    outcome = outcome_of(virtual_server(real_server(f'weight "{word}"')))
    assert [problem.code for problem in outcome.problems] in (["E020"], ["E021"])
    assert (outcome.problems[0].line, outcome.problems[0].column) == (6, 8)


@pytest.mark.parametrize(
    ("word", "wanted"), [("5", 5.0), ("1.5", 1.5), ("0.000001", 0.000001), (".5", 0.5), ("007", 7.0)]
)
def test_times_are_decimal_seconds(word: str, wanted: float) -> None:
    config = config_of(virtual_server(f"delay_loop {word}", real_server("TCP_CHECK { }")))
    assert config.virtual_servers[0].real_servers[0].checks[0].schedule.delay_loop == wanted


@pytest.mark.parametrize("word", ["1.0000001", "1,5", "1s", "-1", "1.", "nan", "inf", "1e3"])
def test_other_words_are_no_times(word: str) -> None:
    assert [problem.code for problem in outcome_of(virtual_server(f"delay_loop {word}", real_server())).problems] == [
        "E022"
    ]


@pytest.mark.parametrize(
    ("word", "wanted"), [("true", True), ("on", True), ("yes", True), ("false", False), ("off", False), ("no", False)]
)
def test_booleans_are_six_words(word: str, wanted: bool) -> None:
    config = config_of(virtual_server(real_server(f"smtp_alert {word}")))
    assert config.virtual_servers[0].real_servers[0].mail is wanted


def test_every_keyword_of_every_table_explains_itself() -> None:
    tables = (keywords.ROOT, keywords.GLOBAL_DEFS, keywords.VIRTUAL_SERVER, keywords.REAL_SERVER)
    for table in tables:
        names = [keyword.name for keyword in table]
        assert len(names) == len(set(names))
        for keyword in table:
            assert keyword.help
            assert not set(keyword.name) - set(string.ascii_letters + string.digits + "_-")
            assert not keyword.alias_of or keyword.alias_of in names


@pytest.mark.parametrize("second", ["startup_script", "startup_script { }"])
def test_a_line_that_is_none_takes_nothing_of_the_one_before_away(second: str) -> None:
    outcome = outcome_of(f"global_defs {{\nstartup_script /bin/true\n{second}\n}}\n{virtual_server(real_server())}")
    assert outcome.config is None
    assert not [problem for problem in outcome.problems if problem.code == "W102"]
