"""The sorry server of one virtual server: where clients go while the quorum is lost. Sources: keepalived.md, section 2.2."""

from __future__ import annotations

from dataclasses import replace

from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault
from supervisor.config.realservers import MISFIT_HINT, Surroundings, check_address
from supervisor.config.values import Block, Entry
from supervisor.model import Endpoint, Forwarding, Method, RealServer, SorryServer


def read_sorry_server(
    surroundings: Surroundings, real_servers: tuple[RealServer, ...], problems: Problems
) -> SorryServer | None:
    """The sorry server of a virtual server, None when it has none or none that fits."""
    block = surroundings.block
    entry = block.entries.get("sorry_server")
    inhibit = _inhibit(block, problems)
    if entry is None or entry.value is None:
        if entry is None and "sorry_server_lvs_method" in block.entries:
            message = '"sorry_server_lvs_method" has no effect without "sorry_server"'
            problems.add(Code.NO_EFFECT, block.place("sorry_server_lvs_method"), message)
        return None
    written: Endpoint = entry.value
    method = _method(block, entry, surroundings.method, problems)
    try:
        check_address(written.address, 1)
    except Fault as fault:
        problems.add(fault.code, entry.node.place(fault.index), fault.message, fault.suggestion)
        return None
    misfit = surroundings.misfit(written.address, method)
    if misfit:
        message = f"{misfit}; this sorry server is left out"
        problems.add(Code.CORRECTED, entry.node.place(1), message, MISFIT_HINT)
        return None
    corrected, message = written, ""
    if written.port or method.forwarding is not Forwarding.NAT:  # else the kernel keeps the port that clients use
        corrected, message = surroundings.corrected(written, method)
    if message and written.port:
        problems.add(Code.CORRECTED, entry.node.place(2), message)
    found = SorryServer(corrected, method, inhibit)
    for server in real_servers:
        if server.endpoint == corrected and server.inhibit_on_failure != inhibit:
            inhibit = server.inhibit_on_failure
            message = f"the sorry server is real server {corrected} too, so its inhibit is {'on' if inhibit else 'off'}"
            problems.add(Code.CORRECTED, entry.node.place(0, -1), message)
            found = replace(found, inhibit=inhibit)
    return found


def _method(block: Block, sorry: Entry, final: Method, problems: Problems) -> Method:
    """The method of the sorry server: its own if that stands below it, else that of the virtual server as known at its line."""
    entry = block.entries.get("sorry_server_lvs_method")
    if entry is not None and entry.value is not None:
        if entry.order > sorry.order:
            own: Method = entry.value
            return own
        message = '"sorry_server_lvs_method" has no effect before "sorry_server"; put it after that line'
        problems.add(Code.NO_EFFECT, entry.node.place(), message)
    known: Method | None = block.as_of("lb_kind", sorry.order)
    return final if known is None else known


def _inhibit(block: Block, problems: Problems) -> bool:
    entry = block.entries.get("sorry_server_inhibit")
    if entry is None or not entry.value:
        return False
    sorry = block.entries.get("sorry_server")
    if sorry is None or sorry.order > entry.order:
        message = '"sorry_server_inhibit" has no effect before or without "sorry_server"'
        problems.add(Code.NO_EFFECT, entry.node.place(), message)
        return False
    return True
