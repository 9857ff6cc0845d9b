"""Short printable text for people, made of whatever came: bounded and safe to put on any terminal, log or wire. Pure."""

from __future__ import annotations

from checkers.kit.api import DETAIL_MAX_BYTES


def excerpt(data: bytes) -> str:
    """Return the beginning of `data` as printable ASCII of at most DETAIL_MAX_BYTES, odd bytes escaped as Python does."""
    return repr(data[:DETAIL_MAX_BYTES])[2:-1][:DETAIL_MAX_BYTES]


def clip(text: str) -> str:
    """Return `text` printable and at most DETAIL_MAX_BYTES of UTF-8, ending in "…" when something was cut off."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    data = text.encode(errors="backslashreplace")
    if len(data) <= DETAIL_MAX_BYTES:
        return data.decode()
    return data[: DETAIL_MAX_BYTES - len("…".encode())].decode(errors="ignore") + "…"
