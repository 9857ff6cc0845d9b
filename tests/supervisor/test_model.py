"""What the model makes of itself leaves nothing of itself out."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import IPv4Address

from supervisor.model import CheckSpec, Endpoint, Forwarding, Method, RealServer, Schedule, Script, Weighs

HERE, THERE = Endpoint(IPv4Address("192.0.2.1"), 80), Endpoint(IPv4Address("192.0.2.2"), 8080)
CHECK = CheckSpec(
    type="HTTP_GET",
    target=HERE,
    schedule=Schedule(5.0, 2, 1.0, 3.0, 5.0),
    alpha=True,
    bind_address=IPv4Address("192.0.2.9"),
    bind_port=1024,
    bind_interface="eth1",
    log_all_failures=True,
    options_json='{"virtualhost":"example.org"}',
    mark=7,
    sentinel=True,
    fast_retry=True,
    weighs=Weighs.ADDS,
    first_weight=3,
    first_down=True,
)
SERVER = RealServer(
    endpoint=HERE,
    weight=5,
    method=Method(Forwarding.DR),
    inhibit_on_failure=True,
    upper_threshold=9,
    lower_threshold=4,
    checks=(CHECK,),
    mail=False,
    notify_up=Script(("/bin/up",)),
    notify_down=Script(("/bin/down",)),
)


def _values(value: CheckSpec | RealServer) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def test_a_check_of_another_target_differs_in_nothing_else() -> None:
    assert _values(CHECK.at(THERE)) == _values(replace(CHECK, target=THERE))


def test_a_real_server_at_another_endpoint_differs_in_nothing_else() -> None:
    moved = CHECK.at(THERE)
    assert _values(SERVER.at(THERE, (moved,))) == _values(replace(SERVER, endpoint=THERE, checks=(moved,)))


def test_the_examples_here_have_no_field_at_its_default() -> None:
    """So a field that somebody adds, and that `at` leaves out, is found."""
    for example, usual in ((CHECK, CheckSpec("", HERE, CHECK.schedule)), (SERVER, RealServer(HERE))):
        same = {name for name, value in _values(example).items() if value == _values(usual)[name]}
        assert same <= {"target", "schedule", "endpoint"}
