"""The names that keepalived gives to virtual and real servers in front of people: in mails, FIFO lines and the log. Pure.

Seen with keepalived 2.2.7 (`tests/kernel/test_mails_beside_keepalived.py` holds it): a block of a virtual_server_group is one virtual
server by the name of its group and the number of the block among those that use the group; a real server has the protocol of its virtual
server, and "none" where that is a firewall mark.
"""

from __future__ import annotations

from typing import assert_never

from supervisor.model import AddressKey, Endpoint, FwmarkKey, ServiceKey


def service_name(key: ServiceKey, group: str = "", group_use: int = 0) -> str:
    """Name a virtual server: "[192.0.2.1]:tcp:80", "FWM 7", or for the addresses of a group "[web]:0"."""
    if group:
        return f"[{group}]:{group_use}"
    match key:
        case AddressKey():
            return f"[{key.endpoint.address}]:{key.protocol}:{key.endpoint.port}"
        case FwmarkKey():
            return f"FWM {key.mark}"
        case _:
            assert_never(key)


def server_name(endpoint: Endpoint, key: ServiceKey) -> str:
    """Name a real server of the virtual server `key`: "[192.168.0.1]:tcp:80"."""
    protocol = str(key.protocol) if isinstance(key, AddressKey) else "none"
    return f"[{endpoint.address}]:{protocol}:{endpoint.port}"
