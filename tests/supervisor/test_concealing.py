"""Secrets in what is told of the past and of causes: masked for operators and strangers alike, with check-now's own rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from checkers.kit.masking import Mask
from supervisor.concealing import Concealing, concealed, masks_of
from supervisor.core.causes import Fact
from supervisor.core.entry import RESULT, Entry, Extract
from tests.supervisor.core.builders import config, real_server, started, virtual_server

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "GET /health?token=hunter2&x=1 HTTP/1.1\\r\\nHost: a",
        "GET /?api_key=hunter2",
        "GET / HTTP/1.0\\r\\nAuthorization: Basic hunter2\\r\\nHost: a",
        "GET / HTTP/1.0\\r\\nCookie: id=hunter2",
        "HTTP/1.0 200 OK\\r\\nSet-Cookie: id=hunter2",
        "X-Auth-Token:hunter2",
        "http://admin:hunter2@192.0.2.1/",
        'HTTP/1.0 403 No\\r\\n\\r\\n{"password": "hunter2"}',
    ],
)
def test_what_looks_like_a_secret_is_masked_and_the_lines_around_it_stay(text: str) -> None:
    found = concealed(text)
    assert SECRET not in found
    assert found.count("\\r\\n") == text.count("\\r\\n")
    assert Mask().text(text.replace("\\r\\n", "\r\n")) == found.replace("\\r\\n", "\r\n")


@pytest.mark.parametrize("text", ["", "connection refused", "HTTP 503, wanted 200", "GET /health HTTP/1.1\\r\\n"])
def test_everything_else_stays(text: str) -> None:
    assert concealed(text) == text


def test_a_header_of_the_file_is_a_secret_wherever_it_comes_back() -> None:
    (check,) = real_server(1).checks
    options = '{"url":[{"header":["X-Site: open sesame"],"path":"/"}]}'
    server = replace(real_server(1), checks=(replace(check, type="HTTP_GET", options_json=options),))
    director = started(config(virtual_server(server, real_server(2))))
    (state,) = director.virtual_servers.values()
    mine, other = state.real_servers.values()
    assert (len(masks_of(mine)), masks_of(other)) == (1, ())

    def told(endpoint: str) -> Entry:
        facts: dict[str, Fact] = {"sent": "GET / HTTP/1.0\\r\\nX-Site: open sesame\\r\\n", "passed": False}
        because = ("said open sesame", "token=hunter2")
        return Entry(1, 1.0, RESULT, "info", "open sesame", str(state.spec.key), endpoint, facts, because)

    concealing = Concealing(lambda: director)
    found = concealing.extract(Extract(2.0, (told(str(mine.spec.endpoint)), told(str(other.spec.endpoint))), 3))
    assert found is not None
    assert (found.at, found.omitted) == (2.0, 3)
    assert found.entries[0].message == "***"
    assert found.entries[0].facts == {"sent": "GET / HTTP/1.0\\r\\nX-Site: ***\\r\\n", "passed": False}
    assert found.entries[0].because == ("said ***", "token=***")
    assert found.entries[1].message == "open sesame"
    assert found.entries[1].because == ("said open sesame", "token=***")
    assert concealing.extract(None) is None
    assert concealing.entry(replace(told(""), virtual_server="", said="key: hunter2")).message == "key: hunter2"
