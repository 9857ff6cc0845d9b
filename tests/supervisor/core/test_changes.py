"""What a new file changes, by name and in the kernel, before it does."""

from __future__ import annotations

from dataclasses import replace

from supervisor.core.changes import Changes, compare, foresee, retain
from supervisor.core.events import KernelRead, Overridden
from supervisor.core.override import AdminState, Override
from supervisor.core.table import AddDestination, ChangeDestination, DeleteService, Reading
from supervisor.model import VirtualServer
from tests.supervisor.core.builders import KEY, config, endpoint, real_server, report, started, virtual_server, weights


def pool(*servers: int, weight: int = 1, drain_timeout: float = 300.0) -> VirtualServer:
    return virtual_server(*(real_server(last, weight=weight) for last in servers), drain_timeout=drain_timeout)


def test_a_file_without_a_change_changes_nothing() -> None:
    changes = compare(
        config(pool(21, 22)), replace(config(pool(21, 22)), digest="other", source="elsewhere", text=b"!")
    )
    assert changes == Changes()
    assert not changes


def test_what_a_new_file_says_as_the_old_one_did_is_the_old_objects() -> None:
    old, same = config(pool(21, 22)), config(pool(21, 22))
    kept = retain(old, replace(same, router_id="lb1"))
    assert kept.virtual_servers is old.virtual_servers
    assert kept.router_id == "lb1"
    assert kept.scripts is old.scripts
    assert kept.scripts is not same.scripts
    other = config(pool(22, 23), pool(21, weight=5))
    for new in (config(pool(22, 21, 23)), config(pool(21, weight=5)), config(), other):
        kept = retain(old, new)
        assert kept == new
        before = {server.endpoint: server for server in old.virtual_servers[0].real_servers}
        for server in (server for vs in kept.virtual_servers for server in vs.real_servers):
            same_as_before = before.get(server.endpoint)
            assert server is same_as_before or server != same_as_before


def test_changes_are_named() -> None:
    changes = compare(config(pool(21, 22, 23)), replace(config(pool(21, 24, 22, weight=5)), router_id="lb1"))
    assert changes == Changes(
        virtual_servers_changed=(KEY,),
        real_servers_added=((KEY, endpoint(24)),),
        real_servers_removed=((KEY, endpoint(23)),),
        real_servers_changed=((KEY, endpoint(21)), (KEY, endpoint(22))),
        settings=("router_id",),
    )


def test_a_virtual_server_that_goes_takes_its_real_servers_along() -> None:
    changes = compare(config(pool(21, 22)), config())
    assert changes.virtual_servers_removed == (KEY,)
    assert changes.real_servers_removed == ((KEY, endpoint(21)), (KEY, endpoint(22)))


def test_foresight_is_just_what_the_reload_then_does() -> None:
    director = started(config(pool(21, 22, 23)))
    report(director, 22, up=False)
    director.handle(Overridden(((KEY, endpoint(23)),), Override(AdminState.DRAINING)), 5.0)
    director.handle(KernelRead(Reading(director.desired()), agrees=True), 6.0)
    before, stood = director.desired(), weights(director)
    new = config(pool(22, 23, 24))
    ahead = foresee(director, new, {KEY}, 10.0)
    assert (director.desired() is before, weights(director)) == (True, stood), "nothing happened yet"
    director.reconfigure(new, 10.0)
    assert weights(director) == {21: 0, 23: 0, 24: 1}
    kinds = {(type(op), getattr(op, "destination").endpoint) for op in ahead.operations}  # noqa: B009  of two kinds
    assert kinds == {(AddDestination, endpoint(24)), (ChangeDestination, endpoint(21))}


def test_foresight_of_an_empty_table_of_ours_is_that_the_service_goes() -> None:
    director = started(config(pool(21, drain_timeout=0)))
    director.handle(KernelRead(Reading(director.desired()), agrees=True), 6.0)
    assert foresee(director, config(), {KEY}, 10.0).operations == (DeleteService(KEY),)


def test_a_copy_of_the_director_goes_its_own_way() -> None:
    director = started(config(pool(21, 22)))
    copy = director.fork()
    report(copy, 21, up=False)
    assert (weights(copy), weights(director)) == ({22: 1}, {21: 1, 22: 1})
    report(director, 22, up=False)
    assert (weights(copy), weights(director)) == ({22: 1}, {21: 1})
