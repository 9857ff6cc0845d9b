"""The SSL block: what it gives to SSL_GET, and what happens when its files are not what they should be."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from checkers.kit.options import CLIENT as CLIENT_OPTION
from checkers.kit.options import UNREADABLE
from supervisor.children.translation import job_of
from supervisor.config import Outcome, render
from supervisor.config.secure import CLIENT_MAX_BYTES
from supervisor.core.events import Health
from supervisor.core.jobs import definition
from supervisor.model import CheckSpec
from tests.fakes.tls import (
    AUTHORITY,
    AUTHORITY_FILE,
    CLIENT,
    CLIENT_FILE,
    CLIENT_KEY,
    CLIENT_KEY_ENCRYPTED,
    CLIENT_KEY_ENCRYPTED_FILE,
    CLIENT_KEY_FILE,
    PASSWORD,
)
from tests.supervisor.config.written import outcome_of, real_server, said, virtual_server

URL = "url {\npath /\n}"
BOTH = (f"certificate {CLIENT_FILE}", f"key {CLIENT_KEY_FILE}")


def outcome_with(*lines: str, check: tuple[str, ...] = (), kind: str = "SSL_GET") -> Outcome:
    """A file with an SSL block of these lines (at line 2 on) before one server with one check."""
    block = "\n".join(["SSL {", *lines, "}\n"])
    return outcome_of(block + virtual_server(real_server(f"{kind} {{", URL, *check, "}")))


def spec_of(outcome: Outcome) -> CheckSpec:
    assert outcome.config is not None, said(outcome)
    return outcome.config.virtual_servers[0].real_servers[0].checks[0]


def options_of(outcome: Outcome) -> dict[str, object]:
    options: dict[str, object] = json.loads(spec_of(outcome).options_json)
    return options


def test_certificate_and_key_reach_every_ssl_get_as_text() -> None:
    outcome = outcome_with(*BOTH)
    assert outcome.problems == ()
    wanted = {"certificate": CLIENT.strip(), "key": CLIENT_KEY.strip(), "password": ""}
    assert options_of(outcome)[CLIENT_OPTION] == wanted


def test_an_encrypted_key_goes_with_its_password() -> None:
    outcome = outcome_with(BOTH[0], f"key {CLIENT_KEY_ENCRYPTED_FILE}", f"password {PASSWORD}")
    assert outcome.problems == ()
    wanted = {"certificate": CLIENT.strip(), "key": CLIENT_KEY_ENCRYPTED.strip(), "password": PASSWORD}
    assert options_of(outcome)[CLIENT_OPTION] == wanted


def test_it_does_not_matter_where_the_block_stands() -> None:
    text = virtual_server(real_server("SSL_GET {", URL, "}")) + "\n".join(["SSL {", *BOTH, "}"])
    assert CLIENT_OPTION in options_of(outcome_of(text))


def test_other_checks_get_nothing_of_it() -> None:
    assert options_of(outcome_with(*BOTH, kind="HTTP_GET")) == {"url": [{"path": "/"}]}


def test_one_file_may_hold_certificate_and_key(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_text(f"# Größe\n{CLIENT_KEY}\n{CLIENT}")
    options = options_of(outcome_with(f"certificate {file}", f"key {file}"))
    assert options[CLIENT_OPTION] == {"certificate": CLIENT.strip(), "key": CLIENT_KEY.strip(), "password": ""}


@pytest.mark.parametrize(
    ("check", "wanted"),
    [
        ((), None),
        (("verify",), AUTHORITY.strip()),
        (("verify false",), None),
        ((f"ca {CLIENT_FILE}",), CLIENT.strip()),
    ],
)
def test_its_ca_is_whom_a_check_trusts_that_says_verify_and_names_none(
    check: tuple[str, ...], wanted: str | None
) -> None:
    outcome = outcome_with(f"ca {AUTHORITY_FILE}", check=check)
    assert outcome.problems == ()
    assert options_of(outcome).get("ca") == wanted
    assert CLIENT_OPTION not in options_of(outcome)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (BOTH[:1], '1:1: warning: SSL must give both "certificate" and "key"; no client certificate is shown to servers'),
        (BOTH[1:], '1:1: warning: SSL must give both "certificate" and "key"; no client certificate is shown to servers'),
        ((), '1:1: warning: SSL must give both "certificate" and "key"; no client certificate is shown to servers'),
        (("password x",), '1:1: warning: SSL must give both "certificate" and "key"; no client certificate is shown to servers'),
    ],
)  # fmt: skip
def test_half_a_client_certificate_is_none_as_with_keepalived(lines: tuple[str, ...], message: str) -> None:
    outcome = outcome_with(*lines)
    assert said(outcome) == [message]
    assert CLIENT_OPTION not in options_of(outcome)


@pytest.mark.parametrize(
    ("lines", "message", "trouble"),
    [
        (
            (BOTH[0], "key /nowhere/x"),
            '3:5: warning: key "/nowhere/x" cannot be read: No such file or directory; SSL_GET will fail until it can',
            'key "/nowhere/x" cannot be read: No such file or directory',
        ),
        (
            (f"certificate {CLIENT_FILE}", f"key {CLIENT_KEY_ENCRYPTED_FILE}"),
            "1:1: warning: client certificate: the key needs a password; SSL_GET will fail until that is put right",
            "client certificate: the key needs a password",
        ),
        (
            (f"certificate {AUTHORITY_FILE}", f"key {CLIENT_KEY_FILE}"),
            "1:1: warning: client certificate: the key is not the certificate's; SSL_GET will fail until that is put right",
            "client certificate: the key is not the certificate's",
        ),
    ],
    ids=["missing", "encrypted", "another's"],
)
def test_files_that_do_not_do_are_a_warning_and_the_reason_for_every_probe_to_fail(
    lines: tuple[str, ...], message: str, trouble: str
) -> None:
    outcome = outcome_with(*lines)
    assert said(outcome) == [message]
    assert options_of(outcome)[CLIENT_OPTION] == {"trouble": trouble}


def test_a_ca_that_is_missing_is_a_warning_and_the_reason_for_every_probe_to_fail() -> None:
    message = 'ca "/nowhere/x" cannot be read: No such file or directory'
    outcome = outcome_of(virtual_server(real_server("SSL_GET {", URL, "ca /nowhere/x", "}")))
    assert said(outcome) == [f"10:4: warning: {message}; SSL_GET will fail until it can"]
    assert options_of(outcome)["ca"] == f"{UNREADABLE}{message}"


def test_a_client_certificate_that_would_not_fit_into_a_job_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    file.write_text(CLIENT * 39)
    outcome = outcome_with(f"certificate {file}", BOTH[1])
    (problem,) = outcome.problems
    assert f"take more than {CLIENT_MAX_BYTES} bytes; SSL_GET will fail" in problem.message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("key relative", '2:5: error: key must be a path that begins with /; not "relative"'),
        (f"key {CLIENT_FILE}", f'2:5: error: key "{CLIENT_FILE}" holds no private key in PEM form'),
        (f"certificate {CLIENT_KEY_FILE}", f'2:13: error: certificate "{CLIENT_KEY_FILE}" holds no certificate in PEM form'),
        ("key /dev/zero", '2:5: error: key "/dev/zero" is no ordinary file'),
        ("cert /x", '2:1: error: unknown keyword "cert"'),
    ],
)  # fmt: skip
def test_what_can_only_be_a_mistake_is_an_error(line: str, message: str) -> None:
    assert message in said(outcome_with(line))


# Secrets


@pytest.mark.parametrize(
    "lines",
    [
        ["SSL {", "password open sesame 123", "}"],
        ["SSL {", "password sesame", "password sesame", "}"],
        ["SSL { password sesame", "}", "SSL { password sesame }"],
        ["SSL {", "password sesame {", "x", "}", "}"],
        ["SSL {", '  password "open sesame"', "  password sesame x", "}"],
        [
            "virtual_server 10.0.0.2 80 {",
            "real_server 10.1.0.1 80 {",
            "HTTP_GET {",
            "url {",
            "path /",
            "header Authorization: Basic sesame",
            'header "X: sesame" x',
            'header "sesame"',
            "}",
            "}",
            "}",
            "}",
        ],
    ],
)
def test_a_secret_is_in_no_message_and_in_no_line_that_is_shown(lines: list[str]) -> None:
    outcome = outcome_of("\n".join(lines) + "\n" + virtual_server(real_server("SSL_GET {", URL, "}")))
    assert outcome.problems
    assert "sesame" not in render(outcome)
    assert "sesame" not in repr(outcome.problems)


def test_key_and_password_are_in_no_text_that_is_made_of_a_check_but_the_job_itself() -> None:
    outcome = outcome_with(BOTH[0], f"key {CLIENT_KEY_ENCRYPTED_FILE}", f"password {PASSWORD}")
    spec = spec_of(outcome)
    job = job_of(spec, 1, Health.UP)
    for text in (repr(outcome), repr(spec), str(job), definition(spec)):
        assert PASSWORD not in text
        assert "PRIVATE" not in text
    assert PASSWORD in json.dumps(asdict(job), default=str)


def test_checks_that_differ_in_nothing_but_their_options_are_two() -> None:
    one, other = (spec_of(outcome_with(*lines)) for lines in (BOTH, ()))
    assert one != other
    assert definition(one) != definition(other)
