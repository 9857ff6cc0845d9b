"""Real servers that die under client traffic, and two more who keep the table: Debian's ldirectord, and ours with `sentinel`.

Such a fault is over when the contender has taken the server out, the server lives again, and the contender has taken it in again. What
fails meanwhile fails with everybody; how much does, says how soon it was noticed.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable
from random import Random

from tests.kernel import lab
from tests.kernel.contenders import (
    DEAD,
    HEALTHY,
    PATIENCE_S,
    SERVICE,
    VICTIM,
    Contender,
    Done,
    Fault,
    File,
    Program,
    Vipervisor,
)
from tests.kernel.daemon import kill

NUMBER = int(VICTIM.partition(":")[0].rpartition(".")[2])
SERVER_FAULTS = ("server_killed", "server_silent")


def server_faults(contender: Contender) -> dict[str, Callable[[Random], Fault]]:
    """Return what can happen to a real server, for a contender who looks after it."""
    world = contender.world

    def fault(mend: Callable[[], None]) -> Fault:
        """Return a fault that is mended as soon as the server is out, and over when it is in again."""
        is_mended = False

        def tend() -> None:
            nonlocal is_mended
            if not is_mended and not world.table.weights().get(VICTIM):
                mend()
                is_mended = True

        return Fault(lambda: is_mended, undo=mend, tend=tend)

    def plug(state: str) -> None:
        lab.ip("-n", world.director, "link", "set", f"port{NUMBER}", state)

    def start_again() -> None:
        world.start_web(NUMBER)
        world.hurry_web()

    def killed(_: Random) -> Fault:
        world.kill_web(NUMBER)
        return fault(start_again)

    def silent(_: Random) -> Fault:
        plug("down")
        return fault(lambda: plug("up"))

    return {"server_killed": killed, "server_silent": silent}


class VipervisorWithSentinel(Vipervisor):
    """Ours with the one keyword more."""

    name = "vipervisor, sentinel"

    def _write(self, file: File) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(file).replace("global_defs {", "global_defs {\n sentinel", 1))
        new.rename(self._file)


class Ldirectord(Program):
    """Debian's, in its default configuration but for the timings, which are those of the others as far as it has them.

    It retries at its next round, and looks at one server after another.
    """

    name = "ldirectord"
    quiet_s = 1.0

    def __init__(self, world: lab.Lab) -> None:
        super().__init__(world)
        self.faults |= {
            "restart": lambda _: self.restart(),
            "kill": lambda _: self.kill(),
        }

    def _write(self, file: File) -> None:
        lines = ["checktimeout = 1", "negotiatetimeout = 1", "checkinterval = 1", "failurecount = 2", "quiescent = no"]
        lines += ["supervised = yes", f"virtual = {SERVICE}"]
        for name in (*HEALTHY, DEAD):
            if file.victim or name != VICTIM:
                lines.append(f"\treal = {name} masq {file.weight if name == VICTIM else 1}")
        lines += [f"\tscheduler = {file.scheduler}", "\tprotocol = tcp", "\tchecktype = connect"]
        new = self._file.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.rename(self._file)

    def start(self) -> None:
        program = shutil.which("ldirectord")
        assert program is not None, "ldirectord is missing: deploy/demo/setup programs ldirectord"
        command = [program, str(self._file), "start"]
        self.process = self.world.start(self.world.director, command, "ldirectord.log", "ab")

    def close(self) -> None:
        self.world.stop(self.process)

    def ask_for_reload(self) -> Done:
        self.process.send_signal(signal.SIGHUP)
        return lambda: True

    def restart(self) -> Fault:
        """Stop it and start it, as an operator does."""
        self.world.stop(self.process, PATIENCE_S)
        self.start()
        return Fault(lambda: True)

    def kill(self) -> Fault:
        """Kill it, and start it as a service manager would."""
        with contextlib.suppress(ProcessLookupError):
            kill(self.process.pid)
        self.process.wait()
        self.start()
        return Fault(lambda: True)


MORE = {kind.name: kind for kind in (VipervisorWithSentinel, Ldirectord)}
