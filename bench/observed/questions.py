"""What an operator asks, and by which command each side answers: every command is run, and what has to be in its answer is looked for.

The questions stand in questions.toml. A cell's grade is a judgement, its evidence is not: `shows` must be in what the command prints,
`lacks` must not. Beside the programs' own commands there are small scripts (SCRIPTS): `journal` is the log, `metrics` what the exporters
say, `dump` has keepalived write its dump.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from bench.observed.lanes import DUMPS_PORT, NODE_PORT, START_MAX_S, VICTIM, Lane, Ours, Theirs
from tests.kernel import lab
from tests.kernel.daemon import EXPORTER_PORT

PATIENCE_S = 20.0
"""So long a command is repeated until it shows what it should: a server is out some moments before everything says so."""
LINES_MAX, LINE_MAX = 6, 200


class Grade(Enum):
    """How well a side answers."""

    YES = "yes"
    PARTLY = "partly"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Look:
    """A command, what it prints (a regular expression), and what it does not."""

    command: str
    shows: str = ""
    lacks: str = ""

    def is_borne_out(self, output: str) -> bool:
        """Tell whether an output has what it should and has not what it should not."""
        found = re.search(self.shows, output, re.MULTILINE) is not None
        return found and not (self.lacks and re.search(self.lacks, output, re.MULTILINE | re.IGNORECASE))


@dataclass(frozen=True, slots=True)
class Cell:
    """One side's answer: how good, in words, and the looks that show it."""

    grade: Grade
    says: str
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, asked in a scene."""

    asks: str
    ours: Cell
    theirs: Cell


WORDS = {
    "victim": str(VICTIM),
    "down": rf"192\.168\.100\.{VICTIM}:80",
    "no_times": r"since|overdue|\blag\b|latency|last (run|result|check)",
}
"""What stands in braces in questions.toml."""


def _filled(text: str) -> str:
    for name, word in WORDS.items():
        text = text.replace(f"{{{name}}}", word)
    return text


def _cell(row: Mapping[str, Any]) -> Cell:
    looks = (Look(**{part: _filled(text) for part, text in look.items()}) for look in row["looks"])
    return Cell(Grade(row["grade"]), row.get("says", ""), tuple(looks))


def _read() -> dict[str, tuple[Question, ...]]:
    """Return the questions of each scene. Raises KeyError, TypeError or ValueError for a row that is none."""
    scenes = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    return {
        scene: tuple(Question(row["asks"], _cell(row["ours"]), _cell(row["theirs"])) for row in rows)
        for scene, rows in scenes.items()
    }


QUESTIONS = _read()


# -- scenes --------------------------------------------------------------------------------------------------------------------

Lanes = tuple[Ours, Theirs]


def _is_out(lane: Lane) -> Callable[[], bool]:
    return lambda: lane.town.table.weights().get(f"192.168.100.{VICTIM}:80") == 0


@contextmanager
def broken(lanes: Lanes, fault: Callable[[Lane], None]) -> Iterator[None]:
    """A real server fails until both have taken it out."""
    for lane in lanes:
        fault(lane)
    for lane in lanes:
        lab.wait_until(f"{lane.name} takes it out", _is_out(lane), START_MAX_S)
    yield


@contextmanager
def changed(lanes: Lanes) -> Iterator[None]:
    """The file names another server than it did when it was read."""
    files = [lane.folder / "keepalived.conf" for lane in lanes]
    before = files[0].read_text()
    for file in files:
        file.write_text(before.replace("192.168.100.22", "192.168.100.23"))
    yield
    for file in files:
        file.write_text(before)


@contextmanager
def drained(lanes: Lanes) -> Iterator[None]:
    """A server is taken out for work, as one does it on either side."""
    ours, theirs = lanes
    ours.daemon.command("drain", "192.168.100.22", "--reason", "new disk, CHG-42", "--for", "2h")
    theirs.ipvsadm("-e", "-t", f"{lab.VIRTUAL}:80", "-r", "192.168.100.22:80", "-m", "-w", "0")
    yield
    ours.daemon.command("enable", "192.168.100.22")


@contextmanager
def edited(lanes: Lanes) -> Iterator[None]:
    """Somebody changed a weight some seconds ago."""
    for lane in lanes:
        lane.give_weight()
    time.sleep(4)
    yield


@contextmanager
def frozen(lanes: Lanes) -> Iterator[None]:
    """The process that checks stands still."""
    pids = [lane.checker() for lane in lanes]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(8)
    yield
    os.kill(pids[1], signal.SIGCONT)


@contextmanager
def calm(_: Lanes) -> Iterator[None]:
    """Nothing is wrong."""
    yield


SCENES = (
    (calm, QUESTIONS["calm"]),
    (lambda lanes: broken(lanes, lambda lane: lane.sicken()), QUESTIONS["sick"]),
    (lambda lanes: broken(lanes, lambda lane: lane.kill()), QUESTIONS["dead"]),
    (changed, QUESTIONS["changed"]),
    (drained, QUESTIONS["drained"]),
    (edited, QUESTIONS["edited"]),
    (frozen, QUESTIONS["frozen"]),
)
ALL = tuple(question for _, questions in SCENES for question in questions)

# -- asking --------------------------------------------------------------------------------------------------------------------

SCRIPTS: Mapping[str, Mapping[str, str]] = {
    "vipervisor": {
        "vipervisor": 'case $1 in --*) set -- "$@";; *) set -- "$@" --admin-socket {folder}/vipervisor.sock;; esac\n'
        'cd {root} && exec {python} -m supervisor "$@"',
        "metrics": "curl -s http://{address}:" + str(EXPORTER_PORT) + "/metrics",
    },
    "keepalived": {
        "dump": 'rm -f /tmp/keepalived_check.data; kill -USR1 "$(cat {folder}/keepalived.pid)"; sleep 1\n'
        "cat /tmp/keepalived_check.data",
        "journal": "cat {folder}/keepalived.log",
        "metrics": f"curl -s http://{{address}}:{DUMPS_PORT}/metrics; curl -s http://{{address}}:{NODE_PORT}/metrics",
    },
}


@dataclass(slots=True)
class Desk:
    """Where commands of one lane are typed."""

    lane: Lane
    complaints: list[str] = field(default_factory=list)
    _path: str = field(init=False, default="")

    def __post_init__(self) -> None:
        place = self.lane.folder / "bin"
        place.mkdir()
        for name, text in SCRIPTS[self.lane.name].items():
            words = {
                "folder": self.lane.folder,
                "root": lab.ROOT,
                "python": sys.executable,
                "address": self.lane.town.address,
            }
            script = place / name
            script.write_text("#!/bin/sh\n" + text.format(**words) + "\n")
            script.chmod(0o755)
        self._path = f"{place}:{os.environ['PATH']}"

    def typed(self, look: Look) -> str:
        """Return what a command prints, once that is as it should be; if it never is, that is a complaint."""
        end = time.monotonic() + PATIENCE_S
        while True:
            command = look.command.replace("//director:", f"//{self.lane.town.address}:")
            argv = ["ip", "netns", "exec", self.lane.town.director, "sh", "-c", command]
            environment = os.environ | {"PATH": self._path, "NO_COLOR": "1", "COLUMNS": "160"}
            done = subprocess.run(
                argv, check=False, capture_output=True, text=True, cwd=self.lane.folder, env=environment
            )
            if look.is_borne_out(done.stdout):
                return self._kept(look, done.stdout)
            if time.monotonic() > end:
                self.complaints.append(f"{self.lane.name}: {look}:\n{done.stdout}{done.stderr}")
                return ""
            time.sleep(0.5)

    def _kept(self, look: Look, output: str) -> str:
        """Return the lines of an output that show something, and a few around them; without the places of this machine."""
        lines = output.replace(f"{self.lane.folder}/", "").splitlines()
        shown = [number for number, line in enumerate(lines) if look.shows and re.search(look.shows, line)]
        first = max(0, min(shown, default=0) - 2) if len(lines) > LINES_MAX else 0
        kept = lines[first : first + LINES_MAX]
        return "\n".join(line[:LINE_MAX].rstrip() for line in kept)


def answers(lanes: Lanes) -> list[dict[str, Any]]:
    """Ask everything, scene by scene; return what each command printed, by question. Raises AssertionError with every complaint."""
    assert shutil.which("curl") is not None, "curl is missing: deploy/demo/setup programs curl"
    desks = Desk(lanes[0]), Desk(lanes[1])
    found: list[dict[str, Any]] = []
    for scene, questions in SCENES:
        with scene(lanes):
            for question in questions:
                cells = zip(desks, (question.ours, question.theirs), strict=True)
                typed = [[[look.command, desk.typed(look)] for look in cell.looks] for desk, cell in cells]
                found.append({"asks": question.asks, "ours": typed[0], "theirs": typed[1]})
                print(question.asks, flush=True)
        for lane in lanes:
            lane.mend()
        for lane in lanes:
            lab.wait_until(f"{lane.name} is in order again", lane.in_order, START_MAX_S, every=0.5)
    complaints = [complaint for desk in desks for complaint in desk.complaints]
    assert not complaints, "\n".join(complaints)
    return found
