"""A mail as bytes: RFC 5322 text with CRLF line ends and keepalived's headers in keepalived's order. Pure.

No value can add a header or a line. Source: keepalived.md, section 3.10; RFC 5322; RFC 2047 for what is not ASCII.
"""

from __future__ import annotations

import email.utils
from datetime import datetime
from email.header import Header

from supervisor.model import MailSettings

HEADER_LINE_MAX = 900
"""RFC 5322, section 2.1.1 allows 998 characters in a line."""


def compose(settings: MailSettings, subject: str, lines: tuple[str, ...], date: datetime) -> bytes:
    """Return the message with these lines as its text; `date` must be aware."""
    head = (
        f"Date: {email.utils.format_datetime(date)}",
        f"From: {_plain(settings.sender)}",
        f"Subject: {_encoded(_plain(subject))}",
        "X-Mailer: Vipervisor",
        f"To: {_folded(settings.recipients)}",
    )
    text = tuple(_plain(line)[:HEADER_LINE_MAX] for line in lines)
    return "\r\n".join((*head, "", *text, "")).encode("utf-8", "replace")


def _folded(recipients: tuple[str, ...]) -> str:
    """Return the recipients, comma separated, in lines of legal length."""
    folded, length = "", 0
    for recipient in map(_plain, recipients):
        joint = "" if not folded else ", " if length + len(recipient) < HEADER_LINE_MAX else ",\r\n "
        length = len(recipient) if "\n" in joint else length + len(joint) + len(recipient)
        folded += joint + recipient
    return folded


def _plain(text: str) -> str:
    """Take what could start a new header or a new line out of a value."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _encoded(text: str) -> str:
    """Write a header value that is not ASCII as RFC 2047 wants it."""
    return text if text.isascii() else Header(text, "utf-8").encode(linesep="\r\n")
