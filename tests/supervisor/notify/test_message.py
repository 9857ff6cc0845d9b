"""A mail as bytes: the headers, and values that would like to be more than a value."""

from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header

from supervisor.notify._message import compose
from tests.supervisor.notify.samples import DATE, SETTINGS


def test_the_message_is_exactly_keepaliveds_shape() -> None:
    assert compose(SETTINGS, "[lvs1] words", ("=> body <=",), DATE) == (
        b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        b"From: lvs@example.com\r\n"
        b"Subject: [lvs1] words\r\n"
        b"X-Mailer: Vipervisor\r\n"
        b"To: admin@example.com, duty@example.com\r\n"
        b"\r\n"
        b"=> body <=\r\n"
    )


def test_no_value_can_add_a_header_or_a_line() -> None:
    evil = "x\r\nBcc: thief@example.com\r\n\r\nbody\x00\x85"
    settings = replace(SETTINGS, sender=evil, recipients=(evil, evil))
    message = message_from_bytes(compose(settings, f"[{evil}] words", (evil,), DATE))
    assert message.keys() == ["Date", "From", "Subject", "X-Mailer", "To"]
    payload = message.get_payload()
    assert isinstance(payload, str)
    assert payload.count("\n") == 1


def test_a_name_that_is_not_ascii_is_encoded() -> None:
    message = message_from_bytes(compose(SETTINGS, "[Zürich] words", ("=> body <=",), DATE))
    assert str(message["Subject"]).isascii()
    assert str(make_header(decode_header(str(message["Subject"])))) == "[Zürich] words"


def test_many_recipients_make_lines_of_legal_length() -> None:
    people = tuple(f"person{number}@example.com" for number in range(300))
    text = compose(replace(SETTINGS, recipients=people), "[lvs1] words", ("=> body <=",), DATE)
    assert max(map(len, text.split(b"\r\n"))) < 998
    to = message_from_bytes(text)["To"]
    assert [person.strip() for person in to.split(",")] == list(people)
