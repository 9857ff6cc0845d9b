"""Configurations out of a seed: every feature of the language mixed with every other one. Pure and deterministic.

A configuration is made as a tree of statements and then written in one of many styles, so that what is asked for and how it is written
vary apart from each other. Nearly everything in it is valid; what keepalived corrects in silence is valid, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq")
FLAGS = ("flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port", "mh-fallback", "hashed")
METHODS = (
    ("NAT",) * 4
    + ("DR",) * 4
    + ("TUN", "TUN", "TUN type ipip", "TUN type gre", "TUN type gre csum")
    + ("TUN type gue port 6080", "TUN type gue port 6081 csum", "TUN type gue port 6082 remcsum")
)
MASKS = ("255.255.255.255", "255.255.255.0", "255.255.0.0", "255.0.0.0", "255.255.255.240")
PORTS = (80, 443, 53, 8080, 5060, 0)
CHECKS = (
    *("TCP_CHECK",) * 3,
    *("HTTP_GET", "SSL_GET", "SMTP_CHECK", "DNS_CHECK", "UDP_CHECK") * 2,
    "PING_CHECK",
    "MISC_CHECK",
    "FILE_CHECK",
)
TRACK_FILES = (
    ("value-5", "1"),
    ("value-minus-3", "2"),
    ("value-minus-300", "1"),
    ("value-0", "0"),
    ("value-5", "-2 reverse"),
    ("value-abc", "1"),
)
"""Files of the corpus, where its guest sees them, and the weights that they are read with."""
SCRIPT = "\"/no/such/script one 'two three'\""


@dataclass
class Statement:
    """A keyword with its words, and what is in its block if it opens one."""

    words: str
    block: list[Statement] | None = None


@dataclass
class _Maker:
    """What is random about one configuration."""

    random: Random
    names: dict[str, str] = field(default_factory=dict)
    files: set[int] = field(default_factory=set)

    def sometimes(self, chance: float) -> bool:
        return self.random.random() < chance

    def some(self, chance: float, *statements: str) -> list[Statement]:
        """Each statement with this chance."""
        return [Statement(words) for words in statements if self.sometimes(chance)]

    def named(self, value: object) -> str:
        """The value, or a name that stands for it."""
        text = str(value)
        if not self.sometimes(0.15):
            return text
        name = f"N{len(self.names)}"
        self.names[name] = text
        return f"${{{name}}}" if self.sometimes(0.5) else f"${name}"


def configuration(seed: int) -> str:
    """The configuration of a seed."""
    maker = _Maker(Random(f"configuration {seed}"))
    statements = [_global_defs(maker)] if maker.sometimes(0.5) else []
    for number in range(maker.random.choice((1, 1, 2, 2, 3, 4, 6))):
        statements += _virtual_server(maker, number)
    if maker.sometimes(0.2):
        statements.insert(maker.random.randrange(len(statements) + 1), _vrrp_instance())
    statements = [*map(_track_file, sorted(maker.files)), *statements]
    definitions = "".join(f"${name}={value}\n" for name, value in maker.names.items())
    return f"# seed {seed}\n{definitions}{_Writer(maker.random).text(statements)}"


def configurations(start: int, count: int) -> Iterator[tuple[int, str]]:
    """`count` seeds from `start` on, each with its configuration."""
    for seed in range(start, start + count):
        yield seed, configuration(seed)


# -- what is asked for


def _global_defs(maker: _Maker) -> Statement:
    inside = maker.some(
        0.3,
        "router_id director-1",
        "smtp_server 192.0.2.25",
        "smtp_alert",
        "smtp_connect_timeout 30",
        "no_checker_emails",
        "checker_log_all_failures on",
        "lvs_timeouts tcp 900 udp 300",
        "rs_init_notifies",
        "vrrp_strict",
        "vrrp_garp_master_delay 10",
    )
    if maker.sometimes(0.3):
        inside.append(
            Statement("notification_email", [Statement("a@example.com b@example.com"), Statement("c@example.com")])
        )
    return Statement("global_defs", inside)


def _track_file(number: int) -> Statement:
    name, weight = TRACK_FILES[number]
    file = Statement(f"file /run/project/tests/kernel/corpus/parts/{name}")
    return Statement(f"track_file t{number}", [file, Statement(f"weight {weight}")])


def _vrrp_instance() -> Statement:
    address = [Statement("192.0.2.250/24 dev eth0"), Statement("192.0.2.251")]
    authentication = [Statement("auth_type PASS"), Statement("auth_pass secret")]
    inside = ["state BACKUP", "interface eth0", "virtual_router_id 51", "priority 100", "advert_int 1", "nopreempt"]
    blocks = [Statement("authentication", authentication), Statement("virtual_ipaddress", address)]
    return Statement("vrrp_instance VI_1", [*map(Statement, inside), *blocks])


def _virtual_server(maker: _Maker, number: int) -> list[Statement]:
    """A virtual_server block, after its group if it has one."""
    random = maker.random
    family = random.choice((4, 4, 4, 6))
    kind = random.choice(("address", "address", "address", "mark", "group", "group"))
    protocol = random.choice(("TCP", "TCP", "TCP", "UDP", "SCTP", "tcp", "udp"))
    port = random.choice(PORTS)
    before: list[Statement] = []
    if kind == "address":
        head = (
            f"{_address(family, 0, number + 1)} {maker.named(port)}"
            if port or maker.sometimes(0.5)
            else _address(family, 0, number + 1)
        )
    elif kind == "mark":
        head = f"fwmark {number + 1}"
    else:
        before.append(_group(maker, number, family))
        head = f"group g{number}"
    settings = _settings(maker, family, kind)
    servers = _servers(maker, family, port)
    inside = settings + servers if maker.sometimes(0.85) else servers + settings
    if kind != "mark" and maker.sometimes(0.95):
        inside.insert(0, Statement(f"protocol {protocol}"))
    found = Statement(f"virtual_server {head}", inside)
    return [found, *before] if maker.sometimes(0.2) else [*before, found]


def _address(family: int, network: int, host: int) -> str:
    return f"192.0.2.{host + network * 50}" if family == 4 else f"2001:db8::{network}:{host:x}"


def _server_address(family: int, host: int) -> str:
    return f"10.1.0.{host}" if family == 4 else f"fd00::{host:x}"


def _group(maker: _Maker, number: int, family: int) -> Statement:
    random = maker.random
    base = f"192.0.{10 + number}." if family == 4 else f"2001:db8:{number + 1}::"
    port = random.choice(PORTS)
    forms = [
        f"{base}10 {port}",
        f"{base}20-23 {port}",
        f"{base}30-{base}32 {port}",
        f"{base}{64 if family == 4 else 40}/{30 if family == 4 else 126} {port}",
        f"{base}99",
        f"fwmark {100 + number}" + (" inet6" if family == 6 else ""),
    ]
    return Statement(
        f"virtual_server_group g{number}", [Statement(text) for text in random.sample(forms, random.randint(1, 3))]
    )


def _settings(maker: _Maker, family: int, kind: str) -> list[Statement]:
    random = maker.random
    found = [Statement(f"delay_loop {maker.named(random.choice((5, 10, 60, 7.5)))}")]
    if maker.sometimes(0.95):
        found.append(Statement(f"{random.choice(('lb_algo', 'lvs_sched'))} {maker.named(random.choice(SCHEDULERS))}"))
    found += maker.some(0.08, *FLAGS)
    if maker.sometimes(0.95):
        found.append(Statement(f"{random.choice(('lb_kind', 'lvs_method'))} {random.choice(METHODS)}"))
    if kind == "mark" and (family == 6 or maker.sometimes(0.2)):
        found.insert(0, Statement(f"ip_family {'inet6' if family == 6 else 'inet'}"))
    if maker.sometimes(0.4):
        found.append(
            Statement(random.choice(("persistence_timeout", "persistence_timeout 50", "persistence_timeout 3600")))
        )
    if maker.sometimes(0.15):
        found.append(
            Statement(f"persistence_granularity {random.choice(MASKS) if family == 4 else random.randint(1, 128)}")
        )
    found += maker.some(0.08, "ops", "persistence_engine sip", "omega", "ha_suspend")
    found += maker.some(0.2, "alpha", "inhibit_on_failure", f"weight {random.choice((1, 2, 50, 1000))}")
    found += maker.some(0.2, f"quorum {random.choice((0, 1, 2, 5, 100))}", f"hysteresis {random.choice((0, 1, 2, 50))}")
    found += maker.some(
        0.1,
        f"quorum_up {SCRIPT}",
        "virtualhost www.example.com",
        "smtp_alert",
        "retry 2",
        "warmup 0",
        "delay_before_retry 2",
    )
    if maker.sometimes(0.4):
        found += _sorry_server(maker, family)
    return found


def _sorry_server(maker: _Maker, family: int) -> list[Statement]:
    random = maker.random
    other = 10 - family if maker.sometimes(0.05) else family
    found = [Statement(f"sorry_server {_server_address(other, 9)} {random.choice((80, 80, 8080, 0, ''))}".rstrip())]
    found += maker.some(0.4, "sorry_server_inhibit", f"sorry_server_lvs_method {random.choice(METHODS)}")
    if maker.sometimes(0.1):
        random.shuffle(found)
    return found


def _servers(maker: _Maker, family: int, port: int) -> list[Statement]:
    """The real servers; now and then a repetition stands for several of them."""
    random = maker.random
    found: list[Statement] = []
    host = 1
    while host < random.choice((2, 3, 4, 6)):
        if maker.sometimes(0.1):
            prefix = "10.1.0." if family == 4 else "fd00::"
            count = random.randint(2, 4)
            repeated = f"~SEQ(I, {host}, {host + count - 1}) real_server {prefix}$I {port or ''} {{ weight {random.choice((1, 7))} }}"
            found.append(Statement(repeated))
            host += count
            continue
        other = 10 - family if maker.sometimes(0.03) else family
        where = random.choice((port, port, port, 8080, 0, ""))
        head = f"real_server {_server_address(other, host)} {where}".rstrip()
        found += [Statement(head, _real_server(maker)) for _ in range(2 if maker.sometimes(0.03) else 1)]
        host += 1
    return found


def _real_server(maker: _Maker) -> list[Statement]:
    random = maker.random
    found = maker.some(0.6, f"weight {maker.named(random.choice((0, 1, 1, 5, 100, 60000)))}")
    found += maker.some(
        0.1,
        "alpha",
        "alpha off",
        "inhibit_on_failure",
        "inhibit_on_failure false",
        f"lvs_method {random.choice(METHODS)}",
    )
    if maker.sometimes(0.1):
        found += [Statement("uthreshold 1000"), *maker.some(0.5, "lthreshold 500")]
    found += maker.some(
        0.05,
        "notify_up /no/such/up",
        f"notify_down {SCRIPT} root",
        "virtualhost rs.example.com",
        "smtp_alert off",
        "delay_loop 8",
    )
    for _ in range(random.choice((0, 1, 1, 1, 2))):
        found.append(_check(maker))
    if maker.sometimes(0.2):
        random.shuffle(found)
    return found


def _check(maker: _Maker) -> Statement:
    random = maker.random
    timing = maker.some(
        0.3,
        "connect_timeout 3",
        "retry 2",
        "delay_before_retry 1.5",
        f"connect_port {random.choice((80, 8080))}",
        "warmup 1",
    )
    timing += maker.some(0.08, "alpha", "alpha no", "log_all_failures")
    if not any(each.words.startswith("connect_port") for each in timing):
        timing.append(Statement("connect_port 7"))  # a server without a port has none to probe
    url = [Statement("path /"), *maker.some(0.4, "status_code 200-299 302", "virtualhost a.example.com")]
    match random.choice(CHECKS):
        case "HTTP_GET" | "SSL_GET" as name:
            return Statement(name, [Statement("url", url), *timing])
        case "DNS_CHECK" as name:
            return Statement(name, [*timing, *maker.some(0.5, "type A", "name www.example.com")])
        case "UDP_CHECK" as name:
            return Statement(name, [*timing, *maker.some(0.5, "payload 00ff", "require_reply 01xx")])
        case "MISC_CHECK" as name:
            own = [
                Statement('misc_path "/bin/true one"'),
                *maker.some(0.3, "misc_dynamic", "misc_timeout 5", "user root"),
            ]
            return Statement(name, [*own, *(each for each in timing if not each.words.startswith("connect_"))])
        case "FILE_CHECK" as name:
            number = random.randrange(len(TRACK_FILES))
            weight = maker.some(0.4, f"weight {random.choice((1, -1, 3, '2 reverse', 0))}")
            maker.files.add(number)
            return Statement(name, [Statement(f"track_file t{number}"), *weight])
        case name:
            return Statement(name, timing)


# -- how it is written


@dataclass
class _Writer:
    """One style for one configuration: indentation, where braces stand, how often somebody comments."""

    random: Random

    def __post_init__(self) -> None:
        self.indent = self.random.choice(("  ", "    ", "\t", ""))
        self.brace = self.random.choice((" {\n", " {\n", "\n{\n", "{\n", " {   # begins here\n"))
        self.comments = self.random.choice((0.0, 0.0, 0.1, 0.3))
        self.one_line = self.random.choice((0.0, 0.2, 0.6))
        self.newline = self.random.choice(("\n", "\n", "\n", "\r\n"))

    def text(self, statements: list[Statement]) -> str:
        """All statements, in this style."""
        return "".join(self._statement(each, 0) for each in statements).replace("\n", self.newline)

    def _statement(self, statement: Statement, depth: int) -> str:
        pad = self.indent * depth
        comment = self._comment(pad)
        if statement.block is None:
            return f"{comment}{pad}{statement.words}{self.random.choice(('', '', '', ' ', ' # so'))}\n"
        flat = all(each.block is None and "~" not in each.words and "$" not in each.words for each in statement.block)
        if flat and len(statement.block) <= 1 and self.random.random() < self.one_line:
            return f"{comment}{pad}{statement.words} {{ {' '.join(each.words for each in statement.block)} }}\n"
        blank = " " if "$" in statement.words else ""  # a name counts only before a blank
        inside = "".join(self._statement(each, depth + 1) for each in statement.block)
        return f"{comment}{pad}{statement.words}{blank}{self.brace}{inside}{pad}}}\n{self.random.choice(('', '', self.newline))}"

    def _comment(self, pad: str) -> str:
        if self.random.random() >= self.comments:
            return ""
        return self.random.choice((f"{pad}# a comment {{ with braces }}\n", f"{pad}! another one\n", "\n"))
