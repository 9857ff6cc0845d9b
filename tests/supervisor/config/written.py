"""Configurations that tests write down, and short ways to load them."""

from __future__ import annotations

import pathlib
import tempfile

from supervisor.config import Outcome, Severity, load
from supervisor.model import Config, RealServer, VirtualServer


def outcome_of(text: str | bytes, **files: str) -> Outcome:
    """What comes of loading `text` from main.conf, beside other files of the same folder (a_conf="…" makes a.conf)."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            pathlib.Path(directory, name.replace("_", ".")).write_text(content)
        path = pathlib.Path(directory, "main.conf")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path)


def said(outcome: Outcome) -> list[str]:
    """Every problem as `line:column: severity: message`."""
    return [f"{found.line}:{found.column}: {found.severity}: {found.message}" for found in outcome.problems]


def config_of(text: str, *, warnings: int = 0) -> Config:
    """The configuration, which must have exactly so many warnings and no error."""
    outcome = outcome_of(text)
    assert outcome.config is not None, said(outcome)
    assert outcome.count(Severity.WARNING) == warnings == outcome.config.warnings, said(outcome)
    return outcome.config


def virtual_server(*lines: str, head: str = "10.0.0.1 80", base: str = "lb_algo rr\nlb_kind NAT\nprotocol TCP") -> str:
    """A virtual_server block with these lines after the usual ones."""
    return "\n".join([f"virtual_server {head} {{", base, *lines, "}\n"])


def real_server(*lines: str, head: str = "10.1.0.1 80") -> str:
    """A real_server block."""
    return "\n".join([f"real_server {head} {{", *lines, "}"])


def only_virtual_server(*lines: str, warnings: int = 0, head: str = "10.0.0.1 80") -> VirtualServer:
    """The virtual server that these lines and one plain real server make."""
    (found,) = config_of(virtual_server(*lines, real_server(), head=head), warnings=warnings).virtual_servers
    return found


def only_real_server(*lines: str, outer: tuple[str, ...] = (), warnings: int = 0) -> RealServer:
    """The real server that these lines make, in a virtual server with the lines `outer`."""
    (found,) = config_of(virtual_server(*outer, real_server(*lines)), warnings=warnings).virtual_servers
    return found.real_servers[0]
