"""What a new configuration edits of what stays, in the words of the file."""

from __future__ import annotations

from dataclasses import replace

from supervisor.core import edits
from supervisor.core.changes import compare
from supervisor.model import CheckSpec, MinHealthy, MinHealthyUnit, RealServer, VirtualServer
from tests.supervisor.core.builders import config, endpoint, real_server, virtual_server


def said(before: VirtualServer, after: VirtualServer) -> list[str]:
    """Return the edits as "where: what"; the virtual server itself has no name."""
    found = compare(config(before), config(after)).edits
    return [f"{','.join(map(str, edit.real_servers))}: {edit.text}".removeprefix(": ") for edit in found]


def with_check(server: RealServer, *checks: CheckSpec) -> RealServer:
    return replace(server, checks=checks)


def test_a_virtual_server_says_what_is_set_otherwise() -> None:
    before = virtual_server(real_server(1))
    half = MinHealthy(MinHealthyUnit.PERCENT, 50)
    after = replace(before, quorum=before.quorum + 1, scheduler="sh", one_packet=True, min_healthy=half)
    assert said(before, after) == [
        f"lvs_sched {before.scheduler} → sh",
        "ops off → on",
        f"quorum {before.quorum} → {before.quorum + 1}",
        "min_healthy none → 50%",
    ]


def test_real_servers_that_are_edited_alike_are_told_of_together() -> None:
    servers = real_server(1), real_server(2), real_server(3)
    before = virtual_server(*servers)
    after = virtual_server(*(replace(server, weight=7) for server in servers[:2]), servers[2])
    assert said(before, after) == [f"{endpoint(1)},{endpoint(2)}: weight 1 → 7"]


def test_checks_say_when_they_run_otherwise_and_that_their_options_changed_but_never_how() -> None:
    server = real_server(1)
    (check,) = server.checks
    slower = replace(check, schedule=replace(check.schedule, delay_loop=60.0, fast_interval=0.5))
    secret = replace(slower, options_json='{"path":"/?token=s3cret"}')
    where = str(endpoint(1))
    assert said(virtual_server(server), virtual_server(with_check(server, secret))) == [
        f"{where}: {check.type}: delay_loop {check.schedule.delay_loop:g} → 60, fast_interval none → 0.5, path is another",
    ]


def test_checks_that_come_and_go_are_named() -> None:
    server = real_server(1)
    (check,) = server.checks
    other = replace(check, type="PING_CHECK")
    elsewhere = replace(check, target=endpoint(9))
    where = str(endpoint(1))
    assert said(virtual_server(server), virtual_server(with_check(server, other, elsewhere, elsewhere))) == [
        f"{where}: PING_CHECK is new",
        f"{where}: {check.type} of {endpoint(9)} is new",
        f"{where}: {check.type} of {endpoint(9)} #2 is new",
        f"{where}: {check.type} goes",
    ]


def test_what_is_looked_at_is_bounded_and_the_rest_is_counted() -> None:
    servers = [real_server(number) for number in range(1, 5)]
    before, after = virtual_server(*servers), virtual_server(*(replace(server, weight=2) for server in servers))
    bound, edits.SERVERS_MAX = edits.SERVERS_MAX, 3
    try:
        found = compare(config(before), config(after))
    finally:
        edits.SERVERS_MAX = bound
    assert (len(found.edits[0].real_servers), found.edits_untold) == (3, 1)
