"""The status page: a Picture as HTML. Pure; the templates are read when this module is, for behind the walls there are no files.

Every value goes through jinja2's escaping; no template marks anything as safe. There is neither style nor script in a page, so the
strictest policy for its content holds, and without script everything still works.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import DictLoader, Environment, StrictUndefined

from supervisor.core.causes import Fact
from supervisor.core.entry import Entry, Extract
from supervisor.core.runningtext import RunningText
from supervisor.exporter.picture import (
    Choice,
    Picture,
    fits_entry,
    fits_real_server,
    fits_virtual_server,
    last_failures,
    newest_first,
    part,
    worth_telling,
)
from supervisor.exporter.standing import (
    State,
    VirtualServerStanding,
    result_words,
    standings,
)
from supervisor.wording import counted, lasting

_FOLDER = Path(__file__).parent / "page"

ASSETS = {
    name: (kind, (_FOLDER / name).read_bytes())
    for name, kind in (
        ("style.css", "text/css; charset=utf-8"),
        ("live.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    )
}
"""What every page refers to: name → content type and content."""

ASSETS_VERSION = hashlib.sha256(b"".join(content for _, content in ASSETS.values())).hexdigest()[:12]
"""Part of the addresses of assets, so that a browser may keep them for ever and still gets new ones."""


def vs_path(virtual_server: str) -> str:
    """Return the path of the page of a virtual server."""
    return "/vs/" + quote(virtual_server, safe="/:")


def overview(picture: Picture, choice: Choice, director: str) -> str:
    """Return the first page: tiles, and all virtual servers."""
    shown = part(picture.assessment.virtual_servers, choice, fits_virtual_server)
    return _render("overview.html", picture, director, "/", choice=choice, shown=shown)


def virtual_server(
    picture: Picture, standing: VirtualServerStanding, history: Extract | None, choice: Choice, director: str
) -> str:
    """Return the page of one virtual server: its real servers, their checks, what happened (None: that is not to be had)."""
    return _render(
        "virtual_server.html",
        picture,
        director,
        vs_path(standing.view.virtual_server),
        choice=choice,
        shown=part(standings(standing.view), choice, fits_real_server),
        standing=standing,
        history=None if history is None else worth_telling(history)[:HISTORY_ROWS],
        failures={} if history is None else last_failures(history),
    )


def down(picture: Picture, choice: Choice, director: str) -> str:
    """Return the page of everything that is wrong now."""
    servers = [one for one in picture.assessment.virtual_servers if one.state in _PAGE_OF_WRONG]
    return _render(
        "down.html",
        picture,
        director,
        "/down",
        choice=choice,
        virtual_servers=part(servers, choice, fits_virtual_server),
        shown=part(picture.assessment.wrong, choice, fits_real_server),
        by_hand=part(picture.assessment.by_hand, choice, fits_real_server),
    )


def events(picture: Picture, extract: Extract, choice: Choice, director: str) -> str:
    """Return the page of what happened, the newest first."""
    shown = part(newest_first(extract), choice, fits_entry)
    return _render("events.html", picture, director, "/events", choice=choice, shown=shown, omitted=extract.omitted)


def configuration(picture: Picture, running: RunningText, choice: Choice, director: str) -> str:
    """Return the page of the configuration that runs. Raises ValueError when there is no reading it."""
    shown = part(running.text().split("\n"), choice, lambda line, find: find in line.casefold(), CONFIGURATION_ROWS)
    return _render("configuration.html", picture, director, "/config", choice=choice, shown=shown, running=running)


def message(director: str, title: str, text: str) -> str:
    """Return a page that says one thing: what is not here, or that nobody answers."""
    return _ENVIRONMENT.get_template("message.html").render(director=director, title=title, text=text, path="")


HISTORY_ROWS = 100
"""Entries of its history on the page of a virtual server."""

CONFIGURATION_ROWS = 1000
"""Lines of the configuration on one page: 40 kB."""

_PAGE_OF_WRONG = frozenset({State.DOWN, State.SORRY})
"""Virtual servers that /down names; a degraded one is there with its real servers."""


def _render(template: str, picture: Picture, director: str, path: str, **values: Any) -> str:
    return _ENVIRONMENT.get_template(template).render(picture=picture, director=director, path=path, **values)


def _iso(at: float) -> str:
    """Return an instant (seconds since the epoch) as HTML's `datetime` wants it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stamp(at: float) -> str:
    """Return an instant as a person reads it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _page_path(path: str, choice: Choice, page: int) -> str:
    """Return where another page of the same list is."""
    query = {name: value for name, value in (("find", choice.find), ("page", page if page > 1 else "")) if value}
    return f"{path}?{urlencode(query)}" if query else path


def _twin(path: str) -> str:
    """Return where the same is as JSON."""
    return "/index.json" if path == "/" else f"{path}.json"


def _wire(excerpt: Fact) -> str:
    """Return an excerpt of what went over the wire with its lines as lines; a probe escapes their ends."""
    return str(excerpt).replace("\\r\\n", "\n").replace("\\n", "\n").strip()


def _tone(entry: Entry) -> str:
    """Return the tone of something that happened."""
    if entry.facts.get("passed") is True or entry.facts.get("up") is True:
        return "good"
    return {"error": "bad", "warning": "warn"}.get(entry.level, "none")


def _number(value: int) -> str:
    """Return a number as a person reads it: 1,234 or 5.6 M."""
    if value < 1_000_000:
        return f"{value:,}"
    for size, sign in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.1f} {sign}"
    raise AssertionError


def _shares(standing: VirtualServerStanding) -> Iterator[tuple[str, float, float]]:
    """Yield a bar of a hundred units: tone, begin and width of each part, the healthy first."""
    begin = 0.0
    for state in reversed(State):
        if number := standing.counts[state]:
            width = 100 * number / standing.total
            yield state.tone, round(begin, 2), round(width, 2)
            begin += width


def _environment() -> Environment:
    templates = {file.name: file.read_text(encoding="utf-8") for file in _FOLDER.glob("*.html")}
    made = Environment(
        loader=DictLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "iso": _iso,
        "stamp": _stamp,
        "duration": lasting,
        "number": _number,
        "result": result_words,
        "tone": _tone,
        "wire": _wire,
    }
    made.globals |= {
        "State": State,
        "version": ASSETS_VERSION,
        "count": counted,
        "vs_path": vs_path,
        "page_path": _page_path,
        "twin": _twin,
        "shares": _shares,
    }
    # compiled now, kept for ever: behind the walls nothing can be imported that compiling may want
    for name in templates:
        made.get_template(name)
    return made


_ENVIRONMENT = _environment()
