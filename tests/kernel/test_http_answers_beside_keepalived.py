"""One scripted server for each answer of the table, and Debian's keepalived and we look at them at the same time.

Who is up can be read from the kernel's table: with inhibit_on_failure a server that is down has weight 0. Each program has its own
network and its own copies of the servers.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkers.kit.options import Json
from tests.checkers.answers import ANSWERS, LIMIT_S, Answer
from tests.fakes.behaviours import End, Mirror, Pause, Reset, Send
from tests.kernel.daemon import Daemon
from tests.kernel.lab import Lab, inside, wait_until

ADDRESS, FIRST_PORT = "192.168.100.20", 9000
SETTLED_WITHIN_S = 25
GRACE_S = 1.0
"""So long after the end of the last connection both have written what they think of it."""


def port_of(answer: Answer) -> int:
    return FIRST_PORT + ANSWERS.index(answer)


def _line(name: str, value: Json) -> str:
    match value:
        case True:
            return name
        case [[int(low), int(high)]]:
            return f"{name} {low}-{high}"
        case list():
            return f"{name} {' '.join(map(str, value))}"
        case _:
            return f'{name} "{value}"' if name == "regex" else f"{name} {value}"


def configuration() -> str:
    """The file that both read."""
    blocks = []
    for answer in ANSWERS:
        lines = "\n".join(_line(name, value) for name, value in answer.url.items())
        blocks.append(
            f"real_server {ADDRESS} {port_of(answer)} {{\nweight 1\ninhibit_on_failure\n"
            f"HTTP_GET {{\nconnect_timeout {LIMIT_S:g}\nwarmup 0\nhttp_protocol {answer.protocol}\n"
            f"url {{\npath /\n{lines}\n}}\n}}\n}}"
        )
    start = "virtual_server 203.0.113.100 80 {\ndelay_loop 60\nlvs_sched rr\nlvs_method NAT\nprotocol TCP"
    return "\n".join([start, *blocks, "}", ""])


class ScriptedServers:
    """All servers of the table in one network namespace, a thread each. `left` are those nobody has finished with yet."""

    def __init__(self, namespace: str) -> None:
        self._listeners = inside(namespace, lambda: [_listener(port_of(answer)) for answer in ANSWERS])
        self.left = {answer.name for answer in ANSWERS}
        for answer, listener in zip(ANSWERS, self._listeners, strict=True):
            threading.Thread(target=self._serve, args=(answer, listener), daemon=True).start()

    def _serve(self, answer: Answer, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                _play(answer, client)
            self.left.discard(answer.name)

    def close(self) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _listener(port: int) -> socket.socket:
    return socket.create_server((ADDRESS, port))


def _play(answer: Answer, client: socket.socket) -> None:
    """Wait for a request and answer it. Raises OSError when the client has had enough."""
    asked = b""
    while b"\r\n\r\n" not in asked:
        more = client.recv(4096)
        if not more:
            return
        asked += more
    for step in answer.steps:
        match step:
            case Send():
                client.sendall(step.data)
            case Pause():
                client.settimeout(None if math.isinf(step.duration_s) else step.duration_s)
                with contextlib.suppress(TimeoutError):
                    client.recv(4096)  # returns when the client goes
                client.settimeout(None)
            case Reset():
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case End() | Mirror():
                return


@pytest.fixture(scope="module")
def verdicts(directory: Path) -> Iterator[tuple[dict[str, bool], dict[str, bool]]]:
    """Who is up by name of the answer, according to us and to keepalived."""
    path = directory / "answers.conf"
    path.write_text(configuration())
    for name in ("ours", "theirs"):
        (directory / name).mkdir()
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Lab(directory / "ours", "our-"))
        theirs = stack.enter_context(Lab(directory / "theirs", "their-"))
        servers = [ScriptedServers(f"{prefix}rs20") for prefix in ("our-", "their-")]
        for some in servers:
            stack.callback(some.close)
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--log-detail", "--check", "-f", str(path), *pids]
        keepalived = theirs.start(theirs.director, command, "keepalived.log")
        stack.callback(theirs.stop, keepalived)
        daemon = Daemon(ours, path)
        stack.callback(daemon.stop)
        for which, some in zip(("vipervisor", "keepalived"), servers, strict=True):
            try:
                wait_until(f"{which} has asked everybody", lambda some=some: not some.left, SETTLED_WITHIN_S)  # type: ignore[misc]
            except TimeoutError as error:
                error.add_note(f"not yet: {some.left}")
                raise
        time.sleep(GRACE_S)
        yield told_by(ours), told_by(theirs)


def told_by(lab: Lab) -> dict[str, bool]:
    weights = lab.table.weights()
    return {answer.name: weights[f"{ADDRESS}:{port_of(answer)}"] > 0 for answer in ANSWERS}


def test_keepalived_says_of_every_answer_what_the_table_has(verdicts: tuple[dict[str, bool], dict[str, bool]]) -> None:
    assert verdicts[1] == {answer.name: answer.keepalived for answer in ANSWERS}


def test_we_say_the_same_or_the_difference_has_a_name(verdicts: tuple[dict[str, bool], dict[str, bool]]) -> None:
    assert verdicts[0] == {answer.name: answer.ours for answer in ANSWERS}
    differing = {name for name in verdicts[0] if verdicts[0][name] is not verdicts[1][name]}
    assert differing == {answer.name for answer in ANSWERS if answer.difference}
