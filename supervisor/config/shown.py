"""The text that runs, as a stranger may read it: includes, names and repetitions worked out, without comments and without secrets. Pure.

A secret is the value of one of SECRETS, and in any other line what `core.masking` takes for one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection

from supervisor.config.lexer import BLANKS, CLOSE, OPEN, code_of, pieces, scan
from supervisor.core.masking import MASK, masked

SECRETS = frozenset({"password", "auth_pass", "header"})
"""Keywords whose values nobody else should read."""

_HINT = re.compile(r"pass|header|pwd|secret|token|key|auth|credential|://[^/\s]*@")
"""In the line in small letters: a search that has to heed both cases takes twice the time, and most lines have none."""

_KEPT = frozenset({"smtp_password_file", "key"})
"""Keywords whose values are names of files."""


def pack(lines: Collection[str]) -> bytes:
    """Return the text to show of a configuration's lines, compressed: 5 MB of 200,000 lines become some 100 kB."""
    known = {line: shown(line) for line in set(lines)}  # most lines of a large file are like others
    return zlib.compress("\n".join(filter(None, map(known.__getitem__, lines))).encode("utf-8", "replace"), 1)


def shown(line: str) -> str:
    """Return a line to show; empty for a comment and for a definition, whose value is in every line that uses it."""
    code = code_of(line).rstrip(BLANKS)
    if not code or code.lstrip(BLANKS).startswith("$"):
        return ""
    if _HINT.search(code.casefold()) is None:
        return code
    return _without_secrets(code)


def _without_secrets(code: str) -> str:
    tokens, _ = scan(code)
    found, _ = pieces(code)
    kept, done = [], 0
    for words, first in found:
        if words is OPEN or words is CLOSE or not words:
            continue
        keyword_end, end = tokens[first].end, tokens[first + len(words) - 1].end
        kept.append(code[done:keyword_end])
        if words[0] in SECRETS:  # all of the line: a brace in a secret ends it for the lexer, and not for who wrote it
            return "".join(kept) + (f" {MASK}" if keyword_end < len(code) else "")
        kept.append(code[keyword_end:end] if words[0] in _KEPT else masked(code[keyword_end:end]))
        done = end
    return "".join(kept) + code[done:]
