"""Who keeps the table while faults are played (see storm.py): Vipervisor, Debian's keepalived, or nobody at all.

All have the same world (a lab, its virtual address assigned beforehand, three web servers that answer and a fourth real server that is
dead), the same file where they read one, and are harmed in the same ways. A table in order is one in which just the three serve.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from random import Random

from tests.kernel import lab
from tests.kernel.daemon import Daemon, kill

HEALTHY = ("192.168.100.20:80", "192.168.100.21:80", "192.168.100.22:80")
DEAD = "192.168.100.20:81"
"""Its machine is there and refuses: nobody listens."""
VICTIM = HEALTHY[2]
"""Who is removed from the file and added again."""
IN_ORDER = dict.fromkeys(HEALTHY, 1)

STOP_S = 4.0
"""How long a process stands still that gets SIGSTOP."""
PATIENCE_S = 90.0
"""How long a fault's end is waited for; then the harness restores order. Starting Python takes long where others want the processor."""
FOREIGN_S = 3.0
"""The same for what somebody did to the table: ours must be done within two seconds, keepalived does not look."""
TAKEN_OUT_S = 2.5
MISSING_SCHEDULER = "twos"
"""Both programs know it, and Debian's User-Mode Linux has no such module."""

SERVICE = f"{lab.VIRTUAL}:80"

Done = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to a contender: when it is over, and how the harness ends it where nobody else does.

    `tend` is called at each look until then.
    """

    done: Done
    undo: Callable[[], None] | None = None
    patience_s: float = PATIENCE_S
    tend: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class File:
    """The file that everybody reads; timings as short as keepalived takes them gladly, to its favour."""

    scheduler: str = "rr"
    weight: int = 1
    victim: bool = True
    more: str = ""

    def __str__(self) -> str:
        servers = [(server, self.weight if server == VICTIM else 1) for server in (*HEALTHY, DEAD)]
        blocks = "".join(_real_server(name, weight) for name, weight in servers if self.victim or name != VICTIM)
        return (
            "global_defs {\n router_id LAB\n script_user root\n virtual_server_addresses off\n}\n"
            f"virtual_server {lab.VIRTUAL} 80 {{\n delay_loop 1\n lb_algo {self.scheduler}\n lb_kind NAT\n protocol TCP\n"
            f' quorum_down "/bin/true"\n{blocks}}}\n{self.more}'
        )


def _real_server(name: str, weight: int) -> str:
    address, _, port = name.partition(":")
    check = "TCP_CHECK {\n connect_timeout 1\n retry 1\n delay_before_retry 1\n }"
    return f" real_server {address} {port} {{\n weight {weight}\n {check}\n }}\n"


ANOTHER = (
    f"virtual_server {lab.VIRTUAL} 8080 {{\n delay_loop 1\n lb_algo {MISSING_SCHEDULER}\n lb_kind NAT\n protocol TCP\n"
    + _real_server(HEALTHY[0], 1)
    + "}\n"
)
"""A virtual server that the kernel refuses."""


class Contender:
    """Nobody: the table stays as it was made. What programs have in common is here too."""

    name = "nobody"
    quiet_s = 0.1
    """So long a table must be in order until a fault is over."""

    def __init__(self, world: lab.Lab) -> None:
        self.world = world
        self.faults: dict[str, Callable[[Random], Fault]] = {
            "nothing": lambda _: Fault(lambda: True),
            "flush": self.flush,
            "edit_to_0": lambda _: self.take_out_for_a_while(),
            "edit_to_5": lambda _: self.edit(),
            "delete": lambda _: self.delete(),
        }
        self._victims = cycle(HEALTHY)  # each in turn: who changes the same thing again and again is another matter

    def start(self) -> None:
        """Have the table in order, or begin to."""
        self.restore()

    def close(self) -> None:
        """End what `start` began."""

    def is_in_order(self) -> bool:
        """Tell whether just those serve who are alive, each with its weight."""
        return {name: weight for name, weight in self.world.table.weights().items() if weight} == IN_ORDER

    def restore(self) -> None:
        """What an operator would do with a table out of order."""
        rules = [f"-A -t {SERVICE} -s rr", *(f"-a -t {SERVICE} -r {name} -m -w 1" for name in HEALTHY)]
        self.ipvsadm("-C")
        self.ipvsadm("-R", given="\n".join(rules) + "\n")

    def ipvsadm(self, *words: str, given: str = "") -> None:
        """Be somebody else at the table."""
        command = ["ip", "netns", "exec", self.world.director, "ipvsadm", *words]
        subprocess.run(command, input=given, text=True, check=True)

    # -- somebody else at the table ------------------------------------------------------------------------------------------

    def flush(self, _: Random) -> Fault:
        self.ipvsadm("-C")
        return Fault(lambda: True, self.restore, FOREIGN_S)

    def set_weight(self, name: str, weight: int) -> None:
        self.ipvsadm("-e", "-t", SERVICE, "-r", name, "-m", "-w", str(weight))

    def edit(self) -> Fault:
        name = next(self._victims)
        self.set_weight(name, 5)
        return Fault(lambda: True, lambda: self.set_weight(name, 1), FOREIGN_S)

    def take_out_for_a_while(self) -> Fault:
        """An operator's emergency, who sets things right himself: it may stand, or be repaired, but nothing may fail.

        It is over when whoever looks at the table every two seconds has seen that, too.
        """
        name = next(self._victims)
        self.set_weight(name, 0)
        time.sleep(TAKEN_OUT_S)
        self.set_weight(name, 1)
        back_at = time.monotonic()
        return Fault(lambda: time.monotonic() - back_at > TAKEN_OUT_S)

    def delete(self) -> Fault:
        name = next(self._victims)
        self.ipvsadm("-d", "-t", SERVICE, "-r", name)
        return Fault(lambda: True, lambda: self.ipvsadm("-a", "-t", SERVICE, "-r", name, "-m", "-w", "1"), FOREIGN_S)


class Program(Contender):
    """A program with a file. `other` files are written and taken back, each with a reload."""

    def __init__(self, world: lab.Lab) -> None:
        super().__init__(world)
        self._file = world.directory / "keepalived.conf"
        self._write(File())
        plain = File()
        self.faults |= {
            "reload": lambda _: self.reload(plain),
            "reload_weight": lambda random: self.back_and_forth(random, replace(plain, weight=random.randint(2, 9))),
            "reload_server": lambda random: self.back_and_forth(random, replace(plain, victim=False)),
            "reload_scheduler": lambda random: self.back_and_forth(random, replace(plain, scheduler="wlc")),
            "reload_missing_scheduler": lambda random: self.back_and_forth(random, replace(plain, more=ANOTHER)),
        }

    def restore(self) -> None:
        """Do nothing: who repairs by itself is waited for."""

    def _write(self, file: File) -> None:
        """Put another file in its place at once, as a careful operator does."""
        new = self._file.with_suffix(".new")
        new.write_text(str(file))
        new.rename(self._file)

    def reload(self, file: File) -> Fault:
        """Write a file and have it read."""
        self._write(file)
        return Fault(self.ask_for_reload())

    def back_and_forth(self, random: Random, file: File) -> Fault:
        """Another file, and the old one again at a random moment: before all is done, or afterwards."""
        self._write(file)
        self.ask_for_reload()
        time.sleep(random.uniform(0.05, 1.5))
        return self.reload(File())

    def ask_for_reload(self) -> Done:
        """SIGHUP; return how to see that it was heeded."""
        raise NotImplementedError


class Vipervisor(Program):
    """Ours, started so that a stop leaves the table, as the shipped unit does."""

    name = "vipervisor"

    def __init__(self, world: lab.Lab) -> None:
        super().__init__(world)
        self.version = ""
        self.trees = [lab.ROOT, _another_version(world.directory / "another")]
        self.faults |= {
            "restart": lambda _: self.restart(),
            "upgrade": lambda _: self.upgrade(killed=False),
            "kill": lambda _: self.kill(),
            "upgrade_after_kill": lambda _: self.upgrade(killed=True),
            "kill_all": lambda _: self.kill_all(),
            "kill_checker": lambda _: self.kill_child("checker-0"),
            "kill_exporter": lambda _: self.kill_child("exporter"),
            "kill_runner": lambda _: self.kill_child("runner"),
            "stop_checker": lambda _: self.stand_still("checker-0"),
            "stop_main": lambda _: self.stand_still(""),
        }

    def start(self) -> None:
        self.daemon = _Keeping(self.world, self._file)

    def close(self) -> None:
        self.daemon.stop()

    def _status(self) -> dict[str, dict[str, int | str]]:
        """Return what it says of its children by name; {} while it does not answer."""
        views = self.daemon.status().get("process", {}).get("workers", [])
        return {view["name"]: view for view in views if view["name"] != "supervisor"}

    def _is_back(self) -> bool:
        """Tell whether it answers and checks. The other children may still be starting: the next fault may find them at it."""
        return bool(self._status().get("checker-0", {}).get("caged"))

    def _pid(self, name: str) -> int:
        """Return the process id of a child ("": its own); waits for one that is just being started."""
        if not name:
            return self.daemon.process.pid
        lab.wait_until(f"{name} is there", lambda: self._status().get(name, {}).get("pid"), 30)
        return int(self._status()[name]["pid"])

    def ask_for_reload(self) -> Done:
        process = self.daemon.status()["process"]
        before = process["reloads_ok"] + process["reloads_rejected"]
        self.daemon.reload()

        def heeded() -> bool:
            now = self.daemon.status().get("process")
            return now is not None and now["reloads_ok"] + now["reloads_rejected"] > before

        return heeded

    def _again(self) -> Fault:
        self.daemon.restart()
        return Fault(self._is_back)

    def restart(self) -> Fault:
        status = self.world.stop(self.daemon.process, PATIENCE_S)
        assert status == 0, f"it ended with status {status}"
        return self._again()

    def kill(self) -> Fault:
        kill(self.daemon.process.pid)
        return self._again()

    def kill_all(self) -> Fault:
        pids = [int(view["pid"]) for view in self._status().values()]
        for pid in (self.daemon.process.pid, *filter(None, pids)):
            with contextlib.suppress(ProcessLookupError):  # whom we have not reached yet ends with the first
                kill(pid)
        return self._again()

    def upgrade(self, *, killed: bool) -> Fault:
        """Another version of the code takes over."""
        now = self.trees.index(self.daemon.tree)
        self.daemon.tree = self.trees[1 - now]
        return self.kill() if killed else self.restart()

    def kill_child(self, name: str) -> Fault:
        old = self._pid(name)
        kill(old)

        def is_new() -> bool:
            view = self._status().get(name, {})
            return bool(view.get("caged")) and view.get("pid") not in {0, old}

        return Fault(is_new)

    def stand_still(self, name: str) -> Fault:
        _stop_for(self._pid(name))
        return Fault(self._is_back)


class _Keeping(Daemon):
    options = ("--backend", "kernel", "--dont-release-ipvs", "--workers", "1")


class Keepalived(Program):
    """Debian's, in its default configuration."""

    name = "keepalived"
    quiet_s = 1.0  # it brings dead servers back some time after it began, and takes them out again
    options: tuple[str, ...] = ()

    def __init__(self, world: lab.Lab) -> None:
        super().__init__(world)
        self._child = world.directory / "checkers.pid"
        self.faults |= {
            "restart": lambda _: self.restart(),
            "kill": lambda _: self.kill(),
            "kill_all": lambda _: self.kill_all(),
            "kill_checker": lambda _: self.kill_checker(),
            "stop_checker": lambda _: self.stand_still(self._checker()),
            "stop_main": lambda _: self.stand_still(self.process.pid),
        }

    def start(self) -> None:
        program = shutil.which("keepalived")
        assert program is not None, "keepalived is missing: deploy/demo/setup programs keepalived"
        command = [program, "--dont-fork", "--log-console", "--check", "-f", str(self._file), *self.options]
        command += ["-p", str(self.world.directory / "keepalived.pid"), "-c", str(self._child)]
        self.process = self.world.start(self.world.director, command, "keepalived.log", "ab")

    def close(self) -> None:
        self.world.stop(self.process)

    def restore(self) -> None:
        self.world.stop(self.process)
        self.start()

    def _checker(self) -> int:
        lab.wait_until("keepalived's checker", self._child.exists, 10)
        return int(self._child.read_text())

    def ask_for_reload(self) -> Done:
        self.process.send_signal(signal.SIGHUP)
        return lambda: True

    def _again(self) -> Fault:
        """Start it at once after its end, as a service manager that restarts it would."""
        self.start()
        return Fault(lambda: True)

    def restart(self) -> Fault:
        self.world.stop(self.process)
        return self._again()

    def kill(self) -> Fault:
        kill(self.process.pid)
        self.process.wait()
        return self._again()

    def kill_all(self) -> Fault:
        for pid in (self.process.pid, self._checker()):
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        self.process.wait()
        return self._again()

    def kill_checker(self) -> Fault:
        """It starts another, but with each that dies it waits longer; what that one does to the table belongs to this fault."""
        old = self._checker()
        kill(old)
        since: list[float] = []

        def is_new() -> bool:
            if not since and self._checker() != old:
                since.append(time.monotonic())
            return bool(since) and time.monotonic() - since[0] > self.quiet_s

        return Fault(is_new)

    def stand_still(self, pid: int) -> Fault:
        _stop_for(pid)
        return Fault(lambda: True)


class KeepalivedThatKeeps(Keepalived):
    """keepalived with --dont-release-ipvs, which leaves the table at a stop; only a restart is different then."""

    name = "keepalived -I"
    options = ("--dont-release-ipvs",)

    def __init__(self, world: lab.Lab) -> None:
        super().__init__(world)
        self.faults = {"restart": self.faults["restart"]}


CONTENDERS = {kind.name: kind for kind in (Vipervisor, Keepalived, KeepalivedThatKeeps, Contender)}


def _stop_for(pid: int) -> None:
    """SIGSTOP, wait, SIGCONT; the process may have been ended meanwhile by whoever looks after it."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _another_version(folder: Path) -> Path:
    """Return a copy of the code that calls itself another version and has another constant, where the sources are."""
    for package in ("supervisor", "checkers"):
        shutil.copytree(lab.ROOT / package, folder / package)
    for file, old, new in (
        ("supervisor/__init__.py", '__version__ = "', '__version__ = "9.'),
        ("supervisor/heartbeat.py", "TICK_S = 0.5", "TICK_S = 0.4"),
    ):
        path = folder / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1))
    return folder
