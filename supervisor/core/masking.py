"""Secrets in a line of the configuration: what looks like one is masked, rather a word too many than one too few. Pure.

A line may hold a token in a url's query, a password among a script's arguments, a header. What has no name beside it that gives it away
cannot be known for a secret. What probes sent and received is masked by `concealing`.
"""

from __future__ import annotations

import re

MASK = "********"

_HINT = re.compile(r"pass|pwd|secret|token|key|auth|credential|://[^/\s]*@", re.IGNORECASE)


def _named(between: str) -> re.Pattern[str]:
    """Return what finds a name that gives a secret away, what stands between, and the value."""
    name = r"[\w.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|key|auth|authorization|credentials?)(?!_file)[\"']?"
    value = r"(?:(?:basic|bearer|digest)\s+)?(?:\"[^\"]*\"|'[^']*'|[^\s&;{}]+)"
    return re.compile(f"(?P<name>{name}(?:{between}))(?P<value>{value})", re.IGNORECASE)


_ARGUMENT = _named(r"\s*[=:]\s*|\s+")
_IN_URL = re.compile(r"(://)[^/\s@]*@")


def masked(text: str) -> str:
    """Return a text with MASK for the value of whatever is named like a secret, and for what stands before the @ of a url."""
    if _HINT.search(text) is None:
        return text
    return _ARGUMENT.sub(lambda match: match["name"] + MASK, _IN_URL.sub(rf"\1{MASK}@", text))
