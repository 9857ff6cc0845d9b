"""What goes back for one request, as a value."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN = (("Content-Type", "text/plain; charset=utf-8"),)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and headers; what every answer has (length, nosniff and so on) is added where it is sent."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = PLAIN
