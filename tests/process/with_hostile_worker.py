"""The daemon, except that its first checker worker is `tests.process.hostile`, and that it is replaced without a pause."""

from __future__ import annotations

import socket
import sys

import trio

from checkers.kit.link import Link, SeqpacketLink
from supervisor import cli, launch
from supervisor.children import spawn
from supervisor.children.checkers import StartChecker
from supervisor.children.spawn import Account, Child
from supervisor.core import restart

honest = launch._checker_starter


def starter(account: Account, checks: int) -> StartChecker:
    start_honest = honest(account, checks)

    async def start(index: int, epoch: int) -> tuple[Child, Link]:
        if index > 0:
            return await start_honest(index, epoch)
        child, ours = await spawn.start("tests.process.hostile", ["--epoch", str(epoch)], socket.SOCK_SEQPACKET)
        return child, SeqpacketLink(trio.socket.from_stdlib_socket(ours))

    return start


if __name__ == "__main__":
    launch._checker_starter = starter
    restart.LONGEST_S = restart.FIRST_S
    sys.exit(cli.main())
