"""PROCESS exporter: `python -m supervisor.exporter --link-fd N --listen ADDRESS:PORT [--name NAME]… [--uid U --gid G]`.

Imports everything, listens, gives up every privilege and puts up its walls, greets the supervisor, and serves until the supervisor's end
closes. From then on it can accept connections and open nothing: no file, no socket, no process.
Exit status: 0 when the supervisor ended, 1 when it cannot listen and 77 when it cannot give up its
privileges (the supervisor was told why), 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

import trio

from checkers.kit import policies
from checkers.kit.cage import CageError, Walls, confine
from supervisor.exporter.link import SupervisorLink
from supervisor.exporter.listen import parse_listen
from supervisor.exporter.live import CLIENTS_MAX
from supervisor.exporter.process import WatchedProcess
from supervisor.exporter.server import CONNECTIONS_MAX, Doorkeeper, Site

BACKLOG = 64
FILES_MAX = CONNECTIONS_MAX + CLIENTS_MAX + 96
"""Descriptors: the connections, live streams, those that are refused in the same moment, and a dozen of our own."""

MEMORY_MAX_BYTES = 512 << 20
"""Data that it may have. Ours: the metrics of 10,000 real servers take 60 MB at their making, and 8 answers are kept."""


class CannotListen(Exception):
    """The text names the address, the reason and the remedy."""


async def listen(address: str, port: int) -> trio.SocketListener:
    """Listen on a numeric address. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = trio.socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        await listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        if error.errno == errno.EACCES and 0 < port < 1024:
            reason += " (a port below 1024 takes CAP_NET_BIND_SERVICE)"
        raise CannotListen(f"cannot listen on {shown(address, port)}: {reason}; choose another --exporter") from None
    return trio.SocketListener(listener)


def shown(address: str, port: int) -> str:
    """Write an address and a port as an operator would."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


async def serve(
    link: trio.abc.Stream, address: str, port: int, uid: int | None, gid: int | None, names: Sequence[str] = ()
) -> int:
    """Be the exporter on `link`. Returns the exit status."""
    conversation = SupervisorLink(link)
    try:
        listener = await listen(address, port)
    except CannotListen as error:
        await conversation.greet({"error": str(error)})
        return 1
    supervisor = WatchedProcess(os.getppid())
    ours = os.uname().nodename
    walls = Walls(policies.EXPORTER, shut=True, shut_tcp=True, limited=True, memory_bytes=MEMORY_MAX_BYTES)
    try:
        caged = confine(uid, gid, FILES_MAX, walls)
    except CageError as error:
        await conversation.greet({"error": str(error)})
        return 77
    bound = listener.socket.getsockname()
    await conversation.greet({"hello": {"pid": os.getpid(), "caged": caged, "listening": shown(bound[0], bound[1])}})
    site = Site(conversation, supervisor, (*names, ours))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, Doorkeeper(site).serve_socket, [listener]))
        nursery.start_soon(site.run)
        await conversation.run()
        nursery.cancel_scope.cancel()
    return 0


def main() -> int:
    """Run the process. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m supervisor.exporter", description="Started by the supervisor.")
    parser.add_argument("--link-fd", type=int, required=True, help="inherited socket to the supervisor")
    parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--name", action="append", default=[], help="one more name that readers may call us by")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    arguments = parser.parse_args()
    try:
        address, port = parse_listen(arguments.listen)
    except ValueError as error:
        parser.error(f"--listen: {error}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the supervisor decides when we end

    async def run() -> int:
        link = socket.socket(fileno=arguments.link_fd)
        link.set_inheritable(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(link))
        return await serve(stream, address, port, arguments.uid, arguments.gid, arguments.name)

    return trio.run(run)


if __name__ == "__main__":
    sys.exit(main())
