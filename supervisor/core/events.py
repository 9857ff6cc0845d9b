"""Everything that can happen to the director: the input vocabulary, one file.

Events are values; `now` travels beside them (trio's clock, seconds). What a worker says was validated by `children` before it
became an event here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from checkers.kit.frozen import frozen
from supervisor.core.drift import Adoption
from supervisor.core.override import Override
from supervisor.core.table import Op, Reading
from supervisor.model import Endpoint, IPAddress, ServiceKey

DestinationId: TypeAlias = tuple[ServiceKey, Endpoint]
"""Names one real server of one virtual server everywhere in the core."""


class Health(enum.Enum):
    """What the checks say. UNKNOWN: nothing was heard yet."""

    UNKNOWN = "UNKNOWN"
    UP = "UP"
    DOWN = "DOWN"


@frozen
class Result:
    """The probe behind a check's present state, as the worker told it."""

    probe: int  # the worker's own number of the probe
    reason: str  # name of checkers.kit.api.Reason
    detail: str
    sent: str
    received: str
    duration_s: float
    expires_at: float = 0.0  # when the server's certificate ends, Unix seconds; 0: there is none


@frozen
class CheckReported:
    """A worker told the present state of a job: a level with a count of edges, not an edge.

    `edges` counts the changes between UP and DOWN since the job was assigned; a jump by more than one means that
    changes were coalesced. `result` is None in a full state, which repeats only the level.
    """

    job: int
    health: Health
    edges: int
    failures: int
    result: Result | None
    weight: int | None = None  # what the check says of the real server's weight; None: nothing
    probes: int = 0  # that this incarnation of the worker has done of it, the one behind `result` included


@frozen
class LevelsRepeated:
    """A part of a full state, which a worker says every half minute: reports without results, of many jobs at once."""

    levels: tuple[CheckReported, ...]


@frozen
class SentinelReported:
    """A worker told how it stands with the sentinel of a job: "" as it should, or why it is given up."""

    job: int
    trouble: str


@frozen
class WorkerSilent:
    """A worker died or stopped talking: its verdicts are frozen from now on."""

    jobs: tuple[int, ...]


@frozen
class WorkerSpeaking:
    """A worker has said the full state of its jobs."""

    jobs: tuple[int, ...]


@frozen
class KernelWritten:
    """The writer sent `ops` and had the kernel's answer; `errors` maps an index in `ops` to the errno's name."""

    ops: tuple[Op, ...]
    errors: Mapping[int, str]
    duration_s: float


@frozen
class KernelRead:
    """The writer read the kernel's table back. `agrees` tells that it equals what was wanted."""

    reading: Reading
    agrees: bool


@frozen
class AddressesSeen:
    """All addresses that this host has now; None: nobody can know (a table in memory)."""

    addresses: frozenset[IPAddress] | None


@frozen
class PathsSeen:
    """The targets of checks (and real servers) to which this host has no path now, and why; None: nobody can know."""

    lost: Mapping[IPAddress, str] | None


@frozen
class Overridden:
    """Somebody with the right to do so wants something of these real servers; None: nothing any more. Unknown ones are passed over."""

    targets: tuple[DestinationId, ...]
    override: Override | None


@frozen
class WeightsAdopted:
    """The writer found weights that somebody else set and that count as an operator's word, as far as no operator has said anything."""

    adoptions: tuple[Adoption, ...]


@frozen
class Tick:
    """Nothing but time has passed."""


Event: TypeAlias = (
    CheckReported
    | LevelsRepeated
    | SentinelReported
    | WorkerSilent
    | WorkerSpeaking
    | KernelWritten
    | KernelRead
    | AddressesSeen
    | Overridden
    | WeightsAdopted
    | PathsSeen
    | Tick
)
