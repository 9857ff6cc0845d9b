"""Secrets in what strangers may read."""

import pytest

from supervisor.core.entry import RESULT, Entry, Extract
from supervisor.core.masking import MASK, masked, masked_extract

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
@pytest.mark.parametrize("words", [True, False])
def test_what_is_named_like_a_secret_is_masked(text: str, words: bool) -> None:
    found = masked(text, words=words)
    assert SECRET not in found
    assert MASK in found


def test_a_blank_parts_name_and_value_only_among_arguments() -> None:
    assert masked("check --password hunter2 -H db") == f"check --password {MASK} -H db"
    sentence = "authentication failed: the password was refused"
    assert masked(sentence, words=False) == sentence


@pytest.mark.parametrize(
    "text", ["", "connection refused", "HTTP 503, wanted 200", "GET /health HTTP/1.1", "smtp_password_file /a"]
)
def test_everything_else_stays(text: str) -> None:
    assert masked(text) == text


def test_of_the_history_every_text_is_masked() -> None:
    entry = Entry(
        1,
        1.0,
        RESULT,
        "info",
        "token=hunter2",
        facts={"sent": "GET /?token=hunter2", "passed": False},
        because=("key=hunter2",),
    )
    found = masked_extract(Extract(2.0, (entry,), 3))
    assert found is not None
    assert SECRET not in str(found)
    assert (found.at, found.omitted, found.entries[0].facts["passed"]) == (2.0, 3, False)
    assert masked_extract(None) is None
