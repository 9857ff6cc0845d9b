"""What a process tree costs by the kernel's accounting, and programs to measure: Debian's from the lab, our own in C compiled on the spot.

    with Tree(started) as tree:
        tree.cpu_s(), tree.resident_kb()

CPU is user + system of the process and all that come from it, to the nanosecond (clock_getcpuclockid(3)), and of those that ended and
were waited for (proc(5), stat: in ticks of 10 ms, that is all there is of them).
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / ".lab/root"
NATIVE = ROOT / "bench/native"
COMPILERS = ("gcc", "cc", "clang", "tcc")
TICKS = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2
"""With a process's number it makes the number of its CPU clock (include/linux/posix-timers.h): all its threads, those that ended too."""

STOP_S = 10.0
"""So long a program may take to end when it is asked to."""


class Missing(Exception):
    """A program that is needed is not there; the text says how to get it."""


def lab_environment() -> dict[str, str]:
    """Return the environment in which programs of the lab find their libraries, those of perl too."""
    libraries = [str(folder) for part in ("usr/lib", "lib") for folder in sorted((LAB / part).glob("*-linux-gnu"))]
    modules = [str(LAB / "usr/share/perl5"), *map(str, sorted((LAB / "usr/lib").glob("*/perl5/5*")))]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "PERL5LIB": ":".join(modules)}


@cache
def program(name: str) -> str:
    """Return the path of a program of the machine or of the lab. Raises Missing."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(LAB / "usr/sbin"), str(LAB / "usr/bin")]
    found = shutil.which(name, path=":".join(places))
    if found is None:
        raise Missing(f"there is no {name}: deploy/demo/setup programs {name}")
    return found


def keepalived(file: Path) -> list[str]:
    """Return the command that starts keepalived with a file, its files of process numbers beside that. Raises Missing.

    Its checkers alone, in the foreground. What it says goes to standard output as ours does, and not to the syslog: where there is
    none, libc writes each line to /dev/console, and a serial one takes 44 ms of waiting or of processor time for it.
    """
    pids = ["-p", str(file.parent / "keepalived.pid"), "-c", str(file.parent / "checkers.pid")]
    return [program("keepalived"), "-n", "-l", "-G", "-C", "-f", str(file), *pids]


def version(name: str, *question: str) -> str:
    """Return the first line of what a program says of its version."""
    done = subprocess.run(
        [program(name), *question], capture_output=True, text=True, env=lab_environment(), check=False
    )
    return (done.stdout + done.stderr).strip().partition("\n")[0]


@cache
def compiled(source: str, *options: str) -> Path:
    """Compile a file of bench/native and return the program. Raises Missing without a compiler."""
    compiler = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if compiler is None:
        raise Missing(f"none of {', '.join(COMPILERS)} is there: deploy/demo/setup programs tcc")
    made = Path(tempfile.mkdtemp(prefix="vipervisor-bench-")) / source.partition(".")[0]
    command = [compiler, "-O2", "-Wall", *options, "-o", str(made), str(NATIVE / source)]
    subprocess.run(command, check=True)
    return made


def machine() -> dict[str, str]:
    """Say what this machine is."""
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = processors[0].partition(":")[2].strip() if processors else platform.machine()
    return {
        "processors": f"{len(processors) or os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "Python": f"{platform.python_version()} ({platform.python_compiler()})",
    }


def load() -> str:
    """Say how busy this machine is: the load averages of one, five and fifteen minutes."""
    return " ".join(f"{average:.1f}" for average in os.getloadavg())


class Tree:
    """A program that was started, with everything that comes from it; as a context it is ended.

    What it says goes to the file `log`, or nowhere. `began` is when it was started, by the monotonic clock.
    """

    def __init__(
        self, command: Sequence[str], environment: dict[str, str] | None = None, log: Path | None = None
    ) -> None:
        with Path(log or os.devnull).open("wb") as output:
            self.began = time.monotonic()
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pids = list(self.pids())
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def pids(self, part: str = "") -> Iterator[int]:
        """Yield the processes that there are now, the first one first; with `part` those whose command line has it in it."""
        waiting = [self._process.pid]
        while waiting:
            pid = waiting.pop()
            if part in _command_line(pid):
                yield pid
            with suppress(OSError):
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    waiting += map(int, children.read_text().split())

    def cpu_s(self, part: str = "") -> float:
        """Return the CPU seconds used so far; with `part` only of processes whose command line has it in it."""
        return sum(map(_cpu_s, self.pids(part)))

    def resident_kb(self, part: str = "") -> int:
        """Return the resident memory in KB, shared pages of each process counted again."""
        return sum(map(_resident_kb, self.pids(part)))

    @property
    def runs(self) -> bool:
        """Whether the program that was started has not ended."""
        return self._process.poll() is None


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        own = time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return own + sum(map(int, fields[13:15])) / TICKS
    return 0.0


def _resident_kb(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0
