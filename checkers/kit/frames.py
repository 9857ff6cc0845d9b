"""What a worker and its supervisor say to each other, as values. `kit.wire` turns them into bytes and back.

`epoch` is the number of this incarnation of the worker process, `generation` the number of the configuration, both given by the
supervisor. `seq` counts the Report, State, Beat, Ask, Probed and SentinelTold frames of one incarnation: 1, 2, 3 …, never a gap.
"""

from __future__ import annotations

from typing import TypeAlias

from checkers.kit.api import Ending, Favour, Health, Reason, SentinelState
from checkers.kit.frozen import frozen
from checkers.kit.job import Job
from checkers.kit.transcript import Step

VERSION = 5
"""Version of all frames: the first byte of each."""

HELLO, REPORT, STATE, BEAT, ASSIGN, ASK_STATE, STOP, ASK, GRANT, PROBE, PROBED, IDLE, SENTINEL, LOOK = range(1, 15)
"""Type of a frame: its second byte."""

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of every histogram in seconds: the same as supervisor.core.snapshot.DURATION_BUCKETS_S (a test compares them)."""


RATE_MAX = 65_535
"""Greatest limit of probes a second: 16 bits."""

JOBS_MAX = 8192
"""Most jobs of one Idle or Look frame: 32 KiB."""

FAULTS_MAX = 64
"""Most different faults that a beat tells of: errno names, once for sockets and once for binding."""


# Worker → supervisor


@frozen
class Hello:
    """The first frame of a worker. `caged` is what `kit.cage.confine` reached: "uid=65534 gid=65534 caps=0 nnp=1"."""

    pid: int
    caged: str
    version: int = VERSION


@frozen
class ReportResult:
    """The probe behind a report. `probe` is the worker's own number of it; texts are at most DETAIL_MAX_BYTES of UTF-8."""

    probe: int
    reason: Reason
    duration_s: float
    detail: str = ""
    sent: str = ""
    received: str = ""
    expires_at: float = 0.0  # when the server's certificate ends, Unix seconds; 0: there is none


@frozen
class Report:
    """The present level of one job, sent when there is something to tell.

    `edges` counts the changes between UP and DOWN since the job was assigned, `failures` the failed probes in a row.
    """

    epoch: int
    generation: int
    seq: int
    job: int
    health: Health
    edges: int
    failures: int
    result: ReportResult | None
    weight: int | None = None  # what the check says of the weight (kit.api.Verdict)


@frozen
class StateEntry:
    """The present level of one job in a full state. `probes` is how many the worker has done of it: the number of the last one."""

    job: int
    health: Health
    edges: int
    failures: int
    weight: int | None = None
    probes: int = 0


@frozen
class State:
    """A part of the full state; with `last` it is complete."""

    epoch: int
    generation: int
    seq: int
    entries: tuple[StateEntry, ...]
    last: bool


@frozen
class Histogram:
    """Counts per bucket of DURATION_BUCKETS_S and one for +Inf (each value in one bucket only), and the sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(DURATION_BUCKETS_S) + 1)
    sum_s: float = 0.0


@frozen
class Beat:
    """A sign of life, once a second. All counts grow from the start of the process.

    `loop_lag_s` is the greatest lateness of the timer since the last beat, `in_flight` the probes that run now, `overdue` the
    jobs that should have started or ended their probe a second ago. `counts` holds (checker type, reason, how often), `faults` (what
    our own machine refused, how often). `run_delay_s` is how long the process waited for a processor, `naps` how often it stood still,
    `stretch` by how much it lengthens its pauses because something runs short (1: not at all). Of sentinels: how many are held now,
    have ended so far, are given up now, and cannot be had now for want of descriptors.
    """

    epoch: int
    generation: int
    seq: int
    loop_lag_s: float
    in_flight: int
    overdue: int
    counts: tuple[tuple[str, Reason, int], ...]
    durations: tuple[tuple[str, Histogram], ...]
    schedule_lag: Histogram
    run_delay_s: float = 0.0
    naps: int = 0
    stretch: int = 1
    faults: tuple[tuple[str, int], ...] = ()
    sentinels_held: int = 0
    sentinels_ended: int = 0
    sentinels_given_up: int = 0
    sentinels_unaffordable: int = 0


@frozen
class Ask:
    """The worker asks a favour for one of its jobs. `number` comes back in the grant.

    No job asks twice at once, but for one that was probed on request (`Probe`): that probe asks beside the schedule's.
    """

    epoch: int
    generation: int
    seq: int
    number: int
    job: int
    favour: Favour


@frozen
class Probed:
    """What came of a probe on request, and all that was seen of it. `result` None: this worker has no such job (any more)."""

    epoch: int
    generation: int
    seq: int
    number: int  # as in the request
    job: int
    result: ReportResult | None
    weight: int | None = None
    steps: tuple[Step, ...] = ()


@frozen
class SentinelTold:
    """How it stands with the sentinel of a job; sent when that changes, and after each assignment unless it is FINE.

    `age_s` is how old the one was that ended last.
    """

    epoch: int
    generation: int
    seq: int
    job: int
    state: SentinelState
    age_s: float


FromWorker: TypeAlias = Hello | Report | State | Beat | Ask | Probed | SentinelTold


# Supervisor → worker


@frozen
class Assign:
    """A part of what a worker shall check from now on; the whole replaces what it had, and nobody is idle until it is said again.

    `rate_max`: most probes a second of one address and port, up to RATE_MAX; 0: no limit.
    """

    epoch: int
    generation: int
    part: int
    parts: int
    jobs: tuple[Job, ...]
    rate_max: int = 0


@frozen
class AskState:
    """Send the full state."""


@frozen
class Stop:
    """End in an orderly way."""


@frozen
class Grant:
    """What came of a favour; a socket travels beside the frame, as a descriptor."""

    number: int
    ending: Ending
    status: int = 0  # exit status of a script, 0 to 255
    text: str = ""


@frozen
class Probe:
    """Probe this job now, beside its schedule and without any consequence, and say what was seen of it."""

    number: int
    job: int


@frozen
class Idle:
    """Nobody uses the servers of these jobs any more (`idle`), or somebody does again; at most JOBS_MAX. Unknown jobs are none."""

    idle: bool
    jobs: tuple[int, ...]


@frozen
class Look:
    """Make the next probe of these jobs now, with all its consequences: what they look at is another; at most JOBS_MAX. As in Idle."""

    jobs: tuple[int, ...]


FromSupervisor: TypeAlias = Assign | AskState | Stop | Grant | Probe | Idle | Look
Frame: TypeAlias = FromWorker | FromSupervisor
