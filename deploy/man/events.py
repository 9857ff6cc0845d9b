"""docs/events.md, made from the catalogue of log events. `pages.py` writes it and checks it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from supervisor.log.bursts import KIND_LINES_MAX, WINDOW_S
from supervisor.log.catalogue import CATALOGUE
from supervisor.log.entry import COMMON, Entry
from supervisor.log.keys import OWN, KeySet, renamed

HEAD = f"""# Events of the log

Every line of the log is one event of this table. Names, fields and kinds are an interface: a field never changes its kind. A field may be
absent or null. How the lines are read by journald, rsyslog and others, what happens when a reader is slow, and the key sets `ecs` and
`otel` are in [logs](logs.md). This page is made from the program (`deploy/man/pages.py`).

- **edge**: a change that somebody will look for afterwards. When the reader is too slow, such lines are given up last.
- **crowd**: comes once for each server. Of each such event and level {KIND_LINES_MAX} lines are written in {WINDOW_S:g} s; the rest is one
  `burst.summary`.
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(chapters()) + keys()


def chapters() -> Iterator[str]:
    """Yield a chapter for each first word of the events' names, the common fields first."""
    yield "\n## On every line\n\n| field | kind |\n| --- | --- |\n"
    yield from (f"| `{name}` | {kind} |\n" for name, kind in COMMON.items())
    for room, events in itertools.groupby(sorted(CATALOGUE.items()), lambda item: item[0].partition(".")[0]):
        yield f"\n## {room}\n"
        yield from (chapter(name, entry) for name, entry in events)


def chapter(name: str, entry: Entry) -> str:
    """Return what is to be said of one event."""
    level = f"{entry.level}, info when `{entry.calm[0]}` is {_plain(entry.calm[1])}" if entry.calm else entry.level
    marks = "".join(f" · {word}" for word, is_one in (("edge", entry.edge), ("crowd", entry.crowd)) if is_one)
    text = f"\n### {name}\n\n{level}{marks}. {entry.means}\n"
    if entry.remedy:
        text += f"**What to do:** {entry.remedy}\n"
    return text + (f"\n{fields(entry.fields)}\n" if entry.fields else "")


def fields(kinds: Mapping[str, str]) -> str:
    """Return the fields of one event, by kind."""
    by_kind = itertools.groupby(sorted(kinds, key=lambda name: (kinds[name], name)), kinds.__getitem__)
    return "; ".join(f"{kind}: {', '.join(f'`{name}`' for name in names)}" for kind, names in by_kind)


def keys() -> str:
    """Return how the fields are called in the other key sets."""
    names = {*COMMON, *itertools.chain.from_iterable(entry.fields for entry in CATALOGUE.values())}
    text = "\n## Names in the other key sets\n\nAny other name stands under `vipervisor.`: `weight_left` is `vipervisor.weight_left`.\n"
    text += "\n| native | ecs | otel |\n| --- | --- | --- |\n"
    for name in sorted(names):
        words = [", ".join(f"`{key}`" for key in renamed(name, keys)) for keys in (KeySet.ECS, KeySet.OTEL)]
        if words != [f"`{OWN}{name}`"] * 2:
            text += f"| `{name}` | {words[0]} | {words[1]} |\n"
    return text


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
