"""What a checker type is, and all it may know: a target, a verdict, a dialer.

A checker type is a public module of `checkers` with three things:

* `KEYWORD` and `OPTIONS`: the name of its block in keepalived.conf and the table of its own keywords
  (`checkers.kit.options`), beside the ones that every checker shares (`COMMON_OPTIONS` here);
* `prepare(options)`: turns the block's values into whatever `check` needs, once, at configuration time
  (a request serialised, a pattern compiled); raises `ValueError` with a sentence for the operator. Several requests of which each
  probe is to make one only come back as `checkers.kit.turns.OneByOne`;
* `async check(target, prepared, dial)`: one probe, one `Verdict`. It opens connections only through `dial`,
  never sleeps, never retries, never logs and keeps no state: the kit does timing, deadlines, isolation and counting
  once, around every check. Failure of the server is a value; an exception that is not `ProbeError` is a bug.

A module may also have `glance(target, prepared)`, which returns how a probe goes that is like the last (`Glance`; None: it is looked at
properly each time), `COMMON` (the common keywords that it knows, where it does not know all), `weighs(options)` (what its
verdicts' weights mean), `SENTINEL` (whether an idle TCP connection to its targets is held by itself) and `remarks(options)`, which
yields a sentence for each value that is allowed and without effect.
Nothing here imports trio: the same interface serves sockets, memory streams and virtual time.
"""

from __future__ import annotations

import enum
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from checkers.kit.frozen import frozen
from checkers.kit.options import Json, Keyword, Kind

DETAIL_MAX_BYTES = 200
"""Longest human detail, sent or received excerpt of a verdict, in UTF-8 bytes; longer text is cut (observability.md)."""

GULP_BYTES = 8_192
"""So much of an answer is read at once to begin with: head and body of a health page in one go, and little to put aside."""


class Health(enum.IntEnum):
    """What one check says about its real server. The number is the wire form. UNKNOWN: no verdict yet."""

    UNKNOWN = 0
    UP = 1
    DOWN = 2


class Reason(enum.IntEnum):
    """Why a verdict is what it is: a closed set, after HAProxy's check codes. The number is the wire form."""

    NONE = 0  # not checked yet
    L4OK = 1  # connected
    L4CON = 2  # refused, unreachable, reset while connecting
    L4TOUT = 3  # no connection within the deadline
    L6RSP = 4  # TLS handshake failed
    L6TOUT = 5  # TLS handshake not done within the deadline
    L7OK = 6  # the expected answer
    L7STS = 7  # an answer with a status that was not expected
    L7RSP = 8  # not a valid answer of the protocol, or too long, or cut off
    L7BODY = 9  # digest, length or pattern of the body did not fit
    L7TOUT = 10  # no complete answer within the deadline
    LOCAL = 11  # we could not even try (no descriptor, bind failed): says nothing about the server
    LATE = 12  # the deadline passed while our own loop was not punctual, or our own idle connection in the way: says nothing of the server
    CRASHED = 13  # a bug in the checker: says nothing about the server
    PROCERR = 14  # script: failed
    PROCTOUT = 15  # script: not done within its limit
    PROCOK = 16  # script: succeeded
    FILEOK = 17  # file: its value is that of a healthy server
    FILEERR = 18  # file: its value is that of a server that is down


INCONCLUSIVE = frozenset({Reason.NONE, Reason.LOCAL, Reason.LATE, Reason.CRASHED})
"""Reasons that are no evidence about the real server: neither success nor failure is counted."""

PASSED = frozenset({Reason.L4OK, Reason.L7OK, Reason.PROCOK, Reason.FILEOK})
"""Reasons of success; every other one that is not inconclusive is a failure."""


_PASSED = tuple(reason in PASSED for reason in Reason)
_CONCLUSIVE = tuple(reason not in INCONCLUSIVE for reason in Reason)
# The same by number: an enum's hash is a Python function, and these are asked several times for each probe.


@frozen
class Verdict:
    """The result of one probe. `sent` and `received` are short printable excerpts for the causal chain.

    `weight` is what the check has to say about the real server's weight, of the types that have a `weighs`; None: nothing
    (any more). It counts only with a success. `expires_at` is when the server's certificate ends (Unix seconds; 0: there is none).
    """

    reason: Reason
    detail: str = ""
    sent: str = ""
    received: str = ""
    duration_s: float = 0.0
    weight: int | None = None
    expires_at: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the real server passed."""
        return _PASSED[self.reason]

    @property
    def conclusive(self) -> bool:
        """Whether this says anything about the real server at all."""
        return _CONCLUSIVE[self.reason]


@frozen
class Target:
    """Where a probe goes. Addresses are numeric text, ready for the socket call."""

    address: str
    port: int
    bind_address: str = ""
    bind_port: int = 0  # 0: any
    bind_interface: str = ""
    mark: int = 0  # SO_MARK of the probe's packets; 0: none

    @property
    def is_ipv6(self) -> bool:
        """Whether the address is an IPv6 one."""
        return ":" in self.address

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.is_ipv6 else f"{self.address}:{self.port}"


class ProbeError(Exception):
    """Base of what a dialer raises: an expected failure that the kit turns into a verdict."""

    reason = Reason.L4CON


class ConnectFailed(ProbeError):
    """The connection was refused, reset or unreachable; the text names the errno."""

    reason = Reason.L4CON


class ConnectionLost(ProbeError):
    """An established connection was reset by the peer."""

    reason = Reason.L7RSP


class DeadlinePassed(ProbeError):
    """The probe's absolute deadline passed. `connected` tells which layer was waited for."""

    def __init__(self, detail: str, *, connected: bool, late: bool = False) -> None:
        super().__init__(detail)
        self.reason = Reason.LATE if late else (Reason.L7TOUT if connected else Reason.L4TOUT)


class LocalTrouble(ProbeError):
    """We could not try: no descriptor, no such source address, no permission, no route.

    `fault` names it in one word for whoever counts: an errno's name, or FAVOUR when the supervisor could not help.
    """

    reason = Reason.LOCAL

    def __init__(self, detail: str, fault: str = "OTHER") -> None:
        super().__init__(detail)
        self.fault = fault


class Stream(Protocol):
    """One open connection of a probe, bounded by the deadline that its dialer was given."""

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises ConnectionLost, DeadlinePassed."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes, b"" at the peer's orderly end. Raises ConnectionLost, DeadlinePassed."""

    def close(self) -> None:
        """Close at once, without waiting; never raises; may be called twice."""

    def pause(self) -> None:
        """Go on after this probe: from now on no time limit. For `Dialer.keep`."""

    def resume(self) -> bool:
        """Begin a new time limit; False when the connection is over, or the server said something that nobody asked for."""


class Datagrams(Protocol):
    """The datagrams that a probe exchanges with one peer, bounded by the deadline that its dialer was given.

    An error that the network tells of (nobody listens there, no route) is raised by whatever is called next.
    """

    async def send(self, data: bytes) -> None:
        """Send one datagram. Raises ConnectFailed, DeadlinePassed, LocalTrouble."""

    async def receive(self) -> bytes:
        """Return the next datagram of the peer, which may be empty. Raises ConnectFailed, DeadlinePassed, LocalTrouble."""

    def close(self) -> None:
        """Close at once; never raises; may be called twice."""


class Ending(enum.IntEnum):
    """How a favour ended. The number is the wire form."""

    DONE = 0
    TIMED_OUT = 1
    REFUSED = 2  # it could not even be tried, which says nothing of the server; `text` says why
    FAILED = 3  # a script that cannot be run as it stands, or that a signal ended; `text` says what happened
    LATE = 4  # a script that was ended at its limit while whoever watched it stood still: says nothing of the server


@frozen
class Answer:
    """What came of a favour: of a script its exit status (0 to 255), of a file its first line, of a socket nothing here."""

    ending: Ending
    status: int = 0
    text: str = ""


class Glance(Protocol):
    """How a probe goes as long as nothing happens (`kit.dialer`): what is said, and how the answer of last time is known again."""

    @property
    def first(self) -> bytes:
        """What is said as soon as the connection stands; empty: that it stands is all."""

    @property
    def probes(self) -> int:
        """So many probes may use one connection."""

    @property
    def layer(self) -> Callable[[], Layer] | None:
        """Makes what is spoken between a fresh connection and this; None: nothing is."""

    def recognise(self, data: bytes) -> Verdict | None:
        """Return the verdict of last time, if `data`, the first that came, is as good; None: the checker is to judge."""


class Layer(Protocol):
    """What is spoken between one connection and a glance: TLS (`kit.tls.Engine`). It never waits, and finds nothing wrong itself."""

    def hello(self) -> bytes:
        """Return what is said as soon as the connection stands."""

    def take(self, data: bytes) -> bytes | None:
        """Take in what came, and return the first of an answer in it; b"" when there is none yet. None: a task is to see what this is."""

    def to_say(self) -> bytes:
        """Return what is to be said now, before more is taken in."""

    def over(self, stream: Stream) -> Stream:
        """Return the stream for the task that goes on with the connection: it says nothing twice, and finds all that came."""


class Dialer(Protocol):
    """The only way to the network. One value serves one job, a probe at a time, and carries its time limit.

    The limit is absolute for each connection: it starts with `connect` and everything on that stream must be over before it
    ends. A probe that makes several requests (HTTP_GET with several urls) opens one connection for each. `fault` is that of the
    last LocalTrouble that it raised, empty while there was none: checkers turn errors into verdicts, and the kit counts them.
    """

    @property
    def fault(self) -> str:
        """The fault of our own in one word, empty for none."""

    async def connect(self, target: Target, first: bytes = b"") -> Stream:
        """Open a TCP connection and say `first` as soon as it stands.

        With `first` it returns when the server says or does something, or the deadline passes: `receive` tells which. That is for
        those who speak first, and makes a probe cheap. Raises ConnectFailed, DeadlinePassed, LocalTrouble, with `first` ConnectionLost.
        """

    async def kept(self) -> Stream | None:
        """Return the connection that an earlier probe kept, with a new time limit; None when there is none that can be used."""

    def keep(self, stream: Stream, probes: int) -> bool:
        """Keep a connection for the next probe, unless `probes` probes have used it; whether it is kept. Else it is still to be closed."""

    async def connect_udp(self, target: Target) -> Datagrams:
        """Open a UDP socket that hears of this target alone; nothing is sent. Raises as `connect` does."""

    async def connect_echo(self, target: Target) -> Datagrams:
        """Open a socket for ICMP echo messages to this target, each without its IP header. Raises as `connect` does."""

    async def run_script(self) -> Answer:
        """Have the job's own script run, within its own time limit. Raises LocalTrouble when nobody can run it."""

    async def read_file(self) -> Answer:
        """Have the first line of the job's own file read. Raises LocalTrouble when nobody can read it."""

    def rest(self) -> None:
        """Close whatever the probe left open and forget its fault. The kit calls it after every probe; never raises."""

    def close(self) -> None:
        """Close everything: there will be no further probe. Never raises; may be called twice."""


class JobDialer(Dialer, Protocol):
    """The dialer of a job as its worker sees it: it can begin a probe at a glance."""

    def acquaint(self, target: Target, glance: Glance, done: Callable[[Verdict | None, float], None]) -> None:
        """Make known what every glance looks for, and who hears what it saw, and when (trio's clock)."""

    def glance(self, now: float) -> bool:
        """Begin a probe at `now` (trio's clock) without waiting; False, and nothing is begun, where that takes a task.

        `done` hears its verdict, later, and its probe is over then (no `rest`): its connection is kept, or closed. If it hears None, it
        did not go as ever: then a probe is to be made in the ordinary way, whose `kept` or `connect` goes on with this one.
        """


class SentinelState(enum.IntEnum):
    """Why a target has no sentinel though the file wants one (`kit.sentinels`). The number is the wire form."""

    FINE = 0  # it has one, or will have one after the next success
    CLOSED = 1  # given up for a while: the server closes idle connections soon
    ENDS = 2  # given up for a while: they end again and again, with the server
    TALKS = 3  # given up for a while: the server talks without being asked
    CROWDS = 4  # given up for long: the server has no place for an idle connection beside others
    MUTE = 5  # given up for long: the server does not notice who leaves, so nobody knows whether it has a place


class Favours(Protocol):
    """What the supervisor does for one job that its worker may not do itself (`kit.favours`)."""

    async def socket(self, favour: Favour) -> int:
        """Return the descriptor of a new socket for the job's own target. Raises LocalTrouble."""

    async def answer(self, favour: Favour) -> Answer:
        """Return what came of running the job's script or reading its file. Raises LocalTrouble."""


class Favour(enum.IntEnum):
    """What a worker may ask of its supervisor, always for one of its own jobs. The number is the wire form."""

    STREAM = 1  # a TCP socket, bound and marked as the job wants
    DATAGRAMS = 2  # a UDP socket, the same
    ECHO = 3  # an ICMP socket that hears of the job's target alone
    SCRIPT = 4  # to run the job's script
    FILE = 5  # to read the first line of the job's file


MakeDialer: TypeAlias = Callable[[float, Favours], JobDialer]
"""Makes the dialer of one job from its time limit in seconds (connect_timeout) and what its job may ask for."""


class Weighs(enum.Enum):
    """What `Verdict.weight` of a checker type means to its real server."""

    NOTHING = "nothing"
    ADDS = "adds"  # to the configured weight
    REPLACES = "replaces"  # the configured weight


@functools.cache
def common_options(keyword: str) -> tuple[Keyword, ...]:
    """Return the keywords that a checker type shares with others: all, unless its module has a `COMMON` of its own."""
    found: tuple[Keyword, ...] = getattr(load(keyword), "COMMON", COMMON_OPTIONS)
    return found if sentinel(keyword) is None else (*found, *SENTINEL_OPTIONS)


def sentinel(keyword: str) -> bool | None:
    """Tell whether a checker type's targets are watched by a sentinel unless the file says otherwise; None: never.

    The module's `SENTINEL` says so, and one without it never is.
    """
    found: bool | None = getattr(load(keyword), "SENTINEL", None)
    return found


def weighs(keyword: str, options: Mapping[str, Json]) -> Weighs:
    """Return what the word of a check on the weight means: nothing, unless its module has a `weighs` that says otherwise."""
    says: Callable[[Mapping[str, Json]], Weighs] | None = getattr(load(keyword), "weighs", None)
    return Weighs.NOTHING if says is None else says(options)


def glance_of(checker: CheckerType, target: Target, prepared: object) -> Glance | None:
    """Return how a probe of a target goes if nothing happens; None where the module has no `glance`, or it knows none."""
    make = getattr(checker, "glance", None)
    found: Glance | None = None if make is None else make(target, prepared)
    return found


class CheckerType(Protocol):
    """The shape of a public module of `checkers`."""

    KEYWORD: str
    OPTIONS: tuple[Keyword, ...]

    def prepare(self, options: Mapping[str, Json]) -> Any:
        """Turn the values of a block into what `check` needs. Raises ValueError with a sentence."""

    async def check(self, target: Target, prepared: Any, dial: Dialer) -> Verdict:
        """Probe once."""


INTERVAL_OPTIONS: tuple[Keyword, ...] = (
    Keyword(
        "fast_interval",
        Kind.TIMER,
        "pause in any transition: after a failure while up instead of delay_before_retry, and while rising",
        unit="s",
        low=0.000001,
        high=4294.967295,
        own=True,
    ),
    Keyword(
        "down_interval",
        Kind.TIMER,
        "pause between two probes while down, instead of delay_loop",
        unit="s",
        low=0.000001,
        high=4294.967295,
        own=True,
    ),
    Keyword(
        "idle_interval",
        Kind.TIMER,
        "longer pause than delay_loop for a server that is up and has no traffic",
        unit="s",
        low=0.000001,
        high=4294.967295,
        own=True,
    ),
)
"""Pauses of checks, of real and virtual servers and, for all that do not say otherwise, in global_defs (kit.schedule)."""

COMMON_OPTIONS: tuple[Keyword, ...] = (
    Keyword("connect_ip", Kind.ADDRESS, "address to probe instead of the real server's"),
    Keyword("connect_port", Kind.PORT, "port to probe instead of the real server's"),
    Keyword("bindto", Kind.ADDRESS, "source address of the probe"),
    Keyword("bind_port", Kind.PORT, "source port of the probe"),
    Keyword("bind_if", Kind.TEXT, "interface the probe leaves by; needed for link-local targets"),
    Keyword("fwmark", Kind.INTEGER, "firewall mark on the probe's packets", low=0, high=4294967295),
    Keyword(
        "connect_timeout", Kind.TIMER, "absolute time limit of one probe", unit="s", low=0.000001, high=4294.967295
    ),
    Keyword("retry", Kind.INTEGER, "failed probes to repeat before the server is down", low=0, high=4294967295),
    Keyword(
        "rise", Kind.INTEGER, "successes in a row before a server that is down is up", low=1, high=4294967295, own=True
    ),
    Keyword("delay_before_retry", Kind.TIMER, "pause before such a repetition", unit="s", low=0, high=4294.967295),
    Keyword("delay_loop", Kind.TIMER, "pause between two probes", unit="s", low=0.000001, high=4294.967295),
    Keyword(
        "warmup", Kind.TIMER, "the first probe comes at a random time within this", unit="s", low=0, high=4294.967295
    ),
    *INTERVAL_OPTIONS,
    Keyword("alpha", Kind.FLAG, "start DOWN until the first success"),
    Keyword("log_all_failures", Kind.FLAG, "also log failures that only consume a retry"),
)

SENTINEL_OPTIONS: tuple[Keyword, ...] = (
    Keyword("sentinel", Kind.FLAG, "hold an idle connection, whose end brings the next probe forward", own=True),
    Keyword("fast_retry", Kind.FLAG, "make retries at once while the port refuses (as sentinel)", own=True),
)
"""The keywords of a checker type over TCP (`SENTINEL`)."""


_ABOUT_TIME = frozenset(
    {"retry", "rise", "delay_before_retry", "warmup", "delay_loop", "alpha", "log_all_failures"}
    | {option.name for option in INTERVAL_OPTIONS}
)

TIMING_OPTIONS: tuple[Keyword, ...] = tuple(option for option in COMMON_OPTIONS if option.name in _ABOUT_TIME)
"""The part of COMMON_OPTIONS that a checker type without connections knows (keepalived.md, section 2.5)."""

TYPES: Mapping[str, str] = {
    "HTTP_GET": "http",
    "SSL_GET": "ssl",
    "TCP_CHECK": "tcp",
    "SMTP_CHECK": "smtp",
    "DNS_CHECK": "dns",
    "UDP_CHECK": "udp",
    "MISC_CHECK": "misc",
    "PING_CHECK": "ping",
    "FILE_CHECK": "file",
}
"""Block name in keepalived.conf → module of `checkers`."""


def remarks_on(keyword: str, options: Mapping[str, Json]) -> tuple[str, ...]:
    """What the checker type has to say of values that `prepare` agreed to: sentences that name a keyword first."""
    remarks = getattr(load(keyword), "remarks", None)
    return () if remarks is None else tuple(remarks(options))


@functools.cache
def load(keyword: str) -> CheckerType:
    """Import the checker type of a block name such as "HTTP_GET".

    Raises KeyError for a name that is not in `TYPES`.
    """
    module: Any = importlib.import_module(f"checkers.{TYPES[keyword]}")
    checker: CheckerType = module
    return checker
