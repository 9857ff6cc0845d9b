"""A thousand servers that die at once under sentinels: until all are known to be down, and the longest stall of the worker's loop.

    python -m bench.sentinel_storm [--servers 1000] [--rounds 5] [--quick]

One process listens on `--servers` addresses of loopback and is killed; the worker is a real one in its cage, with the article's retries.
The stall is what the worker says of its own timer (the lateness of a tick, `loop_lag_s` of its beats), the greatest of all rounds.
"""

from __future__ import annotations

import argparse
import ipaddress
import resource
import socket
import statistics
import subprocess
import sys
import time

from bench import section
from checkers.kit import wire
from checkers.kit.cage import raise_file_limit

FIRST_ADDRESS = int(ipaddress.ip_address("127.2.0.1"))
SERVER = """
import ipaddress, resource, select, socket, sys
count, first = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (4 * count + 64,) * 2)
epoll, there, clients = select.epoll(), {}, {}
port = int(sys.argv[3])
for number in range(count):
    listener = socket.create_server((str(ipaddress.ip_address(first + number)), port), backlog=16)
    port = listener.getsockname()[1]
    listener.setblocking(False)
    there[listener.fileno()] = listener
    epoll.register(listener.fileno(), select.EPOLLIN)
print(port, flush=True)
while True:
    for fd, _ in epoll.poll():
        if fd in there:
            client, _ = there[fd].accept()
            clients[client.fileno()] = client
            epoll.register(client.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        else:
            epoll.unregister(fd)
            clients.pop(fd).close()
"""


def jobs(count: int, port: int) -> list[wire.Job]:
    """Return one TCP check for each server, with the article's timings."""
    return [
        wire.Job(
            id=number + 1,
            type="TCP_CHECK",
            address=str(ipaddress.ip_address(FIRST_ADDRESS + number)),
            port=port,
            delay_loop=5.0,
            retry=3,
            delay_before_retry=3.0,
            connect_timeout=5.0,
            warmup=2.0,
            sentinel=True,
            fast_retry=True,
        )
        for number in range(count)
    ]


class Worker:
    """A real worker and our end of its link."""

    def __init__(self, count: int) -> None:
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link.settimeout(60)
        files = str(2 * count + 512)
        command = [sys.executable, "-m", "checkers", "--link-fd", str(theirs.fileno()), "--max-files", files]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.stall_s = 0.0

    def receive(self) -> wire.FromWorker:
        """Return its next frame."""
        frame = wire.decode_from_worker(self.link.recv(wire.STATE_FRAME_MAX_BYTES))
        if isinstance(frame, wire.Beat):
            self.stall_s = max(self.stall_s, frame.loop_lag_s)
        return frame

    def until_all_are(self, count: int, health: str) -> float:
        """Return when the last of all jobs was said to be `health`, on CLOCK_MONOTONIC."""
        there: set[int] = set()
        while len(there) < count:
            frame = self.receive()
            if isinstance(frame, wire.Report):
                (there.add if frame.health.name == health else there.discard)(frame.job)
        return time.monotonic()

    def until_held(self, count: int) -> None:
        """Wait until so many sentinels stand."""
        while True:
            frame = self.receive()
            if isinstance(frame, wire.Beat) and frame.sentinels_held == count:
                return


TEXT = """One process listens on all addresses and is killed; the worker is a real one in its cage, with the article's retries, and holds a
sentinel to each. The stall is what the worker says of its own timer, the greatest of each round."""


def main() -> int:
    """Kill and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, help="default 5, --quick 1")
    arguments = section.options(parser)
    rounds: int = arguments.rounds or (1 if arguments.quick else 5)
    count: int = arguments.servers
    raise_file_limit(4 * count + 64)
    took: list[float] = []
    stalls: list[float] = []
    for _ in range(rounds):
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(count), str(FIRST_ADDRESS), "0"], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        port = int(server.stdout.readline())
        worker = Worker(count)
        worker.receive()
        for frame in wire.assign_frames(1, 1, jobs(count, port)):
            worker.link.send(frame)
        worker.until_held(count)
        worker.receive()
        worker.stall_s = 0.0
        server.kill()
        killed = time.monotonic()
        took.append(worker.until_all_are(count, "DOWN") - killed)
        worker.until_held(0)
        stalls.append(worker.stall_s)
        server.wait()
        worker.link.close()
        worker.process.kill()
        worker.process.wait()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    print(f"{count} servers, {rounds} rounds, limit of descriptors {files}")
    print(
        f"all are down        median {statistics.median(took):.3f} s   worst {max(took):.3f} s   (all retries were made)"
    )
    print(f"longest stall       median {statistics.median(stalls) * 1000:.0f} ms   worst {max(stalls) * 1000:.0f} ms")
    rows = [
        ["until all are known to be down", f"{statistics.median(took):.3f} s", f"{max(took):.3f} s"],
        ["longest stall of the loop", f"{statistics.median(stalls):.3f} s", f"{max(stalls):.3f} s"],
    ]
    table = section.table(f"{count:,} servers, {rounds} rounds", ["what", "median", "worst"], rows)
    judged = [section.ratio("sentinel_storm_longest_loop_stall_s", round(statistics.median(stalls), 3), 0.05)]
    section.finish(arguments, section.of("A thousand servers die at once", 34, [TEXT], [table], judged))
    return 0


if __name__ == "__main__":
    sys.exit(main())
