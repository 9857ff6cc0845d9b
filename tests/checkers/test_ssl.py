"""SSL_GET against scripted servers on virtual time. What it shares with HTTP_GET is tested there."""

from __future__ import annotations

import hashlib
import ssl

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers import http
from checkers import ssl as ssl_get
from checkers.kit import tls
from checkers.kit.api import DeadlinePassed, ProbeError, Reason, Target, Verdict
from checkers.kit.masking import Mask
from checkers.kit.options import CLIENT as CLIENT_OPTION
from checkers.kit.options import UNREADABLE, Json
from checkers.kit.tap import TappedDialer
from checkers.kit.transcript import Transcript
from checkers.kit.turns import OneByOne
from tests.fakes.behaviours import (
    Behaviour,
    End,
    Pause,
    Send,
    answer_of,
    blackhole,
    drip,
    garbage,
    hang,
    healthy,
    refuse,
    status,
)
from tests.fakes.network import FakeNetwork
from tests.fakes.server import FakeServer
from tests.fakes.tls import (
    AUTHORITY,
    CLIENT,
    CLIENT_KEY,
    CLIENT_KEY_ENCRYPTED,
    OTHER_AUTHORITY,
    PASSWORD,
    SERVER_KEY,
    context_of,
)

TARGET = Target("192.168.100.20", 443)
URL: dict[str, Json] = {"path": "/"}


def prepared_of(options: dict[str, Json]) -> tuple[ssl_get.SecureUrl, ...]:
    """Return what all urls in one round are prepared as."""
    prepared = ssl_get.prepare({"url": [URL], **options})
    assert not isinstance(prepared, OneByOne)
    return prepared


def probe(
    behaviour: Behaviour, *urls: dict[str, Json], target: Target = TARGET, **options: Json
) -> tuple[Verdict, FakeServer, float]:
    """Probe once, as the kit does; return the verdict, the server and how long it took."""

    async def main() -> tuple[Verdict, FakeServer, float]:
        network = FakeNetwork()
        server = network.server(target.address, target.port)
        server.behaviour = behaviour
        prepared = prepared_of({"url": [*urls] or [URL], **options})
        start = trio.current_time()
        dial = network.dialer(3.0)
        try:
            verdict = await ssl_get.check(target, prepared, dial)
        except ProbeError as error:
            verdict = Verdict(error.reason, str(error))
        finally:
            dial.close()
        assert server.open == 0
        return verdict, server, trio.current_time() - start

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def probe_with(behaviour: Behaviour, options: dict[str, Json]) -> tuple[Verdict, FakeServer]:
    """Probe once with these options of the block beside its url."""
    verdict, server, _ = probe(behaviour, target=TARGET, **options)
    return verdict, server


def test_the_request_and_the_judgement_are_those_of_http_get() -> None:
    url: dict[str, Json] = {"path": "/x", "virtualhost": "www.example.org"}
    verdict, server, _ = probe(healthy().over_tls(), url)
    until_2125 = ssl.cert_time_to_seconds("Jan  1 00:00:00 2125 GMT")
    assert verdict == Verdict(Reason.L7OK, "HTTP 200", verdict.sent, "HTTP/1.1 200 Because", expires_at=until_2125)
    request = b"GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: www.example.org\r\n\r\n"
    assert [asked.data for asked in server.requests] == [request]
    assert probe(status(503).over_tls())[0].detail == "HTTP 503, wanted 200-299"


@pytest.mark.parametrize("certificate", ["good", "expired", "old"])
def test_without_verify_every_certificate_will_do(certificate: str) -> None:
    assert probe(healthy().over_tls(certificate))[0].reason is Reason.L7OK


@pytest.mark.parametrize(
    ("certificate", "options", "complaint"),
    [
        ("good", {"ca": AUTHORITY, "sni_name": "www.example.org"}, ""),
        ("old", {"ca": AUTHORITY, "sni_name": "www.example.org"}, ""),
        ("good", {"ca": AUTHORITY, "virtualhost": "www.example.org"}, ""),
        ("good", {"ca": AUTHORITY, "virtualhost": "www.example.org:8443"}, ""),
        ("good", {"ca": AUTHORITY}, ""),
        ("good", {"ca": AUTHORITY, "verify": True}, ""),
        ("good", {"ca": OTHER_AUTHORITY + AUTHORITY}, ""),
        ("good", {"ca": OTHER_AUTHORITY, "verify": False}, ""),
        ("good", {"ca": OTHER_AUTHORITY}, "unable to get local issuer certificate"),
        ("good", {"verify": True}, "unable to get local issuer certificate"),
        ("expired", {"ca": AUTHORITY}, "certificate has expired"),
        ("good", {"ca": AUTHORITY, "sni_name": "elsewhere.example.org"}, "Hostname mismatch"),
        ("good", {"ca": AUTHORITY, "virtualhost": "elsewhere.example.org"}, "Hostname mismatch"),
    ],
    ids=str,
)
def test_verify_and_ca_check_chain_validity_and_name(
    certificate: str, options: dict[str, Json], complaint: str
) -> None:
    verdict, server = probe_with(healthy().over_tls(certificate), options)
    if complaint:
        assert verdict.reason is Reason.L6RSP
        assert verdict.detail.startswith(f"TLS handshake: certificate refused: {complaint}")
        assert server.requests == []
    else:
        assert verdict.reason is Reason.L7OK


def test_without_a_name_the_certificate_must_be_for_the_address() -> None:
    verdict, _, _ = probe(healthy().over_tls(), target=Target("192.168.100.21", 443), ca=AUTHORITY)
    assert verdict.reason is Reason.L6RSP
    assert "IP address mismatch, certificate is not valid for '192.168.100.21'" in verdict.detail


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, ""),
        ({"virtualhost": "www.example.org", "sni_name": "other.example.org"}, ""),
        ({"enable_sni": True}, ""),
        ({"enable_sni": True, "virtualhost": "www.example.org"}, "www.example.org"),
        ({"enable_sni": True, "virtualhost": "www.example.org:8443"}, "www.example.org"),
        ({"enable_sni": True, "virtualhost": "[2001:db8::1]:8443"}, ""),
        ({"enable_sni": True, "virtualhost": "www.example.org", "sni_name": "other.example.org"}, "other.example.org"),
        ({"enable_sni": True, "sni_name": "bücher.example.org"}, "xn--bcher-kva.example.org"),
        ({"ca": AUTHORITY, "virtualhost": "www.example.org"}, "www.example.org"),
    ],
    ids=str,
)
def test_the_server_name_is_sent_when_the_file_asks_for_it(options: dict[str, Json], sent: str) -> None:
    verdict, server = probe_with(healthy().over_tls(), options)
    assert (verdict.reason, server.server_names) == (Reason.L7OK, [sent])


def test_each_url_has_its_own_connection_and_name_and_the_one_that_fails_is_told() -> None:
    urls: list[dict[str, Json]] = [{"path": "/a", "virtualhost": "a.example"}, {"path": "/b", "digest": "0" * 32}]
    verdict, server, _ = probe(healthy(b"x").over_tls(), *urls, enable_sni=True, virtualhost="other.example")
    assert verdict.detail.startswith(f"/b: digest {hashlib.md5(b'x').hexdigest()}")
    assert server.server_names == ["a.example", "other.example"]


@pytest.mark.parametrize(
    ("behaviour", "reason", "detail"),
    [
        (refuse(), Reason.L4CON, "connection refused"),
        (blackhole(), Reason.L4TOUT, "no connection within 3 s"),
        (hang(), Reason.L6TOUT, "TLS handshake: no complete answer within 3 s"),
        (Behaviour("", greeting=(End(),)), Reason.L6RSP, "TLS handshake: connection closed"),
        (Behaviour("", greeting=(Send(b"HTTP/1.1 400"),)), Reason.L6RSP, "TLS handshake: wrong version number"),
        (Behaviour("", greeting=(Send(b"\x15\x03\x03\0\2\2\x28"),)), Reason.L6RSP, "TLS handshake: sslv3 alert handshake failure"),
        (healthy().over_tls("asks"), Reason.L6RSP, "TLS handshake: tlsv13 alert certificate required"),
        (hang().over_tls(), Reason.L7TOUT, "no complete answer within 3 s"),
        (garbage().over_tls(), Reason.L7RSP, "not an HTTP answer"),
        (drip(0.5).over_tls(), Reason.L7TOUT, "no complete answer within 3 s"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_told_by_its_layer(behaviour: Behaviour, reason: Reason, detail: str) -> None:
    verdict, _, took_s = probe(behaviour)
    assert (verdict.reason, verdict.detail) == (reason, detail)
    assert took_s <= 3.0 + 1e-6


def test_an_answer_that_is_broken_off_inside_tls_is_a_bad_answer_and_no_bad_handshake() -> None:
    async def main() -> None:
        network = FakeNetwork()
        server = network.server(TARGET.address, TARGET.port)
        server.behaviour = Behaviour("half", answer=(Send(answer_of(200, b"hello")[:20]), Pause(1.0))).over_tls()
        dial = network.dialer(3.0)
        stream = tls.TlsStream(await dial.connect(TARGET), tls.Engine(tls.context_of(verify=False, ca=""), None))
        await stream.shake_hands()
        await stream.send(b"GET / HTTP/1.0\r\n\r\n")
        assert await stream.receive() == answer_of(200, b"hello")[:20]
        stream._engine.fill(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
        with pytest.raises(ProbeError, match=r"^TLS: ") as caught:
            await stream.receive()
        assert caught.value.reason is Reason.L7RSP
        dial.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_time_out_in_the_handshake_that_was_our_own_fault_says_nothing_about_the_server() -> None:
    class LateStream:
        async def send(self, _data: bytes) -> None:
            await trio.lowlevel.checkpoint()

        async def receive(self, _max_bytes: int = 65536) -> bytes:
            await trio.lowlevel.checkpoint()
            raise DeadlinePassed("we were away", connected=True, late=True)

        def close(self) -> None:
            pass

        def pause(self) -> None:
            pass

        def resume(self) -> bool:
            return False

    async def main() -> None:
        stream = tls.TlsStream(LateStream(), tls.Engine(tls.context_of(verify=False, ca=""), None))
        with pytest.raises(DeadlinePassed) as caught:
            await stream.shake_hands()
        assert caught.value.reason is Reason.LATE

    trio.run(main)


@settings(deadline=None)
@given(
    st.binary(max_size=300),
    st.integers(1, 50),
    st.sampled_from([b"", b"\x16\x03\x03", b"\x15\x03\x03\x00\x02", b"\x16\x03\x03\x00\x40\x02"]),
)
def test_any_bytes_for_a_handshake_give_a_verdict_of_the_closed_set(data: bytes, size: int, start: bytes) -> None:  # fmt: skip
    data = start + data
    steps = [Send(data[at : at + size]) for at in range(0, len(data), size)]
    verdict, _, took_s = probe(Behaviour("", greeting=(*steps, End())))
    assert verdict.reason is Reason.L6RSP
    assert took_s < 0.1


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_inside_tls_give_a_verdict_of_the_closed_set(data: bytes, size: int) -> None:
    steps = [Send(data[at : at + size]) for at in range(0, len(data), size)]
    assert probe(Behaviour("", answer=(*steps, End())).over_tls())[0].reason is Reason.L7RSP


def test_contexts_are_made_once_for_equal_settings() -> None:
    one, other = (prepared_of({"ca": AUTHORITY})[0].context for _ in range(2))
    assert one is other
    assert one is not None
    assert one.verify_mode is ssl.CERT_REQUIRED
    assert prepared_of({})[0].context is not one


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "at least one url"),
        ({"url": [URL], CLIENT_OPTION: {"certificate": CLIENT, "key": SERVER_KEY}}, "client certificate: the key is not the certificate's"),
        ({"url": [URL], "ca": "nonsense"}, "ca holds no certificate that can be read"),
        ({"url": [URL], "enable_sni": True, "sni_name": "a..b"}, r"sni_name, or virtualhost in its place, is no host name"),
        ({"url": [URL], "enable_sni": True, "sni_name": "." + "b" * 5}, "no host name"),
        ({"url": [URL], "verify": True, "virtualhost": "x" * 80}, "no host name"),
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused_with_the_reason(options: dict[str, Json], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ssl_get.prepare(options)


def test_a_system_without_authorities_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    tls._system_store.cache_clear()  # read once by whoever asked first
    tls._found_in_system.cache_clear()
    try:
        with pytest.raises(ValueError, match="verify finds no certificate authorities"):
            tls.context_of.__wrapped__(verify=True, ca="")
    finally:
        tls._system_store.cache_clear()
        tls._found_in_system.cache_clear()


def test_it_knows_all_keywords_of_http_get() -> None:
    assert {keyword.name for keyword in http.OPTIONS} < {keyword.name for keyword in ssl_get.OPTIONS}
    assert all(keyword.handled for keyword in ssl_get.OPTIONS if keyword.name in {"enable_sni", "sni_name"})


# The client certificate


@pytest.mark.parametrize(
    ("key", "password"), [(CLIENT_KEY, ""), (CLIENT_KEY, "unused"), (CLIENT_KEY_ENCRYPTED, PASSWORD)]
)
def test_a_server_that_asks_who_we_are_is_shown_the_client_certificate(key: str, password: str) -> None:
    client: Json = {"certificate": CLIENT, "key": key, "password": password}
    for options in ({}, {"ca": AUTHORITY}, {"verify": False}):
        verdict, _ = probe_with(healthy().over_tls("asks"), {**options, CLIENT_OPTION: client})
        assert verdict.reason is Reason.L7OK, verdict
    assert probe_with(healthy().over_tls("good"), {CLIENT_OPTION: client})[0].reason is Reason.L7OK


@pytest.mark.parametrize(
    ("certificate", "key", "password", "complaint"),
    [
        (CLIENT, SERVER_KEY, "", "the key is not the certificate's"),
        (CLIENT, CLIENT_KEY_ENCRYPTED, "", "the key needs a password"),
        (CLIENT, CLIENT_KEY_ENCRYPTED, "open", "the password does not open the key"),
        (CLIENT, "", "", "no start line|not enough|pem"),
        ("", CLIENT_KEY, "", "no start line|not enough|pem"),
        (CLIENT.replace("M", "N"), CLIENT_KEY, "", "client certificate: "),
    ],
    ids=["other key", "no password", "wrong password", "no key", "no certificate", "broken"],
)
def test_a_client_certificate_that_does_not_fit_is_told_of_without_its_secrets(
    certificate: str, key: str, password: str, complaint: str
) -> None:
    client = tls.ClientCertificate(certificate, key, password)
    with pytest.raises(ValueError, match=f"(?i){complaint}") as caught:
        tls.show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), client)
    for told in (str(caught.value), repr(client)):
        assert "PRIVATE" not in told
        assert not password or password not in told.replace("does not open", "")


def test_files_that_could_not_be_read_fail_every_probe_with_the_reason() -> None:
    cases: tuple[dict[str, Json], ...] = (
        {"ca": f'{UNREADABLE}ca "/x.pem" cannot be read: No such file or directory'},
        {CLIENT_OPTION: {"trouble": 'ca "/x.pem" cannot be read: No such file or directory'}},
    )
    for options in cases:
        verdict, server = probe_with(healthy().over_tls(), options)
        assert (verdict.reason, server.connections) == (Reason.L6RSP, 0)
        assert verdict.detail == 'ca "/x.pem" cannot be read: No such file or directory'


def test_a_ca_that_could_not_be_read_does_no_harm_where_nothing_is_verified() -> None:
    options: dict[str, Json] = {"ca": f"{UNREADABLE}gone", "verify": False}
    assert probe_with(healthy().over_tls(), options)[0].reason is Reason.L7OK


# The end of a connection, and of a certificate


@pytest.mark.parametrize(
    ("options", "farewells"),
    [
        ({}, 0),
        ({"tls_compliant": True}, 2),
        ({"tls_compliant": False}, 0),
        ({"url": [{"path": "/", "tls_compliant": True}, URL]}, 1),
        ({"url": [{"path": "/", "tls_compliant": False}, URL], "tls_compliant": True}, 1),
    ],
    ids=str,
)
def test_tls_compliant_says_goodbye_before_closing(options: dict[str, Json], farewells: int) -> None:
    verdict, server = probe_with(healthy().over_tls(), {"url": [URL, URL], **options})
    assert (verdict.reason, server.farewells) == (Reason.L7OK, farewells)


def test_a_goodbye_that_cannot_be_said_does_not_change_the_verdict() -> None:
    class Deaf:
        async def send(self, _data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            raise DeadlinePassed("too late", connected=True)

        async def receive(self, _max_bytes: int = 65536) -> bytes:
            await trio.lowlevel.checkpoint()
            return b""

        def close(self) -> None:
            pass

        def pause(self) -> None:
            pass

        def resume(self) -> bool:
            return False

    trio.run(tls.farewell, tls.TlsStream(Deaf(), tls.Engine(tls.context_of(verify=False, ca=""), None)))
    trio.run(tls.farewell, Deaf())


@pytest.mark.parametrize(
    ("certificate", "options", "ends"),
    [
        ("good", {}, "Jan  1 00:00:00 2125 GMT"),
        ("good", {"ca": AUTHORITY}, "Jan  1 00:00:00 2125 GMT"),
        ("expired", {}, "Jan  1 00:00:00 2021 GMT"),
        ("expired", {"ca": AUTHORITY}, ""),
    ],
)
def test_the_verdict_tells_when_the_certificate_ends(certificate: str, options: dict[str, Json], ends: str) -> None:
    """Of a certificate that is refused, nothing is known."""
    verdict, _ = probe_with(status(503).over_tls(certificate), options)
    assert verdict.expires_at == (ssl.cert_time_to_seconds(ends) if ends else 0.0)


def test_one_url_in_each_loop_is_prepared_as_one_check_for_each_turn() -> None:
    urls: Json = [{"path": "/a"}, {"path": "/b"}]
    turns = ssl_get.prepare({"url": urls, "urls_one_by_one": True})
    assert isinstance(turns, OneByOne)
    assert [[secure.url.path for secure in part] for part in turns.parts] == [["/a"], ["/b"]]
    assert not turns.hurry


def resumptions(
    behaviours: list[Behaviour], *, tapped: bool = False, **options: Json
) -> tuple[list[bool], list[Verdict]]:
    """Probe so often, with `tls_resume 4`; return which handshakes went on with a session, as the server counts, and the verdicts."""

    async def main() -> tuple[list[bool], list[Verdict]]:
        network = FakeNetwork()
        server = network.server(TARGET.address, TARGET.port)
        prepared = prepared_of({"url": [URL], "tls_resume": 4, **options})
        resumed, verdicts = [], []
        for behaviour in behaviours:
            server.behaviour = behaviour
            context = context_of(behaviour.tls)
            before = context.session_stats()["hits"]
            dial = network.dialer(3.0)
            try:
                verdicts.append(
                    await ssl_get.check(
                        TARGET, prepared, TappedDialer(dial, Transcript(0.0, Mask())) if tapped else dial
                    )
                )
            except ProbeError as error:
                verdicts.append(Verdict(error.reason, str(error)))
            finally:
                dial.close()
            resumed.append(context.session_stats()["hits"] > before)
        return resumed, verdicts

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("certificate", ["good", "old"])
def test_with_tls_resume_each_nth_handshake_is_a_whole_one(certificate: str) -> None:
    resumed, verdicts = resumptions([healthy().over_tls(certificate)] * 9)
    assert resumed == [False, True, True, True, False, True, True, True, False]
    assert {verdict.reason for verdict in verdicts} == {Reason.L7OK}
    assert len({verdict.expires_at for verdict in verdicts}) == 1, (
        "the end of the certificate is known from the session"
    )


def test_after_a_failure_the_next_handshake_is_a_whole_one() -> None:
    good, bad = healthy().over_tls(), status(503).over_tls()
    resumed, verdicts = resumptions([good, good, bad, good, good])
    assert resumed == [False, True, True, False, True]
    assert [verdict.ok for verdict in verdicts] == [True, True, False, True, True]


def test_a_server_that_knows_nothing_of_the_session_is_asked_with_a_whole_handshake() -> None:
    resumed, verdicts = resumptions([healthy().over_tls("good"), healthy().over_tls("expired")])
    assert resumed == [False, False]
    assert [verdict.ok for verdict in verdicts] == [True, True]


def test_a_certificate_that_is_refused_is_found_though_sessions_are_resumed() -> None:
    _, verdicts = resumptions([healthy().over_tls("good"), healthy().over_tls("expired")], ca=AUTHORITY)
    assert [verdict.reason for verdict in verdicts] == [Reason.L7OK, Reason.L6RSP]


def test_whoever_listens_in_sees_a_whole_handshake() -> None:
    resumed, _ = resumptions([healthy().over_tls()] * 3, tapped=True)
    assert resumed == [False, False, False]


def test_without_tls_resume_every_handshake_is_a_whole_one() -> None:
    resumed, _ = resumptions([healthy().over_tls()] * 3, tls_resume=None)
    assert resumed == [False, False, False]


@pytest.mark.parametrize(("resume", "copies"), [(None, 0), (4, 3)])
def test_a_session_is_copied_only_after_a_whole_handshake_of_who_resumes_it(
    monkeypatch: pytest.MonkeyPatch, resume: int | None, copies: int
) -> None:
    copied: list[tls.TlsStream] = []
    real = tls.TlsStream.session

    def session(stream: tls.TlsStream) -> ssl.SSLSession | None:
        copied.append(stream)
        return real.__get__(stream)  # type: ignore[no-any-return]

    monkeypatch.setattr(tls.TlsStream, "session", property(session))
    resumptions([healthy().over_tls()] * 9, tls_resume=resume)
    assert len(copied) == copies, "the first, the fifth and the ninth are whole"
