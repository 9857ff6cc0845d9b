"""Takes secrets out of what is told of the past and of causes: `why`, `history`, `events`, and what the exporter shows.

What a probe sent may hold a token in a url, a password, a header that the file keeps secret. `check-now` masks them where they are met,
in the worker; this masks with the same rules (`checkers.kit.masking`) what was noted, when somebody asks for it: a failure of a rack
must not wait for it. The mask of a check knows what the configuration says is secret; what else looks like a secret is masked for
everybody. The configuration itself is shown by `config.shown`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from checkers.kit.api import common_options, load
from checkers.kit.masking import Mask, mask_of
from supervisor.core.director import Director
from supervisor.core.entry import Entry, Extract
from supervisor.core.realserver import RealServerState
from supervisor.model import CheckSpec

MASKS_KEPT = 64
"""Checks whose masks are at hand: those of the real servers that somebody looks at."""

_ANYBODYS = Mask()
_HINT = re.compile(r"pass|secret|token|key|auth|cookie|credential|session|://[^/\s]*@", re.IGNORECASE)
"""Without any of this nothing looks like a secret; it spares most texts the whole work."""


class Concealing:
    """Knows whose secrets may stand in what is told of whom."""

    def __init__(self, director: Callable[[], Director]) -> None:
        self._director = director

    def extract(self, found: Extract | None) -> Extract | None:
        """Return a part of the history without secrets."""
        return None if found is None else replace(found, entries=tuple(self.entries(found.entries)))

    def entries(self, told: Iterable[Entry]) -> list[Entry]:
        """Return entries without secrets."""
        states = {str(key): state for key, state in self._director().virtual_servers.items()}
        servers: dict[tuple[str, str], tuple[Mask, ...]] = {}
        found = []
        for entry in told:
            name = entry.virtual_server, entry.real_server
            if name not in servers:
                state = states.get(entry.virtual_server)
                known = state.real_servers.values() if state is not None and entry.real_server else ()
                server = next((one for one in known if str(one.spec.endpoint) == entry.real_server), None)
                servers[name] = () if server is None else masks_of(server)
            found.append(_entry(entry, servers[name]))
        return found

    def entry(self, told: Entry) -> Entry:
        """Return one entry without secrets."""
        return self.entries((told,))[0]


def masks_of(server: RealServerState) -> tuple[Mask, ...]:
    """Return the masks of those checks of a real server whose configuration says that something is secret."""
    return tuple(mask for check in server.checks if (mask := _mask(check.spec)) is not None)


@functools.lru_cache(maxsize=MASKS_KEPT)
def _mask(spec: CheckSpec) -> Mask | None:
    mask = mask_of(json.loads(spec.options_json), (*common_options(spec.type), *load(spec.type).OPTIONS))
    return mask if mask.knows_secrets else None


def concealed(text: str, masks: Iterable[Mask] = ()) -> str:
    """Return a text without secrets. Line ends that were escaped are lines, as a header of its own begins one."""
    if not masks and _HINT.search(text) is None:
        return text
    lines = text.replace("\\r\\n", "\r\n").replace("\\n", "\n")
    for mask in masks or (_ANYBODYS,):
        lines = mask.text(lines)
    return lines.replace("\r\n", "\\r\\n").replace("\n", "\\n")


def plain(value: Any, masks: Iterable[Mask] = ()) -> Any:
    """Return a JSON value with every text in it freed of secrets."""
    match value:
        case str():
            return concealed(value, masks)
        case dict():
            return {name: plain(one, masks) for name, one in value.items()}
        case list():
            return [plain(one, masks) for one in value]
        case _:
            return value


def _entry(told: Entry, masks: tuple[Mask, ...]) -> Entry:
    texts = (told.message, *told.because, *(fact for fact in told.facts.values() if isinstance(fact, str)))
    if not masks and _HINT.search("\n".join(texts)) is None:  # nearly always
        return told
    facts: Mapping[str, Any] = plain(dict(told.facts), masks)
    because = tuple(concealed(link, masks) for link in told.because)
    return replace(told, said=concealed(told.message, masks), facts=facts, because=because)
