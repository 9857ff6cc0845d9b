from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.jobs import JobBook, definition, ranking
from supervisor.core.quorum import quorate
from supervisor.core.restart import FIRST_S, LONGEST_S, STEADY_S, RestartPolicy
from supervisor.core.rules import rules
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Destination,
    Op,
    Service,
    ServiceSettings,
    Table,
    TableError,
    apply,
)
from supervisor.model import (
    AddressKey,
    Endpoint,
    Forwarding,
    FwmarkKey,
    Method,
    Protocol,
    TunnelChecksum,
    TunnelType,
)
from tests.supervisor.core.builders import KEY, check, config, endpoint, real_server, virtual_server


@given(st.integers(0, 100), st.integers(1, 50), st.integers(0, 49))
def test_a_quorum_never_holds_without_weight_and_gaining_is_harder_than_keeping(
    up: int, quorum: int, margin: int
) -> None:
    margin = min(margin, quorum - 1)
    if quorate(was=False, weight_up=up, quorum=quorum, hysteresis=margin):
        assert quorate(was=True, weight_up=up, quorum=quorum, hysteresis=margin)
    assert not quorate(was=True, weight_up=0, quorum=quorum, hysteresis=margin)


def test_a_child_that_keeps_dying_waits_longer_and_one_that_proved_itself_starts_afresh() -> None:
    policy = RestartPolicy()
    assert [policy.exited(0.1) for _ in range(3)] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert [policy.exited(0.1) for _ in range(20)][-1] == LONGEST_S
    assert policy.exited(STEADY_S) == FIRST_S
    assert policy.restarts == 24


def test_jobs_keep_their_numbers_over_a_reload_and_none_is_given_twice() -> None:
    book = JobBook()
    book.update(config(virtual_server(real_server(21), real_server(22))))
    first = dict(book.jobs)
    book.update(config(virtual_server(real_server(22), real_server(23))))
    assert book.jobs[check(endpoint(22))] == first[check(endpoint(22))]
    assert book.jobs[check(endpoint(23))] not in first.values()


def test_when_a_worker_is_added_only_jobs_for_it_move() -> None:
    checks = [check(endpoint(n), path=f"/{m}") for n in range(20, 60) for m in range(5)]
    moved = [spec for spec in checks if ranking(spec, 3)[0] != ranking(spec, 4)[0]]
    assert moved
    assert all(ranking(spec, 4)[0] == 3 for spec in moved)
    assert {ranking(spec, 4)[0] for spec in checks} == {0, 1, 2, 3}
    assert definition(checks[0]) != definition(checks[1])


SERVICE = AddService(KEY, ServiceSettings("rr"))
SERVER = AddDestination(KEY, Destination(endpoint(21), 1))


@pytest.mark.parametrize(
    ("before", "op", "word"),
    [
        ((SERVICE,), SERVICE, "EEXIST"),
        ((SERVICE, SERVER), SERVER, "EEXIST"),
        ((), SERVER, "ESRCH"),
        ((), ChangeService(KEY, ServiceSettings("rr")), "ESRCH"),
        ((), DeleteService(KEY), "ESRCH"),
        ((), DeleteDestination(KEY, endpoint(21)), "ESRCH"),
        ((SERVICE,), DeleteDestination(KEY, endpoint(21)), "ENOENT"),
        ((SERVICE,), ChangeDestination(KEY, Destination(endpoint(21), 1)), "ENOENT"),
    ],
)
def test_an_operation_that_does_not_fit_the_table_is_refused_with_the_kernels_errno(
    before: tuple[Op, ...], op: Op, word: str
) -> None:
    table = Table()
    for earlier in before:
        table = apply(table, earlier)
    with pytest.raises(TableError) as caught:
        apply(table, op)
    assert caught.value.word == word


def test_operations_do_what_they_say() -> None:
    table = apply(apply(Table(), SERVICE), SERVER)
    table = apply(table, ChangeDestination(KEY, Destination(endpoint(21), 0)))
    table = apply(table, ChangeService(KEY, ServiceSettings("wrr")))
    assert table.services[KEY].settings.scheduler == "wrr"
    assert table.services[KEY].destinations[endpoint(21)].weight == 0
    assert apply(table, DeleteDestination(KEY, endpoint(21))).services[KEY].destinations == {}
    assert apply(table, DeleteService(KEY)).services == {}


def test_rules_are_written_and_sorted_as_ipvsadm_saves_them() -> None:
    """Every line was compared with what ipvsadm 1.31 printed for such a table."""
    tunnels = {
        5: Method(Forwarding.TUN, TunnelType.GUE, 5555),
        6: Method(Forwarding.TUN, TunnelType.GUE, 5555, TunnelChecksum.REMCSUM),
        8: Method(Forwarding.TUN, TunnelType.GRE, 0, TunnelChecksum.CSUM),
        9: Method(Forwarding.TUN),
    }

    def service(key: AddressKey | FwmarkKey, settings: ServiceSettings, *destinations: Destination) -> Service:
        return Service(key, settings, {d.endpoint: d for d in destinations})

    def there(text: str, port: int) -> Endpoint:
        return Endpoint(ip_address(text), port)

    def key(protocol: Protocol, text: str, port: int) -> AddressKey:
        return AddressKey(protocol, there(text, port))

    services = [
        service(
            FwmarkKey(4, 5),
            ServiceSettings("rr", 0x1, 50),
            *(Destination(there(f"10.0.0.{n}", 0), 1, m) for n, m in tunnels.items()),
        ),
        service(FwmarkKey(6, 6), ServiceSettings("rr", 0x1, 50, 64)),
        service(
            key(Protocol.TCP, "fd00::9", 81), ServiceSettings("rr", 0, 0, 128), Destination(there("fd00::1", 81), 1)
        ),
        service(key(Protocol.SCTP, "1.2.3.4", 99), ServiceSettings("rr")),
        service(key(Protocol.UDP, "1.2.3.4", 54), ServiceSettings("sh", 0x18)),
        service(
            key(Protocol.UDP, "1.2.3.4", 53),
            ServiceSettings("wlc", 0x4),
            Destination(there("10.0.0.1", 53), 0, Method(Forwarding.DR)),
        ),
        service(key(Protocol.TCP, "1.2.3.4", 5060), ServiceSettings("rr", 0x1, 30, 32, "sip")),
        service(
            key(Protocol.TCP, "1.2.3.4", 80),
            ServiceSettings("rr"),
            Destination(there("10.0.0.2", 8080), 3),
            Destination(there("10.0.0.1", 80), 1),
        ),
        service(key(Protocol.TCP, "1.2.3.4", 55), ServiceSettings("mh", 0x11, 360, 24)),
    ]
    assert (
        rules(Table({s.key: s for s in services}))
        == """\
-A -t 1.2.3.4:55 -s mh -p 360 -M 255.255.255.0 -b mh-port
-A -t 1.2.3.4:80 -s rr
-a -t 1.2.3.4:80 -r 10.0.0.1:80 -m -w 1
-a -t 1.2.3.4:80 -r 10.0.0.2:8080 -m -w 3
-A -t 1.2.3.4:5060 -s rr -p 30 --pe sip
-A -u 1.2.3.4:53 -s wlc -o
-a -u 1.2.3.4:53 -r 10.0.0.1:53 -g -w 0
-A -u 1.2.3.4:54 -s sh -b sh-fallback,sh-port
-A --sctp-service 1.2.3.4:99 -s rr
-A -t [fd00::9]:81 -s rr
-a -t [fd00::9]:81 -r [fd00::1]:81 -m -w 1
-A -f 5 -s rr -p 50
-a -f 5 -r 10.0.0.5:0 -i -w 1 --tun-type gue --tun-port 5555 --tun-nocsum
-a -f 5 -r 10.0.0.6:0 -i -w 1 --tun-type gue --tun-port 5555 --tun-remcsum
-a -f 5 -r 10.0.0.8:0 -i -w 1 --tun-type gre --tun-csum
-a -f 5 -r 10.0.0.9:0 -i -w 1 --tun-type ipip
-A -f 6 -6 -s rr -p 50 -M 64
"""
    )
