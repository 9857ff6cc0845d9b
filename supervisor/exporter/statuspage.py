"""The status page's routes: which path shows what, and in which form. Reads snapshots over the link, decides nothing, keeps one picture.

It must never repeat what a reader said except through the templates' escaping, nor do more for one request than render PAGE_ROWS rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs, unquote

import trio

from checkers.kit.frozen import frozen
from supervisor.core.alert import alert
from supervisor.exporter import pages, twins
from supervisor.exporter.answers import PLAIN, Answer, LiveAnswer
from supervisor.exporter.link import NoAnswer, SupervisorLink
from supervisor.exporter.live import HEADERS as LIVE_HEADERS
from supervisor.exporter.live import Live
from supervisor.exporter.picture import FIND_MAX, Choice, Picture, drawing
from supervisor.pluginline import plugin_line

PAGE_MAX = 1_000_000
"""Highest number of a page that is read."""

PARAMETERS_MAX = 10

ROUTES = """\
/            how everything stands; the worst first
/vs/NAME     one virtual server: its real servers, their checks, what happened to them
/down        what is wrong now
/events      what happened, the newest first
/config      the configuration that runs, without its secrets
/alerts      one line for a monitoring plugin
/metrics     metrics for Prometheus; ?scope=process,virtual_server,real_server and ?name[]=NAME choose a part
/healthz     200 when the supervisor answers
/readyz      200 when the supervisor is ready
"""

INDEX = f"Vipervisor exporter\n\n{ROUTES}\nPages are HTML; with .json behind it each is JSON (/index.json for /).\n"

_HTML = (("Content-Type", "text/html; charset=utf-8"),)
_JSON = (("Content-Type", "application/json"),)
_FOR_EVER = ("Cache-Control", "public, max-age=31536000, immutable")


@frozen
class Wish:
    """What a reader asks for: a path without ".json", what of it, and whether as JSON or for a browser."""

    path: str
    choice: Choice
    as_json: bool
    for_browser: bool


class StatusPage:
    """All pages but /metrics."""

    def __init__(self, link: SupervisorLink, director: str) -> None:
        """`director` is the name of this host, for the pages' titles."""
        self._link = link
        self._director = director
        self._drawing = trio.Lock()
        self._picture: Picture | None = None
        self.live = Live(self.picture)

    async def picture(self) -> Picture:
        """Return how everything stands, at most a second old. Raises NoAnswer."""
        view = await self._link.fetch()
        async with self._drawing:  # one draws, whoever else wants the same waits for it
            if self._picture is not None and self._picture.snapshot is view.snapshot:
                return self._picture
            for picture in drawing(view.snapshot, view.now_wall):
                await trio.lowlevel.checkpoint()
                if picture is not None:
                    self._picture = picture
            assert self._picture is not None  # the last step draws it
            return self._picture

    async def answer(self, path: str, query: str, accept: str) -> Answer | LiveAnswer:
        """Answer the request for a path (still quoted) that is not /metrics."""
        if (asset := pages.ASSETS.get(path[1:])) is not None:
            return Answer(200, asset[1], (("Content-Type", asset[0]), _FOR_EVER))
        wish = read_wish(path, query, accept)
        try:
            return await self._answer(wish)
        except NoAnswer:
            return self._message(wish, 503, "the supervisor does not answer", "No answer")

    async def _answer(self, wish: Wish) -> Answer | LiveAnswer:
        match wish.path:
            case "/" if not (wish.as_json or wish.for_browser):
                return Answer(200, INDEX.encode())
            case "/" | "/down" | "/alerts":
                return self._present(wish, await self.picture())
            case "/events":
                picture, extract = await self.picture(), await self._link.events()
                return _formed(
                    wish,
                    lambda: twins.events(picture, extract, wish.choice),
                    lambda: pages.events(picture, extract, wish.choice, self._director),
                )
            case "/config":
                picture, running = await self.picture(), await self._link.configuration()
                return _formed(
                    wish,
                    lambda: twins.configuration(picture, running),
                    lambda: pages.configuration(picture, running, wish.choice, self._director),
                )
            case "/healthz" | "/readyz":
                return _health(wish, ready=await self._link.ready())
            case "/events/stream":
                if self.live.full:
                    return Answer(503, b"all live streams are taken\n", (*PLAIN, ("Retry-After", "30")))
                return LiveAnswer(LIVE_HEADERS, self.live)
            case path if path.startswith("/vs/"):
                return await self._virtual_server(wish, path.removeprefix("/vs/"))
            case _:
                return self._message(wish, 404, "not here; see /", "Not here")

    def _present(self, wish: Wish, picture: Picture) -> Answer:
        """Answer with what needs the picture alone."""
        match wish.path:
            case "/alerts":
                return _alerts(wish, picture)
            case "/down":
                return _formed(
                    wish,
                    lambda: twins.down(picture, wish.choice),
                    lambda: pages.down(picture, wish.choice, self._director),
                )
            case _:
                return _formed(
                    wish,
                    lambda: twins.overview(picture, wish.choice),
                    lambda: pages.overview(picture, wish.choice, self._director),
                )

    async def _virtual_server(self, wish: Wish, name: str) -> Answer:
        picture = await self.picture()
        found = picture.find(name)
        if found is None:
            return self._message(wish, 404, "no such virtual server; see /", "No such virtual server")
        try:
            history = await self._link.history(name)
        except NoAnswer:  # too much is asked for: the state is worth more than what was
            history = None
        return _formed(
            wish,
            lambda: twins.virtual_server(picture, found, history, wish.choice),
            lambda: pages.virtual_server(picture, found, history, wish.choice, self._director),
        )

    def _message(self, wish: Wish, status: int, text: str, title: str) -> Answer:
        if wish.as_json:
            return _json({"schema": twins.SCHEMA, "error": text}, status)
        if wish.for_browser:
            sentence = f"{text[0].upper()}{text[1:]}."
            return Answer(status, pages.message(self._director, title, sentence).encode(), _HTML)
        return Answer(status, f"{text}\n".encode())


def read_wish(path: str, query: str, accept: str) -> Wish:
    """Read what a reader asks for; what makes no sense in the query is left out."""
    try:
        said = parse_qs(query, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        said = {}
    find = said.get("find", [""])[0].strip()[:FIND_MAX]
    page = said.get("page", [""])[0]
    number = int(page) if page.isascii() and page.isdecimal() and len(page) < 8 else 1
    plain = unquote(path)
    as_json = plain.endswith(".json")
    plain = "/" if plain == "/index.json" else plain.removesuffix(".json")
    return Wish(plain, Choice(find, min(max(number, 1), PAGE_MAX)), as_json, "text/html" in accept)


def _health(wish: Wish, *, ready: bool) -> Answer:
    """Answer that the supervisor answered, or whether it is ready."""
    if wish.path == "/healthz":
        return _json({"schema": twins.SCHEMA, "healthy": True}) if wish.as_json else Answer(200, b"ok\n")
    status = 200 if ready else 503
    if wish.as_json:
        return _json({"schema": twins.SCHEMA, "ready": ready}, status)
    return Answer(status, b"ready\n" if ready else b"not ready yet\n")


def _alerts(wish: Wish, picture: Picture) -> Answer:
    """Answer with what a monitoring plugin would print; the HTTP status says nothing about the servers."""
    found = alert(picture.snapshot)
    if wish.as_json:
        return _json({"schema": twins.SCHEMA, **asdict(found)})
    return Answer(200, f"{plugin_line(found.word, found.text, found.figures)}\n".encode())


def _json(value: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, separators=(",", ":")).encode() + b"\n", _JSON)


def _formed(wish: Wish, twin: Callable[[], Mapping[str, Any]], page: Callable[[], str]) -> Answer:
    """Answer in the form that is wished for; only that one is made."""
    return _json(twin()) if wish.as_json else Answer(200, page().encode(), _HTML)
