"""PROCESS checker worker: `python -m checkers --link-fd N [--uid U --gid G] [--max-files N]`.

Started by the supervisor with one end of a SOCK_SEQPACKET pair; everything else it learns over that link. In this order: import
everything, start trio (which makes sockets of its own), give up privileges, say Hello. SIGTERM and SIGINT end it quietly.
"""

from __future__ import annotations

import argparse
import encodings.idna  # noqa: F401  the socket module wants it late, when files may be out of reach
import functools
import os
import random
import resource
import signal
import socket
import sys
from typing import NoReturn

import trio

from checkers.kit import policies, tls, worker
from checkers.kit.cage import CageError, Walls, confine, raise_file_limit
from checkers.kit.dial import KEPT_MAX, Network
from checkers.kit.held import SocketWatch
from checkers.kit.link import SeqpacketLink
from checkers.kit.timer import Timer
from checkers.kit.wire import WireError

MEMORY_MIN_BYTES = 256 << 20
"""Data that every worker may have. Ours: 28 MB are Python and the libraries."""

MEMORY_PER_FILE_BYTES = 8192
"""And for each descriptor; a check has two. Measured: a check takes 8 KB, so 10,000 of them 110 MB, of 416 MB that they may."""


def main() -> int:
    """Run the worker. Returns the exit status: 0 end of the link, 2 wrong usage, 70 the supervisor spoke nonsense, 77 no cage."""
    arguments = _arguments()
    link_socket = _inherited(arguments.link_fd)
    if link_socket is None:
        place = f"--link-fd {arguments.link_fd}: not an inherited SOCK_SEQPACKET socket"
        return _fail(2, f"{place}; this program is started by the supervisor: use `vipervisor run`")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    kept_max = arguments.max_files // 2 if arguments.max_files else KEPT_MAX
    memory_bytes = MEMORY_MIN_BYTES + MEMORY_PER_FILE_BYTES * arguments.max_files
    walls = Walls(policies.WORKER, shut=True, limited=True, memory_bytes=memory_bytes)
    cage = functools.partial(confine, arguments.uid, arguments.gid, arguments.max_files, walls)
    tls.preload()
    try:
        trio.run(_serve, link_socket, cage, kept_max, _files(arguments.max_files))
    except CageError as error:
        return _fail(77, str(error))
    except WireError as error:
        return _fail(70, str(error))
    return 0


async def _serve(link_socket: socket.socket, cage: functools.partial[str], kept_max: int, max_files: int) -> None:
    link = SeqpacketLink(trio.socket.from_stdlib_socket(link_socket), takes_descriptors=True)
    timer = Timer()
    network = Network(timer, kept_max=kept_max)
    failure: WireError | CageError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timer.run)
        nursery.start_soon(network.run)
        try:
            await worker.main(
                link,
                network.dialer,
                random.Random(),  # noqa: S311  jitter, no secret
                timer=timer,
                punctuality=network.punctuality,
                make_watch=lambda _: SocketWatch(network),
                max_files=max_files,
                confine=cage,
                freeze=True,
            )
        except (WireError, CageError) as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _inherited(descriptor: int) -> socket.socket | None:
    try:
        inherited = socket.socket(fileno=descriptor)
    except OSError:
        return None
    return inherited if inherited.type == socket.SOCK_SEQPACKET else None


def _files(wanted: int) -> int:
    """Raise the limit of descriptors as far as we may, and return how many there may be once the walls are up; 0: no end."""
    raise_file_limit(wanted)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    return min(limit, wanted) if wanted else limit


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m checkers",
        description="A checker worker of Vipervisor. The supervisor starts it; by hand use `vipervisor run`.",
    )
    parser.add_argument("--link-fd", type=int, required=True, metavar="N", help="inherited SOCK_SEQPACKET socket")
    parser.add_argument("--uid", type=int, help="become this user when started as root")
    parser.add_argument("--gid", type=int, help="become this group when started as root")
    parser.add_argument("--max-files", type=int, default=0, metavar="N", help="descriptors that must be possible")
    return parser.parse_args()


def _leave(number: int, frame: object) -> NoReturn:  # noqa: ARG001  the shape of a signal handler
    """End at once. There is nothing to save: the supervisor decides what a missing worker means."""
    os._exit(0)


def _fail(status: int, text: str) -> int:
    print(f"checkers: {text}", file=sys.stderr)  # noqa: T201  the supervisor reads our standard error
    return status


if __name__ == "__main__":
    sys.exit(main())
