"""The real runner: what a program is when it begins, and that nothing is left of it when it is over."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from checkers.kit.link import Link, SeqpacketLink
from supervisor.children import spawn
from supervisor.children.patience import SILENCE_MAX_S
from supervisor.children.runner import ScriptRunner
from supervisor.children.spawn import Child
from supervisor.log import Log
from supervisor.model import Script
from supervisor.runner.protocol import Ended, Hello, Outcome, Run, decode_report, encode

NOBODY = 65534
PATIENCE_S = 20.0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

FACTS = """#!{python}
import json, os, resource, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
facts = {{
    "argv": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0o022),
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": sorted(os.getgroups()),
    "status": {{name: value.strip() for name, value in status.items()}},
    "files": {{fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)}},
    "leader": os.getpid() == os.getsid(0) == os.getpgid(0), "nice": os.getpriority(os.PRIO_PROCESS, 0),
}}
descriptor = os.open({report!r}, os.O_WRONLY | os.O_TRUNC)
os.write(descriptor, json.dumps(facts).encode())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own is closed to other users."""
    path = Path(f"/tmp/vipervisor-runner-{os.getpid()}-{os.urandom(4).hex()}")
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def program(folder: Path, text: str, name: str = "program") -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def shell(folder: Path, text: str, name: str = "program") -> Script:
    return Script((program(folder, f"#!/bin/sh\n{text}\n", name),))


def play(use: Callable[[ScriptRunner, Callable[[], Child]], Awaitable[None]], *arguments: str) -> None:
    """Have a real runner and use it; `use` is given it and its process."""
    children: list[Child] = []

    async def start(epoch: int) -> tuple[Child, Link]:
        del epoch
        child, ours = await spawn.start("supervisor.runner", arguments, socket.SOCK_SEQPACKET)
        children.append(child)
        return child, SeqpacketLink(trio.socket.from_stdlib_socket(ours))

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                runner = ScriptRunner(start, Log(lambda _line, _level: None, "json", strict=True))
                nursery.start_soon(runner.serve)
                await use(runner, lambda: children[-1])
                nursery.cancel_scope.cancel()

    trio.run(main)


def run(script: Script, *arguments: str, timeout_s: float = 10.0, environment: dict[str, str] | None = None) -> Ended:
    found: list[Ended] = []

    async def use(runner: ScriptRunner, _child: Callable[[], Child]) -> None:
        found.append(await runner.run(script, environment or {}, timeout_s))

    play(use, *arguments)
    return found[0]


def facts_of(folder: Path, script: Script, *arguments: str) -> dict[str, Any]:
    """Return what a program that runs as `script` says finds about itself; its argv is replaced."""
    report = folder / "report"
    report.write_text("")
    report.chmod(0o666)
    python = os.path.realpath(sys.executable) if os.access("/usr/bin/python3", os.X_OK) is False else "/usr/bin/python3"
    argv = (program(folder, FACTS.format(python=python, report=str(report))), "a b", "$HOME", "c")
    whole = Script(argv, script.user, script.group, script.secure)
    ended = run(whole, *arguments, environment={"VIPERVISOR_EVENT": "test"})
    assert ended.succeeded, f"{ended}: {ended.output}"
    facts: dict[str, Any] = json.loads(report.read_text())
    return facts


@contextmanager
def disturbed() -> Iterator[None]:
    """Be what a program must not inherit: another umask, an ignored signal, an inheritable descriptor, a secret."""
    umask = os.umask(0o177)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.environ["SECRET"] = "x"
    try:
        yield
    finally:
        os.umask(umask)
        signal.signal(signal.SIGUSR1, before)
        del os.environ["SECRET"]


def test_a_program_begins_with_nothing_of_ours(folder: Path) -> None:
    with disturbed():
        facts = facts_of(folder, Script(("",)))
    assert facts["argv"] == ["a b", "$HOME", "c"]
    niceness = max(0, os.getpriority(os.PRIO_PROCESS, 0))  # without privileges only upwards is allowed
    assert (facts["cwd"], facts["umask"], facts["nice"], facts["leader"]) == ("/", 0o022, niceness, True)
    assert facts["environment"]["VIPERVISOR_EVENT"] == "test"
    allowed = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "SHELL", "USER", "LOGNAME", "VIPERVISOR_EVENT"}
    assert set(facts["environment"]) <= allowed
    assert facts["files"]["0"] == "/dev/null"
    assert facts["files"]["1"] == facts["files"]["2"]
    assert set(facts["files"]) <= {"0", "1", "2", "3"}, "3 is the folder of the list itself"
    python_ignores, nobody_can_change = (
        1 << 12 | 1 << 24,
        1 << 31 | 1 << 32,
    )  # SIGPIPE, SIGXFSZ; 32 and 33, the C library's own
    assert int(facts["status"]["SigIgn"], 16) & ~(python_ignores | nobody_can_change) == 0
    assert int(facts["status"]["SigBlk"], 16) == 0
    assert facts["status"]["NoNewPrivs"] == "1"
    assert {facts["status"][name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}


@as_root
def test_a_program_that_names_nobody_runs_as_the_daemons_unprivileged_user(folder: Path) -> None:
    facts = facts_of(folder, Script(("",)), "--uid", str(NOBODY), "--gid", str(NOBODY))
    assert (facts["uid"], facts["gid"], facts["groups"]) == ([NOBODY] * 3, [NOBODY] * 3, [NOBODY])
    assert facts["environment"]["HOME"] == pwd.getpwuid(NOBODY).pw_dir


@as_root
def test_a_program_gets_the_user_and_group_that_it_names(folder: Path) -> None:
    daemon = pwd.getpwnam("daemon")
    facts = facts_of(folder, Script(("",), "daemon", "nogroup"), "--uid", str(NOBODY), "--gid", str(NOBODY))
    assert (facts["uid"], facts["gid"]) == ([daemon.pw_uid] * 3, [65534] * 3)
    assert set(facts["groups"]) == {65534, *os.getgrouplist("daemon", 65534)}
    assert facts["environment"]["USER"] == "daemon"


@as_root
def test_a_program_that_names_root_is_root_without_a_capability_and_can_get_none(folder: Path) -> None:
    facts = facts_of(folder, Script(("",), "root"), "--uid", str(NOBODY), "--gid", str(NOBODY))
    assert facts["uid"] == [0, 0, 0]
    assert {facts["status"][name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert facts["status"]["NoNewPrivs"] == "1"


def status_of(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@as_root
def test_the_runner_itself_can_change_users_and_kill_and_nothing_else(folder: Path) -> None:
    found: list[dict[str, str]] = []

    async def use(runner: ScriptRunner, child: Callable[[], Child]) -> None:
        await runner.run(shell(folder, "exit 0"), {}, 10.0)
        found.append(status_of(child().pid))

    play(use, "--uid", str(NOBODY), "--gid", str(NOBODY))
    kept = 1 << 5 | 1 << 6 | 1 << 7
    assert {int(found[0][name], 16) for name in ("CapPrm", "CapEff")} == {kept}
    assert {int(found[0][name], 16) for name in ("CapInh", "CapAmb")} == {0}


def test_an_unknown_user_fails_loudly(folder: Path) -> None:
    ended = run(Script((program(folder, "#!/bin/sh\n"),), "no_such_user_here"))
    assert str(ended) == 'could not run: there is no user "no_such_user_here"; create it or name another one'


@as_root
def test_nothing_runs_as_root_by_itself(folder: Path) -> None:
    ended = run(shell(folder, "exit 0"), "--uid", "0", "--gid", "0")
    assert ended.reason == "nothing runs as root unless the configuration names root; add script_user"


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied; is it executable for the user that runs it?"),
        ("exit 0\n", 0o755, "Exec format error; a script begins with #! and its interpreter"),
        (
            "#!/no/such/shell\n",
            0o755,
            "No such file or directory; it, or the interpreter in its first line, is missing",
        ),
    ],
)
def test_what_cannot_start_says_why(folder: Path, text: str, mode: int, reason: str) -> None:
    path = Path(program(folder, text))
    path.chmod(mode)
    ended = run(Script((str(path),)))
    assert (ended.outcome, ended.reason) == (Outcome.COULD_NOT_START, f"{path}: {reason}")


@as_root
def test_as_root_and_with_script_security_what_others_can_change_is_not_run(folder: Path) -> None:
    path = Path(program(folder, "#!/bin/sh\n"))
    assert run(Script((str(path),), "root", secure=True)).succeeded
    path.chmod(0o777)
    ended = run(Script((str(path),), "root", secure=True))
    assert ended.reason.endswith(f"enable_script_security is on and {path} can be written by everybody")
    assert run(Script((str(path),), "daemon", secure=True)).succeeded


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110  other processes set no events of ours
        await trio.sleep(0.02)


@pytest.mark.parametrize("escape", ["", "setsid "], ids=["in its group", "in a session of its own"])
def test_what_a_program_leaves_behind_is_killed_at_its_limit(folder: Path, escape: str) -> None:
    (folder / "pid").write_text("")
    (folder / "pid").chmod(0o666)
    script = shell(folder, f"{escape}sh -c 'echo $$ >{folder}/pid; exec sleep 60' &\nsleep 0.3")

    async def use(runner: ScriptRunner, _child: Callable[[], Child]) -> None:
        ended = await runner.run(script, {}, 1.5)
        assert ended.succeeded
        left = int((folder / "pid").read_text())
        assert alive(left), "it may live until the limit"
        await until(lambda: not alive(left))

    play(use)


def test_a_group_that_does_not_listen_is_killed_with_its_leader(folder: Path) -> None:
    (folder / "pid").write_text("")
    script = shell(folder, f"trap '' TERM\nsh -c 'echo $$ >{folder}/pid; sleep 60' &\nsleep 60\nsleep 60")

    async def use(runner: ScriptRunner, _child: Callable[[], Child]) -> None:
        ended = await runner.run(script, {}, 0.5)
        assert ended.outcome is Outcome.TIMED_OUT
        await until(lambda: not alive(int((folder / "pid").read_text())))

    play(use)


def test_when_the_supervisor_is_gone_the_runner_ends_with_everything_that_it_runs(folder: Path) -> None:
    """The other end of its link closes, as it does when the supervisor dies of anything."""
    (folder / "pid").write_text("")

    async def main() -> None:
        child, ours = await spawn.start("supervisor.runner", [], socket.SOCK_SEQPACKET)
        link = SeqpacketLink(trio.socket.from_stdlib_socket(ours))

        assert isinstance(decode_report(await link.receive()), Hello)
        script = shell(folder, f"trap '' TERM\necho $$ >{folder}/pid\nsleep 60\nsleep 60")
        await link.send(encode(Run(1, script.argv)))
        await until(lambda: bool((folder / "pid").read_text().strip()))
        os.kill(child.pid, signal.SIGTERM)  # which a service manager sends to everybody: it must not matter
        await trio.sleep(0.2)
        assert alive(child.pid)
        link.close()
        await until(lambda: not alive(int((folder / "pid").read_text())))
        assert await child.wait() == "exit 0"

    with_patience(main)


def with_patience(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(PATIENCE_S):
            await main()

    trio.run(bounded)


def test_a_runner_that_is_killed_takes_its_programs_with_it(folder: Path) -> None:
    (folder / "pid").write_text("")
    script = shell(folder, f"echo $$ >{folder}/pid\nexec sleep 60")

    async def use(runner: ScriptRunner, child: Callable[[], Child]) -> None:
        running = runner.begin(script, {}, None)
        await until(lambda: bool((folder / "pid").read_text().strip()))
        child().kill()
        assert str(await running.ended()) == "could not run: the runner was restarted"
        await until(lambda: not alive(int((folder / "pid").read_text())))

    play(use)


def test_a_runner_that_is_stopped_is_replaced_within_seconds_and_the_next_one_runs_programs(folder: Path) -> None:
    async def use(runner: ScriptRunner, child: Callable[[], Child]) -> None:
        running = runner.begin(shell(folder, "exec sleep 60"), {}, 60.0)
        await trio.sleep(1.0)
        stopped = child()
        os.kill(stopped.pid, signal.SIGSTOP)
        with trio.fail_after(SILENCE_MAX_S + 3):
            assert (await running.ended()).outcome is Outcome.RUNNER_LOST
        assert (await runner.run(shell(folder, "exit 0", "other"), {}, 10.0)).succeeded
        assert child() is not stopped
        assert runner.keeper.restarts == 1

    play(use)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("exec sleep 0.5", Outcome.EXITED), ("exec sleep 60", Outcome.TIMED_OUT)],
    ids=["done in time", "not done in a second limit either"],
)
def test_a_program_whose_limit_passes_while_the_runner_is_stopped_is_not_called_too_slow(
    folder: Path, text: str, outcome: Outcome
) -> None:
    async def use(runner: ScriptRunner, child: Callable[[], Child]) -> None:
        runner.require()
        await until(lambda: bool(runner.caged))
        running = runner.begin(shell(folder, text), {}, 1.2)
        await trio.sleep(0.3)
        os.kill(child().pid, signal.SIGSTOP)
        await trio.sleep(2.5)
        os.kill(child().pid, signal.SIGCONT)
        assert (await running.ended()).outcome is outcome
        assert runner.keeper.restarts == 0

    play(use)


def test_endless_output_holds_up_nobody(folder: Path) -> None:
    ended = run(shell(folder, "yes | head -c 10000000"))
    assert ended.succeeded
    assert len(ended.output) <= 2048


def test_by_hand_it_says_how_it_is_started() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.runner", "--link-fd", "77"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "this program is started by the supervisor" in done.stderr


def test_nonsense_from_the_supervisor_ends_it() -> None:
    async def main() -> None:
        child, ours = await spawn.start("supervisor.runner", [], socket.SOCK_SEQPACKET)
        link = SeqpacketLink(trio.socket.from_stdlib_socket(ours))
        await link.receive()
        await link.send(b'{"run":1}')
        assert await child.wait() == "exit 70"
        link.close()

    with_patience(main)
