"""What the operator asked for: the configuration as frozen values.

Every value here is complete: defaults applied, inheritance resolved, corrections made. Nothing here knows the syntax it came
from, the kernel, or what is happening now. Times are seconds, weights are IPVS weights (0 to 65535), addresses are
`ipaddress` objects until a codec. Imports nothing of this project but what makes a value.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from checkers.kit.frozen import frozen

IPAddress: TypeAlias = IPv4Address | IPv6Address


class Protocol(enum.Enum):
    """Transport protocol of a virtual server; the value is its IANA number."""

    TCP = 6
    UDP = 17
    SCTP = 132

    def __str__(self) -> str:
        return self.name.lower()


class Forwarding(enum.Enum):
    """Forwarding method; the value is the kernel's number (ip_vs.h, IP_VS_CONN_F_*)."""

    NAT = 0
    TUN = 2
    DR = 3


class TunnelType(enum.Enum):
    """How TUN wraps packets (ip_vs.h, IP_VS_CONN_F_TUNNEL_TYPE_*)."""

    IPIP = 0
    GUE = 1
    GRE = 2


class TunnelChecksum(enum.Enum):
    """Checksum of the tunnel header (ip_vs.h, IP_VS_TUNNEL_ENCAP_FLAG_*)."""

    NONE = 0
    CSUM = 1
    REMCSUM = 2


@frozen
class Method:
    """A forwarding method with its tunnel details; the latter only mean something for TUN."""

    forwarding: Forwarding = Forwarding.NAT
    tunnel: TunnelType = TunnelType.IPIP
    tunnel_port: int = 0
    tunnel_checksum: TunnelChecksum = TunnelChecksum.NONE

    @property
    def has_details(self) -> bool:
        """Whether it says of a tunnel what nobody says who does not ask for one."""
        plain = self.tunnel is TunnelType.IPIP and self.tunnel_checksum is TunnelChecksum.NONE and not self.tunnel_port
        return not plain


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An address and a port (0: no port)."""

    address: IPAddress
    port: int
    _hash: int = field(init=False, repr=False, compare=False)
    _text: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A table of thousands is compared by its endpoints, and an address makes its hash of its text each time anew.
        object.__setattr__(self, "_hash", hash((int(self.address), self.port)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        # Thousands are named again and again, and by many: the name is made once, when it is first wanted, and is one object.
        if not self._text:
            host = f"[{self.address}]" if self.address.version == 6 else f"{self.address}"
            object.__setattr__(self, "_text", f"{host}:{self.port}")
        return self._text


NOWHERE = Endpoint(IPv4Address("0.0.0.0"), 0)
"""The target of checks that go over no network: equal for all servers, so that equal checks run once."""


@frozen
class AddressKey:
    """A virtual server that clients reach by protocol, address and port."""

    protocol: Protocol
    endpoint: Endpoint
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.protocol.value, self.endpoint)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.endpoint.address.version

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.protocol}"


@frozen
class FwmarkKey:
    """A virtual server that is one firewall mark of one address family (4 or 6)."""

    family: int
    mark: int

    def __str__(self) -> str:
        return f"fwm:{self.mark}/ipv{self.family}"


ServiceKey: TypeAlias = AddressKey | FwmarkKey
"""What names a virtual server to us and a service to the kernel. Its text is the identity that operators see."""


@frozen
class Schedule:
    """When a check runs, in seconds; `retry` is a count (keepalived.md, sections 2.5 and 3.2)."""

    delay_loop: float
    retry: int
    delay_before_retry: float
    connect_timeout: float
    warmup: float
    rise: int = 1  # successes in a row before a check that is down is up
    fast_interval: float | None = None  # pause in a transition; None: delay_before_retry, and delay_loop while rising
    down_interval: float | None = None  # pause while down; None: delay_loop
    idle_interval: float | None = None  # pause while up without traffic, where it is longer than delay_loop

    @property
    def retry_pause(self) -> float:
        """Pause between the failures that bring it down."""
        return self.delay_before_retry if self.fast_interval is None else self.fast_interval

    @property
    def rising_pause(self) -> float:
        """Pause between the successes that bring it up."""
        return self.delay_loop if self.fast_interval is None else self.fast_interval

    @property
    def down_pause(self) -> float:
        """Longest pause while it is down: some checker types take the longer of two."""
        return max(self.delay_loop, self.delay_before_retry) if self.down_interval is None else self.down_interval

    @property
    def longest_pause(self) -> float:
        """Longest pause while it is up and well."""
        return max(self.delay_loop, self.idle_interval or 0.0)


class Weighs(enum.Enum):
    """What a check's word on the weight means to its real server (checkers.kit.api.Weighs)."""

    NOTHING = "nothing"
    ADDS = "adds"
    REPLACES = "replaces"


@frozen
class CheckSpec:
    """One check of one real server.

    `type` is the block's name ("HTTP_GET"); `address` and `port` are where it probes; `options_json` is the block's own
    values as canonical JSON (sorted keys, no blanks), so that equal checks compare equal. Two checks with equal specs are one job.
    `first_weight` and `first_down` are what the check said when the configuration was read, where that can be known then (files).
    """

    type: str
    target: Endpoint
    schedule: Schedule
    alpha: bool = False
    bind_address: IPAddress | None = None
    bind_port: int = 0
    bind_interface: str = ""
    log_all_failures: bool = False
    options_json: str = field(default="{}", repr=False)  # there may be a key in it
    mark: int = 0  # SO_MARK of the probe's packets
    sentinel: bool = False  # an idle connection to the target is held
    fast_retry: bool = False  # a refused connection is retried at once
    weighs: Weighs = Weighs.NOTHING
    first_weight: int | None = field(default=None, compare=False, repr=False)
    first_down: bool = field(default=False, compare=False, repr=False)

    def __hash__(self) -> int:
        # Of what can tell thousands of checks apart; nearly all of it knows its hash already, so that it is not kept again.
        return hash((self.type, self.target, self.options_json, self.bind_address, self.mark))

    def at(self, target: Endpoint) -> CheckSpec:
        """The same check of another target: what `dataclasses.replace` makes in twice the time, and there may be thousands."""
        return CheckSpec(
            self.type,
            target,
            self.schedule,
            self.alpha,
            self.bind_address,
            self.bind_port,
            self.bind_interface,
            self.log_all_failures,
            self.options_json,
            self.mark,
            self.sentinel,
            self.fast_retry,
            self.weighs,
            self.first_weight,
            self.first_down,
        )

    @property
    def where(self) -> str:
        """What it probes, for people: "192.0.2.1:80", or "" for one that goes nowhere (a script, a file)."""
        return "" if self.target == NOWHERE else str(self.target)


@frozen
class Script:
    """A program of the operator's with its arguments, run without a shell. `user` and `group` are names.

    An empty `user` is nobody in particular: the runner's unprivileged account. `secure` (enable_script_security): not as root when
    somebody else can change it.
    """

    argv: tuple[str, ...]
    user: str = ""
    group: str = ""
    secure: bool = False

    def __str__(self) -> str:
        return " ".join(self.argv)


@frozen
class Fifo:
    """A named pipe that is told every change in a line; `script` is started beside it to read it."""

    path: str
    user: str = ""  # owner, where we make it; empty: ourselves
    group: str = ""
    script: Script | None = None


@frozen
class ScriptSettings:
    """What the whole program does with scripts; times in seconds."""

    startup: Script | None = None
    startup_timeout: int = 10
    shutdown: Script | None = None
    shutdown_timeout: int = 10
    timeout: int = 60  # of each notification (notify_timeout)
    fifos: tuple[Fifo, ...] = ()
    at_start: bool = False  # rs_init_notifies: also tell the real servers that are UP at start


@frozen
class RealServer:
    """One real server of one virtual server, after inheritance."""

    endpoint: Endpoint
    weight: int = 1
    method: Method = Method()
    inhibit_on_failure: bool = False
    upper_threshold: int = 0
    lower_threshold: int = 0
    checks: tuple[CheckSpec, ...] = ()
    mail: bool = True  # smtp_alert, after all inheritance
    notify_up: Script | None = None
    notify_down: Script | None = None

    def at(self, endpoint: Endpoint, checks: tuple[CheckSpec, ...]) -> RealServer:
        """The same at another endpoint, with its own checks: as `CheckSpec.at`."""
        return RealServer(
            endpoint,
            self.weight,
            self.method,
            self.inhibit_on_failure,
            self.upper_threshold,
            self.lower_threshold,
            checks,
            self.mail,
            self.notify_up,
            self.notify_down,
        )


@frozen
class SorryServer:
    """Where clients go while the quorum is lost. Never checked; weight 1."""

    endpoint: Endpoint
    method: Method = Method()
    inhibit: bool = False


DRIFT_GRACE_DEFAULT_S = 600
"""Ten minutes: an emergency is over by then, or somebody has drained the server in the way that has no end."""


class DriftPolicy(enum.Enum):
    """What becomes of a change that somebody else made in the kernel's table; the value is the word in the file."""

    REPAIR = "repair"  # undone at once; a weight that was set to 0 stands for a while
    ADOPT = "adopt"  # weights stand, the rest is undone
    REPORT = "report"  # it stands, and is told of


class MinHealthyUnit(enum.Enum):
    """What `min_healthy` counts."""

    PERCENT = "%"  # of the weight that all enabled real servers would have in service
    SERVERS = "servers"
    WEIGHT = "weight"


@frozen
class MinHealthy:
    """So much of a virtual server stays in service, whatever its checks say: 1 to 100 percent, or a number of servers, or a weight."""

    unit: MinHealthyUnit
    amount: int

    def __str__(self) -> str:
        match self.unit:
            case MinHealthyUnit.PERCENT:
                return f"{self.amount}%"
            case MinHealthyUnit.SERVERS:
                return f"{self.amount}"
            case MinHealthyUnit.WEIGHT:
                return f"weight {self.amount}"


@frozen
class VirtualServer:
    """One virtual server. Real servers stand in the order of the file and are unique by endpoint."""

    key: ServiceKey
    scheduler: str = "wlc"
    scheduler_flags: int = 0  # bits 0x8, 0x10, 0x20 of the service flags
    one_packet: bool = False  # ops
    persistence_timeout: int = 0  # seconds; 0: no persistence
    persistence_prefix: int = (
        0  # granularity as prefix length: 32 or 128 means each client by itself; 0: the default of the family
    )
    persistence_engine: str = ""
    quorum: int = 1
    hysteresis: int = 0
    omega: bool = False
    ha_suspend: bool = False  # checked only while its address is on this host
    method: Method = Method()
    sorry_server: SorryServer | None = None
    real_servers: tuple[RealServer, ...] = ()
    mail: bool = False  # smtp_alert, after all inheritance
    group: str = ""  # the virtual_server_group that this is one address of
    group_use: int = 0  # which of the blocks that use the group this belongs to, in the order of the file
    follower: bool = False  # another address of the same block stands before this one
    quorum_up: Script | None = None
    quorum_down: Script | None = None
    drain_timeout: float = (
        300.0  # seconds for which a removed real server keeps its connections at most; 0: they are cut off
    )
    drift_policy: DriftPolicy = DriftPolicy.REPAIR
    drift_grace: int = DRIFT_GRACE_DEFAULT_S  # seconds for which a weight of 0 that somebody set stands, with `repair`
    min_healthy: MinHealthy | None = None  # None: nobody is held in service


class MailTls(enum.Enum):
    """How mail is kept from being read on the way to the mail server."""

    OFF = "off"
    STARTTLS = "starttls"  # in the open first, then TLS, or no mail at all (RFC 3207)
    TLS = "tls"  # from the first byte (RFC 8314, section 3)


@frozen
class TrackFile:
    """A file whose number FILE_CHECKs watch. `initial` is written at start when there is none (`overwrite`: always); None: nothing is."""

    name: str
    path: str
    factor: int = 1  # -254 to 254; negative with `reverse`
    initial: int | None = None
    overwrite: bool = False


@frozen
class MailSettings:
    """Where mail goes; nobody is told by mail when `recipients` or `server` is empty.

    `user` is only set together with `password_file` and TLS. The password itself is nowhere but in that file.
    """

    recipients: tuple[str, ...] = ()
    sender: str = ""
    server: str = ""  # host name or address
    port: int = 25
    connect_timeout: int = 30  # seconds
    helo_name: str = ""  # empty: the host's own name
    every_check: bool = True  # False (no_checker_emails): only when the real server changes
    tls: MailTls = MailTls.OFF
    tls_verify: bool = True  # chain and name of the server's certificate
    authorities: str = ""  # PEM certificates that may sign for the server; empty: those of the system
    user: str = ""
    password_file: str = ""  # absolute path; its first line is the password
    group_within: float = 1.0  # seconds (smtp_group_within); 0: every mail by itself and at once


@frozen
class Timeouts:
    """Seconds after which the kernel forgets a connection that is silent; 0: as the kernel has it."""

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0


class SyncRole(enum.Enum):
    """What a sync daemon of the kernel does; the value is the kernel's number (ip_vs.h, IP_VS_STATE_*)."""

    MASTER = 1  # tells its connections to the group
    BACKUP = 2  # listens to the group

    def __str__(self) -> str:
        return self.name.lower()


SYNC_GROUP, SYNC_PORT = IPv4Address("224.0.0.81"), 8848
"""Where sync daemons meet when nobody says otherwise (ip_vs_sync.c)."""


@frozen
class SyncDaemon:
    """A kernel thread that shares connections with other directors."""

    role: SyncRole
    interface: str
    sync_id: int = 0  # 0 to 255; only directors with the same one talk to each other
    max_length: int = 0  # bytes of one message; 0: what the interface's MTU allows
    group: IPAddress = SYNC_GROUP
    port: int = SYNC_PORT
    ttl: int = 1


class FlushOnStop(enum.Enum):
    """What goes at a clean stop; the value is the word after lvs_flush_on_stop."""

    NOTHING = "no"  # only what is ours
    SERVICES = "VS"  # only what is ours; each service at one stroke with its destinations
    TABLE = ""  # every service, whoever put it there


@frozen
class KernelSettings:
    """What the operator asks of the kernel's IPVS as a whole, beside virtual servers."""

    timeouts: Timeouts = Timeouts()
    flush: bool = False  # lvs_flush: services that are not in the file go at the start
    flush_on_stop: FlushOnStop = FlushOnStop.NOTHING
    sync_daemons: tuple[SyncDaemon, ...] = ()  # at most one of each role


@frozen
class BlameSettings:
    """Whether this director suspects itself when nothing answers; `hold_max` is how long at most while it has no path, in seconds."""

    on: bool = True
    hold_max: float = 600.0


PROBE_RATE_DEFAULT = 20
"""Most probes a second of one real server's address and port. Ours: what a single check can make at most, whose timer ticks every
50 ms (checkers.kit.timer), so that the limit only ever concerns servers with several checks."""


@frozen
class Config:
    """A whole configuration file, valid by construction.

    `source` is the path it came from, `digest` the first 12 hex digits of the SHA-256 of its text, includes expanded.
    """

    virtual_servers: tuple[VirtualServer, ...] = ()
    mail: MailSettings = MailSettings()
    kernel: KernelSettings = KernelSettings()
    router_id: str = ""
    track_files: tuple[TrackFile, ...] = ()
    default_interface: str = "eth0"
    assign_addresses: bool = True  # virtual_server_addresses
    source: str = ""
    digest: str = ""
    warnings: int = 0
    files: tuple[str, ...] = field(default=())
    scripts: ScriptSettings = field(default_factory=ScriptSettings)
    blame: BlameSettings = BlameSettings()
    probe_rate_max: int = PROBE_RATE_DEFAULT  # most probes a second of one address and port; 0: no limit
    text: bytes = field(default=b"", compare=False, repr=False)  # what may be shown of it, packed by zlib

    @property
    def has_scripts(self) -> bool:
        """Whether anything of the operator's may have to run."""
        settings = self.scripts
        if settings.startup or settings.shutdown or any(fifo.script for fifo in settings.fifos):
            return True
        if any(vs.quorum_up or vs.quorum_down for vs in self.virtual_servers):
            return True
        servers = [rs for vs in self.virtual_servers for rs in vs.real_servers]  # there may be thousands
        if any(rs.notify_up or rs.notify_down for rs in servers):
            return True
        return "MISC_CHECK" in {check.type for rs in servers for check in rs.checks}
