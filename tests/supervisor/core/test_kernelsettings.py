from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.kernelsettings import (
    Change,
    Held,
    KernelState,
    SetTimeouts,
    StartSync,
    StopSync,
    changes,
    happened,
    held_after,
)
from supervisor.ipvs.memory import MemoryBackend
from supervisor.model import KernelSettings, SyncDaemon, SyncRole, Timeouts

FOUND = Timeouts(900, 120, 300)
MASTER, BACKUP = SyncDaemon(SyncRole.MASTER, "eth0", 7), SyncDaemon(SyncRole.BACKUP, "eth0", 7)
LONG = SyncDaemon(SyncRole.BACKUP, "eth0", 7, max_length=1000)
NOTHING = KernelSettings()


def timeouts(tcp: int = 0, tcp_fin: int = 0, udp: int = 0) -> KernelSettings:
    return KernelSettings(timeouts=Timeouts(tcp, tcp_fin, udp))


def daemons(*wanted: SyncDaemon) -> KernelSettings:
    return KernelSettings(sync_daemons=wanted)


class World:
    """A kernel whose settings follow the changes, and what is ours of them."""

    def __init__(self, *found: SyncDaemon) -> None:
        self.kernel = MemoryBackend()
        self.kernel.sync_daemons = {daemon.role: daemon for daemon in found}
        self.held = Held()

    def want(self, wanted: KernelSettings, refuse: Collection[type[Change]] = ()) -> list[Change]:
        found = self.kernel.settings()
        steps = changes(wanted, self.held, found)
        failed = [change for change in steps if type(change) in refuse or self.kernel.adjust(change)]
        self.held = held_after(wanted, self.held, found, failed)
        return steps

    @property
    def state(self) -> KernelState:
        return self.kernel.settings()


def test_nothing_wanted_and_nothing_held_is_nothing_to_do() -> None:
    assert World(MASTER).want(NOTHING) == []


def test_only_the_time_outs_that_are_named_are_set() -> None:
    world = World()
    assert world.want(timeouts(tcp=1000, udp=77)) == [SetTimeouts(Timeouts(1000, 0, 77))]
    assert world.state.timeouts == Timeouts(1000, 120, 77)


def test_a_time_out_that_is_right_already_is_not_set_again() -> None:
    world = World()
    assert world.want(timeouts(tcp=900, udp=77)) == [SetTimeouts(Timeouts(0, 0, 77))]
    assert world.want(timeouts(tcp=900, udp=77)) == []


def test_a_time_out_that_leaves_the_file_gets_the_value_that_was_found() -> None:
    world = World()
    world.want(timeouts(tcp=1000, udp=77))
    world.want(timeouts(tcp=1001))
    assert world.state.timeouts == Timeouts(1001, 120, 300)
    world.want(NOTHING)
    assert world.state.timeouts == FOUND


def test_a_time_out_that_is_not_ours_is_left_as_somebody_else_set_it() -> None:
    world = World()
    world.want(timeouts(udp=77))
    world.kernel.adjust(SetTimeouts(Timeouts(tcp=1234)))
    world.want(NOTHING)
    assert world.state.timeouts == Timeouts(1234, 120, 300)


def test_time_outs_that_were_refused_are_still_as_they_were_found() -> None:
    world = World()
    world.want(timeouts(tcp=1000), refuse=[SetTimeouts])
    assert world.held == Held()
    world.want(timeouts(tcp=1000))
    world.want(NOTHING, refuse=[SetTimeouts])
    world.want(NOTHING)
    assert world.state.timeouts == FOUND


def test_sync_daemons_are_started_and_stopped() -> None:
    world = World()
    assert world.want(daemons(MASTER, BACKUP)) == [StartSync(MASTER), StartSync(BACKUP)]
    assert world.want(daemons(MASTER)) == [StopSync(SyncRole.BACKUP)]
    assert world.want(NOTHING) == [StopSync(SyncRole.MASTER)]
    assert world.state.sync_daemons == ()


def test_a_sync_daemon_with_other_values_is_started_anew_the_old_one_first() -> None:
    world = World()
    world.want(daemons(MASTER))
    other = SyncDaemon(SyncRole.MASTER, "eth1", 7)
    assert world.want(daemons(other)) == [StopSync(SyncRole.MASTER), StartSync(other)]


def test_a_sync_daemon_that_a_crash_left_is_taken_over_and_stopped_at_the_end() -> None:
    world = World(SyncDaemon(SyncRole.MASTER, "eth0", 7, max_length=1472))
    assert world.want(daemons(MASTER)) == []
    assert world.want(NOTHING) == [StopSync(SyncRole.MASTER)]


def test_a_strangers_sync_daemon_is_replaced_where_we_want_its_role_and_else_left_alone() -> None:
    world = World(SyncDaemon(SyncRole.MASTER, "eth0", 42), SyncDaemon(SyncRole.BACKUP, "eth0", 42))
    assert world.want(daemons(MASTER)) == [StopSync(SyncRole.MASTER), StartSync(MASTER)]
    world.want(NOTHING)
    assert world.state.sync_daemons == (SyncDaemon(SyncRole.BACKUP, "eth0", 42),)


def test_a_stranger_that_took_the_place_of_our_sync_daemon_is_not_stopped_at_the_end() -> None:
    world = World()
    world.want(daemons(MASTER))
    world.kernel.sync_daemons[SyncRole.MASTER] = SyncDaemon(SyncRole.MASTER, "eth0", 42)
    assert world.want(NOTHING) == []


def test_the_length_that_the_kernel_made_of_ours_is_no_reason_to_start_anew() -> None:
    world = World()
    world.want(daemons(LONG))
    world.kernel.sync_daemons[SyncRole.BACKUP] = SyncDaemon(SyncRole.BACKUP, "eth0", 7, max_length=1024)
    assert world.want(daemons(LONG)) == []
    assert world.want(NOTHING) == [StopSync(SyncRole.BACKUP)]


@pytest.mark.parametrize("refuse", [StartSync, StopSync])
def test_what_was_refused_is_tried_again_with_the_next_wish(refuse: type[Change]) -> None:
    world = World()
    world.want(daemons(MASTER))
    other = daemons(SyncDaemon(SyncRole.MASTER, "eth1", 7))
    world.want(other, refuse=[refuse])
    world.want(other)
    assert world.state.sync_daemons == (SyncDaemon(SyncRole.MASTER, "eth1", 7, max_length=1472),)
    world.want(NOTHING, refuse=[StopSync])
    world.want(NOTHING)
    assert world.state == KernelState(FOUND)


@pytest.mark.parametrize("change", [SetTimeouts(Timeouts(1000, 0, 77)), StartSync(LONG), StopSync(SyncRole.BACKUP)])
def test_whether_a_change_happened_can_be_seen(change: Change) -> None:
    kernel = MemoryBackend()
    if isinstance(change, StopSync):
        kernel.adjust(StartSync(BACKUP))
    assert not happened(change, kernel.settings())
    kernel.adjust(change)
    assert happened(change, kernel.settings())


def test_changes_read_as_words() -> None:
    assert str(SetTimeouts(Timeouts(1000, 5, 77))) == "time-outs tcp 1000 s, tcpfin 5 s, udp 77 s"
    assert str(StartSync(BACKUP)) == "start of the backup sync daemon on eth0, id 7"
    assert str(StopSync(SyncRole.MASTER)) == "stop of the master sync daemon"


def _settings() -> st.SearchStrategy[KernelSettings]:
    seconds = st.sampled_from([0, 900, 1000])
    addresses = st.sampled_from([IPv4Address("224.0.0.81"), IPv4Address("224.0.0.82")])

    def of(role: SyncRole) -> st.SearchStrategy[tuple[SyncDaemon, ...]]:
        values = (st.just(role), st.just("eth0"), st.integers(0, 1), st.sampled_from([0, 1000]), addresses)
        return st.builds(SyncDaemon, *values).map(lambda daemon: (daemon,)) | st.just(())

    return st.builds(
        KernelSettings,
        timeouts=st.builds(Timeouts, seconds, seconds, seconds),
        sync_daemons=st.tuples(of(SyncRole.MASTER), of(SyncRole.BACKUP)).map(lambda pair: (*pair[0], *pair[1])),
    )


@given(st.lists(_settings(), max_size=5))
def test_whatever_is_wanted_in_turn_comes_about_and_goes_without_a_trace(wishes: list[KernelSettings]) -> None:
    world = World()
    for wanted in wishes:
        world.want(wanted)
        assert changes(wanted, world.held, world.state) == []
        assert {daemon.role for daemon in world.state.sync_daemons} == {daemon.role for daemon in wanted.sync_daemons}
    world.want(NOTHING)
    assert world.state == KernelState(FOUND)
    assert world.held == Held()
