"""What a stranger may read of a configuration."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import config
from supervisor.config.shown import shown
from supervisor.core.masking import MASK
from supervisor.model import Config

SECRET = "hunter2"


@pytest.mark.parametrize(
    "line",
    [
        "  password hunter2",
        '\t"password" "hunter2 and more" # why',
        "tls { password hunter2{3} }",
        "auth_pass hunter2",
        "header Authorization: Basic hunter2",
        'misc_path "/usr/bin/check --password hunter2 -H db1"',
        "misc_path \"/usr/bin/check --api-key='hunter2' db1\"",
        'misc_path "/usr/bin/check PGPASSWORD=hunter2 db1"',
        "path /health?a=1&access_token=hunter2",
        'notify_up "/etc/told --secret=hunter2"',
        "include_check http://admin:hunter2@192.0.2.1/x",
        "$PASSWORD=hunter2",
        "  $ANY=hunter2",
        "# password hunter2",
        "weight 1 ! was password hunter2",
    ],
)
def test_no_secret_is_shown(line: str) -> None:
    assert SECRET not in shown(line)


@pytest.mark.parametrize(
    "line",
    [
        "virtual_server 203.0.113.1 80 {",
        "    real_server 192.168.100.21 80 {",
        "  auth_type PASS",
        "  smtp_password_file /etc/vipervisor/mail",
        "  key /etc/ssl/client.pem",
        '  misc_path "/usr/bin/check -H db1"',
        "  path /login",
        "}",
    ],
)
def test_what_is_no_secret_is_shown_as_it_was_written(line: str) -> None:
    assert shown(line) == line


def test_the_rest_of_a_line_with_a_secret_stays() -> None:
    assert shown("  path /health?token=abc&x=1") == f"  path /health?token={MASK}&x=1"
    assert shown("  password abc") == f"  password {MASK}"


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_line_can_be_shown(line: str) -> None:
    shown(line)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20))
def test_whatever_a_password_is_made_of_is_masked(password: str) -> None:
    assert password not in shown(f"  password {password}").replace("password ", "", 1).strip("*")


def test_the_text_of_a_loaded_file_has_names_worked_out_and_no_secrets(tmp_path: Path) -> None:
    included = tmp_path / "servers.conf"
    included.write_text(
        "  real_server 192.0.2.$N 80 {\n    HTTP_GET {\n      url {\n        path /?token=$T\n      }\n    }\n  }\n"
    )
    file = tmp_path / "keepalived.conf"
    file.write_text(
        "$T=hunter2\n$N=21\n! a comment\n\nvirtual_server 203.0.113.1 80 {\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n"
        f"  include {included}\n}}\n"
    )
    loaded = config.load(file).config
    assert loaded is not None
    text = zlib.decompress(loaded.text).decode()
    assert "  real_server 192.0.2.21 80 {\n    HTTP_GET {" in text
    assert f"path /?token={MASK}" in text
    assert SECRET not in text
    assert "comment" not in text
    assert "\n\n" not in text


def test_two_configurations_are_the_same_whatever_is_shown_of_them() -> None:
    assert Config(text=b"a") == Config(text=b"b")
    assert "text" not in repr(Config(text=b"a"))
