"""Values of keywords as checkers want them: what goes out on a wire must not be able to end a word or a line. Pure."""

from __future__ import annotations

from checkers.kit.options import Json


def word(name: str, value: Json) -> str:
    """Return text that may stand in a request as one word; "" for None. Raises ValueError with `name` in its sentence."""
    text = "" if value is None else str(value)
    if " " in text or not text.isprintable():  # of all blanks only this one counts as printable
        raise ValueError(f"{name} must not contain blanks or control characters: {text!r}")
    return text
