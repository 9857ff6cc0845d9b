"""Secrets in a line of the configuration."""

import pytest

from supervisor.core.masking import MASK, masked

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "GET /health?token=hunter2&x=1 HTTP/1.1",
        "GET /?api_key=hunter2",
        "Authorization: Basic hunter2",
        "authorization: bearer hunter2",
        "X-Auth-Token:hunter2",
        'PGPASSWORD="hunter2 2"',
        "http://admin:hunter2@192.0.2.1/",
        '{"password": "hunter2"}',
    ],
)
def test_what_is_named_like_a_secret_is_masked(text: str) -> None:
    found = masked(text)
    assert SECRET not in found
    assert MASK in found


def test_a_blank_parts_name_and_value() -> None:
    assert masked("check --password hunter2 -H db") == f"check --password {MASK} -H db"


@pytest.mark.parametrize(
    "text", ["", "connection refused", "HTTP 503, wanted 200", "GET /health HTTP/1.1", "smtp_password_file /a"]
)
def test_everything_else_stays(text: str) -> None:
    assert masked(text) == text
