"""The deliberate differences to keepalived in what a check makes of an answer; each test has the name of a row of docs/differences.md.

That keepalived is as the page says is seen beside it, in tests/kernel/test_answers_beside_keepalived.py.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from random import Random

import pytest
import trio
from trio.testing import MockClock

from checkers import file, misc, ping, smtp, tcp, udp
from checkers.kit.api import Answer, Ending, Reason, Target, Verdict
from checkers.kit.dial import Network
from checkers.kit.options import Json
from checkers.kit.schedule import CheckState
from checkers.kit.sockets import open_socket
from checkers.kit.timer import Timer
from supervisor.children.translation import job_of
from supervisor.core.events import Health
from supervisor.model import CheckSpec
from tests.fakes.behaviours import Behaviour, Echo, Pause, Send
from tests.fakes.favours import ScriptedFavours
from tests.fakes.mail import mail_server, says
from tests.fakes.names import datagrams
from tests.fakes.network import FakeNetwork
from tests.supervisor.config.written import config_of, outcome_of, real_server, virtual_server

SERVER = Target("192.0.2.10", 25)
LIMIT_S = 3.0


def smtp_verdict(server: Behaviour) -> tuple[Verdict, float]:
    """Return the verdict on a mail server and how long it took."""

    async def main() -> tuple[Verdict, float]:
        network = FakeNetwork()
        network.server(SERVER.address, SERVER.port).behaviour = server
        begun = trio.current_time()
        verdict = await smtp.check(SERVER, smtp.prepare({}), network.dialer(LIMIT_S))
        return verdict, trio.current_time() - begun

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def udp_probe(server: Behaviour, **options: Json) -> tuple[Verdict, list[bytes]]:
    """Return the verdict on a server of datagrams and what it was sent."""

    async def main() -> tuple[Verdict, list[bytes]]:
        network = FakeNetwork()
        fake = network.udp_server(SERVER.address, SERVER.port, server)
        verdict = await udp.check(SERVER, udp.prepare(options), network.dialer(LIMIT_S))
        return verdict, [asked.data for asked in fake.requests]

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def checks_of(*lines: str) -> list[CheckSpec]:
    return [
        check
        for server in config_of(virtual_server(real_server(*lines))).virtual_servers[0].real_servers
        for check in server.checks
    ]


@pytest.mark.parametrize(
    "server",
    [
        mail_server(greeting=says(b"220-mail\r\n220 ESMTP\r\n")),
        mail_server(greeting=says(b"220\r\n")),
        mail_server(helo=says(b"250-mail\r\n250 SIZE 1000\r\n")),
        mail_server(greeting=says(b"220 " + b"x" * 600 + b"\r\n")),
    ],
    ids=["greeting of several lines", "greeting without a text", "HELO answered in several lines", "long line"],
)
def test_difference_smtp_replies_read_in_full(server: Behaviour) -> None:
    assert smtp_verdict(server)[0].reason is Reason.L7OK


def test_difference_deadline_is_absolute() -> None:
    drip = tuple(step for octet in b"220 mail\r\n" for step in (Send(bytes([octet])), Pause(LIMIT_S / 5)))
    verdict, took_s = smtp_verdict(mail_server(greeting=drip))
    assert verdict.reason is Reason.L7TOUT
    assert took_s == pytest.approx(LIMIT_S)


def test_difference_smtp_one_attempt_each_loop() -> None:
    (spec,) = checks_of("SMTP_CHECK {", "retry 3", "delay_before_retry 1", "delay_loop 10", "}")
    state = CheckState(job_of(spec, 1, Health.DOWN))
    state.start(0.0, Random(1))
    failed = Verdict(Reason.L4CON)
    assert [state.record(failed, now).due for now in (0.0, 10.0, 20.0)] == [10.0, 20.0, 30.0]


@pytest.mark.parametrize(("reply", "pattern"), [(b"a", "6162"), (b"", "6162"), (b"", "xx")])
def test_difference_udp_reply_shorter_than_pattern(reply: bytes, pattern: str) -> None:
    verdict, _ = udp_probe(datagrams("", Send(reply)), require_reply=pattern)
    assert verdict.reason is Reason.L7BODY


def test_difference_udp_default_payload() -> None:
    _, sent = udp_probe(datagrams("", Send(b"ok")))
    assert sent == [b"vipervisor check vipervisor chec"]


def test_difference_udp_bind_if() -> None:
    (spec,) = checks_of("UDP_CHECK {", "bind_if lo", "}")
    sock = open_socket(job_of(spec, 1, Health.UP).target, socket.SOCK_DGRAM)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    sock.close()


def test_difference_ping_marks_and_binds() -> None:
    (spec,) = checks_of("PING_CHECK {", "fwmark 7", "bindto 192.0.2.9", "bind_if eth1", "}")
    target = job_of(spec, 1, Health.UP).target
    assert (target.mark, target.bind_address, target.bind_interface) == (7, "192.0.2.9", "eth1")
    assert spec.bind_address == ip_address("192.0.2.9")


def test_difference_ping_payload_is_random() -> None:
    async def main() -> list[bytes]:
        network = FakeNetwork()
        host = network.echo_server(SERVER.address, Behaviour("host", answer=(Echo(),), udp=True))
        for _ in range(2):
            await ping.check(SERVER, None, network.dialer(LIMIT_S))
        return [asked.data[8:] for asked in host.requests]

    first, second = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(first) == len(second) == 128
    assert first != second


def test_difference_file_is_also_read_every_second() -> None:
    text = "track_file load {\nfile /nowhere/load\n}\n"
    config = config_of(text + virtual_server(real_server("FILE_CHECK {", "track_file load", "}")))
    (spec,) = config.virtual_servers[0].real_servers[0].checks
    assert (spec.schedule.delay_loop, spec.schedule.warmup, spec.schedule.retry) == (1.0, 0.0, 0)


@pytest.mark.parametrize(("value", "factor"), [("2147483647", 2), ("600000000", 254), ("2147483647", 254)])
def test_difference_file_weights_are_bounded(value: str, factor: int) -> None:
    async def main() -> Verdict:
        dial = FakeNetwork().dialer(LIMIT_S, ScriptedFavours(Answer(Ending.DONE, text=value)))
        return await file.check(SERVER, file.prepare({"path": "/run/load", "factor": factor}), dial)

    verdict = trio.run(main)
    assert verdict.ok
    assert verdict.weight == 2**31 - 1


def test_difference_misc_script_that_cannot_run_fails() -> None:
    outcome = outcome_of(virtual_server(real_server("MISC_CHECK {", "misc_path /nowhere/script", "}")))
    assert outcome.config is not None
    assert len(outcome.config.virtual_servers[0].real_servers[0].checks) == 1  # keepalived gives the check up
    assert any("each run will fail" in problem.message for problem in outcome.problems)

    async def main() -> Verdict:
        dial = FakeNetwork().dialer(LIMIT_S, ScriptedFavours(Answer(Ending.FAILED, text="no such file")))
        return await misc.check(SERVER, misc.prepare({"argv": ["/nowhere/script"]}), dial)

    assert trio.run(main) == Verdict(Reason.PROCERR, "no such file", sent="/nowhere/script")


def test_difference_bind_port_probes_every_loop() -> None:
    async def main() -> list[Reason]:
        timer = Timer()
        network = Network(timer)
        listening = socket.create_server(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        target = Target("127.0.0.1", listening.getsockname()[1], bind_address="127.0.0.1", bind_port=port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            nursery.start_soon(network.run)
            reasons = [(await tcp.check(target, None, network.dialer(LIMIT_S))).reason for _ in range(5)]
            nursery.cancel_scope.cancel()
        listening.close()
        return reasons

    assert trio.run(main) == [Reason.L4OK] * 5
