"""Two kernels' worth of network with a wire between them that loses packets: what real sockets make of it. Run in a namespace of its own.

    unshare --net python -m tests.process.lossy_wire IP 0.2

Two network namespaces have a tun device each, and a process between the two drops as many packets as it is told. Printed as JSON, in
seconds: how long each connection took, how long each answer on it, and how long each sentinel (the real ones, kit.held) lived, of those
that were not longer than anybody waited. IP is the program `ip`.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading

import trio

from checkers.kit.api import Target
from checkers.kit.dial import Network
from checkers.kit.held import SocketWatch
from checkers.kit.timer import Timer
from checkers.kit.watch import News

HERE, THERE, PORT = "10.9.0.1", "10.9.0.2", 80
CONNECTIONS = 600
"""And as many sentinels."""

LASTS_S = 13.0
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


def tun(ip: str, address: str) -> int:
    """Make a tun device with an address in this namespace; return its descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", b"wire", _IFF_TUN | _IFF_NO_PI))
    subprocess.run([ip, "address", "add", f"{address}/24", "dev", "wire"], check=True)
    subprocess.run([ip, "link", "set", "wire", "up"], check=True)
    return fd


def carry(one: int, other: int, loss: float, seed: int) -> None:
    """Carry packets from one device to the other, but for some."""
    rng = random.Random(seed)
    while True:
        packet = os.read(one, 2000)
        if rng.random() >= loss:
            os.write(other, packet)


def be_there(ip: str, loss: float, here: int) -> None:
    """Be the wire and the server at its end: say back whatever is said."""
    there = tun(ip, THERE)
    for seed, ends in enumerate(((here, there), (there, here))):
        threading.Thread(target=carry, args=(*ends, loss, seed), daemon=True).start()
    listener = socket.create_server((THERE, PORT), backlog=4096)
    epoll, clients = select.epoll(), dict[int, socket.socket]()
    epoll.register(listener, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                clients[client.fileno()] = client
                epoll.register(client, select.EPOLLIN)
                continue
            try:
                said = clients[fd].recv(4096)
                clients[fd].send(said)
            except OSError:
                said = b""
            if not said:
                epoll.unregister(fd)
                clients.pop(fd).close()


async def ask(connected: list[float], answered: list[float]) -> None:
    """Connect, and ask when that did not need a repetition."""
    began = trio.current_time()
    with trio.socket.socket() as sock:
        await sock.connect((THERE, PORT))
        connected.append(trio.current_time() - began)
        if connected[-1] > 0.5:  # what follows a repetition has other times
            await trio.sleep_forever()
        await trio.sleep(1.5)  # the server knows of the connection, though the last packet of the handshake was lost
        began = trio.current_time()
        await sock.send(b"?")
        await sock.recv(1)
        answered.append(trio.current_time() - began)


async def hold(watch: SocketWatch, stood: list[float], lived: list[float]) -> None:
    """Hold a sentinel, and note when it stood and for how long it lived."""
    since = [0.0]

    def told(news: News) -> None:
        now = trio.current_time()
        if news is News.CONNECTED:
            since[0] = now
            stood.append(now)
        elif news is News.LOST:
            lived.append(now - since[0])

    held = watch.hold(Target(THERE, PORT), 0.5, 1.0, told)
    assert not isinstance(held, News)
    await trio.sleep_forever()


async def measure() -> dict[str, object]:
    """Do all of it at once, for a while."""
    connected, answered, stood, lived = list[float](), list[float](), list[float](), list[float]()
    timer = Timer()
    network = Network(timer)
    watch = SocketWatch(network)
    with trio.move_on_after(LASTS_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            nursery.start_soon(network.run)
            for _ in range(CONNECTIONS):
                nursery.start_soon(functools.partial(ask, connected, answered))
                nursery.start_soon(functools.partial(hold, watch, stood, lived))
                await trio.sleep(0.002)
    return {"connected": connected, "answered": answered, "stood": len(stood), "lived": lived}


def main() -> None:
    """Be one end, and start the other."""
    ip, loss = sys.argv[1], float(sys.argv[2])
    if len(sys.argv) > 3:
        be_there(ip, loss, int(sys.argv[3]))
    here = tun(ip, HERE)
    other = [sys.executable, "-m", "tests.process.lossy_wire", ip, str(loss), str(here)]
    with subprocess.Popen(
        ["unshare", "--net", "--kill-child", "--fork", *other], pass_fds=[here], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.close(here)
        print(json.dumps(trio.run(measure)))
        process.kill()


if __name__ == "__main__":
    main()
