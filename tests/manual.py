"""The commands of the manual, as a reader would type them: read from the pages, so that a test can do what they say.

Two ways to write them. A block of a page that begins with "```console" is a session: a line that begins with `$ ` is typed, the lines
below it are what comes; behind `console` may stand where it is typed. A line `…` stands for any lines, `…` within a line for anything.
Whatever else a page shows, in an indented block or `between backticks`, is a command for whoever needs it. `tests.manual_elsewhere`
lists what of that is typed by other tests than tests/process/test_shown_commands.py.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = tuple(sorted([ROOT / "README.md", *DOCS.rglob("*.md")]))

BLOCK = re.compile(r"^```console *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^ *```(\w*).*?^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")

PROGRAMS = frozenset(
    re.findall(
        r"\S+",
        """apt chgrp curl df dmesg htpasswd install ip ipvsadm journalctl keepalived kill lsmod make man modprobe openssl pip promtool ps
    python sha256sum ssh sysctl systemctl systemd-analyze systemd-sysusers telnet vipervisor""",
    )
)
"""What a command between backticks begins with; in an indented block everything is one."""


@dataclass(frozen=True, slots=True)
class Typed:
    """One command of a session: where it is typed, what is typed, and what shall come of it; empty: whatever."""

    place: str
    command: str
    answer: str

    def is_answered_by(self, text: str) -> bool:
        """Tell whether this is what the page says. White space at the end of a line does not count."""
        return self._pattern().fullmatch("".join(f"{line.rstrip()}\n" for line in text.splitlines())) is not None

    def _pattern(self) -> re.Pattern[str]:
        if not self.answer:
            return re.compile(".*", re.DOTALL)
        lines = [re.escape(line).replace("…", ".*") + r"\n" for line in self.answer.splitlines()]
        return re.compile("".join(r"(?:.*\n)*" if line == r".*\n" else line for line in lines))


def sessions(page: Path) -> Iterator[Typed]:
    """Yield every command of a page's sessions in its order. Raises ValueError for one that begins with something else."""
    for place, text in BLOCK.findall(page.read_text()):
        first, *commands = re.split(r"^\$ ", text, flags=re.MULTILINE)
        if first.strip():
            raise ValueError(f"{page.name}: a session begins with {first!r} instead of a command")
        for typed in commands:
            command, _, answer = typed.partition("\n")
            while command.endswith("\\"):
                more, _, answer = answer.partition("\n")
                command = command[:-1] + more.strip()
            yield Typed(place, command, answer.rstrip())


def shown(page: Path) -> Iterator[str]:
    """Yield every command that a page shows outside of its sessions, in its order, without the remark behind it."""
    text = FENCED.sub("", page.read_text())
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        if re.match("    ", paragraph.strip("\n")):
            yield from (re.split(r" +# ", line.strip())[0].strip() for line in paragraph.splitlines() if line.strip())
        else:
            codes = (" ".join(code.split()) for code in INLINE.findall(paragraph))
            yield from (code for code in codes if " " in code and code.split()[0] in PROGRAMS)


def forms(command: str) -> list[str]:
    r"""Return what a synopsis stands for: `a\|b [--c] [D]` is `a`, `b`, `a --c`, `a D`. A command that is none stands for itself."""
    if "\\|" not in command and " [" not in command:
        return [command]
    words = re.findall(r"\[[^\]]+\]|\S+", command)
    choices = [word.split("\\|") for word in words if not word.startswith("[")]
    plain = [" ".join(choice) for choice in itertools.product(*choices)]
    return [*plain, *(f"{plain[0]} {word[1:-1]}" for word in words if word.startswith("["))]


# -- typing ------------------------------------------------------------------------------------------------------------------------

OFFLINE = "check|table|explain|-*"
"""What needs no daemon, and takes no socket."""

WRAPPER = """\
#!/bin/sh
case $1 in
  {offline}) ;;
  run) set -- "$@" {running} --admin-socket '{socket}' ;;
  *) set -- "$@" --admin-socket '{socket}' ;;
esac
PYTHONPATH='{root}' exec '{python}' -m supervisor "$@"
"""
"""The reader has it installed, and the daemon where it belongs; this one stands aside."""


class Desk:
    """A folder in which somebody sits and types: `vipervisor` is there, and talks to the daemon of `socket`."""

    def __init__(self, folder: Path, socket: Path, running: str = "", *, columns: int = 120) -> None:
        """`running` has the options that `vipervisor run` gets besides, as a shell reads them."""
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir(parents=True)
        wrapper = WRAPPER.format(offline=OFFLINE, running=running, socket=socket, root=ROOT, python=sys.executable)
        (programs / "vipervisor").write_text(wrapper)
        (programs / "vipervisor").chmod(0o755)
        self.path = f"{programs}:{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": self.path, "COLUMNS": str(columns)}

    def types(self, command: str, behind: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Type one command, behind words that lead into a namespace, and return how it ended; errors stand in its output."""
        return subprocess.run(
            [*behind, "bash", "-c", command],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self._environment,
        )

    def begins(self, command: str) -> subprocess.Popen[str]:
        """Type a command that goes on until somebody ends it; the shell makes way for it.

        At a terminal it can be interrupted; where the tests run in the background, they inherit that it cannot.
        """
        return subprocess.Popen(
            ["env", "--default-signal=INT", "bash", "-c", f"exec {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self._environment,
        )

    def asks(self, typed: Typed, patience_s: float, behind: Sequence[str] = ()) -> None:
        """Type a command of a session, again until the answer is the page's; raise AssertionError when it does not come."""
        deadline = time.monotonic() + patience_s
        while not typed.is_answered_by(answer := self.types(typed.command, behind).stdout):
            assert time.monotonic() < deadline, f"$ {typed.command}\nthe page:\n{typed.answer}\nbut it is:\n{answer}"
            time.sleep(0.5)
        print(f"$ {typed.command}\n{answer}", end="")
