"""HTTP_GET against scripted servers on virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers import http
from checkers.kit import answer
from checkers.kit.api import DETAIL_MAX_BYTES, ConnectFailed, Reason, Target, Verdict
from checkers.kit.options import Json
from checkers.kit.turns import OneByOne
from tests.fakes.behaviours import (
    Behaviour,
    End,
    Pause,
    Send,
    Step,
    answer_of,
    chunked,
    cut_body,
    drip,
    endless_body,
    endless_interim,
    head_of,
    healthy,
    interim,
    keep_alive,
    refuse,
    status,
)
from tests.fakes.network import FakeNetwork
from tests.fakes.server import FakeServer

TARGET = Target("192.168.100.20", 80)
BODY = b"hello\n"
DIGEST = hashlib.md5(BODY).hexdigest()


def probe(
    behaviour: Behaviour, *urls: Mapping[str, Json], target: Target = TARGET, limit_s: float = 3.0, **options: Json
) -> tuple[Verdict, FakeServer, float]:
    """Probe once; return the verdict, the server and how long it took."""

    async def main() -> tuple[Verdict, FakeServer, float]:
        network = FakeNetwork()
        server = network.server(target.address, target.port)
        server.behaviour = behaviour
        prepared = http.prepare({"url": [dict(url) for url in urls] or [{"path": "/"}], **options})
        assert not isinstance(prepared, OneByOne)
        start = trio.current_time()
        verdict = await http.check(target, prepared, network.dialer(limit_s))
        assert server.open == 0
        return verdict, server, trio.current_time() - start

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def reason(behaviour: Behaviour, **url: Json) -> str:
    return probe(behaviour, {"path": "/", **url})[0].reason.name


def scripted(*steps: Step) -> Behaviour:
    return Behaviour("scripted", answer=steps)


@pytest.mark.parametrize(
    ("protocol", "line", "close"),
    [
        ("1.0", "HTTP/1.0", ""),
        ("1.0C", "HTTP/1.0", "Connection: close\r\n"),
        ("1.0c", "HTTP/1.0", "Connection: close\r\n"),
        ("1.1", "HTTP/1.1", "Connection: close\r\n"),
    ],
)
def test_the_request_is_what_keepalived_sends_byte_for_byte(protocol: str, line: str, close: str) -> None:
    _, server, _ = probe(healthy(), {"path": "/health?a=b", "virtualhost": "www.example.org"}, http_protocol=protocol)
    wanted = f"GET /health?a=b {line}\r\nUser-Agent: KeepAliveClient\r\n{close}Host: www.example.org\r\n\r\n"
    assert [asked.data.decode() for asked in server.requests] == [wanted]


@pytest.mark.parametrize(
    ("target", "host"),
    [(TARGET, "192.168.100.20:80"), (Target("2001:db8::1", 8080), "[2001:db8::1]:8080")],
)
def test_without_a_virtual_host_the_host_is_the_target_itself(target: Target, host: str) -> None:
    _, server, _ = probe(healthy(), target=target)
    assert f"Host: {host}\r\n".encode() in server.requests[0].data


def test_the_virtual_host_of_the_url_wins_over_that_of_the_block() -> None:
    _, server, _ = probe(healthy(), {"path": "/a", "virtualhost": "one"}, {"path": "/b"}, virtualhost="other")
    assert [asked.data.split(b"Host: ")[1].split()[0] for asked in server.requests] == [b"one", b"other"]


@pytest.mark.parametrize(
    ("code", "ranges", "expected"),
    [
        (200, None, "L7OK"),
        (204, None, "L7OK"),
        (299, None, "L7OK"),
        (300, None, "L7STS"),
        (503, None, "L7STS"),
        (503, [[500, 504]], "L7OK"),
        (200, [[301, 301], [404, 404]], "L7STS"),
        (404, [[301, 301], [404, 404]], "L7OK"),
    ],
)
def test_the_status_must_be_in_one_of_the_ranges(code: int, ranges: Json, expected: str) -> None:
    url: dict[str, Json] = {} if ranges is None else {"status_code": ranges}
    assert reason(status(code, b""), **url) == expected


def test_a_wrong_status_is_explained() -> None:
    verdict, _, _ = probe(status(503), {"path": "/", "status_code": [[200, 200], [301, 302]]})
    assert verdict.detail == "HTTP 503, wanted 200 301-302"
    assert verdict.received == "HTTP/1.1 503 Because\\r\\n\\r\\nhello\\n"
    assert verdict.sent.startswith("GET / HTTP/1.0\\r\\n")


def test_of_an_answer_that_is_refused_the_beginning_of_the_body_is_told_and_no_header() -> None:
    verdict, _, _ = probe(status(503, b"database is away\n"), {"path": "/"})
    assert verdict.received == "HTTP/1.1 503 Because\\r\\n\\r\\ndatabase is away\\n"
    verdict, _, _ = probe(healthy(b"x" * 300), {"path": "/", "regex": "never"})
    assert verdict.reason is Reason.L7BODY
    assert "Because\\r\\n\\r\\n" + "x" * 100 in verdict.received
    assert len(verdict.received) <= DETAIL_MAX_BYTES


def test_of_a_body_in_chunks_the_bytes_are_told_and_not_the_framing() -> None:
    chunks = b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nclean\r\n"
    verdict, _, _ = probe(scripted(Send(chunks), End()))
    assert verdict.received == "HTTP/1.1 500 Oh\\r\\n\\r\\nclean"


def test_nobody_waits_for_a_body_only_to_tell_of_it() -> None:
    verdict, _, took_s = probe(scripted(Send(b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n")))
    assert (verdict.reason, verdict.received) == (Reason.L7STS, "HTTP/1.1 500 Oh")
    assert took_s < 0.1


def test_an_answer_on_a_connection_that_stays_open_counts_as_soon_as_it_is_complete() -> None:
    for url in ({"path": "/"}, {"path": "/", "digest": DIGEST}):
        verdict, _, took_s = probe(keep_alive(BODY), url)
        assert verdict.reason is Reason.L7OK
        assert took_s < 0.1


def test_without_digest_and_regex_the_body_is_not_waited_for() -> None:
    slow_body = scripted(Send(answer_of(200, b"x" * 10)[:-10]), Pause(60.0))
    verdict, _, took_s = probe(slow_body)
    assert verdict.reason is Reason.L7OK
    assert took_s < 0.1


@pytest.mark.parametrize("digest", [DIGEST, DIGEST.upper()])
def test_a_digest_that_fits_the_body_passes(digest: str) -> None:
    assert reason(healthy(BODY), digest=digest) == "L7OK"


def test_a_digest_that_does_not_fit_is_explained() -> None:
    verdict, _, _ = probe(healthy(b"other"), {"path": "/", "digest": DIGEST})
    assert verdict.reason is Reason.L7BODY
    assert verdict.detail == f"digest {hashlib.md5(b'other').hexdigest()} of 5 bytes, wanted {DIGEST}"


def test_the_digest_is_of_the_decoded_body_also_of_chunks() -> None:
    assert reason(chunked(), digest=DIGEST) == "L7OK"


def test_the_digest_looks_only_at_as_many_bytes_as_announced() -> None:
    assert reason(scripted(Send(answer_of(200, BODY) + b"more"), End()), digest=DIGEST) == "L7OK"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ({"regex": "^hel+o"}, "L7OK"),
        ({"regex": "HELLO"}, "L7BODY"),
        ({"regex": "HELLO", "regex_options": ["caseless"]}, "L7OK"),
        ({"regex": "HELLO", "regex_no_match": True}, "L7OK"),
        ({"regex": "hello", "regex_no_match": True}, "L7BODY"),
        ({"regex": "^world$"}, "L7BODY"),
        ({"regex": "^world$", "regex_options": ["multiline"]}, "L7OK"),
        ({"regex": "hello.world"}, "L7BODY"),
        ({"regex": "hello.world", "regex_options": ["dotall"]}, "L7OK"),
        ({"regex": " h e l l o # greet", "regex_options": ["extended", "caseless"]}, "L7OK"),
        ({"regex": "o", "regex_min_offset": 5}, "L7OK"),
        ({"regex": "h", "regex_min_offset": 1}, "L7BODY"),
        ({"regex": "w", "regex_max_offset": 5}, "L7BODY"),
        ({"regex": "w", "regex_max_offset": 6}, "L7OK"),
        ({"regex": "count=[0-9]+"}, "L7BODY"),
    ],
    ids=str,
)
def test_the_regex_is_matched_against_the_body(url: dict[str, Json], expected: str) -> None:
    assert reason(healthy(b"hello\nworld"), **url) == expected


def test_a_pattern_may_match_up_to_the_last_byte() -> None:
    assert reason(healthy(b"count=123"), regex="count=[0-9]+$") == "L7OK"


def test_a_body_that_is_cut_off_is_judged_by_what_came() -> None:
    assert reason(cut_body()) == "L7OK"
    assert reason(cut_body(), regex="^hell") == "L7OK"
    assert reason(cut_body(), digest=DIGEST) == "L7BODY"


def test_interim_answers_are_skipped() -> None:
    verdict, _, _ = probe(interim())
    assert (verdict.reason, verdict.received) == (Reason.L7OK, "HTTP/1.1 200 Because")
    assert reason(interim(), digest=DIGEST) == "L7OK"


def test_a_server_that_sends_interim_answers_for_ever_fails() -> None:
    verdict, _, took_s = probe(endless_interim())
    assert verdict.reason is Reason.L7RSP
    assert took_s < 0.1


def test_a_body_that_never_ends_is_read_to_the_limit_only_and_only_when_it_matters() -> None:
    assert reason(endless_body()) == "L7OK"
    verdict, _, took_s = probe(endless_body(), {"path": "/", "regex": "x"})
    assert (verdict.reason, verdict.detail) == (Reason.L7RSP, "body longer than 1048576 bytes")
    assert took_s < 0.1


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [(head_of(answer.HEAD_MAX_BYTES), "L7OK"), (head_of(answer.HEAD_MAX_BYTES + 1), "L7RSP")],
    ids=str,
)
def test_a_head_may_have_64_kib_and_not_one_byte_more(behaviour: Behaviour, expected: str) -> None:
    assert reason(behaviour) == expected


def test_dripping_bytes_do_not_extend_the_deadline() -> None:
    verdict, _, took_s = probe(drip(0.5), limit_s=3.0)
    assert verdict.reason is Reason.L7TOUT
    assert took_s == pytest.approx(3.0)
    assert verdict.received.startswith("HTTP/1")


def test_a_drip_that_ends_in_time_is_read_whole() -> None:
    assert probe(drip(0.001), {"path": "/", "digest": DIGEST})[0].reason is Reason.L7OK


def test_all_urls_are_asked_in_turn_each_on_its_own_connection_with_its_own_limit() -> None:
    late = scripted(Pause(2.0), Send(answer_of(200, BODY)), End())
    verdict, server, took_s = probe(late, {"path": "/a"}, {"path": "/b"}, {"path": "/c"}, limit_s=3.0)
    assert verdict.reason is Reason.L7OK
    assert [asked.data.split()[1] for asked in server.requests] == [b"/a", b"/b", b"/c"]
    assert took_s == pytest.approx(6.0, abs=0.1)
    assert server.connections == 3


def test_the_first_url_that_fails_ends_the_round_and_is_named() -> None:
    verdict, server, _ = probe(healthy(), {"path": "/a"}, {"path": "/b", "status_code": [[301, 301]]}, {"path": "/c"})
    assert verdict.detail == "/b: HTTP 200, wanted 301"
    assert len(server.requests) == 2


def test_a_connection_that_cannot_be_had_leaves_as_the_dialers_error() -> None:
    async def main() -> None:
        network = FakeNetwork()
        network.server(TARGET.address, TARGET.port).behaviour = refuse()
        with pytest.raises(ConnectFailed, match="connection refused"):
            await http.check(TARGET, http.urls_of({"url": [{"path": "/"}]}), network.dialer(3.0))

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\ndate: Mon, 07 Nov 1994 08:49:38 GMT\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.0 200 Fine\r\nContent-Length: 3\r\n\r\n",
    ],
)
def test_heads_are_understood_whatever_their_date_the_first_time_and_the_second(head: bytes) -> None:
    for _ in range(2):
        assert reason(scripted(Send(head), End())) == "L7OK"


def test_a_changing_date_does_not_make_another_remembered_head() -> None:
    answer._HEADS.clear()
    for second in range(10, 60):
        date = f"Date: Sun, 06 Nov 1994 08:49:{second} GMT"
        assert reason(scripted(Send(answer_of(200, BODY, date)), End())) == "L7OK"
    assert len(answer._HEADS) == 1


def test_what_is_remembered_is_bounded() -> None:
    answer._HEADS.clear()
    for number in range(answer.REMEMBERED_MAX + 50):
        assert answer.parse(f"HTTP/1.1 200 OK\r\nX: {number}\r\n\r\n".encode()).status == 200
    answer.parse(b"HTTP/1.1 200 OK\r\nX: " + b"y" * answer.REMEMBERED_MAX_BYTES + b"\r\n\r\n")
    assert len(answer._HEADS) == answer.REMEMBERED_MAX


def test_what_is_remembered_of_one_status_is_not_told_of_another() -> None:
    assert [reason(status(code, b"")) for code in (200, 503, 200, 404, 503)] == [
        "L7OK",
        "L7STS",
        "L7OK",
        "L7STS",
        "L7STS",
    ]


@given(st.binary(max_size=300), st.integers(1, 50), st.booleans())
def test_any_bytes_give_a_verdict_of_the_closed_set(data: bytes, size: int, valid_start: bool) -> None:
    data = b"HTTP/1.1 200 OK\r\n" * valid_start + data
    steps = [Send(data[at : at + size]) for at in range(0, len(data), size)]
    verdict, _, _ = probe(scripted(*steps, End()), {"path": "/", "regex": "never"})
    assert verdict.reason in {Reason.L7RSP, Reason.L7BODY, Reason.L7STS}
    assert len(verdict.received.encode()) <= DETAIL_MAX_BYTES
    assert verdict.received.isprintable()


@given(st.integers(1, 80))
def test_it_does_not_matter_how_an_answer_is_cut_into_pieces(size: int) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + answer_of(200, BODY)
    steps = [Send(data[at : at + size]) for at in range(0, len(data), size)]
    assert reason(scripted(*steps, End()), digest=DIGEST) == "L7OK"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "at least one url"),
        ({"url": []}, "at least one url"),
        ({"url": [{}]}, "path"),
        ({"url": [{"path": "/a b"}]}, "path must not contain blanks"),
        ({"url": [{"path": "/\r\nX: y"}]}, "path must not contain blanks"),
        ({"url": [{"path": "/", "virtualhost": "a\nb"}]}, "virtualhost must not contain blanks"),
        ({"url": [{"path": "/", "regex": "("}]}, "regex does not compile: missing"),
        ({"url": [{"path": "/", "regex_options": ["case"]}]}, "'case' is none of allow_empty_class"),
        ({"url": [{"path": "/", "header": ["X"]}]}, 'header must be "Name: value"'),
        ({"url": [{"path": "/", "header": ["X Y: z"]}]}, 'header must be "Name: value"'),
        ({"url": [{"path": "/", "header": [": z"]}]}, 'header must be "Name: value"'),
        ({"url": [{"path": "/", "header": ["X: a\r\nY: b"]}]}, "header X has control characters"),
        ({"url": [{"path": "/", "header": ["X: a\x00"]}]}, "header X has control characters"),
        ({"url": [{"path": "/", "header": ["X: a", "x: b"]}]}, "header x stands there twice"),
        ({"url": [{"path": "/", "header": ["host: a"]}]}, "header host cannot be set: use virtualhost"),
        ({"url": [{"path": "/", "header": ["Connection: close"]}]}, "cannot be set: use http_protocol"),
        ({"url": [{"path": "/", "header": ["Content-Length: 3"]}]}, "cannot be set: no body is sent"),
        ({"url": [{"path": "/", "header": ["Transfer-Encoding: chunked"]}]}, "cannot be set: no body is sent"),
        ({"url": [{"path": "/", "header": ["X: " + "y" * 4094]}]}, "at most 32 of at most 4096 bytes"),
        ({"url": [{"path": "/", "header": [f"X{n}: y" for n in range(33)]}]}, "at most 32 of at most 4096 bytes"),
        ({"url": [{"path": "/", "body_length": "x"}]}, "body_length must be N or N-M"),
        ({"url": [{"path": "/", "body_length": "9-8"}]}, "body_length must be N or N-M"),
        ({"url": [{"path": "/", "body_length": "1048577"}]}, "bytes up to 1048576"),
        ({"url": [{"path": "/", "method": "HEAD", "regex": "x"}]}, "method HEAD asks for no body"),
        ({"url": [{"path": "/", "method": "HEAD", "body_length": "0"}]}, "method HEAD asks for no body"),
        (
            {"url": [{"path": "/", "regex": "a", "regex_options": ["un_greedy"]}]},
            "'un_greedy' is none of allow_empty_class",
        ),
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused_with_the_reason(options: dict[str, Json], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        http.prepare(options)


def test_a_path_in_another_alphabet_is_sent_as_utf_8() -> None:
    _, server, _ = probe(healthy(), {"path": "/größe"})
    assert server.requests[0].data.startswith("GET /größe HTTP/1.0\r\n".encode())


# Our own keywords


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_the_method_is_the_one_of_the_file(method: str) -> None:
    verdict, server, _ = probe(healthy(b"" if method == "HEAD" else BODY), {"path": "/x", "method": method})
    assert verdict.reason is Reason.L7OK
    assert server.requests[0].data.startswith(f"{method} /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\n".encode())


def test_an_answer_to_head_is_complete_with_its_head_whatever_length_it_names() -> None:
    verdict, _, took_s = probe(scripted(Send(answer_of(200, BODY)[: -len(BODY)])), {"path": "/", "method": "HEAD"})
    assert verdict.reason is Reason.L7OK
    assert took_s < 0.1


def test_headers_come_after_the_host_and_a_user_agent_takes_the_place_of_ours() -> None:
    headers: list[Json] = ["X-Check: yes and no", "User-Agent:probe/1", "X-Empty:", "Accept-Language: größe"]
    _, server, _ = probe(healthy(), {"path": "/", "virtualhost": "www", "header": headers}, http_protocol="1.1")
    assert server.requests[0].data.decode() == (
        "GET / HTTP/1.1\r\nUser-Agent: probe/1\r\nConnection: close\r\nHost: www\r\n"
        "X-Check: yes and no\r\nX-Empty: \r\nAccept-Language: größe\r\n\r\n"
    )


def test_the_value_of_a_header_is_sent_and_never_told() -> None:
    verdict, server, _ = probe(status(503), {"path": "/", "header": ["Authorization: Basic c2VzYW1l"]})
    assert b"Authorization: Basic c2VzYW1l\r\n" in server.requests[0].data
    assert "c2VzYW1l" not in repr(verdict)
    assert verdict.sent.endswith("Host: 192.168.100.20:80\\r\\nAuthorization: ***\\r\\n\\r\\n")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("6", "L7OK"), ("5", "L7BODY"), ("7", "L7BODY"), ("0-6", "L7OK"), ("6-1048576", "L7OK"), ("0-5", "L7BODY"), ("7-9", "L7BODY")],
)  # fmt: skip
def test_the_body_must_be_as_long_as_expected(wanted: str, expected: str) -> None:
    for behaviour in (healthy(BODY), keep_alive(BODY), chunked()):
        assert reason(behaviour, body_length=wanted) == expected


def test_a_body_of_the_wrong_length_is_told_before_anything_else_of_it() -> None:
    verdict, _, _ = probe(cut_body(), {"path": "/", "body_length": "6", "digest": "0" * 32, "regex": "x"})
    assert verdict.detail == "body of 4 bytes, wanted 6"
    assert probe(healthy(), {"path": "/", "body_length": "7-9"})[0].detail == "body of 6 bytes, wanted 7-9"


def test_one_url_in_each_loop_is_prepared_as_one_check_for_each_turn() -> None:
    urls: list[Json] = [{"path": "/a"}, {"path": "/b", "status_code": [[301, 301]]}]
    turns = http.prepare({"url": urls, "urls_one_by_one": True, "fast_recovery": True})
    assert isinstance(turns, OneByOne)
    assert turns.hurry
    assert [[url.path for url in part] for part in turns.parts] == [["/a"], ["/b"]]

    async def main() -> Verdict:
        network = FakeNetwork()
        network.server(TARGET.address, TARGET.port)
        return await http.check(TARGET, turns.parts[1], network.dialer(3.0))

    assert trio.run(main, clock=MockClock(autojump_threshold=0)).detail == "/b: HTTP 200, wanted 301"
    assert isinstance(http.prepare({"url": urls[:1], "urls_one_by_one": True}), tuple)


# Regular expressions


def test_a_regex_that_would_never_end_is_a_failure_in_time() -> None:
    for options in ({}, {"regex_no_match": True}):
        verdict, _, _ = probe(healthy(b"x" * 200_000), {"path": "/", "regex": "(x+x+)+y[zy]|x*[yz]", **options})
        assert verdict.reason is Reason.L7BODY
        assert verdict.detail.startswith("regex gave up on the body of 200000 bytes: ")


def test_offsets_that_exclude_each_other_are_both_ignored_as_keepalived_does() -> None:
    url: dict[str, Json] = {"path": "/", "regex": "^h", "regex_min_offset": 5, "regex_max_offset": 4}
    assert probe(healthy(), url)[0].reason is Reason.L7OK
    assert list(http.remarks({"url": [url]})) == ["regex_min_offset 5 is above regex_max_offset 4: both are ignored"]


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        ({"url": [{"path": "/", "regex_options": ["utf"]}]}, "regex_options has no effect without regex"),
        ({"url": [{"path": "/", "regex_no_match": True}]}, "regex_no_match has no effect without regex"),
        ({"url": [{"path": "/", "regex": "x", "regex_stack": ["1", "2"]}]}, "regex_stack has no effect: "),
        ({"url": [{"path": "/"}], "enable_sni": True}, "enable_sni means nothing without TLS"),
        ({"url": [{"path": "/", "tls_compliant": True}]}, "tls_compliant means nothing without TLS"),
    ],
    ids=str,
)
def test_what_has_no_effect_is_remarked(options: dict[str, Json], remark: str) -> None:
    (told,) = http.remarks(options)
    assert told.startswith(remark)


def test_what_has_an_effect_is_not_remarked() -> None:
    url: dict[str, Json] = {
        "path": "/",
        "regex": "x",
        "regex_no_match": True,
        "regex_min_offset": 4,
        "regex_max_offset": 4,
    }
    assert list(http.remarks({"url": [url], "fast_recovery": True, "urls_one_by_one": False})) == []
