"""What it costs to read the kernel's table back: whole, its services alone, one service, and the comparison with what is wanted.

Run it in a kernel with IPVS whose table may be thrown away, as root, from the project's folder:

    tests/kernel/on-ipvs -t 300 -- python -m bench.audit_cost

`ipvs/audit` takes its numbers from here. A system call costs tens of times more in a User-Mode Linux guest than elsewhere, so the rows
with many services look worse there than they are.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

from supervisor.core.diff import diff
from supervisor.core.table import DeleteService, Destination, Op, Service, ServiceSettings, Table
from supervisor.ipvs.kernel import KernelBackend
from supervisor.ipvs.netlink import BATCH_MAX
from supervisor.ipvs.wire import GET_SERVICE, decode_service
from supervisor.model import AddressKey, Endpoint, Protocol, ServiceKey

SHAPES = ((1, 1000), (100, 10), (1, 10_000), (100, 100), (1000, 10))
"""Services, and destinations of each."""
ROUNDS = 5


def made(services: int, destinations: int) -> Table:
    """Return a table of that shape."""
    found: dict[ServiceKey, Service] = {}
    number = 0
    for index in range(services):
        key = AddressKey(Protocol.TCP, Endpoint(IPv4Address("10.200.0.0") + index, 80))
        there = {}
        for _ in range(destinations):
            number += 1
            endpoint = Endpoint(IPv4Address("10.1.0.0") + number, 80)
            there[endpoint] = Destination(endpoint, 1)
        found[key] = Service(key, ServiceSettings("rr"), MappingProxyType(there))
    return Table(MappingProxyType(found))


def median_ms(work: Callable[[], object]) -> float:
    """Return the median time of `work` in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def main() -> int:
    """Measure and print a table."""
    backend = KernelBackend()
    socket = backend._netlink  # noqa: SLF001  # the parts are below the interface
    print(
        f"{'services x destinations':24} {'whole':>8} {'services':>9} {'one of them':>12} {'diff':>8} {'/proc':>8}  (ms)"
    )
    for services, destinations in SHAPES:
        table = made(services, destinations)
        ops: list[Op] = diff(table, Table())
        for start in range(0, len(ops), BATCH_MAX):
            assert not any(backend.apply(ops[start : start + BATCH_MAX]))
        keys = list(table.services)
        found = backend.read().table
        assert not diff(table, found)
        costs = (
            median_ms(backend.read),
            median_ms(lambda: [decode_service(answer) for answer in socket.dump(GET_SERVICE)]),
            median_ms(lambda key=keys[0]: backend.read([key])),  # type: ignore[misc]
            median_ms(lambda table=table, found=found: diff(table, found)),  # type: ignore[misc]
            median_ms(Path("/proc/net/ip_vs").read_bytes),
        )
        print(f"{services:10} x {destinations:<11} " + " ".join(f"{cost:9.2f}" for cost in costs))
        gone: list[Op] = [DeleteService(key) for key in keys]
        for start in range(0, len(gone), BATCH_MAX):
            backend.apply(gone[start : start + BATCH_MAX])
    backend.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
