"""Takes secrets out of what was sent and received before anybody is shown it. Pure.

Two kinds are known: what the configuration says is one (a keyword of `Kind.CONCEALED`, such as a `header`), wherever it comes back; and
what looks like one by its name: Authorization and cookies, passwords, tokens and keys in headers, urls, forms, JSON and command
lines. Of the second kind some will slip through, and some that are none are masked: the first would be worse than the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from checkers.kit.options import Json, Keyword, Kind

STARS = b"***"

SECRET_MAX_BYTES = 8_192
"""A secret that begins where it is shown is looked for up to so far: twice the longest header of one's own (checkers.http)."""

VALUE_MIN = 4
"""A secret of fewer characters is not looked for everywhere: half of every text would be stars. Its own header is masked all the same."""

TOKEN_MIN = 8
"""From this length on a part of a secret is one by itself: the token of "Bearer TOKEN", the value of "session=VALUE"."""

_WORD = rb"(?>[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|apikey|credential|session[_-]?id))[\w.-]*+"
"""The rest of a word that names a secret. Servers say what they like, so a text is gone through once: from where a word begins, to its
end (`*+`), with the last of these in it (`?>`). What stands before the name is taken along for that, and given back."""

_NAMED = (
    re.compile(rb"(?im)^([ \t]*(?:proxy-)?authori[sz]ation|[ \t]*(?:set-)?cookie2?)([ \t]*:[ \t]*)[^\r\n]+"),
    re.compile(rb"(?im)^([ \t]*(?>[\w-]*(?:auth|secret|token|api-?key|passw))[\w-]*+)([ \t]*:[ \t]*)[^\r\n]+"),
    re.compile(rb"(?im)^(AUTH)([ \t]+)[^\r\n]+"),
    re.compile(
        rb"(?i)(?<![\w.-])(" + _WORD + rb")([\"']?[ \t]*[=:][ \t]*)(?:\"[^\"\r\n]*\"?|'[^'\r\n]*'?|[^\s\"'&;,<>{}]+)"
    ),
    re.compile(rb"(?i)(?<![\w.-])([\w.]*+-" + _WORD + rb")([ \t]+)(?!-)[^\s]+"),
    re.compile(rb"(?i)(?<![a-z0-9+.-])([0-9+.-]*+[a-z][a-z0-9+.-]*+://[^\s/:@]*+)(:)[^\s/@]+(?=@)"),
)


class Mask:
    """What to mask in one check: its own secrets, and whatever looks like one."""

    def __init__(self, values: Sequence[str] = (), headers: Sequence[str] = ()) -> None:
        """`values` are secrets that are masked wherever they stand, `headers` names whose values are."""
        self._values = sorted({value.encode() for value in values if len(value) >= VALUE_MIN}, key=len, reverse=True)
        names = b"|".join(re.escape(name.encode()) for name in headers)
        own = (re.compile(rb"(?im)^([ \t]*(?:" + names + rb"))([ \t]*:[ \t]*)[^\r\n]+"),) if headers else ()
        self._named = own + _NAMED

    @property
    def knows_secrets(self) -> bool:
        """Whether it masks more than what looks like a secret to everybody."""
        return bool(self._values) or len(self._named) > len(_NAMED)

    def data(self, data: bytes) -> bytes:
        """Return `data` with stars in place of every secret."""
        for value in self._values:
            data = data.replace(value, STARS)
        for pattern in self._named:
            data = pattern.sub(rb"\1\2" + STARS, data)
        return data

    def text(self, text: str) -> str:
        """As `data`, for text."""
        return self.data(text.encode(errors="backslashreplace")).decode(errors="replace")


def mask_of(options: Mapping[str, Json], table: Sequence[Keyword]) -> Mask:
    """Return the mask for a check with these options, whose keywords are `table`."""
    values: list[str] = []
    headers: list[str] = []
    for text in _concealed(options, table):
        name, colon, content = text.partition(":")
        value = content.strip() if colon else text
        values.append(value)
        words = re.split(r"[\s;,]+", value)
        parts = [*words, *(word.partition("=")[2] for word in words)]
        values += [part for part in parts if len(part) >= TOKEN_MIN]
        if colon:
            headers.append(name.strip())
    return Mask(values, headers)


def _concealed(options: Mapping[str, Json], table: Sequence[Keyword]) -> Iterator[str]:
    for keyword in table:
        value = options.get(keyword.name)
        several = value if isinstance(value, list) else [value]
        for one in several:
            if keyword.kind is Kind.CONCEALED and isinstance(one, str):
                yield one
            elif keyword.kind is Kind.BLOCK and isinstance(one, dict):
                yield from _concealed(one, keyword.block)
