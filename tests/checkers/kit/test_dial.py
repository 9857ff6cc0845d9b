"""Real sockets on loopback: errors of the network and our own, the gate, and what a stopped process makes of time-outs."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from checkers.kit import wire
from checkers.kit.api import ConnectFailed, ConnectionLost, DeadlinePassed, LocalTrouble, Reason, Target
from checkers.kit.connection import Connection
from checkers.kit.dial import Network
from checkers.kit.gate import BUSY_S
from checkers.kit.link import SeqpacketLink
from checkers.kit.sockets import connect_error
from checkers.kit.timer import TICK_S, Timer

ROOT = Path(__file__).resolve().parents[3]


def run(story: Callable[[Network, trio.Nursery], Awaitable[None]], clock: trio.abc.Clock | None = None) -> None:
    """Play a story, on `clock` if it is not to take real time."""

    async def main() -> None:
        timer = Timer()
        network = Network(timer)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(timer.run)
                nursery.start_soon(network.run)
                await story(network, nursery)
                assert network.connections == {}
                nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


async def echo(client: trio.SocketStream) -> None:
    try:
        async for data in client:
            await client.send_all(data)
    except trio.BrokenResourceError:
        return


async def listen(
    nursery: trio.Nursery, handler: Callable[[trio.SocketStream], Awaitable[object]] = echo, host: str = "127.0.0.1"
) -> Target:
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    nursery.start_soon(trio.serve_listeners, handler, [listener])
    return Target(host, listener.socket.getsockname()[1])


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_is_sent_comes_back_and_large_amounts_do_too(host: str) -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        target = await listen(nursery, host=host)
        stream = await network.dialer(5.0).connect(target)
        data = os.urandom(3_000_000)
        got = bytearray()

        async def read() -> None:
            while len(got) < len(data):
                got.extend(await stream.receive())

        nursery.start_soon(stream.send, data)
        await read()
        assert got == data
        stream.close()
        stream.close()

    run(story)


def test_an_end_that_came_together_with_the_data_is_not_missed() -> None:
    async def say_and_go(client: trio.SocketStream) -> None:
        await client.send_all(b"bye")
        await client.aclose()

    async def story(network: Network, nursery: trio.Nursery) -> None:
        stream = await network.dialer(1.0).connect(await listen(nursery, say_and_go))
        await trio.sleep(0.2)
        assert [await stream.receive(), await stream.receive(), await stream.receive()] == [b"bye", b"", b""]
        stream.close()

    run(story)


def test_a_server_that_speaks_first_is_heard_though_we_learn_of_it_together_with_the_connection() -> None:
    def greet(listener: socket.socket) -> None:
        client, _ = listener.accept()
        client.send(b"220 hello")
        with client, contextlib.suppress(ConnectionResetError):
            client.recv(1)

    async def stop_all() -> None:
        time.sleep(0.2)  # noqa: ASYNC251  so that connection and greeting are told at once

    async def story(network: Network, nursery: trio.Nursery) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=greet, args=[listener])
            thread.start()
            nursery.start_soon(stop_all)
            stream = await network.dialer(1.0).connect(Target("127.0.0.1", listener.getsockname()[1]))
            assert await stream.receive() == b"220 hello"
            stream.close()
            thread.join()

    run(story)


def test_data_in_small_helpings_is_not_forgotten() -> None:
    async def say(client: trio.SocketStream) -> None:
        await client.send_all(b"0123456789")
        await trio.sleep_forever()

    async def story(network: Network, nursery: trio.Nursery) -> None:
        stream = await network.dialer(1.0).connect(await listen(nursery, say))
        assert [await stream.receive(4), await stream.receive(4), await stream.receive(4)] == [b"0123", b"4567", b"89"]
        with pytest.raises(DeadlinePassed, match="no complete answer within 1 s"):
            await stream.receive(4)
        stream.close()

    run(story)


def test_a_refused_connection_says_so() -> None:
    async def story(network: Network, _: trio.Nursery) -> None:
        dialer = network.dialer(1.0)
        with pytest.raises(ConnectFailed, match=r"^connection refused$"):
            await dialer.connect(Target("127.0.0.1", closed_port()))
        dialer.close()

    run(story)


def test_a_stream_that_was_closed_can_no_longer_be_used() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        stream = await network.dialer(1.0).connect(await listen(nursery))
        stream.close()
        with pytest.raises(ConnectionLost):
            await stream.send(b"x")

    run(story)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target("127.0.0.1", 9, bind_address="198.51.100.1"), "cannot bind to 198.51.100.1:0"),
        (Target("127.0.0.1", 9, bind_interface="no-such-if0"), "on no-such-if0"),
        (Target("fe80::1", 9, bind_interface="no-such-if0"), "no-such-if0"),
    ],
    ids=str,
)
def test_a_source_that_cannot_be_had_is_our_own_trouble(target: Target, text: str) -> None:
    async def story(network: Network, _: trio.Nursery) -> None:
        dialer = network.dialer(1.0)
        with pytest.raises(LocalTrouble, match=text):
            await dialer.connect(target)
        dialer.close()

    run(story)


def test_the_source_address_port_and_interface_are_used() -> None:
    seen: list[tuple[str, int]] = []

    async def note(client: trio.SocketStream) -> None:
        seen.append(client.socket.getpeername()[:2])

    async def story(network: Network, nursery: trio.Nursery) -> None:
        place = await listen(nursery, note)
        port = closed_port()
        for target in (
            Target(place.address, place.port, bind_address="127.7.7.7"),
            Target(place.address, place.port, bind_address="127.7.7.8", bind_port=port),
            Target(place.address, place.port, bind_address="127.7.7.8", bind_port=port, bind_interface="lo"),
        ):
            before = len(seen)
            stream = await network.dialer(5.0).connect(target)
            while len(seen) == before:  # noqa: ASYNC110  the listener's task sets no event of ours
                await trio.sleep(0.01)
            stream.close()
        assert [address for address, _ in seen] == ["127.7.7.7", "127.7.7.8", "127.7.7.8"]
        assert [number for _, number in seen[1:]] == [port, port]

    run(story)


def udp_server(reply: Callable[[bytes], list[bytes]]) -> tuple[Target, socket.socket, threading.Thread]:
    """Start a thread that answers one datagram with any number of them."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(5)

    def serve() -> None:
        data, client = server.recvfrom(65_536)
        for answer in reply(data):
            server.sendto(answer, client)

    thread = threading.Thread(target=serve)
    thread.start()
    return Target("127.0.0.1", server.getsockname()[1]), server, thread


def test_datagrams_come_one_by_one_even_empty_and_large_ones_and_none_is_forgotten() -> None:
    async def story(network: Network, _: trio.Nursery) -> None:
        target, server, thread = udp_server(lambda data: [data, b"", b"x" * 20_000, b"last"])
        with server:
            datagrams = await network.dialer(0.3).connect_udp(Target(target.address, target.port, "127.7.7.9"))
            await datagrams.send(b"hello")
            assert [await datagrams.receive() for _ in range(4)] == [b"hello", b"", b"x" * 20_000, b"last"]
            with pytest.raises(DeadlinePassed, match=r"no complete answer within 0\.3 s") as caught:
                await datagrams.receive()
            assert caught.value.reason in {Reason.L7TOUT, Reason.LATE}
            thread.join()
            datagrams.close()
            datagrams.close()

    run(story)


def test_a_closed_udp_port_is_a_refusal_whether_we_listen_or_send_again() -> None:
    async def story(network: Network, _: trio.Nursery) -> None:
        target = Target("127.0.0.1", closed_port())
        for again in (False, True):
            datagrams = await network.dialer(1.0).connect_udp(target)
            await datagrams.send(b"hello")
            with pytest.raises(ConnectFailed, match=r"^connection refused$"):
                await (datagrams.send(b"again") if again else datagrams.receive())
            datagrams.close()

    run(story)


def test_datagrams_of_others_are_not_heard() -> None:
    async def story(network: Network, _: trio.Nursery) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            port = closed_port()
            target = Target("127.0.0.1", server.getsockname()[1], "127.0.0.1", port)
            datagrams = await network.dialer(0.3).connect_udp(target)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"forged", ("127.0.0.1", port))
            with pytest.raises(DeadlinePassed):
                await datagrams.receive()
            datagrams.close()

    run(story)


def test_no_descriptor_left_is_our_own_trouble_and_passes() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        target = await listen(nursery)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        dialer = network.dialer(1.0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            with pytest.raises(LocalTrouble, match="too many open files"):
                await dialer.connect(target)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await dialer.connect(target)
        dialer.close()

    run(story)


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED, errno.ETIMEDOUT])
def test_errors_of_the_way_count_against_the_server_as_in_keepalived(number: int) -> None:
    with pytest.raises(ConnectFailed):
        raise connect_error(number)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES, errno.ENOBUFS])
def test_errors_of_our_own_machine_never_count_against_the_server(number: int) -> None:
    with pytest.raises(LocalTrouble):
        raise connect_error(number)


def test_a_route_that_we_do_not_have_is_our_own_trouble_and_one_that_a_router_misses_is_not() -> None:
    with pytest.raises(LocalTrouble, match="network unreachable") as caught:
        raise connect_error(errno.ENETUNREACH, at_once=True)
    assert caught.value.fault == "ENETUNREACH"
    with pytest.raises(ConnectFailed):
        raise connect_error(errno.ENETUNREACH)
    with pytest.raises(ConnectFailed):  # keepalived counts it too, and it may be the server's own host that is gone
        raise connect_error(errno.EHOSTUNREACH, at_once=True)


@pytest.mark.skipif(subprocess.call(["unshare", "-rn", "true"]) != 0, reason="no network namespace can be had")
def test_without_any_route_every_target_is_our_own_trouble_over_tcp_and_udp() -> None:
    """A network of our own in which nothing is up: real errors of the kernel."""
    program = """
import trio
from checkers.kit.api import LocalTrouble, Target
from checkers.kit.dial import Network
from checkers.kit.timer import Timer

async def main():
    timer = Timer()
    network = Network(timer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timer.run)
        nursery.start_soon(network.run)
        for address in ("192.0.2.1", "127.0.0.1", "2001:db8::1"):
            dialer = network.dialer(1.0)
            for connect in (dialer.connect, dialer.connect_udp):
                try:
                    await connect(Target(address, 9))
                    print("connected")
                except LocalTrouble as trouble:
                    print(trouble.fault, dialer.fault)
            dialer.close()
        nursery.cancel_scope.cancel()

trio.run(main)
"""
    told = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(told) == 6
    assert set(told) <= {"ENETUNREACH ENETUNREACH", "EADDRNOTAVAIL EADDRNOTAVAIL", "ENETDOWN ENETDOWN"}, told


def test_memory_that_runs_out_in_the_middle_of_an_answer_is_our_own_trouble() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        dialer = network.dialer(1.0)
        stream = await dialer.connect(await listen(nursery))
        assert isinstance(stream, Connection)
        assert isinstance(stream._broken(OSError(errno.ENOBUFS, "no buffer space")), LocalTrouble)
        assert dialer.fault == "ENOBUFS"
        assert isinstance(stream._broken(OSError(errno.ECONNRESET, "reset")), ConnectionLost)
        dialer.close()

    run(story)


def test_closing_leaves_nothing_in_time_wait() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        target = await listen(nursery)
        stream = await network.dialer(1.0).connect(target)
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        stream.close()
        await trio.sleep(0.05)
        lines = Path("/proc/net/tcp").read_text().splitlines()  # noqa: ASYNC240  not a file that blocks
        assert [line for line in lines if f":{target.port:04X}" in line and line.split()[3] == "06"] == []

    run(story)


def test_a_cancelled_probe_leaves_nothing_behind() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        target = await listen(nursery)
        dialer = network.dialer(5.0)
        with trio.move_on_after(0.05):
            stream = await dialer.connect(target)
            await stream.receive()
        dialer.close()

    run(story)


SERVERS = 40


def test_a_process_that_is_stopped_for_two_seconds_calls_no_healthy_server_dead() -> None:
    """Servers that answer after 0.3 s, limit 1 s, stopped twice for 2 s: naive time-outs fail every probe in flight."""
    verdicts: dict[str, int] = {}

    async def answer(client: trio.SocketStream) -> None:
        try:
            await client.receive_some(4096)
            await trio.sleep(0.3)
            await client.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except trio.BrokenResourceError:
            return

    async def listen_to(link: SeqpacketLink) -> None:
        while data := await link.receive():
            match wire.decode_from_worker(data):
                case wire.Beat(counts=counts):
                    verdicts.update({reason.name: count for _, reason, count in counts})

    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "checkers", "--link-fd", str(theirs.fileno())]
        worker = subprocess.Popen(  # noqa: ASYNC220  a short wait before the test begins
            command, pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        theirs.close()
        link = SeqpacketLink(trio.socket.from_stdlib_socket(ours))
        try:
            async with trio.open_nursery() as nursery:
                target = await listen(nursery, answer)
                for frame in wire.assign_frames(1, 1, [job(number, target) for number in range(SERVERS)]):
                    await link.send(frame)
                nursery.start_soon(listen_to, link)
                await trio.sleep(2.5)
                for _ in range(2):
                    worker.send_signal(signal.SIGSTOP)
                    await trio.sleep(2)
                    worker.send_signal(signal.SIGCONT)
                    await trio.sleep(1.2)
                nursery.cancel_scope.cancel()
        finally:
            worker.kill()
            worker.wait()
            link.close()

    trio.run(main)
    assert verdicts.pop("L7OK") > 3 * SERVERS
    verdicts.pop("LATE", None)
    assert verdicts == {}


def job(number: int, target: Target) -> wire.Job:
    return wire.Job(
        id=number,
        type="HTTP_GET",
        address=target.address,
        port=target.port,
        delay_loop=0.1,
        retry=0,
        delay_before_retry=0.1,
        connect_timeout=1.0,
        warmup=0.3,
        options={"url": [{"path": f"/{number}"}]},
    )


def test_a_time_out_that_we_slept_through_is_late_and_one_that_we_watched_is_not() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        target = await listen(nursery, functools.partial(_mute))

        async def outcome(lost_s: float) -> Reason:
            dialer = network.dialer(0.4)
            stream = await dialer.connect(target)
            network.punctuality.lost_s += lost_s
            with pytest.raises(DeadlinePassed) as caught:
                await stream.receive()
            dialer.close()
            return caught.value.reason

        watched = Reason.NONE
        for _ in range(4):  # this machine may be away for a moment, but not each time
            watched = await outcome(0.0)
            if watched is Reason.L7TOUT:
                break
        assert watched is Reason.L7TOUT
        assert await outcome(0.5) is Reason.LATE

    run(story)


def test_what_came_before_we_noticed_the_deadline_still_counts_and_nothing_after_it() -> None:
    async def story(network: Network, _: trio.Nursery) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stream = await network.dialer(5.0).connect(Target("127.0.0.1", listener.getsockname()[1]))
            assert isinstance(stream, Connection)
            peer, _ = listener.accept()
        got: list[bytes] = []

        async def read() -> None:
            got.append(await stream.receive())
            with pytest.raises(DeadlinePassed):
                await stream.receive()

        async with trio.open_nursery() as reader:
            reader.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            peer.send(b"just in time")  # in the kernel, and nobody has looked yet
            stream.expire()
        assert got == [b"just in time"]
        stream.close()
        peer.close()

    run(story)


async def _mute(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


def test_what_is_to_be_said_first_is_said_and_what_comes_of_it_is_for_the_reader() -> None:
    async def hang_up(client: trio.SocketStream) -> None:
        await client.receive_some(1)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()

    async def story(network: Network, nursery: trio.Nursery) -> None:
        dialer = network.dialer(0.5)
        stream = await dialer.connect(await listen(nursery), b"hello")
        assert await stream.receive() == b"hello"
        stream = await dialer.connect(await listen(nursery, hang_up), b"hello")
        with pytest.raises(ConnectionLost):
            await stream.receive()
        stream = await dialer.connect(await listen(nursery, _mute), b"hello")
        with pytest.raises(DeadlinePassed, match="no complete answer"):
            await stream.receive()
        with pytest.raises(ConnectFailed):
            await dialer.connect(Target("127.0.0.1", closed_port()), b"hello")
        dialer.close()

    run(story)


def test_a_first_word_that_the_kernel_does_not_take_at_once_is_said_whole() -> None:
    data = os.urandom(5_000_000)

    async def swallow(client: trio.SocketStream) -> None:
        size = 0
        while size < len(data):
            size += len(await client.receive_some(65_536))
        await client.send_all(b"%d" % size)

    async def story(network: Network, nursery: trio.Nursery) -> None:
        stream = await network.dialer(5.0).connect(await listen(nursery, swallow), data)
        assert await stream.receive() == b"5000000"
        stream.close()

    run(story)


@pytest.mark.parametrize("limit_s", [0.01, 0.1, BUSY_S, 0.3, 2.0])
def test_whatever_the_limit_a_probe_is_over_within_two_ticks_of_it(limit_s: float) -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            long, short = (network.dialer(seconds) for seconds in (5.0, limit_s))
            target = Target("127.0.0.1", silent.getsockname()[1])
            nursery.start_soon(long.connect, target)
            for _ in range(3):
                start = trio.current_time()
                stream = await short.connect(target)
                with pytest.raises(DeadlinePassed):
                    await stream.receive()
                assert limit_s <= round(trio.current_time() - start, 9) <= limit_s + 2 * TICK_S
                short.rest()
            long.close()

    # to connect takes no time on this clock, for the kernel does it at once
    run(story, trio.testing.MockClock(autojump_threshold=0.02))


def test_a_kept_connection_has_no_limit_while_it_rests_and_a_new_one_afterwards() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        dialer = network.dialer(0.3)
        stream = await dialer.connect(await listen(nursery), b"one")
        assert await stream.receive() == b"one"
        assert dialer.keep(stream, 3)
        dialer.rest()
        await trio.sleep(0.5)
        again = await dialer.kept()
        assert again is stream
        await stream.send(b"two")
        assert await stream.receive() == b"two"
        with pytest.raises(DeadlinePassed):
            await stream.receive()
        assert not dialer.keep(stream, 2)  # two have used it
        dialer.rest()
        assert network.connections == {}
        assert await dialer.kept() is None
        dialer.close()

    run(story)


def test_a_kept_connection_that_ends_or_speaks_is_not_used_again() -> None:
    peers: list[trio.SocketStream] = []

    async def hold(client: trio.SocketStream) -> None:
        peers.append(client)
        await client.send_all(await client.receive_some(10))
        await trio.sleep_forever()

    async def story(network: Network, nursery: trio.Nursery) -> None:
        target = await listen(nursery, hold)
        dialer = network.dialer(5.0)
        for end in (True, False):
            stream = await dialer.connect(target, b"x")
            assert isinstance(stream, Connection)
            await stream.receive()
            assert dialer.keep(stream, 10)
            dialer.rest()
            if end:
                await peers.pop().aclose()
            else:
                await peers.pop().send_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            await trio.sleep(0.2)
            assert stream.closed is end  # at once: the server need not wait
            assert await dialer.kept() is None
            assert (network.kept, network.connections) == (0, {})
        dialer.close()

    run(story)


def test_no_more_connections_are_kept_than_descriptors_allow_and_the_end_of_a_job_closes_them() -> None:
    async def story(network: Network, nursery: trio.Nursery) -> None:
        network.kept_max = 2
        target = await listen(nursery)
        dialers = [network.dialer(5.0) for _ in range(3)]
        kept = []
        for dialer in dialers:
            stream = await dialer.connect(target, b"x")
            await stream.receive()
            kept.append(dialer.keep(stream, 10))
            dialer.rest()
        assert kept == [True, True, False]
        assert (network.kept, len(network.connections)) == (2, 2)
        for dialer in dialers:
            dialer.close()
        assert network.kept == 0

    run(story)
