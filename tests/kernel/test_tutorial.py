"""docs/tutorial.md, typed on the article's machines: what it shows is what comes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.kernel.lab import ARTICLE, ROOT, Lab
from tests.manual import DOCS, Typed, sessions

PATIENCE_S = 60.0
"""A question is asked again until the answer is the page's: the file's own timings are ten seconds, in a guest that may be slow."""

OFFLINE = ("check", "table", "explain")
"""Verbs that need no daemon, and take no socket."""

WRAPPER = """\
#!/bin/sh
case $1 in
  {offline}) set -- "$@" ;;
  run) set -- "$@" --admin-socket '{place}/admin.sock' --state-dir '{place}/state' --log-format text ;;
  *) set -- "$@" --admin-socket '{place}/admin.sock' ;;
esac
PYTHONPATH='{root}' exec '{python}' -m supervisor "$@"
"""
"""The reader has it installed, in the usual places; this one stands aside of them."""


class Reader:
    """Somebody who types what the page says, at the machine that it says."""

    def __init__(self, lab: Lab, place: Path) -> None:
        self._lab, self._place = lab, place
        programs = place / "bin"
        programs.mkdir(parents=True)
        wrapper = WRAPPER.format(offline="|".join(OFFLINE), place=place, root=ROOT, python=sys.executable)
        (programs / "vipervisor").write_text(wrapper)
        (programs / "vipervisor").chmod(0o755)
        shutil.copy(ARTICLE, place / "keepalived.conf")
        self._environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "120"}
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
                    ["env", *self._settings(), "sh", "-c", f"exec {typed.command}"],
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

    def _settings(self) -> list[str]:
        return [f"PATH={self._environment['PATH']}"]

    def _ask(self, namespace: str, typed: Typed) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            argv = ["ip", "netns", "exec", namespace, "sh", "-c", typed.command]
            ended = subprocess.run(
                argv,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self._place,
                env=self._environment,
            )
            print(f"$ {typed.command}\n{ended.stdout}", end="")
            if typed.is_answered_by(ended.stdout):
                return
            assert time.monotonic() < deadline, f"the page says:\n{typed.answer}\nbut it is:\n{ended.stdout}"
            time.sleep(0.5)


def test_a_reader_of_the_tutorial_sees_what_it_shows(directory: Path) -> None:
    with Lab(directory) as lab:
        lab.start_all_web()
        reader = Reader(lab, directory / "reader")
        for typed in sessions(DOCS / "tutorial.md"):
            reader.types(typed)
