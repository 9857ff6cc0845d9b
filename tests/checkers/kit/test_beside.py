"""A probe on request sees everything that passes, comes to the same verdict as any other, and gives no secret away."""

from __future__ import annotations

import base64
import time

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers.kit import wire
from checkers.kit.api import TYPES, Answer, Ending, Reason, load
from checkers.kit.beside import Seen, look
from checkers.kit.job import Job
from checkers.kit.masking import Mask
from checkers.kit.options import Json
from checkers.kit.transcript import SHOWN_MAX_BYTES, STEPS_MAX, Step, StepKind, Transcript
from tests.checkers.behaviours import CASES, LIMIT_S, Case
from tests.fakes import mail, names
from tests.fakes.behaviours import Behaviour, Echo, Send, answer_of, hang, healthy, refuse, status
from tests.fakes.favours import ScriptedFavours
from tests.fakes.network import FakeDialer, FakeNetwork
from tests.fakes.tls import AUTHORITY

ADDRESS = "192.168.100.20"
PAGE: dict[str, Json] = {"url": [{"path": "/health"}]}


def seen(keyword: str, options: dict[str, Json], behaviour: Behaviour, *answers: Answer) -> Seen:
    """Look once at a server that behaves like this."""
    checker = load(keyword)
    job = Job(1, keyword, ADDRESS, 80, 6.0, 1, 1.0, LIMIT_S, 0.0, options)

    async def main() -> Seen:
        network = FakeNetwork()
        if behaviour.udp:
            network.udp_server(ADDRESS, 80, behaviour)
            network.echo_server(ADDRESS, behaviour)
        else:
            network.server(ADDRESS, 80).behaviour = behaviour
        dial = FakeDialer(network, LIMIT_S, ScriptedFavours(*answers))
        found = await look(job, lambda: (checker, checker.prepare(options)), dial)
        frame = wire.Probed(1, 1, 1, 1, 1, found.result, found.weight, found.steps)
        assert wire.decode_from_worker(wire.encode(frame)) == frame, "whatever is seen fits the wire"
        return found

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def reason(found: Seen) -> Reason:
    assert found.result is not None
    return found.result.reason


def kinds(found: Seen) -> list[str]:
    return [step.kind.name for step in found.steps]


def texts(found: Seen, kind: StepKind) -> list[str]:
    return [step.text for step in found.steps if step.kind is kind]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whoever_looks_on_comes_to_the_same_verdict(case: Case) -> None:
    for keyword, options, wanted in case.flavours:
        found = seen(keyword, options, case.behaviour)
        assert reason(found) is wanted, keyword
        assert found.steps


def test_of_an_http_request_everything_is_seen() -> None:
    found = seen("HTTP_GET", PAGE, status(503, b"no database\n"))
    assert reason(found) is Reason.L7STS
    assert kinds(found) == ["CONNECTING", "CONNECTED", "SENT", "RECEIVED", "CLOSED"]
    connecting, _, sent, received, _ = found.steps
    assert connecting.text == "TCP connection to 192.168.100.20:80"
    assert sent.text.split("\n") == [
        "GET /health HTTP/1.0",
        "User-Agent: KeepAliveClient",
        "Host: 192.168.100.20:80",
        "",
    ]
    assert received.text.split("\n")[0] == "HTTP/1.1 503 Because"
    assert received.text.endswith("\n\nno database")
    assert received.size_bytes == len(answer_of(503, b"no database\n"))
    assert 0 < sent.at_s < received.at_s < LIMIT_S


def test_of_tls_what_is_said_within_is_seen_and_not_the_records() -> None:
    found = seen(
        "SSL_GET", {**PAGE, "tls_compliant": True, "ca": AUTHORITY, "sni_name": "www.example.org"}, healthy().over_tls()
    )
    assert kinds(found)[:4] == ["CONNECTING", "CONNECTED", "CONNECTING", "SECURED"] or reason(found) is Reason.L6RSP
    found = seen("SSL_GET", {**PAGE, "tls_compliant": True}, healthy().over_tls())
    assert reason(found) is Reason.L7OK
    assert kinds(found) == ["CONNECTING", "CONNECTED", "CONNECTING", "SECURED", "SENT", "RECEIVED", "CLOSED"]
    assert texts(found, StepKind.CONNECTING)[1] == "TLS handshake, certificate not verified"
    assert texts(found, StepKind.SECURED)[0].startswith("TLSv1.3 TLS_")
    assert "certificate until 2" in texts(found, StepKind.SECURED)[0]
    assert texts(found, StepKind.SENT)[0].startswith("GET /health HTTP/1.0\n")


def test_a_handshake_that_fails_says_so() -> None:
    found = seen("SSL_GET", {**PAGE, "ca": AUTHORITY}, healthy().over_tls("expired"))
    assert reason(found) is Reason.L6RSP
    assert kinds(found) == ["CONNECTING", "CONNECTED", "CONNECTING", "FAILED"]
    assert "certificate" in texts(found, StepKind.FAILED)[0]


SIGHTS: tuple[tuple[str, dict[str, Json], Behaviour, tuple[Answer, ...], list[str]], ...] = (
    ("TCP_CHECK", {}, healthy(), (), ["CONNECTING", "CONNECTED", "CLOSED"]),
    ("TCP_CHECK", {}, refuse(), (), ["CONNECTING", "FAILED"]),
    ("HTTP_GET", PAGE, hang(), (), ["CONNECTING", "CONNECTED", "SENT", "FAILED", "CLOSED"]),
    (
        "UDP_CHECK",
        {"require_reply": ""},
        names.name_server(),
        (),
        ["CONNECTING", "CONNECTED", "SENT", "RECEIVED", "CLOSED"],
    ),
    ("DNS_CHECK", {}, names.name_server(), (), ["CONNECTING", "CONNECTED", "SENT", "RECEIVED", "CLOSED"]),
    (
        "PING_CHECK",
        {},
        Behaviour("host", answer=(Echo(),), udp=True),
        (),
        ["CONNECTING", "CONNECTED", "SENT", "RECEIVED", "CLOSED"],
    ),
    ("MISC_CHECK", {"argv": ["/bin/check"]}, healthy(), (Answer(Ending.DONE, 1, "no"),), ["ASKED", "ANSWERED"]),
    (
        "FILE_CHECK",
        {"path": "/run/weight", "factor": 1},
        healthy(),
        (Answer(Ending.DONE, 0, "7"),),
        ["ASKED", "ANSWERED"],
    ),
    (
        "FILE_CHECK",
        {"path": "/run/weight", "factor": 1},
        healthy(),
        (Answer(Ending.REFUSED, 0, "gone"),),
        ["ASKED", "FAILED"],
    ),
)


@pytest.mark.parametrize(("keyword", "options", "behaviour", "answers", "wanted"), SIGHTS)
def test_every_checker_type_is_seen_through_its_dialer(
    keyword: str, options: dict[str, Json], behaviour: Behaviour, answers: tuple[Answer, ...], wanted: list[str]
) -> None:
    found = seen(keyword, options, behaviour, *answers)
    closed = kinds(found)
    assert [kind for kind in closed if kind != "CLOSED"] == [kind for kind in wanted if kind != "CLOSED"]
    assert all(step.text for step in found.steps)


def test_of_mail_every_line_is_a_step_of_its_own() -> None:
    found = seen("SMTP_CHECK", {}, mail.mail_server())
    assert reason(found) is Reason.L7OK
    sent = texts(found, StepKind.SENT)
    assert sent[0].startswith("HELO")
    assert sent[-1] == "QUIT"
    assert texts(found, StepKind.RECEIVED)[0].startswith("220")


def test_a_script_is_seen_by_its_exit_status_and_what_it_printed() -> None:
    found = seen("MISC_CHECK", {"argv": ["/bin/check"]}, healthy(), Answer(Ending.DONE, 2, "replica is 40 s behind"))
    assert texts(found, StepKind.ANSWERED) == ["done, exit status 2: replica is 40 s behind"]


def test_what_is_no_text_is_shown_as_a_dump() -> None:
    found = seen("DNS_CHECK", {}, names.name_server())
    (sent,) = texts(found, StepKind.SENT)
    assert sent.startswith("0000  ")
    assert sent.split("\n")[0].endswith("|")


def test_requests_that_are_made_one_by_one_are_all_made_up_to_the_first_that_fails() -> None:
    options: dict[str, Json] = {"url": [{"path": "/a"}, {"path": "/b"}, {"path": "/c"}], "urls_one_by_one": True}
    assert [text.split()[1] for text in texts(seen("HTTP_GET", options, healthy()), StepKind.SENT)] == [
        "/a",
        "/b",
        "/c",
    ]
    assert len(texts(seen("HTTP_GET", options, status(500)), StepKind.SENT)) == 1


def test_options_that_no_checker_takes_are_a_crash_and_not_an_end_of_the_worker() -> None:
    assert reason(seen("HTTP_GET", {}, healthy())) is Reason.CRASHED


TOKEN = "c2VjcmV0LXRva2VuLW9mLW91cnM="


@pytest.mark.parametrize("line", ["Authorization: Bearer {}", "X-Probe: {}", "Cookie: session={}"])
def test_a_header_of_ones_own_is_nowhere_to_be_read_not_even_where_the_server_sends_it_back(line: str) -> None:
    options: dict[str, Json] = {"url": [{"path": "/", "header": [line.format(TOKEN)]}]}
    echo = Behaviour("echo", answer=(Send(answer_of(200, f"you said {TOKEN}\n".encode(), f"X-Saw: {TOKEN}")),))
    found = seen("HTTP_GET", options, echo)
    everything = "\n".join(step.text for step in found.steps)
    assert TOKEN not in everything
    assert f"{line.split(':', maxsplit=1)[0]}: ***" in everything
    assert "you said ***" in everything


@given(st.integers(0, SHOWN_MAX_BYTES + 50), st.integers(1, 400))
def test_no_half_of_a_secret_stays_at_the_edge(before: int, chunk: int) -> None:
    data = b"." * before + TOKEN.encode() + b"." * 3000
    transcript = Transcript(0.0, Mask([TOKEN]))
    for start in range(0, len(data), chunk):
        transcript.data(StepKind.RECEIVED, 1.0, data[start : start + chunk])
    (step,) = transcript.steps()
    assert TOKEN[:4] not in step.text
    assert step.size_bytes == len(data)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Authorization: Basic " + base64.b64encode(b"bob:hunter2").decode(), "Authorization: ***"),
        ("proxy-authorization:Negotiate abc", "proxy-authorization:***"),
        ("Set-Cookie: id=1; Path=/", "Set-Cookie: ***"),
        ("X-Api-Key: 12345", "X-Api-Key: ***"),
        ("AUTH PLAIN AGJvYgBodW50ZXIy", "AUTH ***"),
        ("GET /?user=bob&password=hunter2&x=1 HTTP/1.0", "GET /?user=bob&password=***&x=1 HTTP/1.0"),
        ('{"access_token": "abc def", "n": 1}', '{"access_token": ***, "n": 1}'),
        ("/bin/check --password hunter2 -v", "/bin/check --password *** -v"),
        ("postgres://bob:hunter2@db/x", "postgres://bob:***@db/x"),
        ("1+postgres://bob:hunter2@db/x", "1+postgres://bob:***@db/x"),
        ("my.db-password-of-bob hunter2", "my.db-password-of-bob ***"),
        ("my.tokens.token: hunter2, secret='a b'", "my.tokens.token: ***, secret=***"),
        ("Content-Type: text/html", "Content-Type: text/html"),
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("the password is wrong", "the password is wrong"),
    ],
)
def test_what_looks_like_a_secret_by_its_name_is_masked(said: str, shown: str) -> None:
    assert Mask().text(said) == shown


@pytest.mark.parametrize("word", [".", "a", "a1", "auth", "token", "-token", "token='", "a://", "a://b:", " ", "\n "])
def test_no_answer_holds_up_whoever_masks_it(word: str) -> None:
    """20,000 letters take 20 ms; where each is looked at anew for every one before it, they take half a minute and far more."""
    began = time.process_time()
    Mask().text(20_000 // len(word) * word)
    assert time.process_time() - began < 1.0


@given(st.lists(st.tuples(st.sampled_from([StepKind.SENT, StepKind.RECEIVED]), st.binary(max_size=6000)), max_size=90))
def test_whatever_passes_the_transcript_stays_within_its_limits(passed: list[tuple[StepKind, bytes]]) -> None:
    transcript = Transcript(0.0, Mask())
    for number, (kind, data) in enumerate(passed):
        transcript.data(kind, number * 0.1, data, apart=True)
    steps = transcript.steps()
    assert len(steps) <= STEPS_MAX
    wire.encode(wire.Probed(1, 1, 1, 1, 1, None, None, steps))


def test_what_does_not_fit_is_counted() -> None:
    transcript = Transcript(0.0, Mask())
    for _ in range(STEPS_MAX + 9):
        transcript.note(StepKind.CONNECTED, 0.0, "open")
    assert transcript.steps()[-1] == Step(StepKind.CUT, 0.0, "10 more steps are not shown")


def test_the_suite_sees_every_checker_type() -> None:
    assert {row[0] for row in SIGHTS} | {"SMTP_CHECK", "SSL_GET"} == set(TYPES)
