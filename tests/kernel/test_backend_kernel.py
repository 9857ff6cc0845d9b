"""The kernel's own table keeps the contract; and ipvsadm, which shares no code with us, reads what we wrote.

Needs CAP_SYS_ADMIN and CAP_NET_ADMIN in a kernel with IPVS; every test has a network namespace, and so a table, of its own.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from supervisor.core.diff import diff
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    DeleteService,
    Destination,
    Op,
    ServiceSettings,
    Table,
)
from supervisor.ipvs.backend import AnswerLost, Backend
from supervisor.ipvs.kernel import KernelBackend, preload
from supervisor.ipvs.netlink import FamilyMissing, GenericNetlink
from supervisor.ipvs.wire import UNNAMED, attribute
from supervisor.model import (
    AddressKey,
    Forwarding,
    FwmarkKey,
    Method,
    Protocol,
    TunnelChecksum,
    TunnelType,
)
from tests.contract.backend_suite import BackendContract
from tests.fakes.tables import destination, endpoint, service, table, tcp

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
KEY = tcp("10.0.0.1")


@contextmanager
def new_namespace() -> Iterator[None]:
    """Put this thread into a new network namespace whose loopback is up, and back at the end."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _check(_libc.setns(home, _CLONE_NEWNET), "setns")
        os.close(home)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def ipvsadm(*words: str) -> list[str]:
    """Return the lines that ipvsadm prints, sorted."""
    done = subprocess.run(["ipvsadm", *words], check=True, capture_output=True, text=True)
    return sorted(done.stdout.split("\n")[:-1])


class TestKernelBackend(BackendContract):
    @contextmanager
    def opened(self) -> Iterator[Backend]:
        with new_namespace(), closing(KernelBackend()) as backend:
            yield backend


@pytest.fixture
def backend() -> Iterator[KernelBackend]:
    with new_namespace(), closing(KernelBackend()) as backend:
        yield backend


def write(backend: Backend, wanted: Table) -> None:
    ops = diff(wanted, backend.read().table)
    assert backend.apply(ops) == [""] * len(ops)


EVERYTHING = table(
    service(
        KEY,
        destination("10.1.0.1"),
        destination("10.1.0.2", 0, method=Method(Forwarding.DR)),
        Destination(
            endpoint("10.1.0.3"), 65535, Method(Forwarding.TUN, TunnelType.GUE, 5555, TunnelChecksum.CSUM), 9, 3
        ),
        destination("10.1.0.4", 2, method=Method(Forwarding.TUN, TunnelType.GRE, 0, TunnelChecksum.CSUM)),
        destination("fd01::5", 3, method=Method(Forwarding.TUN)),
        settings=ServiceSettings("wlc", flags=0x1, timeout=300, prefix=24),
    ),
    service(AddressKey(Protocol.UDP, endpoint("10.0.0.1", 53)), settings=ServiceSettings("rr", flags=0x4)),
    service(
        AddressKey(Protocol.SCTP, endpoint("fd00::1", 38412)),
        destination("fd01::1", 5, 38412),
        settings=ServiceSettings("sh", flags=0x1 | 0x8 | 0x10, timeout=60, prefix=64),
    ),
    service(FwmarkKey(4, 7), destination("10.1.0.1", port=0)),
    service(FwmarkKey(6, 7), destination("fd01::1", port=0)),
)

AS_IPVSADM_TAKES_IT = """\
-A -f 7 -6 -s rr
-A -f 7 -s rr
-A -t 10.0.0.1:80 -s wlc -p 300 -M 255.255.255.0
-A -u 10.0.0.1:53 -s rr -o
-A --sctp-service [fd00::1]:38412 -s sh -p 60 -M 64 -b sh-fallback,sh-port
-a -f 7 -6 -r [fd01::1]:0 -m -w 1
-a -f 7 -r 10.1.0.1:0 -m -w 1
-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1
-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 0
-a -t 10.0.0.1:80 -r 10.1.0.3:80 -i -w 65535 -x 9 -y 3 --tun-type gue --tun-port 5555 --tun-csum
-a -t 10.0.0.1:80 -r 10.1.0.4:80 -i -w 2 --tun-type gre --tun-csum
-a -t 10.0.0.1:80 -r [fd01::5]:80 -i -w 3 --tun-type ipip
-a --sctp-service [fd00::1]:38412 -r [fd01::1]:38412 -m -w 5
"""


def test_ipvsadm_reads_what_we_wrote(backend: KernelBackend) -> None:
    write(backend, EVERYTHING)
    saved = AS_IPVSADM_TAKES_IT.replace(" -x 9 -y 3", "")  # it does not save thresholds
    assert ipvsadm("-S", "-n") == sorted(saved.splitlines())
    assert [line.split()[2:4] for line in ipvsadm("-L", "-n", "--thresholds") if "10.1.0.3:80" in line] == [["9", "3"]]


def test_we_read_what_ipvsadm_wrote(backend: KernelBackend) -> None:
    subprocess.run(["ipvsadm", "-R"], check=True, input=AS_IPVSADM_TAKES_IT, text=True)
    assert backend.read().table == EVERYTHING


def test_connections_and_traffic_are_counted(backend: KernelBackend) -> None:
    subprocess.run(["ip", "address", "add", "10.0.0.1/32", "dev", "lo"], check=True)
    write(backend, table(service(KEY, destination("10.0.0.1", port=8080))))
    script = (
        "import socket\n"
        "server = socket.create_server(('10.0.0.1', 8080))\n"
        "client = socket.create_connection(('10.0.0.1', 80)); peer, _ = server.accept()\n"
        "peer.sendall(b'x' * 1000); assert len(client.recv(1000)); print('ready', flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 6
        while True:  # the kernel's estimator renews the counters every 2 s
            reading = backend.read()
            load = reading.loads[KEY][endpoint("10.0.0.1", 8080)]
            if load.counters.connections or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        shown = next(line.split()[2:] for line in ipvsadm("-L", "-n", "--stats", "--exact") if ":8080 " in line)
        program.stdin.write("\n")
    assert (load.active, load.inactive, load.persistent) == (1, 0, 0)
    counted = load.counters
    assert counted.connections == 1
    assert counted.incoming_packets >= 3
    assert counted.outgoing_bytes > 1000
    assert counted == reading.services[KEY]
    assert shown == [
        str(number)
        for number in (
            counted.connections,
            counted.incoming_packets,
            counted.outgoing_packets,
            counted.incoming_bytes,
            counted.outgoing_bytes,
        )
    ]


def test_a_value_without_room_on_the_wire_is_refused_alone(backend: KernelBackend) -> None:
    ops: list[Op] = [
        AddService(KEY, ServiceSettings("rr")),
        AddDestination(KEY, destination("10.1.0.1", 1 << 40)),
        AddDestination(KEY, destination("10.1.0.2")),
    ]
    assert backend.apply(ops) == ["", "EINVAL", ""]


def test_an_unknown_scheduler_is_enoent_and_the_batch_goes_on(backend: KernelBackend) -> None:
    ops = [AddService(KEY, ServiceSettings("nosuch")), AddService(tcp("10.0.0.2"), ServiceSettings("rr"))]
    assert backend.apply(ops) == ["ENOENT", ""]
    assert backend.apply(ops[:1]) == ["ENOENT"]  # all of a batch: the family is looked up again, and is the same


def test_foreign_oddities_do_not_hinder_reading(backend: KernelBackend) -> None:
    write(backend, table(service(KEY, destination("10.1.0.1"))))
    icmp = attribute(1, (2).to_bytes(2, "little")) + attribute(2, (1).to_bytes(2, "little"))
    icmp += attribute(3, bytes([10, 0, 0, 9])) + attribute(4, bytes(2)) + attribute(6, b"rr\0")
    icmp += attribute(7, bytes(8)) + attribute(8, bytes(4)) + attribute(9, b"\xff\xff\x00\xff")
    key = b"".join(
        (
            attribute(1, (2).to_bytes(2, "little")),
            attribute(2, (6).to_bytes(2, "little")),
            attribute(3, bytes([10, 0, 0, 1])),
            attribute(4, (80).to_bytes(2, "big")),
        )
    )
    strange = attribute(1, bytes([10, 1, 0, 7])) + attribute(2, (80).to_bytes(2, "big"))
    strange += attribute(3, (5).to_bytes(4, "little")) + attribute(4, (1).to_bytes(4, "little"))
    strange += attribute(5, bytes(4)) + attribute(6, bytes(4))
    assert backend._netlink.batch([(1, attribute(1, icmp)), (5, attribute(1, key) + attribute(2, strange))]) == [0, 0]

    found = backend.read().table
    assert set(found.services) == {KEY}  # no configuration can name an ICMP service
    assert found.services[KEY].destinations[endpoint("10.1.0.7")].method == UNNAMED
    wanted = table(service(KEY, destination("10.1.0.1"), destination("10.1.0.7")))
    assert diff(wanted, found) == [ChangeDestination(KEY, destination("10.1.0.7"))]
    write(backend, wanted)
    assert backend.read().table == wanted


def test_answers_that_nobody_read_are_drained_and_do_not_confuse_the_next_exchange(backend: KernelBackend) -> None:
    socket = backend._netlink
    for _ in range(3):
        socket._send(b"".join(_acknowledged(socket, number) for number in range(50)))
    write(backend, table(service(KEY, destination("10.1.0.1"))))
    for _ in range(100):
        socket._send(b"".join(_acknowledged(socket, number) for number in range(60)))
    with pytest.raises(AnswerLost, match="ENOBUFS"):
        backend.read()
    assert backend.read().table == table(service(KEY, destination("10.1.0.1")))


def _acknowledged(socket: GenericNetlink, number: int) -> bytes:
    header = (20).to_bytes(4, "little") + socket._family.to_bytes(2, "little") + (5).to_bytes(2, "little")
    return header + (0x70000000 + number).to_bytes(4, "little") + bytes(4) + bytes([99, 1, 0, 0])


def test_a_missing_family_is_named() -> None:
    with new_namespace(), pytest.raises(FamilyMissing, match="ENOENT"):
        GenericNetlink("NOSUCHFAMILY")


def test_without_the_capability_the_remedy_is_named() -> None:
    script = (
        "import os\n"
        "from supervisor.ipvs.kernel import KernelBackend\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "KernelBackend()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, env=_environment()
    )
    assert "BackendUnavailable" in done.stderr
    assert "CAP_NET_ADMIN" in done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def test_the_family_is_found_again_after_its_module_was_reloaded(backend: KernelBackend) -> None:
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text(encoding="ascii"):
        pytest.skip("modules are reloaded only in a kernel that is thrown away")
    before = backend._netlink._family
    write(backend, table(service(KEY, destination("10.1.0.1"))))
    assert backend.apply([DeleteService(KEY)]) == [""]
    modules = [line.split()[0] for line in Path("/proc/modules").read_text(encoding="ascii").splitlines()]
    schedulers = [name for name in modules if name.startswith("ip_vs_")]
    subprocess.run(["modprobe", "-r", *schedulers, "ip_vs"], check=True)
    subprocess.run(["modprobe", "ip_vs"], check=True)
    write(backend, table(service(KEY, destination("10.1.0.1"))))
    assert backend._netlink._family != before
    assert backend.read().table == table(service(KEY, destination("10.1.0.1")))


def test_preloading_a_scheduler_may_fail() -> None:
    assert preload(["rr", "wlc"]) is True
    assert preload(["nosuch"]) is False
    assert any(line.startswith("ip_vs_wlc ") for line in Path("/proc/modules").read_text(encoding="ascii").splitlines())
