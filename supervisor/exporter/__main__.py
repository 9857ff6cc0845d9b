"""PROCESS exporter: `python -m supervisor.exporter --link-fd N --listen ADDRESS:PORT [--name NAME]… [--uid U --gid G]`.

Imports everything, listens, gives up every privilege and puts up its walls, greets the supervisor, and serves until the supervisor's end
closes. From then on it can accept connections and open nothing: no file, no socket, no process.
Exit status: 0 when the supervisor ended, 1 when it cannot listen and 77 when it cannot give up its
privileges (the supervisor was told why), 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import signal
import socket
import sys
from functools import partial

import trio

from checkers.kit import policies
from checkers.kit.cage import CageError, Walls, confine
from checkers.kit.frozen import frozen
from supervisor.exporter import verifier as verifying
from supervisor.exporter.doorman import Doorman
from supervisor.exporter.extent import SERIES_MAX_DEFAULT, Extent
from supervisor.exporter.link import SupervisorLink
from supervisor.exporter.listen import parse_listen
from supervisor.exporter.live import CLIENTS_MAX
from supervisor.exporter.process import WatchedProcess
from supervisor.exporter.server import CONNECTIONS_MAX, Doorkeeper, Site
from supervisor.exporter.verifier import Passwords
from supervisor.exporter.webtls import file_in_memory

BACKLOG = 64
FILES_MAX = CONNECTIONS_MAX + CLIENTS_MAX + 96
"""Descriptors: the connections, live streams, those that are refused in the same moment, and a dozen of our own."""

MEMORY_MAX_BYTES = 512 << 20
"""Data that it may have. Ours: the metrics of 10,000 real servers take 60 MB at their making, and 8 answers are kept."""


COLLECT = 20_000, 20, 50
"""Thresholds of the garbage collector: it runs through a large snapshot 30 times less often, which is a tenth of a scrape's time."""


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


@frozen
class Terms:
    """What the command line says."""

    address: str
    port: int
    uid: int | None
    gid: int | None
    extent: Extent
    verifier: socket.socket | None
    """Where passwords are compared; None: the exporter is not protected and needs none."""
    names: tuple[str, ...] = ()
    """By which readers may ask for us, besides this host's own."""


async def serve(link: trio.abc.Stream, terms: Terms) -> int:
    """Be the exporter on `link`. Returns the exit status."""
    protected = terms.verifier is not None
    doorman = Doorman(Passwords(terms.verifier) if protected else None)
    conversation = SupervisorLink(link, take_policy=doorman.take if protected else None)
    try:
        listener = await listen(terms.address, terms.port)
    except CannotListen as error:
        await conversation.greet({"error": str(error)})
        return 1
    if protected:
        file_in_memory()
    supervisor = WatchedProcess(os.getppid())
    ours = os.uname().nodename
    policy = policies.PROTECTED_EXPORTER if protected else policies.EXPORTER
    walls = Walls(policy, shut=True, shut_tcp=True, limited=True, memory_bytes=MEMORY_MAX_BYTES)
    try:
        caged = confine(terms.uid, terms.gid, FILES_MAX, walls)
    except CageError as error:
        await conversation.greet({"error": str(error)})
        return 77
    bound = listener.socket.getsockname()
    await conversation.greet({"hello": {"pid": os.getpid(), "caged": caged, "listening": shown(bound[0], bound[1])}})
    site = Site(conversation, supervisor, terms.extent, (*terms.names, ours))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, Doorkeeper(site, doorman).serve_socket, [listener]))
        nursery.start_soon(site.run)
        nursery.start_soon(site.warm_up)
        await conversation.run()
        nursery.cancel_scope.cancel()
    return 0


def main() -> int:
    """Run the process. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m supervisor.exporter", description="Started by the supervisor.")
    parser.add_argument("--link-fd", type=int, required=True, help="inherited socket to the supervisor")
    parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--series-max", type=int, default=SERIES_MAX_DEFAULT, help="0: no limit")
    parser.add_argument("--detail", action="store_true")
    parser.add_argument("--node-ipvs", action="store_true")
    parser.add_argument("--protected", action="store_true", help="serve nobody before the supervisor said how")
    parser.add_argument("--name", action="append", default=[], help="one more name that readers may call us by")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    arguments = parser.parse_args()
    try:
        address, port = parse_listen(arguments.listen)
    except ValueError as error:
        parser.error(f"--listen: {error}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the supervisor decides when we end

    gc.freeze()
    gc.set_threshold(*COLLECT)
    extent = Extent(arguments.series_max, arguments.detail, arguments.node_ipvs)
    uid, gid = arguments.uid, arguments.gid
    verifier = verifying.fork(uid, gid, arguments.link_fd) if arguments.protected else None
    terms = Terms(address, port, uid, gid, extent, verifier, tuple(arguments.name))

    async def run() -> int:
        link = socket.socket(fileno=arguments.link_fd)
        link.set_inheritable(False)
        return await serve(trio.SocketStream(trio.socket.from_stdlib_socket(link)), terms)

    return trio.run(run)


if __name__ == "__main__":
    sys.exit(main())
