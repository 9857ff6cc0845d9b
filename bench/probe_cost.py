"""What one HTTP check costs: CPU of a real worker process, of one without its walls, and of the plain trio way, on the same targets.

    python bench/probe_cost.py [--servers 1000] [--interval 1] [--seconds 8] [--rounds 2]

The targets are addresses of 127.0.0.0/8, all answered by one process of ours with a Date that changes each second. CPU is user + system
of the checking process by the kernel's accounting. Compare within one run only: machines are noisy (performance.md).
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import h11
import trio

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from checkers.kit import wire  # noqa: E402  the path comes first
from checkers.kit.cage import raise_file_limit  # noqa: E402  see above
from checkers.kit.link import SeqpacketLink  # noqa: E402  see above

BARE = "from checkers import __main__ as program; program.confine = lambda *_: 'caged=no'; raise SystemExit(program.main())"
"""A worker that puts up no walls (checkers.kit.cage) and is the same otherwise."""

WALLS = """
import time
from checkers.__main__ import MEMORY_MIN_BYTES
from checkers.kit import cage, policies
begun = time.perf_counter()
reached = cage.confine(None, None, 0, cage.Walls(policies.WORKER, shut=True, limited=True, memory_bytes=MEMORY_MIN_BYTES))
print(f"walls: {(time.perf_counter() - begun) * 1000:.2f} ms, {reached}")
"""

FIRST_ADDRESS = int(ipaddress.ip_address("127.1.0.0"))
WARM_UP_S = 3.0


def addresses(count: int) -> list[str]:
    """Return `count` loopback addresses."""
    return [str(ipaddress.ip_address(FIRST_ADDRESS + number)) for number in range(count)]


def serve(port_out: int) -> None:
    """Be the targets: answer every request with 200 and close. Writes the port to the descriptor `port_out`."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", 0))
    listener.listen(4096)
    listener.setblocking(False)
    os.write(port_out, f"{listener.getsockname()[1]}\n".encode())
    os.close(port_out)
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    second, answer = 0, b""
    while True:
        for fd, _ in epoll.poll(-1, 512):
            if fd == listener.fileno():
                try:
                    while True:
                        client, _ = listener.accept()
                        client.setblocking(False)
                        clients[client.fileno()] = client
                        epoll.register(client.fileno(), select.EPOLLIN)
                except BlockingIOError:
                    continue
            if second != int(time.time()):
                second = int(time.time())
                date = formatdate(second, usegmt=True)
                head = f"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: {date}\r\nContent-Type: text/plain\r\n"
                answer = (head + "Content-Length: 6\r\nConnection: close\r\n\r\nhello\n").encode()
            client = clients[fd]
            try:
                if client.recv(4096):
                    client.send(answer)
            except OSError:
                pass
            del clients[fd]
            client.close()


def plain(port: int, servers: int, interval_s: float) -> None:
    """Check the obvious way until killed, and say twice a second how many succeeded."""
    done = 0

    async def check(address: str) -> bool:
        with trio.move_on_after(5):
            try:
                stream = await trio.open_tcp_stream(address, port)
                async with stream:
                    connection = h11.Connection(h11.CLIENT)
                    headers = [("Host", address), ("Connection", "close")]
                    request = connection.send(h11.Request(method="GET", target="/health", headers=headers))
                    assert request is not None
                    await stream.send_all(request)
                    connection.send(h11.EndOfMessage())
                    while True:
                        event = connection.next_event()
                        if event is h11.NEED_DATA:
                            connection.receive_data(await stream.receive_some(4096))
                        else:
                            return isinstance(event, h11.Response) and event.status_code == 200
            except (OSError, trio.BrokenResourceError, h11.ProtocolError):
                return False
        return False

    async def watch(number: int, address: str) -> None:
        nonlocal done
        await trio.sleep(interval_s * number / servers)
        while True:
            good = await check(address)  # not in one line: that would lose what others count meanwhile
            done += good
            await trio.sleep(interval_s)

    async def count() -> None:
        while True:
            await trio.sleep(0.5)
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            for number, address in enumerate(addresses(servers)):
                nursery.start_soon(watch, number, address)

    gc.freeze()
    trio.run(run)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kb(pid: int) -> int:
    """Return the resident memory of a process in KB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def measure_ours(
    port: int, servers: int, interval_s: float, seconds: float, program: tuple[str, ...] = ("-m", "checkers")
) -> tuple[float, float, int]:
    """Return µs of CPU for each check, checks a second, and resident KB of a worker process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    worker = subprocess.Popen(  # noqa: ASYNC220  a measurement, not a server
        [sys.executable, "-P", *program, "--link-fd", str(theirs.fileno()), "--max-files", str(servers + 64)],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    theirs.close()
    link = SeqpacketLink(trio.socket.from_stdlib_socket(ours))
    jobs = [
        wire.Job(
            id=number,
            type="HTTP_GET",
            address=address,
            port=port,
            delay_loop=interval_s,
            retry=1,
            delay_before_retry=interval_s,
            connect_timeout=5,
            warmup=interval_s,
            options={"url": [{"path": "/health"}]},
        )
        for number, address in enumerate(addresses(servers))
    ]
    try:
        for frame in wire.assign_frames(1, 1, jobs):
            await link.send(frame)

        async def next_count() -> int:
            while data := await link.receive():
                match wire.decode_from_worker(data):
                    case wire.Beat(counts=counts):
                        good = sum(count for _, reason, count in counts if reason is wire.Reason.L7OK)
                        if good != sum(count for *_, count in counts):
                            sys.stdout.write(f"  not only successes: {counts}\n")
                        return good
            raise RuntimeError("the worker is gone")

        async def settle(duration_s: float) -> int:
            until = trio.current_time() + duration_s
            while True:
                count = await next_count()
                if trio.current_time() >= until:
                    return count

        before, cpu_before, start = await settle(WARM_UP_S), cpu_s(worker.pid), trio.current_time()
        after, cpu_after = await settle(seconds), cpu_s(worker.pid)
        return report(after - before, cpu_after - cpu_before, trio.current_time() - start, worker.pid)
    finally:
        worker.kill()
        worker.wait()


def measure_plain(port: int, servers: int, interval_s: float, seconds: float) -> tuple[float, float, int]:
    """Return the same of the plain way."""
    arguments = [
        sys.executable,
        __file__,
        "--plain",
        str(port),
        "--servers",
        str(servers),
        "--interval",
        str(interval_s),
    ]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None

        def settle(duration_s: float) -> int:
            until = time.monotonic() + duration_s
            assert process.stdout is not None
            while True:
                count = int(process.stdout.readline())
                if time.monotonic() >= until:
                    return count

        before, cpu_before, start = settle(WARM_UP_S), cpu_s(process.pid), time.monotonic()
        after, cpu_after = settle(seconds), cpu_s(process.pid)
        result = report(after - before, cpu_after - cpu_before, time.monotonic() - start, process.pid)
        process.kill()
    return result


def report(checks: int, cpu: float, elapsed_s: float, pid: int) -> tuple[float, float, int]:
    """Return µs for each check, checks a second, resident KB."""
    return cpu / max(checks, 1) * 1e6, checks / elapsed_s, resident_kb(pid)


def main() -> None:
    """Measure all, alternating, and print medians and ranges."""
    parser = argparse.ArgumentParser(
        description="CPU per HTTP check: our worker, with and without walls, against the plain trio way"
    )
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--plain", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    raise_file_limit(20_000)
    if arguments.plain:
        plain(arguments.plain, arguments.servers, arguments.interval)
        return
    read_end, write_end = os.pipe()
    targets = os.fork()
    if targets == 0:
        serve(write_end)
        return
    os.close(write_end)
    try:
        subprocess.run([sys.executable, "-P", "-c", WALLS], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        port = int(os.read(read_end, 16))
        what = port, arguments.servers, arguments.interval, arguments.seconds
        results: dict[str, list[tuple[float, float, int]]] = {"worker": [], "no walls": [], "plain trio": []}
        for _ in range(arguments.rounds):
            results["worker"].append(trio.run(measure_ours, *what))
            results["no walls"].append(trio.run(measure_ours, *what, ("-c", BARE)))
            results["plain trio"].append(measure_plain(*what))
        for name, rows in results.items():
            costs = [row[0] for row in rows]
            span = f"({min(costs):.0f}-{max(costs):.0f})"
            rate = statistics.median(row[1] for row in rows)
            print(
                f"{name:<11} {statistics.median(costs):6.0f} µs a check {span:<10} {rate:6.0f} checks/s {rows[-1][2]:7,} KB"
            )
    finally:
        os.kill(targets, signal.SIGKILL)
        os.waitpid(targets, 0)


if __name__ == "__main__":
    main()
