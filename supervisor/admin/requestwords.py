"""A request in the words in which an operator would type it, for the log: "drain 10.0.0.1:80 in 192.0.2.1:80 for 2 h (new disk)". Pure.

The arguments come from whoever may reach the socket: they are escaped, and cut to SAID_MAX characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supervisor.core.entry import printable
from supervisor.wording import lasting

SAID_MAX = 200
"""Characters of such a sentence."""

_BARE = ("real_server", "name", "host", "weight", "level", "file")
"""Arguments whose value says by itself what it is."""


def said(verb: str, args: Mapping[str, Any]) -> str:
    """Return a verb and its arguments in words; what has no word of its own stands as name=value."""
    left = {name: value for name, value in args.items() if value is not None and value is not False and value != ""}
    words = [verb, *(str(left.pop(name)) for name in _BARE if name in left)]
    for name, before in (("virtual_server", "in"), ("for_s", "for")):
        if name in left:
            words += [before, _value(name, left.pop(name))]
    reason = left.pop("reason", "")
    words += [
        name.replace("_", " ") if value is True else f"{name}={_value(name, value)}" for name, value in left.items()
    ]
    if reason:
        words.append(f"({reason})")
    return printable(" ".join(words).encode(errors="replace").decode(), SAID_MAX)


def _value(name: str, value: Any) -> str:
    if name.endswith("_s") and isinstance(value, int | float) and abs(value) <= 1e9:
        return lasting(value)
    return str(value)
