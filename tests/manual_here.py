"""What tests/process/test_shown_commands.py types of what the pages show, and what stands for the names of the examples."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.manual_elsewhere import ELSEWHERE

OTHER_PROGRAMS: Mapping[str, frozenset[int]] = {
    "ip -s link; ip route": frozenset({0}),
    "sha256sum /etc/keepalived/*.conf": frozenset({0}),
    "df -h /var/lib/vipervisor; ls -ld /var/lib/vipervisor": frozenset({0}),
    "ps -e | grep -E 'keepalived|ldirectord|ipvsadm'": frozenset({0, 1}),
    "lsmod | grep ip_vs": frozenset({0, 1}),
    "openssl s_client -connect 192.168.100.21:443 </dev/null | openssl x509 -noout -enddate -subject": frozenset({0}),
    "curl -v --connect-timeout 5 smtp://MAILSERVER:25": frozenset({0, 56}),
}
"""Commands besides our own, and the exit statuses with which they may end here: what greps may find nothing, a mail server may hang up."""

STATUSES: Mapping[str, int] = {
    "vipervisor alerts": 1,
    "vipervisor status --down": 1,
}
"""Our own commands that end with another status than 0 where one real server is down."""

ENDLESS = frozenset({"vipervisor run", "vipervisor events --follow", "vipervisor status --watch"})
"""What begins like this goes on until somebody ends it."""

BEFORE: Mapping[str, str] = {
    "vipervisor confirm": "vipervisor reload --wait --confirm-within 120",
    "vipervisor weight": "vipervisor enable RS",
    "vipervisor resume": "vipervisor pause writes --reason 'something to end'",
    "vipervisor enable": "vipervisor drain RS",
    "vipervisor drain": "vipervisor enable RS",
    "vipervisor host enable": "vipervisor drain RS",
}
"""What has to be said before, so that there is something to do."""

WEB, TLS, POST = "127.9.8.21:8018", "127.9.8.43:8019", "127.9.8.25:8025"
EXAMPLES: Mapping[str, str] = {
    "192.168.100.21:443": TLS,
    "192.168.100.21:80": WEB,
    "192.168.100.21": WEB.partition(":")[0],
    "192.168.100.22": "127.9.8.22",
    "MAILSERVER:25": POST,
    "/etc/keepalived": "etc",
    "/var/lib/vipervisor": "state",
    "RS": WEB,
    "VS": "203.0.113.100:80",
    "HOST": WEB.partition(":")[0],
    "PATTERN": "203.0.113.*",
    "FILE": "etc/keepalived.conf",
    "CODE": "E010",
    "LEVEL": "info",
    "NAME": "real_server.state_changed",
    "N": "2",
    "TEXT": "'new disk'",
    "TICKET": "CHG-17",
}
"""A reader puts names of his own in the place of the examples'."""

_EXAMPLE = re.compile(
    "|".join(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\d)" for name in sorted(EXAMPLES, key=len, reverse=True))
)


def is_typed_here(command: str) -> bool:
    """Tell whether the test types this."""
    return command in OTHER_PROGRAMS or (command.startswith("vipervisor ") and command not in ELSEWHERE)


def with_names(command: str) -> str:
    """Return a command as it is typed here: with names that there are."""
    return _EXAMPLE.sub(lambda found: EXAMPLES[found[0]], command)
