"""Words into values, as `readers` has them: what is not to be seen in a whole file."""

from __future__ import annotations

import ipaddress

from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.config.readers import Fault, address

_PARTS = st.sampled_from(
    ["0", "00", "01", "1", "9", "10", "099", "255", "256", "", "1 ", "+1", "-0", "0x1", "1e1", "٣"]
)


@given(st.text("0123456789.+-xa \t٣\0", max_size=18) | st.lists(_PARTS, min_size=1, max_size=6).map(".".join))
@example("192.0.2.1")
@example("192.0.2.01")
@example("192.0.2")
@example("192.0.2.1\0")
def test_an_ipv4_address_is_what_ipaddress_takes_for_one(text: str) -> None:
    try:
        expected: ipaddress.IPv4Address | None = ipaddress.IPv4Address(text)
    except ValueError:
        expected = None
    try:
        found: ipaddress.IPv4Address | ipaddress.IPv6Address | None = address(text, 1)
    except Fault:
        found = None
    assert found == expected
