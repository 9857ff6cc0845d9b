"""The real servers of a measurement: one process that answers on every address of 127.0.0.0/8, and a count of what it did.

Plain HTTP and TCP are bench/native/targets.c, which answers as nginx does and costs little; TLS is the real nginx.
"""

from __future__ import annotations

import ipaddress
import mmap
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from bench.accounting import Tree, compiled, lab_environment, program

FIRST_ADDRESS = ipaddress.IPv4Address("127.1.0.0")
CERTIFICATE = Path(__file__).resolve().parents[1] / "tests/fakes/certificates/good.pem"
BODY = "x" * 1024


@dataclass(frozen=True, slots=True)
class Count:
    """What was served so far."""

    connections: int
    requests: int


class Targets:
    """The servers at `port` of `addresses(count)`."""

    port: int

    def count(self) -> Count:
        """Return what was served so far."""
        raise NotImplementedError


def addresses(count: int) -> list[str]:
    """Return `count` loopback addresses."""
    return [str(FIRST_ADDRESS + number) for number in range(count)]


class Native(Targets):
    """bench/native/targets.c. Killed, all its ports are closed at once."""

    port = 0

    def __init__(self, folder: Path, *, distinct: bool) -> None:
        counters = folder / "counters"
        counters.write_bytes(bytes(16))
        self._command = [str(compiled("targets.c")), str(counters), str(int(distinct))]
        self.start()
        with counters.open("rb") as file:
            self._counters = mmap.mmap(file.fileno(), 16, prot=mmap.PROT_READ)

    def start(self) -> None:
        """Serve, at the same port as before if there was one."""
        self.process = subprocess.Popen([*self._command, str(self.port)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def count(self) -> Count:
        """Return what was served so far."""
        return Count(*struct.unpack("QQ", self._counters[:16]))


@contextmanager
def native(folder: Path, *, distinct: bool) -> Iterator[Targets]:
    """Serve plain HTTP; `distinct`: each address has an ETag and a Last-Modified of its own."""
    targets = Native(folder, distinct=distinct)
    try:
        yield targets
    finally:
        targets.process.kill()
        targets.process.wait()


class _Nginx(Targets):
    def __init__(self, folder: Path, *, tls: bool) -> None:
        self.port, self._status_port = free_port(), free_port()
        file = folder / "nginx.conf"
        file.write_text(_NGINX.format(
            folder=folder, body=BODY, port=self.port, status=self._status_port, tls="ssl" if tls else "", certificate=CERTIFICATE
        ))  # fmt: skip
        self.tree = Tree([program("nginx"), "-c", str(file), "-p", str(folder)], lab_environment())
        until = time.monotonic() + 10
        while True:
            try:
                self.count()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                break
        self._asked = 0

    def count(self) -> Count:
        with urlopen(f"http://127.0.0.1:{self._status_port}/", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(r"^ (\d+) (\d+) (\d+)", text, re.MULTILINE)
        assert found is not None
        self._asked = getattr(self, "_asked", 0) + 1
        return Count(int(found[1]) - self._asked, int(found[3]) - self._asked)


_NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 60000;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 50000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000;
  server {{
    listen 0.0.0.0:{port} backlog=8192 {tls};
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    location / {{ return 200 {body}; }}
  }}
  server {{
    listen 127.0.0.1:{status};
    location / {{ stub_status; }}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, *, tls: bool = True) -> Iterator[Targets]:
    """Serve by the real nginx."""
    targets = _Nginx(folder, tls=tls)
    with targets.tree:
        yield targets


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])
