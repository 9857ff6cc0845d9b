"""The plan from one table to another: complete, in safe order, and only of what is ours."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.diff import Plan, cautious, diff, plan
from supervisor.core.table import (
    FLAG_HASHED,
    FLAG_PERSISTENT,
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Op,
    ServiceSettings,
    Table,
    apply,
)
from supervisor.model import Forwarding, Method, ServiceKey, TunnelType
from tests.fakes.tables import KEYS, destination, endpoint, service, table, tables, tcp, weights

KEY, OTHER = tcp("10.0.0.1"), tcp("10.0.0.2")


def live(of: Table, key: ServiceKey) -> bool:
    return key in of.services and any(d.weight > 0 for d in of.services[key].destinations.values())


@given(tables(), tables(), st.sets(st.sampled_from(KEYS)))
def test_carrying_out_the_plan_makes_the_desired_table_and_leaves_strangers_alone(
    desired: Table, actual: Table, owned: Collection[ServiceKey]
) -> None:
    after = actual
    for op in diff(desired, actual, owned):
        after = apply(after, op)  # raises for an operation that the kernel would refuse
    strangers = {k: s for k, s in actual.services.items() if k not in owned and k not in desired.services}
    assert dict(after.services) == {**desired.services, **strangers}
    assert diff(desired, after, owned) == []


@given(tables(), tables(), st.sets(st.sampled_from(KEYS)))
def test_a_pool_that_lives_before_and_after_lives_after_every_single_step(
    desired: Table, actual: Table, owned: Collection[ServiceKey]
) -> None:
    serving = [key for key in actual.services if live(actual, key) and live(desired, key)]
    now = actual
    for op in diff(desired, actual, owned):
        now = apply(now, op)
        assert all(live(now, key) for key in serving), op


@given(tables(), tables(), tables(), st.sets(st.sampled_from(KEYS)), st.integers(0, 40))
def test_a_plan_that_is_overtaken_by_a_newer_table_after_any_step_still_empties_no_pool(
    first: Table, second: Table, actual: Table, owned: Collection[ServiceKey], steps: int
) -> None:
    serving = [k for k in actual.services if live(actual, k) and live(first, k) and live(second, k)]
    now = actual
    for op in diff(first, actual, owned)[:steps]:
        now = apply(now, op)
    for op in diff(second, now, {*owned, *first.services}):
        now = apply(now, op)
        assert all(live(now, key) for key in serving), op


@given(tables(), tables())
def test_only_services_that_are_desired_or_owned_are_touched(desired: Table, actual: Table) -> None:
    assert {op.key for op in diff(desired, actual)} <= set(desired.services)


@given(tables())
def test_a_table_needs_no_change_to_become_itself(same: Table) -> None:
    assert diff(same, same, KEYS) == []


def test_giving_comes_before_lowering_before_deleting_destinations_before_deleting_services() -> None:
    actual = table(
        service(KEY, destination("10.1.0.1", 0), destination("10.1.0.2", 3), destination("10.1.0.3")),
        service(OTHER, destination("10.1.0.1")),
    )
    third = tcp("10.0.0.3")
    desired = table(
        service(KEY, destination("10.1.0.1", 1), destination("10.1.0.2", 2), destination("10.1.0.4")),
        service(third, destination("10.1.0.9")),
    )
    assert diff(desired, actual, {OTHER}) == [
        ChangeDestination(KEY, destination("10.1.0.1", 1)),
        AddDestination(KEY, destination("10.1.0.4")),
        AddService(third, ServiceSettings("rr")),
        AddDestination(third, destination("10.1.0.9")),
        ChangeDestination(KEY, destination("10.1.0.2", 2)),
        DeleteDestination(KEY, endpoint("10.1.0.3")),
        DeleteService(OTHER),
    ]


def test_the_sorry_server_is_there_before_the_last_real_server_goes_and_the_reverse() -> None:
    serving = table(service(KEY, destination("10.1.0.1")))
    sorry = table(service(KEY, destination("10.9.9.9")))
    stepped_in = [AddDestination(KEY, destination("10.9.9.9")), DeleteDestination(KEY, endpoint("10.1.0.1"))]
    taken_back = [AddDestination(KEY, destination("10.1.0.1")), DeleteDestination(KEY, endpoint("10.9.9.9"))]
    assert diff(sorry, serving) == stepped_in
    assert diff(serving, sorry) == taken_back


def test_a_destination_of_another_method_is_changed_in_place() -> None:
    direct = Method(Forwarding.DR)
    desired = table(service(KEY, destination("10.1.0.1", method=direct)))
    actual = table(service(KEY, destination("10.1.0.1")))
    assert diff(desired, actual) == [ChangeDestination(KEY, destination("10.1.0.1", method=direct))]


def test_settings_without_effect_are_no_difference_and_those_with_effect_are() -> None:
    def one(settings: ServiceSettings) -> Table:
        return table(service(KEY, settings=settings))

    plain = one(ServiceSettings("rr"))
    assert diff(plain, one(ServiceSettings("rr", flags=FLAG_HASHED, timeout=300, prefix=24))) == []
    assert diff(one(ServiceSettings("rr", timeout=300)), plain) == []
    sticky = ServiceSettings("rr", FLAG_PERSISTENT, 300, 24)
    assert diff(one(sticky), plain) == [ChangeService(KEY, sticky)]
    assert diff(one(sticky), one(ServiceSettings("rr", FLAG_PERSISTENT | FLAG_HASHED, 300, 24))) == []
    assert diff(one(sticky), one(ServiceSettings("rr", FLAG_PERSISTENT, 300, 25))) == [ChangeService(KEY, sticky)]


def test_tunnel_details_are_a_difference_only_for_a_tunnel() -> None:
    gue = Method(Forwarding.TUN, TunnelType.GUE, 5555)
    plain = table(service(KEY, destination("10.1.0.1")))
    odd = table(service(KEY, destination("10.1.0.1", method=Method(Forwarding.NAT, TunnelType.GUE, 5555))))
    tunnel = table(service(KEY, destination("10.1.0.1", method=Method(Forwarding.TUN))))
    assert diff(odd, plain) == []
    assert diff(table(service(KEY, destination("10.1.0.1", method=gue))), tunnel) == [
        ChangeDestination(KEY, destination("10.1.0.1", method=gue))
    ]


def after_refusals(desired: Table, actual: Table, refused: Collection[Op]) -> list[Op]:
    return cautious(plan(desired, actual), refused, desired, actual)


def test_the_last_live_destination_stays_while_its_successor_is_refused() -> None:
    actual = table(service(KEY, destination("10.1.0.1"), destination("10.1.0.2")))
    desired = table(service(KEY, destination("10.1.0.3")))
    refused = [AddDestination(KEY, destination("10.1.0.3"))]
    assert after_refusals(desired, actual, refused) == [DeleteDestination(KEY, endpoint("10.1.0.1"))]
    assert after_refusals(desired, actual, []) == list(plan(desired, actual).taking)


def test_a_refusal_holds_nothing_back_where_another_destination_is_live_or_the_pool_shall_be_empty() -> None:
    actual = table(service(KEY, destination("10.1.0.1")))
    desired = table(service(KEY, destination("10.1.0.2"), destination("10.1.0.3")))
    refused = [AddDestination(KEY, destination("10.1.0.3"))]
    assert after_refusals(desired, actual, refused) == [DeleteDestination(KEY, endpoint("10.1.0.1"))]

    dead = table(service(KEY, destination("10.1.0.1", 0), destination("10.1.0.2", 0)))
    refused = [AddDestination(KEY, destination("10.1.0.2", 0))]
    assert after_refusals(dead, actual, refused) == [ChangeDestination(KEY, destination("10.1.0.1", 0))]


@given(tables(), tables(), st.data())
def test_whatever_is_refused_no_pool_that_shall_serve_is_emptied(
    desired: Table, actual: Table, data: st.DataObject
) -> None:
    steps: Plan = plan(desired, actual, KEYS)
    refused = [op for op in steps.giving if data.draw(st.booleans())]
    now = actual
    for op in steps.giving:
        if op not in refused and (op.key in now.services or isinstance(op, AddService)):
            now = apply(now, op)
    serving = [key for key in actual.services if live(actual, key) and live(desired, key)]
    for op in cautious(steps, refused, desired, actual):
        now = apply(now, op)
        assert all(live(now, key) for key in serving), (op, weights(now))
