"""A dry run changes nothing in the kernel's table and says where the two disagree."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from supervisor.core.diff import diff
from supervisor.core.table import ChangeDestination, Destination, Service, ServiceSettings, Table
from supervisor.ipvs.dryrun import DryRunBackend
from supervisor.ipvs.memory import MemoryBackend
from tests.supervisor.core.builders import KEY, endpoint

FOREIGN = replace(KEY, endpoint=endpoint(99, 443))


def table(*weights: tuple[int, int], scheduler: str = "rr") -> Table:
    destinations = {endpoint(last): Destination(endpoint(last), weight) for last, weight in weights}
    service = Service(KEY, ServiceSettings(scheduler), MappingProxyType(destinations))
    foreign = Service(FOREIGN, ServiceSettings("wlc"))
    return Table(MappingProxyType({KEY: service, FOREIGN: foreign}))


class Stage:
    """A kernel whose table somebody else keeps, and a dry run beside it."""

    def __init__(self, kernel: Table) -> None:
        self.kernel = MemoryBackend(kernel)
        self.told: list[str] = []
        self.dry = DryRunBackend(self.kernel, [KEY], self.tell)

    def tell(self, found: object, stands: bool) -> None:
        self.told.append(f"{'+' if stands else '-'} {found}")

    def become(self, wanted: Table) -> None:
        """Make the dry run's table what we would want."""
        ours = Table(MappingProxyType({key: service for key, service in wanted.services.items() if key == KEY}))
        assert set(self.dry.apply(diff(ours, self.dry.read([KEY]).table, [KEY]))) <= {""}

    def look(self, times: int = 1) -> list[str]:
        for _ in range(times):
            self.dry.read()
        told, self.told = self.told, []
        return told


def test_it_begins_as_the_kernels_table_and_never_changes_that() -> None:
    before = table((21, 1), (22, 0))
    stage = Stage(before)
    assert stage.dry.read().table == before
    stage.become(table((21, 1), (22, 1)))
    assert stage.kernel.table == before
    assert stage.dry.read([KEY]).table.services[KEY].destinations[endpoint(22)].weight == 1


def test_a_disagreement_is_told_when_two_readings_show_it_and_again_when_it_is_over() -> None:
    stage = Stage(table((21, 1), (22, 1)))
    stage.become(table((21, 1), (22, 0)))
    text = "203.0.113.100:80/tcp, real server 192.168.100.22:80: we would have weight 0 by NAT, the kernel has weight 1 by NAT"
    assert stage.look() == []
    assert stage.look() == [f"+ {text}"]
    assert stage.look(3) == []
    stage.kernel.apply([ChangeDestination(KEY, Destination(endpoint(22), 0))])
    assert stage.look() == [f"- {text}"]
    assert not stage.dry.standing


def test_every_kind_of_difference_has_its_words() -> None:
    stage = Stage(table((21, 1), (23, 1)))
    stage.become(table((21, 1), (22, 5), scheduler="wrr"))
    assert stage.look(2) == [
        "+ 203.0.113.100:80/tcp, real server 192.168.100.22:80: we would have weight 5 by NAT, the kernel has nothing",
        "+ 203.0.113.100:80/tcp, real server 192.168.100.23:80: we would have nothing, the kernel has weight 1 by NAT",
        "+ 203.0.113.100:80/tcp: we would have scheduler wrr, flags 0x0, the kernel has scheduler rr, flags 0x0",
    ]


def test_a_service_that_only_one_of_the_two_has_is_told() -> None:
    stage = Stage(Table())
    stage.become(table((21, 1)))
    assert any("the kernel has no such service" in line for line in stage.look(2))
    other = Stage(table((21, 1)))
    other.become(Table())
    assert other.look(2) == ["+ 203.0.113.100:80/tcp: we would have no such service, the kernel has one"]


def test_services_of_others_are_none_of_our_business() -> None:
    stage = Stage(table((21, 1)))
    stage.kernel.table = Table(MappingProxyType({KEY: stage.kernel.table.services[KEY]}))
    assert stage.look(3) == []
