"""Random texts that are nearly configurations, and random answers that are nearly right, on the fuzzer's targets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz import answers, configuration, talks
from tests.fuzz.grammar import documents


@pytest.fixture(scope="module", autouse=True)
def low_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in configuration.LOWERED:
            patch.setattr(module, name, value)
        yield


@settings(max_examples=200)
@given(documents())
def test_every_text_is_a_configuration_or_problems_with_their_places(data: bytes) -> None:
    configuration.configuration(data)


@settings(max_examples=200)
@given(documents())
def test_every_word_of_every_text_has_its_place_in_a_file(data: bytes) -> None:
    configuration.expander(data)


@settings(max_examples=300)
@given(
    st.one_of(
        documents(), st.text("ab \t\"'\\#!{}$~@\ufffd\u00a0xc01", max_size=40).map(str.encode), st.binary(max_size=40)
    )
)
def test_the_two_ways_to_cut_a_line_agree(data: bytes) -> None:
    configuration.lexer(data)


_choices = st.tuples(st.integers(0, 9), st.sampled_from((0, 1, 2, 7)), st.integers(0, 3)).map(bytes)
_tails = st.one_of(st.just(b""), st.binary(max_size=20))


def pieces_of(*parts: bytes) -> st.SearchStrategy[bytes]:
    """Some of the parts in any order, and odd bytes behind them."""
    return st.builds(lambda some, tail: b"".join(some) + tail, st.lists(st.sampled_from(parts), max_size=8), _tails)


_http = pieces_of(
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 503\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length: 6\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: " + b"9" * 25 + b"\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"X: y\r\n z\r\n", b"\r\n",
    b"\r\n\r\n", b"\n", b"hello\n", b"6\r\nhello\n\r\n", b"0\r\n\r\n", b"fffffffff\r\n", b"1;x=y\r\na\r\n", b"HTTP/2 200\r\n", b"\0",
    b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n", b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 101 Switch\r\n\r\n",
)  # fmt: skip


@settings(max_examples=500)
@given(_choices, _http)
@example(b"\1\0\0", b"HTTP/1.1 200 OK\r\n\r\n")
def test_a_web_server_may_say_anything(choices: bytes, said: bytes) -> None:
    answers.http(choices + said)


@settings(max_examples=100)
@given(
    _choices,
    st.booleans(),
    st.one_of(_http, pieces_of(b"\x16\x03\x03\0\x04", b"\x15\x03\x03\0\2\2\x28", b"\2\0\0\0", b"\x14\x03\x03\0\1\1")),
)
def test_a_tls_server_may_say_anything(choices: bytes, over_tls: bool, said: bytes) -> None:
    answers.tls(choices + bytes([over_tls]) + said)


@settings(max_examples=300)
@given(
    _choices,
    pieces_of(
        b"220 mx\r\n", b"220-", b"250", b"250-a\r\n", b"250 b\n", b"\n", b"\r", b"554 no\r\n", b"x" * 600, b"\xff"
    ),
)
def test_a_mail_server_may_say_anything(choices: bytes, said: bytes) -> None:
    answers.smtp(choices + said)


@settings(max_examples=300)
@given(_choices, st.lists(pieces_of(b"=", b"=\x81\x80", b"\0\1" * 4, b"\x81\x80", b"x" * 100), max_size=5))
def test_datagrams_may_be_anything(choices: bytes, datagrams: list[bytes]) -> None:
    said = b"".join(bytes([len(datagram)]) + datagram for datagram in (some[:255] for some in datagrams))
    answers.dns(choices[::2] + said)
    answers.udp(choices[::2] + said)


@settings(max_examples=100)
@given(
    st.integers(0, 255),
    pieces_of(
        b"GET /metrics HTTP/1.1\r\n",
        b"HEAD / HTTP/1.0\r\n",
        b"POST //[ HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"\r\n",
        b"Content-Length: 9\r\n",
        b"GET /metrics?scope=process&name[]=%ff HTTP/1.1\r\n",
        b"Accept: application/openmetrics-text;version=9\r\n",
        b"\0",
        b"Accept-Encoding: gzip;q=0\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: x\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"x" * 3000,
    ),
)
def test_a_reader_of_the_exporter_may_ask_anything(size: int, said: bytes) -> None:
    talks.exporter(bytes([size]) + said)
