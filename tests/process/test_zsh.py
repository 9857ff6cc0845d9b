"""The completion of zsh in a real zsh at a terminal: what a tab offers, and what stands on the line afterwards.

bash's is asked in tests/supervisor/commands/test_completion.py; what the program itself offers is tested there.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import programs
from tests.process.test_daemon import ROOT, Daemon, until

FILE = """\
virtual_server 203.0.113.1 80 {
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 127.9.9.1 80 {
  }
  real_server 127.9.9.2 80 {
  }
}
virtual_server 2001:db8::1 80 {
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 2001:db8::21 80 {
  }
}
"""

SETTINGS = """\
PROMPT='ready> '
{places}
fpath=({completion} $fpath)
autoload -Uz compinit && compinit -D -u
setopt no_beep no_always_last_prompt
compadd() {{                       # as it is, and what it offers is written down
  local -a offered
  builtin compadd -A offered "$@"
  print -rl -- "${{(@Q)offered}}" >>{folder}/offered
  builtin compadd "$@"
}}
"""

PROGRAM = """\
#!/bin/sh
unset LD_LIBRARY_PATH
if [ "$1" != complete ]; then echo "$@" >'{folder}/said.new' && mv '{folder}/said.new' '{folder}/said'; exit; fi
PYTHONPATH='{root}' RUNTIME_DIRECTORY='{runtime}' exec '{python}' -m supervisor "$@"
"""
"""Writes down what it is told, except when a shell asks what may stand next."""


class Terminal:
    """Somebody at a terminal with zsh, who has `vipervisor` and its completion."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        zsh = programs.path_of("zsh", "zsh")
        self._folder = folder
        stub = folder / "vipervisor"
        stub.write_text(PROGRAM.format(folder=folder, root=ROOT, runtime=runtime, python=sys.executable))
        stub.chmod(0o755)
        modules, functions = (
            programs.folders("usr/lib/*-linux-gnu/zsh/*"),
            programs.folders("usr/share/zsh/functions/**/"),
        )
        is_unpacked = Path(zsh).is_relative_to(programs.UNPACKED)
        places = f"module_path=({' '.join(modules)})\nfpath=({' '.join(functions)})" if is_unpacked else ""
        settings = SETTINGS.format(places=places, completion=ROOT / "deploy" / "completion", folder=folder)
        (folder / ".zshrc").write_text(settings)
        environment = programs.surroundings(zsh) | {"ZDOTDIR": str(folder), "TERM": "dumb", "HOME": str(folder)}
        environment["PATH"] = f"{folder}:{environment['PATH']}"
        self._keys, theirs = pty.openpty()
        self.shown = b""
        self._process = subprocess.Popen(
            [zsh, "-d", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        until(lambda: b"ready> " in self.shown)

    def _read(self) -> None:
        while True:
            try:
                self.shown += os.read(self._keys, 65536)
            except OSError:  # EIO: nobody is at the other end any more
                return

    def types(self, text: str) -> str:
        """Type a command with a tab in it and return what the program was told then."""
        said = self._folder / "said"
        said.unlink(missing_ok=True)
        (self._folder / "offered").unlink(missing_ok=True)
        os.write(self._keys, text.encode() + b"\n")
        until(said.exists)
        return said.read_text().strip()

    @property
    def offered(self) -> list[str]:
        """What the last tab offered."""
        return sorted({line for line in (self._folder / "offered").read_text().splitlines() if line})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._keys)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("zsh")
    daemon = Daemon(folder, FILE, "--exporter", "off")
    terminal = None
    try:
        until(daemon.socket.exists)
        (folder / "home").mkdir()
        (folder / "runtime").mkdir()
        (folder / "runtime" / "admin.sock").symlink_to(daemon.socket)
        terminal = Terminal(folder / "home", folder / "runtime")
        yield terminal
    finally:
        if terminal is not None:
            terminal.close()
        daemon.close()


@pytest.mark.parametrize(
    ("typed", "offered", "said"),
    [
        ("vipervisor sta\t", ["status"], "status"),
        ("vipervisor status --wat\t", ["--watch"], "status --watch"),
        ("vipervisor drain 127.9.9.\t", ["127.9.9.1", "127.9.9.1:80", "127.9.9.2", "127.9.9.2:80"], "drain 127.9.9."),
        ("vipervisor drain 127.9.9.2:\t", ["127.9.9.2:80"], "drain 127.9.9.2:80"),
        ("vipervisor drain 127.9.9.1 --in 203\t", ["203.0.113.1:80/tcp"], "drain 127.9.9.1 --in 203.0.113.1:80/tcp"),
        (r"vipervisor status \[2001:db8::1" + "\t", ["[2001:db8::1]:80/tcp"], "status [2001:db8::1]:80/tcp"),
        ("vipervisor check --strict .zsh\t", [".zshrc"], "check --strict .zshrc"),
        ("vipervisor explain E02\t1", [f"E02{number}" for number in range(10)], "explain E021"),
    ],
)
def test_a_tab_offers_what_the_program_knows(terminal: Terminal, typed: str, offered: list[str], said: str) -> None:
    assert terminal.types(typed) == said, terminal.shown[-2000:]
    assert terminal.offered == offered
