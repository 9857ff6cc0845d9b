"""Every checker type and every way a server misbehaves: a verdict of the closed set, in time, and nothing left open."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from checkers.kit.api import TYPES, CheckerType, Dialer, ProbeError, Reason, Target, Verdict, load
from checkers.kit.options import Json
from tests.checkers.behaviours import CASES, LIMIT_S, Case
from tests.checkers.glancing import verdict_with_a_glance
from tests.fakes.behaviours import no_descriptor, unreachable
from tests.fakes.network import FakeNetwork


async def verdict_of(checker: CheckerType, options: dict[str, Json], target: Target, dial: Dialer) -> Verdict:
    """Probe once, as the kit does."""
    try:
        return await checker.check(target, checker.prepare(options), dial)
    except ProbeError as error:
        return Verdict(error.reason, str(error))
    finally:
        dial.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_checker_type_gives_the_wanted_verdict_within_its_deadline(case: Case) -> None:
    async def main() -> None:
        network = FakeNetwork()
        target = Target("192.168.100.20", 80)
        if case.behaviour.udp:
            server = network.udp_server(target.address, target.port, case.behaviour)
        else:
            server = network.server(target.address, target.port)
            server.behaviour = case.behaviour
        for keyword, options, wanted in case.flavours:
            start = trio.current_time()
            verdict = await verdict_of(load(keyword), options, target, network.dialer(LIMIT_S))
            assert verdict.reason is wanted, (keyword, verdict)
            assert verdict.detail
            assert trio.current_time() - start <= LIMIT_S + 1e-6
            assert server.open == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("acquainted", [False, True])
@pytest.mark.parametrize("case", [case for case in CASES if not case.behaviour.udp], ids=str)
def test_a_glance_changes_no_verdict(case: Case, acquainted: bool) -> None:
    async def main() -> None:
        network = FakeNetwork()
        target = Target("192.168.100.20", 80)
        server = network.server(target.address, target.port)
        server.behaviour = case.behaviour
        for keyword, options, wanted in case.flavours:
            dial = network.dialer(LIMIT_S)
            verdict = await verdict_with_a_glance(load(keyword), options, target, dial, acquainted=acquainted)
            assert verdict.reason is wanted, (keyword, verdict)
            assert verdict.detail
            assert server.open == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_suite_knows_every_checker_type() -> None:
    elsewhere = {
        "PING_CHECK",
        "MISC_CHECK",
        "FILE_CHECK",
    }  # no port to misbehave: test_ping.py, test_misc.py, test_file.py
    assert {keyword for case in CASES for keyword, _, _ in case.flavours} | elsewhere == set(TYPES)


def test_trouble_of_our_own_and_of_the_network_is_told_apart() -> None:
    async def main() -> None:
        network = FakeNetwork()
        target = Target("192.168.100.20", 80)
        server = network.server(target.address, target.port)
        for behaviour, wanted in ((no_descriptor(), Reason.LOCAL), (unreachable(), Reason.L4CON)):
            server.behaviour = behaviour
            verdict = await verdict_of(load("TCP_CHECK"), {}, target, network.dialer(LIMIT_S))
            assert verdict.reason is wanted
            network.udp_servers.clear()
            network.udp_server(target.address, target.port, behaviour)
            for keyword in ("DNS_CHECK", "UDP_CHECK"):
                assert (await verdict_of(load(keyword), {}, target, network.dialer(LIMIT_S))).reason is wanted
        nobody = Target("192.168.100.99", 80)
        for keyword in ("TCP_CHECK", "DNS_CHECK", "UDP_CHECK"):
            assert (await verdict_of(load(keyword), {}, nobody, network.dialer(LIMIT_S))).reason is Reason.L4CON

    trio.run(main, clock=MockClock(autojump_threshold=0))
