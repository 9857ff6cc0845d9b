"""Mail in global_defs: the way to the mail server, and what must never leave in the open."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from checkers.kit.options import UNREADABLE
from supervisor.config import Outcome
from supervisor.model import MailSettings, MailTls
from tests.fakes.tls import AUTHORITY_FILE
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server

SERVERS = virtual_server(real_server())
PLAIN = MailSettings(recipients=("a@b",), server="mail.example.org")


def global_defs(*lines: str) -> str:
    return "\n".join(
        ["global_defs {", "notification_email {", "a@b", "}", "smtp_server mail.example.org", *lines, "}\n"]
    )


def mail_of(*lines: str) -> MailSettings:
    return config_of(global_defs(*lines) + SERVERS).mail


def outcome(*lines: str) -> Outcome:
    return outcome_of(global_defs(*lines) + SERVERS)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    return path


def test_without_our_keywords_mail_goes_as_keepalived_sends_it_but_for_the_grouping() -> None:
    assert mail_of() == PLAIN
    assert (PLAIN.tls, PLAIN.user, PLAIN.group_within) == (MailTls.OFF, "", 1.0)


@pytest.mark.parametrize(
    ("lines", "port", "tls"),
    [
        (("smtp_tls off",), 25, MailTls.OFF),
        (("smtp_tls starttls",), 25, MailTls.STARTTLS),
        (("smtp_tls tls",), 465, MailTls.TLS),
        (("smtp_tls tls", "smtp_server mail.example.org 2465"), 2465, MailTls.TLS),
    ],
)
def test_tls_from_the_first_byte_has_a_port_of_its_own(lines: tuple[str, ...], port: int, tls: MailTls) -> None:
    assert mail_of(*lines) == replace(PLAIN, port=port, tls=tls)


def test_user_password_and_authorities_belong_to_tls(password_file: Path) -> None:
    found = mail_of(
        "smtp_tls starttls", "smtp_user lvs", f"smtp_password_file {password_file}", f"smtp_ca {AUTHORITY_FILE}"
    )
    assert (found.tls, found.tls_verify) == (MailTls.STARTTLS, True)
    assert (found.user, found.password_file) == ("lvs", str(password_file))
    assert found.authorities.startswith("-----BEGIN CERTIFICATE-----")
    assert "correct horse" not in repr(found)


@pytest.mark.parametrize(("word", "seconds"), [("0", 0.0), ("2.5", 2.5), ("60", 60.0)])
def test_changes_may_be_grouped_within_a_minute_at_most(word: str, seconds: float) -> None:
    assert mail_of(f"smtp_group_within {word}").group_within == seconds


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("smtp_tls sometimes",), '6:10: error: unknown value "sometimes" for smtp_tls'),
        (("smtp_group_within 61",), '6:19: error: smtp_group_within "61" is outside 0 to 60 s'),
        (
            ("smtp_tls tls", "smtp_user lvs"),
            '7:1: error: "smtp_user" needs "smtp_password_file" beside it',
        ),
        (
            ("smtp_tls tls", "smtp_password_file {file}"),
            '7:1: error: "smtp_password_file" needs "smtp_user" beside it',
        ),
        (
            ("smtp_user lvs", "smtp_password_file {file}"),
            '6:1: error: "smtp_user" needs "smtp_tls starttls" or "smtp_tls tls": a password is never sent in the open',
        ),
        (
            ("smtp_tls tls", 'smtp_user "l\x07s"', "smtp_password_file {file}"),
            '7:11: error: "l\x07s" is no user name: printable ASCII characters are wanted',
        ),
        (
            ("smtp_tls tls", "smtp_user lvs", "smtp_password_file password"),
            '8:20: error: smtp_password_file must be a path that begins with /; not "password"',
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error(lines: tuple[str, ...], message: str, password_file: Path) -> None:
    assert said(outcome(*(line.format(file=password_file) for line in lines))) == [message]


def test_authorities_that_cannot_be_read_are_a_warning_and_mail_fails_until_they_can(password_file: Path) -> None:
    del password_file
    found = outcome("smtp_tls tls", "smtp_ca /nowhere/ca.pem")
    text = 'smtp_ca "/nowhere/ca.pem" cannot be read: No such file or directory'
    assert said(found) == [f"7:9: warning: {text}; mail will fail until it can"]
    assert found.config is not None
    assert found.config.mail.authorities == f"{UNREADABLE}{text}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("smtp_tls_verify off",), '"smtp_tls_verify" has no effect without "smtp_tls starttls" or "smtp_tls tls"'),
        (("smtp_ca {ca}",), '"smtp_ca" has no effect without "smtp_tls starttls" or "smtp_tls tls"'),
        (
            ("smtp_tls tls", "smtp_tls_verify off", "smtp_ca {ca}"),
            '"smtp_ca" has no effect with "smtp_tls_verify off"',
        ),
        (
            ("smtp_tls tls", "smtp_tls_verify off", "smtp_user lvs", "smtp_password_file {file}"),
            "with smtp_tls_verify off, anybody who can stand in for the mail server is told the password",
        ),
        (
            ("smtp_tls tls", "smtp_user lvs", "smtp_password_file /nowhere/password"),
            'smtp_password_file "/nowhere/password" cannot be read: No such file or directory',
        ),
        (
            ("smtp_tls tls", "smtp_user lvs", "smtp_password_file /dev/null"),
            'smtp_password_file "/dev/null" is no ordinary file',
        ),
    ],
)
def test_what_may_not_be_meant_is_a_warning(lines: tuple[str, ...], message: str, password_file: Path) -> None:
    (found,) = said(outcome(*(line.format(file=password_file, ca=AUTHORITY_FILE) for line in lines)))
    assert found.partition(": ")[2] == f"warning: {message}"


def test_a_password_that_everybody_may_read_is_a_warning(password_file: Path) -> None:
    password_file.chmod(0o644)
    (found,) = said(outcome("smtp_tls tls", "smtp_user lvs", f"smtp_password_file {password_file}"))
    assert found.endswith("can be read by everybody on this host")


@pytest.mark.parametrize(("user", "messages"), [(0, ["cannot be read"]), (1000, [])])
def test_only_root_is_told_that_it_may_not_read_the_password(
    user: int, messages: list[str], password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = said(outcome("smtp_tls tls", "smtp_user lvs", f"smtp_password_file {password_file}"))
    assert [message.rpartition('" ')[2] for message in found] == messages
