"""Everything an observer may know at one instant, as one value with a wire form.

The exporter, `vipervisor status` and the tests see the program through this and nothing else. All times are ages or durations
in seconds, because clocks differ between processes; an observer subtracts an age from its own wall clock.
`encode` and `decode` are the wire form (JSON, UTF-8); `decode(encode(s)) == s`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from checkers.kit.frozen import frozen

STEP_SERVERS = 50
"""Real servers that are read or written at one stroke: 2 ms."""

SCHEMA = 1
"""Version of the wire form; it changes when a field changes its meaning or goes away."""

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of every duration histogram, in seconds (observability.md, section 1.3)."""


@frozen
class Histogram:
    """Counts per bucket of `DURATION_BUCKETS_S` and one for +Inf (not cumulative), and the sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(DURATION_BUCKETS_S) + 1)
    sum_s: float = 0.0


@frozen
class CheckView:
    """One check of a real server: its state and its last probe."""

    type: str
    target: str
    health: str  # UNKNOWN UP DOWN
    reason: str  # name of checkers.kit.api.Reason
    detail: str
    duration_s: float
    age_s: float | None  # since the last result was heard; None: never
    failures: int  # consecutive failed probes
    since_s: float  # in this health for so long
    certificate_expires_at: float = 0.0  # Unix seconds, as the server said them; 0: no certificate was seen
    sentinel: str = ""  # "on", or why the idle connection is given up; empty: there shall be none


@frozen
class TrafficView:
    """Connections now and counters since the kernel's entry was made."""

    active: int = 0
    inactive: int = 0
    connections: int = 0
    incoming_packets: int = 0
    outgoing_packets: int = 0
    incoming_bytes: int = 0
    outgoing_bytes: int = 0


@frozen
class OverrideView:
    """What an operator wants of a real server."""

    admin: str  # enabled draining disabled
    weight: int | None  # instead of the configured one; None: that stands
    reason: str
    by: str
    age_s: float
    ends_s: float | None  # from now; None: it has no end


@frozen
class RealServerView:
    """One real server of one virtual server. `weight_kernel` is None when the kernel has no such destination."""

    real_server: str
    forward: str  # nat dr tun
    health: str
    enabled: bool  # admin is "enabled"
    weight_configured: int
    weight_wanted: int | None  # None: it should not be in the table
    weight_kernel: int | None
    since_s: float
    transitions_up: int
    transitions_down: int
    stale: bool  # its worker is silent: the verdict is frozen
    traffic: TrafficView
    checks: tuple[CheckView, ...]
    admin: str = "enabled"  # enabled draining disabled
    override: OverrideView | None = None
    held: str = ""  # guard blame: it serves though it is DOWN; empty: nobody holds it
    held_text: str = ""  # who holds it, and why
    held_s: float | None = None  # for so long already


@frozen
class SorryView:
    """The sorry server of a virtual server."""

    real_server: str
    active: bool
    weight_kernel: int | None
    traffic: TrafficView


@frozen
class VirtualServerView:
    """One virtual server with its real servers in the order of the file."""

    virtual_server: str
    scheduler: str
    forward: str
    family: int
    protocol: str  # tcp udp sctp; empty for a firewall mark
    address: str  # empty for a firewall mark
    port: int
    mark: int
    quorate: bool
    quorum: int
    hysteresis: int
    weight_up: int
    since_s: float
    transitions_up: int
    transitions_down: int
    sorry: SorryView | None
    traffic: TrafficView
    real_servers: tuple[RealServerView, ...]
    suspended: bool = False  # ha_suspend, and its address is not here
    min_healthy: str = ""  # as the file says it: 50%, 2, weight 100; empty: no guard
    group: str = ""  # the virtual_server_group that it is one address of
    removals_refused: int = 0  # how often a real server began to be held in service


@frozen
class WorkerView:
    """One child process as its keeper sees it; `name` is "checker-0" or "exporter"."""

    name: str
    pid: int  # 0: not running
    restarts: int
    age_s: float | None  # since its last sign of life
    loop_lag_s: float
    in_flight: int
    overdue: int
    caged: str  # what it could get: "uid=65534 caps=0 nnp=1"
    checks: int = 0  # that it was given
    run_delay_s: float = 0.0  # how long it has waited for a processor, like all counts here over all its incarnations
    naps: int = 0  # how often it, or the machine, stood still
    inconclusive: int = 0  # probes that said nothing about their server
    faults: Mapping[str, int] = dataclasses.field(default_factory=dict)  # what its own machine refused it → how often
    stretch: int = 1  # by how much it lengthens its pauses, because something runs short
    memory_bytes: int = 0  # 0: not known
    sentinels: int = 0  # idle connections that it holds now
    sentinels_ended: int = 0  # that servers closed, reset or let die
    sentinels_given_up: int = 0  # to servers that close them soon or have no place for them, now
    sentinels_unaffordable: int = 0  # that it has no descriptor for now


@frozen
class CheckCount:
    """How often a checker type gave a reason since the supervisor started."""

    type: str
    reason: str
    count: int


@frozen
class CheckTiming:
    """Durations of the probes of one checker type."""

    type: str
    durations: Histogram


@frozen
class OperationCount:
    """Kernel operations by name (new_service set_service del_service new_dest set_dest del_dest dump) and result (ok or errno)."""

    operation: str
    result: str
    count: int


@frozen
class ContestView:
    """A virtual server that another writer keeps changing, and for how long it is still left alone (0: it is repaired again)."""

    virtual_server: str
    left_alone_s: float


@frozen
class DriftView:
    """A difference that somebody else made and that stands for now, in words. An empty `real_server`: the service itself."""

    virtual_server: str
    real_server: str
    words: str


@frozen
class WriterView:
    """The IPVS writer: what it did, how fast, and what it found that nobody here wrote."""

    operations: tuple[OperationCount, ...] = ()
    batch_durations: Histogram = Histogram()
    verdict_to_kernel: Histogram = Histogram()
    queue_length: int = 0
    queue_oldest_s: float = 0.0
    drift_missing: int = 0
    drift_extra: int = 0
    drift_weight: int = 0
    drift_settings: int = 0
    repairs: int = 0
    sync_age_s: float | None = None
    reachable: bool = True  # the table can be read and written
    foreign_services: int = 0  # services in the table that are none of our business
    drift_standing: int = 0  # differences that stand by policy, or because nobody fights for them any more
    adopted: int = 0  # weights of somebody else's that were taken for an operator's word
    standing: tuple[DriftView, ...] = ()  # the first of those that stand
    contests: tuple[ContestView, ...] = ()
    repaired: Mapping[str, int] = dataclasses.field(
        default_factory=dict
    )  # `repairs` by kind: missing extra weight settings
    dump_durations: Histogram = Histogram()


@frozen
class RivalView:
    """Another program that writes the table; not `sure`: or may, for its network namespace is not to be seen."""

    program: str
    pid: int
    sure: bool


@frozen
class PauseView:
    """An operator's pause of all writes to the kernel. `ends_s` None: it stands until somebody says resume."""

    by: str
    reason: str
    age_s: float
    ends_s: float | None


@frozen
class StateView:
    """The state file: what the next start would know. `path` is empty when nothing is kept."""

    path: str = ""
    age_s: float | None = None  # since the last write; None: there was none
    writes: int = 0
    failures: int = 0
    error: str = ""  # why the last write failed; empty: it did not


@frozen
class WebView:
    """The file that says how the exporter is protected (TLS, passwords). `path` is empty without one."""

    path: str = ""
    age_s: float | None = None  # since it was last taken over; None: never
    ok: bool = True  # its newest form was taken over


@frozen
class ProcessView:
    """The supervisor itself."""

    version: str
    python: str
    kernel: str
    backend: str
    pid: int
    uptime_s: float
    ready: bool
    config_source: str
    config_digest: str
    config_warnings: int
    config_age_s: float
    reload_ok: bool
    reloads_ok: int
    reloads_rejected: int
    schedule_lag: Histogram
    checks: tuple[CheckCount, ...]
    check_durations: tuple[CheckTiming, ...]
    writer: WriterView
    workers: tuple[WorkerView, ...]
    log_events: Mapping[str, int]  # by level
    log_dropped: int
    mail_sent: int
    mail_failed: int
    mail_dropped: int
    inbox_length: int
    addresses: Mapping[
        str, str
    ]  # virtual IP → what became of it: assigned eth0 | present eth0 | conflict MAC | failed …
    scripts_succeeded: int = 0
    scripts_failed: int = 0
    scripts_skipped: int = 0
    fifo_written: int = 0
    fifo_dropped: int = 0
    rivals: tuple[RivalView, ...] = ()
    state: StateView = StateView()
    suspected: str = (
        ""  # the evidence against this director, because of which removals are held; empty: it is not suspected
    )
    suspected_s: float | None = None  # for so long
    targets_without_path: int = 0  # addresses of checks and servers to which this host has no way
    workers_lost_s: float = 0.0  # for so long there has been no checker worker; 0: there is one
    checks_quarantined: int = 0  # checks that kill workers and are kept apart
    log_summed_up: int = 0  # log lines that were put together in summaries
    web: WebView = WebView()
    paused: PauseView | None = None  # an operator has writes to the kernel paused


@frozen
class Snapshot:
    """All of it."""

    process: ProcessView
    virtual_servers: tuple[VirtualServerView, ...]
    schema: int = SCHEMA


@frozen
class WholeView:
    """How many there are of everything, beside an answer that may show a part of it."""

    virtual_servers: int = 0
    real_servers: int = 0
    not_down: int = 0  # real servers: UP or UNKNOWN
    overridden: int = 0
    held: int = 0


def as_json(value: Snapshot | RealServerView) -> dict[str, Any]:
    """Return a snapshot or one view as plain dictionaries and lists."""
    plain: dict[str, Any] = json.loads(encode(value))
    return plain


def encode(value: Snapshot | ProcessView | VirtualServerView | RealServerView | WholeView) -> bytes:
    """Return the wire form. Runs on the decision loop, so it copies nothing, as dataclasses.asdict would."""
    return json.dumps(value, separators=(",", ":"), default=_fields).encode()


def encoding(
    process: ProcessView, virtual_servers: Iterable[tuple[VirtualServerView, Iterable[RealServerView]]]
) -> Iterator[bytes]:
    """Yield the wire form piece by piece, each of STEP_SERVERS real servers or so, so that decisions are taken between two pieces.

    `virtual_servers` are views without real servers, each with its real servers, which are asked for one by one: what happens meanwhile
    may be in the later ones already.
    """
    yield b'{"process":' + encode(process) + b',"virtual_servers":['
    done = 0
    text = bytearray()
    for index, (view, servers) in enumerate(virtual_servers):
        before, _, after = encode(view).partition(_NO_SERVERS)  # cannot be within a text, where quotes are escaped
        text += b"," * (index > 0) + before + _NO_SERVERS[:-1]
        for number, server in enumerate(servers):
            text += b"," * (number > 0) + encode(server)
            done += 1
            if done % STEP_SERVERS == 0:
                yield bytes(text)
                text.clear()
        text += b"]" + after
    yield bytes(text) + b'],"schema":%d}' % SCHEMA


_NO_SERVERS = b'"real_servers":[]'


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of one of the dataclasses above by name."""
    return {name: getattr(value, name) for name in value.__slots__}


def decode(data: bytes) -> Snapshot:
    """Read the wire form. Raises ValueError when it is not one, or of another schema."""
    *_, snapshot = decoding(data)
    assert snapshot is not None
    return snapshot


def decoding(data: bytes) -> Iterator[Snapshot | None]:
    """Read the wire form in steps: yield None after every STEP_SERVERS real servers, and at last the snapshot.

    Raises ValueError as `decode` does.
    """
    try:
        parts = _parts(data.decode())
        process, virtual_servers, done = _build(ProcessView, next(parts)), [], 0
        yield None
        for each in parts:
            real_servers = []
            for server in each["real_servers"]:
                real_servers.append(_build(RealServerView, server))
                done += 1
                if done % STEP_SERVERS == 0:
                    yield None
            view = _build(VirtualServerView, each | {"real_servers": ()})
            virtual_servers.append(dataclasses.replace(view, real_servers=tuple(real_servers)))
        yield Snapshot(process, tuple(virtual_servers))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"snapshot: {error!r}") from error


def _parts(text: str) -> Iterator[Any]:
    """Yield the process and then each virtual server of a wire form as parsed JSON, one at a time: all of it would be 50 ms at one stroke.

    The form is ours to the letter (`encode`, `encoding`). Raises ValueError when it is another, at the end also for another schema.
    """
    place = _past('{"process":', text, 0)
    process, place = _JSON.raw_decode(text, place)
    yield process
    place = _past(',"virtual_servers":[', text, place)
    comma = text.startswith("{", place)
    while comma:
        virtual_server, place = _JSON.raw_decode(text, place)
        yield virtual_server
        comma = text.startswith(",", place)
        place += comma
    if _past(f'],"schema":{SCHEMA}}}', text, place) != len(text):
        raise ValueError("snapshot: there is more behind its end")


_JSON = json.JSONDecoder()


def _past(expected: str, text: str, place: int) -> int:
    """Return the place behind what is expected at a place."""
    if not text.startswith(expected, place):
        raise ValueError(f"snapshot: expected {expected!r} at {place}, got {text[place : place + 40]!r}")
    return place + len(expected)


def _build(kind: Any, raw: Any) -> Any:
    """Make a value of `kind` (a type of the dataclasses above) from parsed JSON."""
    return _builder(kind)(raw)


@functools.cache
def _builder(kind: Any) -> Callable[[Any], Any]:
    """Return what makes values of `kind`. Made once: a table of 10,000 real servers has half a million values."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _builder_of_fields(kind)
    if origin is tuple:
        item = _builder(arguments[0])
        return lambda raw: tuple(map(item, raw))
    if origin in {typing.Union, types.UnionType}:
        some = _builder(arguments[0])
        return lambda raw: None if raw is None else some(raw)
    if origin is not None:  # Mapping
        return dict
    return functools.partial(_plain, kind)


def _builder_of_fields(kind: type) -> Callable[[Any], Any]:
    parts = [(name, hint, _builder(hint)) for name, hint in typing.get_type_hints(kind).items()]

    def build(raw: Any) -> Any:
        values = []
        for name, exact, deeper in parts:
            value = raw[name]
            values.append(value if type(value) is exact else deeper(value))
        return kind(*values)

    return build


def _plain(kind: Any, raw: Any) -> Any:
    """Take a number, a text or a truth as it is; a whole number may stand for another."""
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, kind):
        raise TypeError(f"expected {kind.__name__}, got {raw!r}")
    return raw
