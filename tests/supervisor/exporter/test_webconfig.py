"""The web configuration file of Prometheus's exporters: what is taken, and what each mistake is told with."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.exporter.webconfig import Read, read
from supervisor.exporter.webpolicy import TlsPolicy, WebPolicy, decode, encode
from supervisor.exporter.webtls import file_in_memory, to_context
from tests.fakes import tls

HASH = "$2y$10$ASHE3W2EGdCu7NiUeV1ksuLUpaV/bQLy/ZCYM/DyP38NNEFl1eTk2"
FILES = {
    "server.pem": tls.certificate_file("good").read_text(),
    "ca.pem": tls.AUTHORITY,
    "client.pem": tls.CLIENT,
    "client-key.pem": tls.CLIENT_KEY,
    "locked.pem": tls.CLIENT_KEY_ENCRYPTED,
    "empty.pem": "",
}
SERVER = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.pem\n"


def load(name: str) -> str:
    if name not in FILES:
        raise FileNotFoundError(2, "no such file", name)
    return FILES[name]


def look(text: str) -> Read:
    return read(text, load)


def test_an_empty_file_protects_nothing_and_is_no_mistake() -> None:
    for text in ("", "# nothing\n", "basic_auth_users: {}\n", "http_server_config:\n"):
        found = look(text)
        assert (found.policy, found.mistakes, found.warnings) == (WebPolicy(), [], [])


def test_everything_that_can_be_said() -> None:
    found = look(
        SERVER
        + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [prometheus.example.org]\n"
        "  min_version: TLS13\n  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n"
        "  - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\n"
        "  - TLS_RSA_WITH_AES_256_CBC_SHA\n  prefer_server_cipher_suites: false\n"
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: ''\n"
        f"basic_auth_users:\n  alice: {HASH}\n"
    )
    assert (found.mistakes, found.warnings) == ([], [])
    policy = found.policy
    assert policy.tls is not None
    assert policy.tls.certificate == policy.tls.key == FILES["server.pem"]
    assert (policy.tls.client_required, policy.tls.client_names) == (True, ("prometheus.example.org",))
    assert (policy.tls.version_min, policy.tls.version_max) == ("TLSv1_3", "TLSv1_3")
    assert policy.tls.ciphers == "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:AES256-SHA"
    assert policy.headers == {"X-Frame-Options": "deny"}
    assert policy.users == {"alice": HASH}
    assert decode(encode(policy)) == policy


def test_what_does_nothing_here_is_warned_of() -> None:
    found = look(
        SERVER + "  curve_preferences: [X25519]\nhttp_server_config:\n  http2: true\nrate_limit:\n  interval: 1s\n"
    )
    assert found.mistakes == []
    assert [warning.partition(": ")[0] for warning in found.warnings] == ["4:3", "6:3", "7:1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tls_server_confg:\n  cert_file: x\n", "1:1: unknown key 'tls_server_confg'; did you mean tls_server_config?"),
        (SERVER + "  cert_fil: x\n", "4:3: unknown key 'cert_fil'; did you mean cert_file?"),
        (SERVER + "  cert_file: x\n", "4:3: cert_file stands here twice; keep one"),
        ("tls_server_config: {}\n", "1:1: tls_server_config without cert_file; name the PEM file with cert_file"),
        ("tls_server_config:\n  cert_file: server.pem\n", "without key_file"),
        (
            "tls_server_config:\n  cert_file: gone.pem\n  key_file: server.pem\n",
            "2:14: cannot read gone.pem: no such file or directory; the user that vipervisor runs as must be able to read it",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: client-key.pem\n",
            "the key is not the certificate's",
        ),
        ("tls_server_config:\n  cert_file: client.pem\n  key_file: locked.pem\n", "needs a password"),
        ("tls_server_config:\n  cert_file: ca.pem\n  key_file: ca.pem\n", "key holds no PEM key"),
        (SERVER + "  client_auth_type: RequireAnyClientCert\n", "a certificate that nobody verifies proves nothing"),
        (SERVER + "  client_auth_type: RequireAndVerifyClientCert\n", "without client_ca_file"),
        (SERVER + "  client_ca_file: ca.pem\n", "client_ca without a client_auth_type"),
        (SERVER + "  client_allowed_sans: [x]\n", "without a required certificate"),
        (SERVER + "  min_version: SSL3\n", "4:16: min_version 'SSL3'; one of TLS10, TLS11, TLS12, TLS13"),
        (SERVER + "  cipher_suites: [HIGH]\n", "unknown cipher suite 'HIGH'"),
        (SERVER + "  prefer_server_cipher_suites: perhaps\n", "expected true or false"),
        ("basic_auth_users:\n  alice: secret\n", "2:10: the password of 'alice' is no bcrypt hash; make one: htpasswd"),
        (f"basic_auth_users:\n  alice: {HASH.replace('$10$', '$31$')}\n", "bcrypt cost 31"),
        (f"basic_auth_users:\n  'a:b': {HASH}\n", "a user's name with a colon"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: maybe\n", "one of deny, sameorigin"),
        ("http_server_config:\n  headers:\n    Set-Cookie: x\n", "unknown key 'Set-Cookie'"),
        ('http_server_config:\n  headers:\n    X-XSS-Protection: "a\\r\\nb"\n', "printable ASCII"),
        ("basic_auth_users: [\n", "2:1: no YAML"),
        ("- a\n", "expected names with values"),
    ],
)
def test_each_mistake_has_its_place_and_its_remedy(text: str, told: str) -> None:
    mistakes = look(text).mistakes
    assert any(told in mistake for mistake in mistakes), mistakes
    assert all("; " in mistake for mistake in mistakes)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(look("colour: red\nbasic_auth_users:\n  alice: x\n  bob: y\n").mistakes) == 3


def test_a_mistake_never_repeats_a_password_or_a_key() -> None:
    text = "basic_auth_users:\n  alice: open sesame\ntls_server_config:\n  cert: x\n  key: open sesame\n"
    mistakes = look(text).mistakes
    assert mistakes
    assert not any("sesame" in mistake for mistake in mistakes)


@given(
    text=st.one_of(
        st.text(max_size=200),
        st.sampled_from([SERVER, "basic_auth_users:\n"]).flatmap(lambda a: st.text(max_size=60).map(a.__add__)),
    )
)
@settings(max_examples=200, deadline=None)
def test_no_text_at_all_breaks_the_reader(text: str) -> None:
    look(text)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'{"web":1}', b'{"web":{"tls":{"colour":1},"users":{},"headers":{}}}', b"[" * 99_999]
)
def test_what_is_no_policy_is_refused_by_the_exporter(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(line)


def test_a_context_asks_clients_as_the_policy_says_and_leaves_no_key_in_memory() -> None:
    pem = FILES["server.pem"]
    assert to_context(TlsPolicy(pem, pem)).verify_mode is ssl.CERT_NONE
    assert to_context(TlsPolicy(pem, pem, tls.AUTHORITY)).verify_mode is ssl.CERT_OPTIONAL
    context = to_context(TlsPolicy(pem, pem, tls.AUTHORITY, client_required=True, version_max="TLSv1_2"))
    assert (context.verify_mode, context.maximum_version) == (ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2)
    assert Path(f"/proc/self/fd/{file_in_memory()}").read_bytes() == b""
