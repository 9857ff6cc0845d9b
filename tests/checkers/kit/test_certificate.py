"""When a certificate ends, read from its DER."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit.certificate import CERTIFICATE_MAX_BYTES, expires_at

DIRECTORY = Path(__file__).resolve().parents[2] / "fakes" / "certificates"


def der_of(name: str) -> bytes:
    text = (DIRECTORY / f"{name}.pem").read_text()
    start = text.index("-----BEGIN CERTIFICATE-----")
    end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[start:end])


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 + len(length)]) + length + content


def certificate(not_after: bytes, tag: int = 0x17, *, version: bool = True) -> bytes:
    validity = element(0x30, element(0x17, b"200101000000Z") + element(tag, not_after))
    fields = [element(0x02, b"\x01"), element(0x30, b""), element(0x30, b"x" * 300), validity, element(0x30, b"")]
    return element(0x30, element(0x30, element(0xA0, b"\x02\x01\x02") * version + b"".join(fields)))


def test_it_agrees_with_openssl() -> None:
    for name in ("good", "expired", "authority", "other-authority"):
        decoded = ssl._ssl._test_decode_cert(str(DIRECTORY / f"{name}.pem"))  # type: ignore[attr-defined]
        assert expires_at(der_of(name)) == ssl.cert_time_to_seconds(decoded["notAfter"]), name


@pytest.mark.parametrize(
    ("text", "tag", "year"),
    [
        (b"491231235959Z", 0x17, 2049),
        (b"501231235959Z", 0x17, 1950),
        (b"20491231235959Z", 0x18, 2049),
        (b"99991231235959Z", 0x18, 9999),
    ],
)
def test_both_forms_of_a_date_are_read(text: bytes, tag: int, year: int) -> None:
    for version in (True, False):
        wanted = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
        assert expires_at(certificate(text, tag, version=version)) == wanted


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (b"20491231235959Z", 0x17),
        (b"491231235959Z", 0x18),
        (b"490230000000Z", 0x17),
        (b"49123123595Z", 0x17),
        (b"491231235959+0100", 0x17),
        (b"491231235959Z", 0x0C),
        (b"", 0x17),
    ],
)
def test_what_is_no_date_is_unknown(text: bytes, tag: int) -> None:
    assert expires_at(certificate(text, tag)) == 0.0


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(data: bytes) -> None:
    assert expires_at(data) >= 0.0


@given(st.integers(0, 2000), st.integers(0, 255), st.integers(0, 2000))
def test_a_certificate_with_a_wrong_byte_or_cut_off_is_survived(place: int, byte: int, size: int) -> None:
    der = bytearray(der_of("good"))
    der[place % len(der)] = byte
    assert isinstance(expires_at(bytes(der)), float)
    assert isinstance(expires_at(bytes(der[:size])), float)


def test_every_cut_is_noticed_until_the_date_is_there() -> None:
    der = der_of("good")
    assert [expires_at(der[:size]) for size in range(len(der))] == [0.0] * len(der)


def test_a_monster_is_not_looked_at() -> None:
    assert expires_at(certificate(b"491231235959Z") + b"\0" * CERTIFICATE_MAX_BYTES) == 0.0


def test_an_indefinite_or_huge_length_is_refused() -> None:
    for start in (b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x83\xff\xff\xff", b"\x30\x81"):
        assert expires_at(start + der_of("good")[4:]) == 0.0
