"""By which names the exporter may be called."""

import pytest

from supervisor.exporter.hosts import Hosts

OURS = Hosts(("lvs1.example.org", "lvs1", ""))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:9720",
        "127.0.0.1:9720",
        "[::1]:9720",
        "[2001:db8::7]",
        "192.0.2.7",
        "lvs1",
        "LVS1.Example.ORG.:9720",
    ],
)
def test_our_names_and_numeric_addresses_are_known(host: str) -> None:
    assert OURS.knows(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "evil.example",
        "lvs1.example.org.evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:80:80",
        "[::1",
        "[::1]x",
        "localhost:80x",
        "lvs1@evil.example",
        "2130706433",
        "0x7f.1",
    ],
)
def test_every_other_name_may_be_an_attackers(host: str) -> None:
    assert not OURS.knows(host)
