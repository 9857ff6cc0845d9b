"""What every table behind the `Backend` interface must do, in memory as in the kernel. Subclasses say which table it is.

`core.table.apply` is the meaning of an operation; a backend that answers or keeps anything else is wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.core.diff import diff, normal_settings
from supervisor.core.kernelsettings import KernelState, SetTimeouts, StartSync, StopSync
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    Counters,
    DeleteDestination,
    DeleteService,
    Destination,
    Load,
    Op,
    ServiceSettings,
    Table,
    TableError,
    apply,
)
from supervisor.ipvs.backend import AnswerLost, Backend
from supervisor.model import Endpoint, Forwarding, FwmarkKey, Method, ServiceKey, SyncDaemon, SyncRole, Timeouts
from tests.fakes import tables as make
from tests.fakes.tables import KEYS, destination, endpoint, service, table, tcp

KEY, MISSING = tcp("10.0.0.1"), tcp("10.0.0.9")
PLAIN = ServiceSettings("rr")
SYNC_DAEMONS = (
    SyncDaemon(SyncRole.MASTER, "lo", 7, max_length=1200),
    SyncDaemon(SyncRole.BACKUP, "lo", 255, max_length=1400, group=IPv6Address("ff02::81"), port=9000, ttl=3),
)


def endpoints(key: ServiceKey) -> st.SearchStrategy[Endpoint]:
    return st.integers(1, 5).map(lambda host: endpoint(f"10.1.0.{host}" if key.family == 4 else f"fd01::{host}"))


def operations() -> st.SearchStrategy[Op]:
    """Operations on few services and hosts, so that many of them meet."""

    def of(key: ServiceKey) -> st.SearchStrategy[Op]:
        key_only, found = st.just(key), make.destinations(key.family)
        return st.one_of(
            st.builds(AddDestination, key_only, found),
            st.builds(AddService, key_only, make.settings(key.family)),
            st.builds(ChangeDestination, key_only, found),
            st.builds(DeleteDestination, key_only, endpoints(key)),
            st.builds(ChangeService, key_only, make.settings(key.family)),
            st.builds(DeleteService, key_only),
        )

    return st.sampled_from(KEYS).flatmap(of)


def meaning(start: Table, ops: Sequence[Op]) -> tuple[Table, list[str]]:
    """Return what `core.table.apply` makes of `ops`, with the errno names."""
    words = []
    for op in ops:
        try:
            start = apply(start, op)
            words.append("")
        except TableError as error:
            words.append(error.word)
    return start, words


class BackendContract(ABC):
    """The suite. `opened` gives an empty table, fresh each time."""

    @abstractmethod
    def opened(self) -> AbstractContextManager[Backend]:
        """Open a backend over an empty table, and close it."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with self.opened() as backend:
            yield backend

    def test_an_empty_table_reads_as_the_empty_table(self, backend: Backend) -> None:
        assert backend.read().table == Table()
        assert backend.apply([]) == []

    def test_what_was_written_is_read_back(self, backend: Backend) -> None:
        wanted = table(
            service(
                KEY, destination("10.1.0.1"), destination("10.1.0.2", 0), destination("10.1.0.3", 65535, port=8080)
            ),
            service(tcp("fd00::1", 443), destination("fd01::1", 7, method=Method(Forwarding.DR))),
            service(FwmarkKey(4, 7), destination("10.1.0.1", port=0)),
            service(FwmarkKey(6, 7), destination("fd01::1", port=0)),
        )
        assert backend.apply(diff(wanted, Table())) == [""] * 10
        assert backend.read().table == wanted

    def test_a_new_destination_carries_nothing(self, backend: Backend) -> None:
        backend.apply([AddService(KEY, PLAIN), AddDestination(KEY, destination("10.1.0.1"))])
        reading = backend.read()
        assert dict(reading.loads) == {KEY: {endpoint("10.1.0.1"): Load()}}
        assert reading.load(KEY, endpoint("10.1.0.1")) == Load()
        assert reading.load(KEY, endpoint("10.1.0.2")) is reading.load(MISSING, endpoint("10.1.0.1")) is None
        assert dict(reading.services) == {KEY: Counters()}

    def test_some_services_can_be_read_without_the_others(self, backend: Backend) -> None:
        other = tcp("10.0.0.2")
        wanted = table(service(KEY, destination("10.1.0.1")), service(other, destination("10.1.0.2")))
        backend.apply(diff(wanted, Table()))
        reading = backend.read({other, MISSING})
        assert reading.table == table(wanted.services[other])
        assert dict(reading.loads) == {other: {endpoint("10.1.0.2"): Load()}}
        assert set(reading.services) == {other}
        assert backend.read(()).table == Table()

    def test_the_services_can_be_read_without_their_destinations(self, backend: Backend) -> None:
        sticky = ServiceSettings("wlc", flags=1, timeout=300, prefix=24)
        wanted = table(service(KEY, destination("10.1.0.1")), service(tcp("10.0.0.2"), settings=sticky))
        assert backend.services() == {}
        backend.apply(diff(wanted, Table()))
        assert {key: normal_settings(key, found) for key, found in backend.services().items()} == {
            key: normal_settings(key, there.settings) for key, there in wanted.services.items()
        }

    @pytest.mark.parametrize(
        ("op", "word"),
        [
            (AddService(KEY, PLAIN), "EEXIST"),
            (ChangeService(MISSING, PLAIN), "ESRCH"),
            (DeleteService(MISSING), "ESRCH"),
            (AddDestination(MISSING, destination("10.1.0.1")), "ESRCH"),
            (ChangeDestination(MISSING, destination("10.1.0.1")), "ESRCH"),
            (DeleteDestination(MISSING, endpoint("10.1.0.1")), "ESRCH"),
            (AddDestination(KEY, destination("10.1.0.1")), "EEXIST"),
            (ChangeDestination(KEY, destination("10.1.0.9")), "ENOENT"),
            (DeleteDestination(KEY, endpoint("10.1.0.9")), "ENOENT"),
            (ChangeDestination(KEY, destination("10.1.0.1", -1)), "ERANGE"),
            (AddDestination(KEY, destination("10.1.0.2", -1)), "ERANGE"),
            (AddDestination(KEY, Destination(endpoint("10.1.0.2"), 1, Method(), 1, 2)), "ERANGE"),
        ],
    )
    def test_a_refusal_has_the_kernels_name_and_changes_nothing(self, backend: Backend, op: Op, word: str) -> None:
        backend.apply([AddService(KEY, PLAIN), AddDestination(KEY, destination("10.1.0.1"))])
        before = backend.read().table
        assert backend.apply([op]) == [word]
        assert backend.read().table == before

    def test_a_refusal_in_the_middle_stops_nothing_after_it(self, backend: Backend) -> None:
        ops: list[Op] = [
            AddService(KEY, PLAIN),
            AddDestination(MISSING, destination("10.1.0.1")),
            AddDestination(KEY, destination("10.1.0.1")),
            DeleteDestination(KEY, endpoint("10.1.0.9")),
            AddDestination(KEY, destination("10.1.0.2")),
            AddService(KEY, PLAIN),
        ]
        assert backend.apply(ops) == ["", "ESRCH", "", "ENOENT", "", "EEXIST"]
        assert set(backend.read().table.services[KEY].destinations) == {endpoint("10.1.0.1"), endpoint("10.1.0.2")}

    def test_a_batch_of_nothing_but_refusals_names_them_all(self, backend: Backend) -> None:
        backend.apply([AddService(KEY, PLAIN)])
        ops = [DeleteDestination(KEY, endpoint(f"10.1.0.{host}")) for host in range(1, 65)]
        assert backend.apply(ops) == ["ENOENT"] * 64

    def test_a_full_batch_is_carried_out_in_order(self, backend: Backend) -> None:
        ops: list[Op] = [AddService(KEY, PLAIN), AddDestination(KEY, destination("10.1.0.1", 0))]
        ops += [ChangeDestination(KEY, destination("10.1.0.1", weight)) for weight in range(1, 63)]
        assert backend.apply(ops) == [""] * 64
        assert backend.read().table.services[KEY].destinations[endpoint("10.1.0.1")].weight == 62

    def test_changing_the_settings_keeps_the_destinations(self, backend: Backend) -> None:
        backend.apply([AddService(KEY, PLAIN), AddDestination(KEY, destination("10.1.0.1", 5))])
        sticky = ServiceSettings("wlc", flags=1, timeout=300, prefix=24)
        assert backend.apply([ChangeService(KEY, sticky)]) == [""]
        assert backend.read().table == table(service(KEY, destination("10.1.0.1", 5), settings=sticky))

    def test_a_destination_of_another_family_goes_through_a_tunnel(self, backend: Backend) -> None:
        far = destination("fd01::1", method=Method(Forwarding.TUN))
        assert backend.apply([AddService(KEY, PLAIN), AddDestination(KEY, far)]) == ["", ""]
        assert backend.read().table.services[KEY].destinations == {far.endpoint: far}
        assert far.endpoint.address == ip_address("fd01::1")

    def test_the_time_outs_are_the_kernels_until_some_of_them_are_set(self, backend: Backend) -> None:
        assert backend.settings() == KernelState(Timeouts(900, 120, 300))
        assert backend.adjust(SetTimeouts(Timeouts(tcp=1000, udp=77))) == ""
        assert backend.settings().timeouts == Timeouts(1000, 120, 77)
        assert backend.adjust(SetTimeouts(Timeouts(tcp_fin=5))) == ""
        assert backend.settings().timeouts == Timeouts(1000, 5, 77)

    def test_sync_daemons_of_both_roles_run_as_they_were_asked_for(self, backend: Backend) -> None:
        for daemon in SYNC_DAEMONS:
            assert backend.adjust(StartSync(daemon)) == ""
        assert backend.settings().sync_daemons == SYNC_DAEMONS
        assert [self.stopped(backend, role) for role in SyncRole] == ["", ""]
        assert backend.settings().sync_daemons == ()

    def test_a_sync_daemon_that_asks_for_no_length_gets_one(self, backend: Backend) -> None:
        assert backend.adjust(StartSync(SyncDaemon(SyncRole.MASTER, "lo", 7))) == ""
        (found,) = backend.settings().sync_daemons
        assert found.max_length > 1000
        assert replace(found, max_length=0) == SyncDaemon(SyncRole.MASTER, "lo", 7)
        self.stopped(backend, SyncRole.MASTER)

    def test_a_sync_daemon_runs_once_for_each_role(self, backend: Backend) -> None:
        assert backend.adjust(StopSync(SyncRole.MASTER)) == "ESRCH"
        assert backend.adjust(StartSync(SYNC_DAEMONS[0])) == ""
        assert backend.adjust(StartSync(replace(SYNC_DAEMONS[0], sync_id=8))) == "EEXIST"
        assert backend.settings().sync_daemons == SYNC_DAEMONS[:1]
        self.stopped(backend, SyncRole.MASTER)

    def test_no_sync_daemon_runs_beside_a_destination_of_another_family(self, backend: Backend) -> None:
        far = AddDestination(KEY, destination("fd01::1", method=Method(Forwarding.TUN)))
        start = StartSync(SYNC_DAEMONS[1])
        assert backend.apply([AddService(KEY, PLAIN), far]) == ["", ""]
        assert backend.adjust(start) == "EINVAL"
        assert backend.apply([DeleteDestination(KEY, far.destination.endpoint)]) == [""]
        assert backend.adjust(start) == ""
        assert backend.apply([far, AddDestination(KEY, destination("10.1.0.1"))]) == ["EINVAL", ""]
        self.stopped(backend, SyncRole.BACKUP)

    @staticmethod
    def stopped(backend: Backend, role: SyncRole) -> str:
        """Stop a sync daemon. The answer may be lost where its thread never ran, but it is gone."""
        try:
            return backend.adjust(StopSync(role))
        except AnswerLost:
            return "" if role not in {daemon.role for daemon in backend.settings().sync_daemons} else "LOST"

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.lists(operations(), max_size=64))
    def test_any_operations_mean_what_the_core_says(self, ops: list[Op]) -> None:
        with self.opened() as backend:
            after, words = meaning(Table(), ops)
            assert backend.apply(ops) == words
            assert backend.read().table == after

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(make.tables(), make.tables())
    def test_a_plan_of_the_core_leads_from_any_table_to_any_other(self, first: Table, second: Table) -> None:
        with self.opened() as backend:
            for wanted in (first, second, Table()):
                for op in diff(wanted, backend.read().table, KEYS):
                    assert backend.apply([op]) == [""], op
                assert backend.read().table == wanted
