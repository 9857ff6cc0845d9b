"""One program of a duel in a network namespace of its own: Vipervisor or keepalived, its file, its real servers, and who listens to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from tests.kernel import lab
from tests.kernel.listeners import WEB_PORT, Listeners, Place
from tests.kernel.postbox import Postbox
from tests.kernel.watch import Watch

OURS, THEIRS = "vipervisor", "keepalived"

STOP_MAX_S = 15.0
RELOAD_MAX_S = 15.0
RELOADED = {OURS: ('"config.loaded"', '"config.rejected"'), THEIRS: ("Reload complete",)}
"""What each says in its log when a reload is over."""

GLOBAL = """global_defs {{
  router_id LAB
  virtual_server_addresses off
  notification_email {{ duty@example.org }}
  notification_email_from lvs@example.org
  smtp_server 127.0.0.1
  smtp_alert on
  smtp_group_within 0
  script_user root
  lvs_notify_fifo {place}/told.fifo
}}
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What a program told people about one virtual server in one stage, oldest first; addresses by their last number."""

    lines: tuple[str, ...] = ()  # of the named pipe: "RS 1 DOWN", "VS UP"
    mails: tuple[tuple[str, str], ...] = ()  # subject and body
    said: tuple[str, ...] = ()  # by scripts, sorted: they run at the same time

    def is_as_much_as(self, other: Told, *, mails: bool) -> bool:
        """Tell whether the other one told as much; of mails only if they count."""
        mine, others = ((len(told.lines), len(told.said), len(told.mails) if mails else 0) for told in (self, other))
        return mine == others


class Side:
    """Make it, `configure` and `arrange`, `start` it; `configure` and `reload` later."""

    PORTS = (80, 81, WEB_PORT)

    def __init__(self, name: str, place: Path, *, lane: str = "duel", more: str = "") -> None:
        """`lane` tells duels apart that go on at the same time; `more` are lines of the file that stand before all others."""
        self.place = place
        self._name = name
        self._head = GLOBAL.format(place=place) + more
        self._ours = name == OURS
        self._namespace = f"{lane}-{name}"
        self._file = place / "keepalived.conf"
        self._is_new = False  # and its program does not know
        self._reloads = int(self._ours)  # that its log is to tell of; ours says the same at the start
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        Path("/run/netns").mkdir(exist_ok=True)
        _ip("netns", "add", self._namespace)
        _ip("-n", self._namespace, "link", "set", "lo", "up")
        _ip("-n", self._namespace, "route", "add", "local", "10.0.0.0/8", "dev", "lo")
        self._servers = Listeners(self._namespace)
        self._postbox = Postbox(self._namespace, "127.0.0.1")
        self._mails_seen = 0
        self._saved, self._thresholds = list[str](), list[str]()
        self._pipe = Pipe(place / "told.fifo")
        self.watch = Watch(self._namespace)

    def close(self) -> None:
        """End what was started here and take the namespace away."""
        self.stop()
        if self._log is not None:
            self._log.close()
        self.watch.close()
        self._pipe.close()
        self._postbox.close()
        self._servers.close()
        subprocess.run(["ip", "netns", "del", self._namespace], check=False, stderr=subprocess.DEVNULL)

    # -- the world -----------------------------------------------------------------------------------------------------------

    def arrange(self, answering: Iterable[Place], hanging: Collection[str]) -> None:
        """Say which real servers answer, and which of them never finish."""
        self._servers.hanging = set(hanging)
        self._servers.listen(answering)

    def write(self, name: str, content: str) -> None:
        """Put a file there; one that is named as a script can be run."""
        path = self.place / name
        path.write_text(content)
        if path.suffix == ".sh":
            path.chmod(0o755)

    def configure(self, blocks: str) -> None:
        """Write the file."""
        text = self._head + blocks
        if not self._file.exists() or self._file.read_text() != text:
            self._file.write_text(text)
            self._is_new = True

    def reload(self) -> None:
        """Ask a running program for a reload when its file is another one than it was."""
        if self._is_new and self._process is not None:
            self._reloads += 1
            self._process.send_signal(signal.SIGHUP)
        self._is_new = False

    def reloaded(self) -> None:
        """Wait until it said that it has taken the file, or refused it, or has ended of it; at the longest RELOAD_MAX_S."""
        with contextlib.suppress(TimeoutError):  # the tests will say what was not
            lab.wait_until("a reload", self._has_reloaded, RELOAD_MAX_S, every=0.05)

    def _has_reloaded(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        text = (self.place / f"{self._name}.log").read_text()
        return sum(text.count(word) for word in RELOADED[self._name]) >= self._reloads

    def start(self) -> None:
        """Start the program."""
        place, self._is_new = self.place, False
        if self._ours:
            command = [sys.executable, "-m", "supervisor", "run", "-f", str(self._file), "--backend", "kernel"]
            command += ["--exporter", "off", "--log-format", "json", "--workers", "1"]
            command += ["--admin-socket", str(place / "admin.sock"), "--state-dir", "off"]
        else:
            program = shutil.which("keepalived")
            assert program is not None, "keepalived is missing: deploy/demo/setup programs keepalived"
            command = [program, "--dont-fork", "--log-console", "--log-detail", "--check", "-f", str(self._file)]
            command += ["-p", str(place / "keepalived.pid"), "-c", str(place / "checkers.pid")]
        self._log = (place / f"{self._name}.log").open("wb")
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self._namespace, *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=lab.ROOT,
        )

    def terminate(self) -> None:
        """Ask the program to end."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Ask the program to end, and wait until it has."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # -- looking -------------------------------------------------------------------------------------------------------------

    def last_change_s(self) -> float:
        """Return when the table changed last (monotonic); now, while there is none at all."""
        return self.watch.last_change_s() or time.monotonic()

    def checking_since_s(self) -> float:
        """Return when the last of our processes began to work (monotonic); 0 for keepalived, which checks from its start."""
        started = [event for event in self._events() if event["event"] == "worker.started"]
        if not started:
            return 0.0
        at = datetime.fromisoformat(started[-1]["timestamp"]).timestamp()
        return time.monotonic() - (time.time() - at)

    def _events(self) -> Iterator[dict[str, str]]:
        for line in (self.place / f"{OURS}.log").read_text().splitlines() if self._ours else ():
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def look(self) -> None:
        """Read the table with ipvsadm, for `rules`."""
        self._saved = self._ipvsadm("-Sn")
        self._thresholds = self._ipvsadm("-Ln", "--thresholds")

    def rules(self, virtual: str) -> tuple[str, ...]:
        """Return the lines of `ipvsadm -Sn` for a virtual address and its thresholds, sorted: the kernel's order is of no account."""
        rules = [line for line in self._saved if f" {virtual}:" in line]
        thresholds, mine = [], False
        for line in self._thresholds:
            words = line.split()
            if words and words[0] in {"TCP", "UDP"}:
                mine = words[1].startswith(f"{virtual}:")
            elif mine and words and words[0] == "->":
                thresholds.append(f"thresholds of {words[1]}: {words[2]} {words[3]}")
        return tuple(sorted(rules) + sorted(thresholds))

    def _ipvsadm(self, *words: str) -> list[str]:
        command = ["ip", "netns", "exec", self._namespace, "ipvsadm", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    def told(self, virtual: str, network: str, scenario: str) -> Told:
        """Return what was told about a virtual address since `forget_told`."""
        said = self.place / f"{scenario}.said"
        names = f"[{virtual}]:", f"[{scenario}]:"  # of an address, of a group
        lines = [line for line in self._pipe.lines.copy() if any(name in line for name in names)]
        mails = [
            mail for mail in self._postbox.mails[self._mails_seen :] if any(name in mail.subject for name in names)
        ]
        return Told(
            tuple(_short(line, network) for line in lines),
            tuple((mail.subject, mail.body) for mail in mails),
            tuple(sorted(said.read_text().split("\n")[:-1])) if said.exists() else (),
        )

    def forget_told(self) -> None:
        """Begin anew: a stage is over."""
        self._pipe.lines.clear()
        self._mails_seen = len(self._postbox.mails)
        for said in self.place.glob("*.said"):
            os.truncate(said, 0)


class Pipe:
    """A named pipe that is read as long as this lives; it stands there before the program starts, so the program uses it."""

    def __init__(self, path: Path) -> None:
        self.lines: list[str] = []
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR)  # both, so that it never ends when its writer opens it again
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        """Let the reading end."""
        os.write(self._descriptor, b"\nover\n")

    def _read(self) -> None:
        with os.fdopen(self._descriptor, "rb") as stream:
            for line in stream:
                if line == b"over\n":
                    return
                if line.strip():
                    self.lines.append(line.decode().strip())


def _short(line: str, network: str) -> str:
    """ "RS [10.3.0.1]:tcp:80 [10.3.0.100]:tcp:80 DOWN" becomes "RS 1 DOWN", its virtual server is known."""
    kind, *names, state = line.split()
    return " ".join((kind, *(name.removeprefix(f"[{network}").partition("]")[0] for name in names[:-1]), state))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
