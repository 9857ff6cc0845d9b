"""Every checker type from behind the walls, in the real daemon, against real servers on loopback: checks still check."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes import tls
from tests.process.test_daemon import Daemon, free_port, until

HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


def speak_http(client: socket.socket) -> None:
    if client.recv(4096):
        client.sendall(HTTP_ANSWER)


def speak_https(client: socket.socket) -> None:
    with tls.context_of("good").wrap_socket(client, server_side=True) as wrapped:
        speak_http(wrapped)


def speak_https_to_those_we_know(client: socket.socket) -> None:
    with tls.context_of("asks").wrap_socket(client, server_side=True) as wrapped:
        speak_http(wrapped)


def speak_smtp(client: socket.socket) -> None:
    client.sendall(b"220 mail.example.org\r\n")
    while line := client.recv(512):
        client.sendall(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 hello\r\n")


class Servers:
    """What is checked: a port for each way of speaking."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def stream(self, speak: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._start(listener, self._accept, speak)
        port: int = listener.getsockname()[1]
        return port

    def datagrams(self, answer: Callable[[bytes], bytes]) -> int:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self._start(sock, self._answer, answer)
        port: int = sock.getsockname()[1]
        return port

    def _start(self, sock: socket.socket, work: Callable[..., None], how: Callable[..., object]) -> None:
        sock.settimeout(0.1)
        self._open.append(sock)
        self._threads.append(threading.Thread(target=work, args=[sock, how]))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket, speak: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            client.settimeout(2)
            with contextlib.suppress(OSError), client:
                speak(client)

    def _answer(self, sock: socket.socket, answer: Callable[[bytes], bytes]) -> None:
        while True:
            try:
                data, client = sock.recvfrom(4096)
                sock.sendto(answer(data), client)
            except TimeoutError:
                continue
            except OSError:
                return

    def close(self) -> None:
        for sock in self._open:
            sock.close()
        for thread in self._threads:
            thread.join()


def dns_answer(query: bytes) -> bytes:
    return query[:2] + struct.pack(">H", 0x8180) + query[4:]


@pytest.fixture
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.close()


def test_every_checker_type_does_its_work_from_behind_the_walls(tmp_path: Path, servers: Servers) -> None:
    load = tmp_path / "load"
    load.write_text("1\n")
    web, mail = servers.stream(speak_http), servers.stream(speak_smtp)
    secure, strict = servers.stream(speak_https), servers.stream(speak_https_to_those_we_know)
    dns, udp = servers.datagrams(dns_answer), servers.datagrams(lambda _: b"yes")
    url = "url {\n path /\n virtualhost www.example.org\n }"
    checks = [
        (web, "TCP_CHECK {\n }"),
        (web, "HTTP_GET {\n url {\n path /\n regex ^ok\n }\n }"),
        (secure, f"SSL_GET {{\n ca {tls.AUTHORITY_FILE}\n enable_sni\n {url}\n }}"),
        (strict, f"SSL_GET {{\n {url}\n }}"),
        (mail, "SMTP_CHECK {\n }"),
        (dns, "DNS_CHECK {\n type A\n name www.example.org\n }"),
        (udp, "UDP_CHECK {\n require_reply\n }"),
        (free_port(), 'MISC_CHECK {\n misc_path "/bin/true"\n }'),
        (free_port(), "FILE_CHECK {\n track_file load\n }"),
    ]
    if os.geteuid() == 0:
        checks.append((free_port(), "PING_CHECK {\n }"))
    shared = f"SSL {{\n certificate {tls.CLIENT_FILE}\n key {tls.CLIENT_KEY_FILE}\n}}\n"
    text = f"{shared}track_file load {{\n file {load}\n weight 1\n}}\n" + "".join(
        f"virtual_server 203.0.113.{number} 80 {{\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol TCP\n alpha\n"
        f" real_server 127.0.0.1 {port} {{\n {check}\n }}\n}}\n"
        for number, (port, check) in enumerate(checks, 1)
    )
    daemon = Daemon(tmp_path, text)
    try:
        until(lambda: daemon.status()["process"]["ready"])
        status = daemon.status()
        found = {
            server["checks"][0]["type"]: server["checks"][0]["reason"]
            for virtual_server in status["virtual_servers"]
            for server in virtual_server["real_servers"]
        }
        assert {kind: reason for kind, reason in found.items() if not reason.endswith("OK")} == {}
        assert len(found) == len(checks) - 1  # SSL_GET twice
        caged = {worker["name"]: worker["caged"] for worker in status["process"]["workers"]}
        assert "seccomp=filter" in caged["checker-0"]
        assert "seccomp=filter" in caged["supervisor"]
        assert "seccomp=filter" in caged["runner"]
        assert daemon.stop() == 0
    finally:
        daemon.close()
