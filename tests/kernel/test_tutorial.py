"""docs/tutorial.md, typed on the article's machines: what it shows is what comes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.kernel.lab import ARTICLE, Lab
from tests.manual import DOCS, Desk, Typed, sessions

PATIENCE_S = 60.0
"""A question is asked again until the answer is the page's: the file's own timings are ten seconds, in a guest that may be slow."""


class Reader:
    """Somebody who types what the page says, at the machine that it says."""

    def __init__(self, lab: Lab, place: Path) -> None:
        self._lab, self._place = lab, place
        running = f"--state-dir '{place}/state' --log-format text"
        self._desk = Desk(place, place / "admin.sock", running)
        shutil.copy(ARTICLE, place / "keepalived.conf")
        self._web: dict[str, Callable[[int], None]] = {
            "systemctl kill -s KILL nginx": lab.kill_web,
            "systemctl start nginx": lab.start_web,
        }

    def types(self, typed: Typed) -> None:
        """Type one command; raise AssertionError when the answer is another than the page's."""
        match typed.place.split():
            case ["daemon"]:
                daemon = self._lab.start(
                    self._lab.director,
                    ["env", f"PATH={self._desk.path}", "sh", "-c", f"exec {typed.command}"],
                    "daemon.log",
                    folder=self._place,
                )
                (self._place / "vipervisor.pid").write_text(str(daemon.pid))
            case ["web", number]:
                self._web[typed.command](int(number))
            case ["client"]:
                self._ask(self._lab.clients, typed)
            case []:
                self._ask(self._lab.director, typed)
            case _:
                raise AssertionError(f"nobody sits at {typed.place}")

    def _ask(self, namespace: str, typed: Typed) -> None:
        self._desk.asks(typed, PATIENCE_S, ["ip", "netns", "exec", namespace])


def test_a_reader_of_the_tutorial_sees_what_it_shows(directory: Path) -> None:
    with Lab(directory) as lab:
        lab.start_all_web()
        reader = Reader(lab, directory / "reader")
        for typed in sessions(DOCS / "tutorial.md"):
            reader.types(typed)
