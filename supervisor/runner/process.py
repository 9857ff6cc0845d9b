"""The one place that forks: starts a program of the operator, reaps every child there is, kills what has outlived its limit.

`Machine` owns the children of this process. A program is a session and process group of its own, as the account that it names, without
a capability or a descriptor of ours. What it leaves behind when it ends becomes our child (we are the reaper) and is killed at the
limit of the program that left it, or, when that cannot be told because it made itself a session of its own, at the last limit of all.
Sources: prctl(2), waitid(2), credentials(7); keepalived.md, section 4.7.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import signal
import subprocess
from functools import partial
from pathlib import Path

import trio

from checkers.kit import cage
from supervisor import programs
from supervisor.runner.accounts import Account, Fallback, UnknownAccount, account
from supervisor.runner.executor import CouldNotStart
from supervisor.runner.protocol import Run

SWEEP_S = 0.5
"""How often children that no program of ours is any more are looked at."""

REMEMBERED_S = 60.0
"""A group is remembered for so long after its limit: several sweeps."""

KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")
"""What a program gets of our own environment; all else is what it was given, and who it is."""

UMASK = 0o022
READ_BYTES = 4096
FILES = 1024
"""Soft limit of descriptors that a program starts with: what select(2) can take, and the usual default."""


class Process:
    """A running program. Its group is its process id."""

    def __init__(self, child: subprocess.Popen[bytes], output: int, deadline: float) -> None:
        self.child = child
        self.deadline = deadline
        self.condemned = False
        self._output = output
        self._over = trio.Event()
        self._status = 0

    async def ended(self) -> int:
        """Wait for the end; return the exit status, or minus the signal."""
        await self._over.wait()
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, as long as it is certainly ours."""
        self.condemned = True
        if not self._over.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)

    async def read(self) -> bytes:
        """Return more output, b"" when there will be none."""
        while True:
            try:
                return os.read(self._output, READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._output)

    def close(self) -> None:
        """Read no more output."""
        trio.lowlevel.notify_closing(self._output)
        os.close(self._output)

    def finish(self, status: int) -> None:
        """It was reaped."""
        self._status = self.child.returncode = status
        self._over.set()


class Machine:
    """Starts programs and owns the children of this process. `run` must run."""

    def __init__(self, fallback: Fallback) -> None:
        self._fallback = fallback
        self._known: dict[int, Process] = {}
        self._groups: dict[int, float] = {}
        self._latest = -math.inf
        self._stirred = trio.Event()

    def launch(self, run: Run) -> Process:
        """Start a program. Raises CouldNotStart."""
        try:
            who = account(run.user, run.group, self._fallback)
            environment = _environment(run, who)
            if run.secure and 0 in {who.uid, who.gid}:
                _refuse_changeable(run.argv[0], environment["PATH"])
            process = self._start(run, who, environment)
        except UnknownAccount as error:
            raise CouldNotStart(str(error)) from None
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            number = error.errno or 0 if isinstance(error, OSError) else 0
            raise CouldNotStart(f"{run.argv[0]}: {_explained(error, reason)}", number) from None
        self._known[process.child.pid] = process
        if run.timeout_s is not None:
            self._latest = max(self._latest, process.deadline)
        self._stirred.set()
        return process

    def _start(self, run: Run, who: Account, environment: dict[str, str]) -> Process:
        """Raises OSError, ValueError, SubprocessError."""
        output, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(theirs, True)
            child = subprocess.Popen(
                list(run.argv),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                cwd="/",
                env=environment,
                umask=UMASK,
                start_new_session=True,
                user=who.uid if who.switch else None,
                group=who.gid if who.switch else None,
                extra_groups=who.groups if who.switch else None,
                preexec_fn=partial(_become_a_program, os.getpid()),  # noqa: PLW1509  this process has one thread
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(theirs)
        limit = math.inf if run.timeout_s is None else run.timeout_s
        return Process(child, output, trio.current_time() + limit)

    # -- children ----------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reap and sweep until cancelled."""
        with trio.open_signal_receiver(signal.SIGCHLD) as deaths:
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                async for _ in deaths:
                    self._reap()

    async def end(self, patience_s: float) -> None:
        """Kill every program and what they left behind; return when none is left, or after `patience_s`."""
        for process in self._known.values():
            process.signal(signal.SIGKILL)
        with trio.move_on_after(patience_s):
            while True:
                self._reap()
                children = _children()
                if not children:
                    return
                for pid in children:
                    _kill(pid)
                await trio.sleep(0.02)

    def _reap(self) -> None:
        """Take in every child that has ended."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            process = self._known.pop(found.si_pid, None)
            if process is not None and process.condemned:  # before its number can belong to somebody else
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(found.si_pid, signal.SIGKILL)
            _, status = os.waitpid(found.si_pid, 0)
            if process is not None:
                ended = trio.current_time()
                limited = not process.condemned and process.deadline < math.inf
                self._groups[found.si_pid] = process.deadline if limited else ended
                process.finish(os.waitstatus_to_exitcode(status))

    async def _sweep(self) -> None:
        """Kill what has outlived its limit, whoever started it."""
        while True:
            await self._stirred.wait()
            now = trio.current_time()
            strangers = [pid for pid in _children() if pid not in self._known]
            for pid in strangers:
                if now >= self._limit_of(pid):
                    _kill(pid)
            self._groups = {group: limit for group, limit in self._groups.items() if limit > now - REMEMBERED_S}
            if not strangers and not self._known:
                self._stirred = trio.Event()
            await trio.sleep(SWEEP_S)

    def _limit_of(self, pid: int) -> float:
        """Until when an orphan may live."""
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:
            return math.inf
        if group in self._known:
            return self._known[group].deadline
        return self._groups.get(group, self._latest)


def _children() -> list[int]:
    """Our children, the ended ones too (proc(5): children of the one thread that we have); none when there is no descriptor to look."""
    pid = os.getpid()
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    """Kill a child that has not been reaped, so that the number is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _become_a_program(parent: int) -> None:
    """In the child, after it became the other user and before it runs the program: leave nothing of ours."""
    cage.die_with(parent)
    cage.shed()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # the C library keeps some for itself
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with contextlib.suppress(PermissionError):  # only upwards may be forbidden
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _environment(run: Run, who: Account) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    kept.setdefault("PATH", programs.SEARCH_PATH)
    named = {"USER": who.name, "LOGNAME": who.name} if who.name else {}
    return {**kept, "HOME": who.home, "SHELL": "/bin/sh", **named, **dict(run.environment)}


def _refuse_changeable(name: str, search_path: str) -> None:
    """Raises CouldNotStart: a program that runs as root is root's alone (enable_script_security)."""
    found = programs.find(name, search_path)
    weak = programs.changeable(found) if found else ""
    if weak:
        raise CouldNotStart(f"{found}: not run as root, for enable_script_security is on and {weak}")


def _explained(error: Exception, reason: str) -> str:
    """Add what the operator can do."""
    match error:
        case PermissionError():
            return f"{reason}; is it executable for the user that runs it?"
        case FileNotFoundError():
            return f"{reason}; it, or the interpreter in its first line, is missing"
        case OSError() if error.errno == errno.ENOEXEC:
            return f"{reason}; a script begins with #! and its interpreter"
        case _:
            return reason
