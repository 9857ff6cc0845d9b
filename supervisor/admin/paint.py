"""Colours for a terminal, beside the words and signs that say the same. Pure.

Green serves, red is down, blue does not take anybody new and is fine (drained, disabled, standing by: HAProxy's hard-won rule), yellow
needs a look, grey is not known yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

RED, GREEN, YELLOW, BLUE, GREY, BOLD_RED = "31", "32", "33", "34", "90", "1;31"

_LINES: Mapping[str, str] = {r"^!.*$": BOLD_RED, r"^ +! .*$": YELLOW}
_WORDS: Mapping[str, str] = {
    r"✖ (?:DOWN|FAILS)": RED,
    r"● (?:UP|passes)": GREEN,
    r"○ (?:UNKNOWN|INCONCLUSIVE)": GREY,
    r"[◐◌] [^,\n]*": BLUE,
    r"QUORUM LOST": BOLD_RED,
    r"THE (?:DIRECTOR ITSELF IS SUSPECTED|LAST RELOAD WAS REJECTED)|NO CHECKER WORKER|HELD IN SERVICE|WRITES PAUSED|NOT READY": BOLD_RED,
    r"\b(?:CRITICAL|DOWN|LOST|NOT PROBED)\b": RED,
    r"\bWARNING\b": YELLOW,
    r"(?<=VIPERVISOR )OK\b": GREEN,
}
_ALL = {f"c{number}": (pattern, code) for number, (pattern, code) in enumerate([*_LINES.items(), *_WORDS.items()])}
_PATTERN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, (pattern, _) in _ALL.items()), re.MULTILINE)


def paint(text: str) -> str:
    """Return `text` in colours; without them it is the same again."""
    return _PATTERN.sub(lambda found: f"\x1b[{_ALL[found.lastgroup or ''][1]}m{found[0]}\x1b[0m", text)
