"""One transition of each kind that is worth a mail, and settings that send each at once."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

from supervisor.core.transitions import CheckChanged, QuorumChanged, RealServerChanged, RealServerRemoved
from supervisor.model import AddressKey, Endpoint, MailSettings, Protocol

SERVICE = AddressKey(Protocol.TCP, Endpoint(IPv4Address("203.0.113.1"), 80))
SERVER = Endpoint(IPv4Address("192.168.100.22"), 80)
SETTINGS = MailSettings(
    recipients=("admin@example.com", "duty@example.com"),
    sender="lvs@example.com",
    server="192.0.2.25",
    connect_timeout=30,
    group_within=0.0,
)
DATE = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

CHECK_DOWN = CheckChanged(
    cause=1,
    virtual_server=SERVICE,
    real_server=SERVER,
    check="HTTP_GET",
    up=False,
    reason="L4CON",
    detail="connection refused",
    real_server_up=False,
    mail=True,
)
SERVER_DOWN = RealServerChanged(
    cause=1,
    virtual_server=SERVICE,
    real_server=SERVER,
    up=False,
    was="UP",
    check="TCP_CHECK",
    reason="L4CON",
    detail="connection refused",
    failures=4,
    retry=3,
    duration_s=0.1,
    previous_state_s=60.0,
    weight_old=1,
    weight_new=0,
    up_left=1,
    weight_left=1,
    quorum=1,
    mail=True,
)
QUORUM_LOST = QuorumChanged(
    cause=1,
    virtual_server=SERVICE,
    up=False,
    weight_up=0,
    quorum=1,
    hysteresis=0,
    servers_up=0,
    servers_total=2,
    sorry_server=None,
    at_start=False,
    mail=True,
)
REMOVED = RealServerRemoved(virtual_server=SERVICE, real_server=SERVER, stopping=False, mail=True)

SUBJECT = "Realserver [192.168.100.22]:tcp:80 of virtual server [203.0.113.1]:tcp:80 - "
