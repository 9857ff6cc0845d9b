"""Secrets in texts that strangers may read: what looks like one is masked, rather a word too many than one too few. Pure.

The exporter's pages show what probes sent and received, and the configuration; both may hold a token in a url's query, a password among
a script's arguments, a header. What has no name beside it that gives it away cannot be known for a secret.
"""

from __future__ import annotations

import re
from dataclasses import replace

from supervisor.core.entry import Entry, Extract

MASK = "********"

_HINT = re.compile(r"pass|pwd|secret|token|key|auth|credential|://[^/\s]*@", re.IGNORECASE)


def _named(between: str) -> re.Pattern[str]:
    """Return what finds a name that gives a secret away, what stands between, and the value."""
    name = r"[\w.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|key|auth|authorization|credentials?)(?!_file)[\"']?"
    value = r"(?:(?:basic|bearer|digest)\s+)?(?:\"[^\"]*\"|'[^']*'|[^\s&;{}]+)"
    return re.compile(f"(?P<name>{name}(?:{between}))(?P<value>{value})", re.IGNORECASE)


_ARGUMENT = _named(r"\s*[=:]\s*|\s+")
_ASSIGNED = _named(r"\s*[=:]\s*")
_IN_URL = re.compile(r"(://)[^/\s@]*@")


def masked(text: str, *, words: bool = True) -> str:
    """Return a text with MASK for the value of whatever is named like a secret, and for what stands before the @ of a url.

    With `words` a blank may part the name from the value ("--password x"), as in arguments; without, only = or a colon, as in a
    sentence.
    """
    if _HINT.search(text) is None:
        return text
    pattern = _ARGUMENT if words else _ASSIGNED
    return pattern.sub(lambda match: match["name"] + MASK, _IN_URL.sub(rf"\1{MASK}@", text))


def masked_extract(extract: Extract | None) -> Extract | None:
    """Return a part of the history for strangers."""
    return None if extract is None else replace(extract, entries=tuple(map(_masked_entry, extract.entries)))


def _masked_entry(entry: Entry) -> Entry:
    facts = {name: masked(fact, words=False) if isinstance(fact, str) else fact for name, fact in entry.facts.items()}
    because = tuple(masked(link, words=False) for link in entry.because)
    return replace(entry, message=masked(entry.message, words=False), facts=facts, because=because)
