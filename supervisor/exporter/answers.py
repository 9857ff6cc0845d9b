"""What goes back for one request: a whole answer, or the head of one that goes on for as long as its reader stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from checkers.kit.frozen import frozen

PLAIN = (("Content-Type", "text/plain; charset=utf-8"),)

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

SECURITY = (
    ("Content-Security-Policy", _POLICY),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
"""Of every answer: nothing from elsewhere, nothing inline, in nobody's frame (CSP Level 3; observability.md, section 6)."""


@frozen
class Answer:
    """A status, a body and headers; what every answer has (length, nosniff and so on) is added where it is sent."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = PLAIN


class Feed(Protocol):
    """What follows the head of an answer that has no end of its own."""

    async def pour(self, stream: trio.abc.Stream, frame: Callable[[bytes], bytes]) -> None:
        """Send, each piece in its HTTP `frame`, until the reader is gone or too slow. Never raises for what a reader does."""


@frozen
class LiveAnswer:
    """A head, and the feed that follows it."""

    headers: tuple[tuple[str, str], ...]
    feed: Feed
    status: int = 200
