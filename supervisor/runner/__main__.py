"""PROCESS runner: `python -m supervisor.runner --link-fd N [--uid U --gid G]`.

Started by the supervisor with one end of a SOCK_SEQPACKET pair. In this order: import everything, give up privileges but for changing
users and killing, put up the walls that programs of the operator can live within too, become the reaper, say Hello.
`--uid` and `--gid` are the account for programs that name none.
SIGTERM and SIGINT are ignored: a service manager sends them to everybody at a stop, and the supervisor has scripts to run then.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys

import trio

from checkers.kit import cage, limits, policies
from checkers.kit.link import SeqpacketLink
from checkers.kit.punctuality import Punctuality, RunQueue, suspended_s
from supervisor.runner.accounts import Fallback
from supervisor.runner.executor import serve
from supervisor.runner.process import Machine
from supervisor.runner.protocol import ProtocolError

KEPT = frozenset({cage.CAP_SETUID, cage.CAP_SETGID, cage.CAP_KILL})
"""Becoming the user that a program names, and ending what runs as another."""

END_MAX_S = 2.0
"""When the supervisor is gone, the longest wait until everything that ran is dead."""


def main() -> int:
    """Run the process. Returns the exit status: 0 end of the link, 2 wrong usage, 70 the supervisor spoke nonsense, 77 no cage."""
    arguments = _arguments()
    try:
        inherited = socket.socket(fileno=arguments.link_fd)
    except OSError as error:
        return _fail(2, f"--link-fd {arguments.link_fd}: {error}; this program is started by the supervisor")
    inherited.set_inheritable(False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limits.volunteer(0)  # scripts inherit it, and must not be as dear to the kernel as the supervisor
    try:
        caged = f"uid={os.geteuid()} {cage.keep_only(KEPT)} {cage.wall_in(cage.Walls(policies.PRIVILEGED))}"
        cage.become_reaper()
        trio.run(_run, inherited, Fallback(arguments.uid, arguments.gid), caged)
    except cage.CageError as error:
        return _fail(77, str(error))
    except ProtocolError as error:
        return _fail(70, str(error))
    return 0


async def _run(inherited: socket.socket, fallback: Fallback, caged: str) -> None:
    link = SeqpacketLink(trio.socket.from_stdlib_socket(inherited))
    machine = Machine(fallback)
    punctuality = Punctuality(RunQueue().waited_s, suspended_s)
    broken: ProtocolError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.run)
        nursery.start_soon(punctuality.run)
        try:
            await serve(link, machine.launch, caged, punctuality)
        except ProtocolError as error:
            broken = error
        link.close()
        await machine.end(END_MAX_S)
        nursery.cancel_scope.cancel()
    if broken is not None:
        raise broken


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m supervisor.runner",
        description="Runs the scripts of the configuration. The supervisor starts it; by hand use `vipervisor run`.",
    )
    parser.add_argument("--link-fd", type=int, required=True, metavar="N", help="inherited SOCK_SEQPACKET socket")
    parser.add_argument("--uid", type=int, help="user of programs that name none, when started as root")
    parser.add_argument("--gid", type=int, help="group of programs that name none, when started as root")
    return parser.parse_args()


def _fail(status: int, text: str) -> int:
    print(f"runner: {text}", file=sys.stderr)  # noqa: T201  the supervisor's standard error
    return status


if __name__ == "__main__":
    sys.exit(main())
