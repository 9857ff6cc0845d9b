"""What the supervisor and the runner say to each other: one JSON object per message, checked on both sides as if a stranger wrote it.

    supervisor → runner   Run, Cancel
    runner → supervisor   Hello, Alive, Ended

`encode` writes any of them; `decode_order` (for the runner) and `decode_report` (for the supervisor) read one half each, and raise
ProtocolError for anything else: another shape, an unknown or missing field, a number out of range, a text that cannot be an
argument. Pure: no socket, no process. The link keeps the boundaries (`checkers.kit.link`).
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar, assert_never

from checkers.kit.frozen import frozen

MESSAGE_MAX_BYTES = 131_072
"""Longest message: a command line and its environment at their longest, every character escaped. So long is the link's, too."""

ARGUMENTS_MAX = 256
VARIABLES_MAX = 64
TEXT_MAX_CHARACTERS = 4096
"""Longest argument or value; a line of keepalived.conf has at most 1024 bytes."""

SPACE_MAX_CHARACTERS = 5000
"""All arguments, or all of the environment, together; twelve bytes each in JSON at worst, so both fit a message."""

RUNNING_MAX = 64
"""Programs at once. Each is a process or more and two descriptors of the runner; the others wait in the supervisor."""

LIMITS_MAX = 2
"""A program whose limit passed while the runner was kept from running (stopped, or starved by others) has it once more: a machine that
starves the runner starves the program, too, which is then slow and not hung. Ours; a probe is repeated as well (kit.worker)."""

TIMEOUT_MAX_S = 86_400.0

SECONDS_MAX = 1e12
"""Longest duration: finite, and longer than any machine runs."""

OUTPUT_MAX_CHARACTERS = 2048
"""What is kept of a program's output: enough for a complaint, too little to fill a log."""

ID_MAX = 2**53 - 1
"""Whole numbers that JSON carries exactly."""


class ProtocolError(Exception):
    """The other side said something that it must not say; the text tells what."""


class Outcome(enum.Enum):
    """How a program ended."""

    EXITED = "exited"  # status is its exit status
    SIGNALLED = "signalled"  # status is the signal
    TIMED_OUT = "timed out"  # killed at its limit
    LATE = "late"  # killed at its last limit, and the runner was kept from running each time: whether it was done in time is not known
    CANCELLED = "cancelled"  # killed because we asked for it
    COULD_NOT_START = "could not start"  # reason says why, status is the errno where there is one
    RUNNER_LOST = "runner lost"  # only said by the supervisor's side: whether it ran is not known


@frozen
class Run:
    """Start a program. `user` and `group` are names; empty ones mean the runner's own unprivileged account.

    `timeout_s` None: no limit. After it the program's group gets SIGTERM, and `kill_after_s` later SIGKILL.
    `secure`: do not run it as root when somebody else could have changed it.
    """

    id: int
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    group: str = ""
    timeout_s: float | None = None
    kill_after_s: float = 2.0
    secure: bool = False


@frozen
class Cancel:
    """End a program before its limit; it still gets its `kill_after_s`."""

    id: int


@frozen
class Hello:
    """The runner is ready; `caged` says what it can do."""

    caged: str


@frozen
class Alive:
    """A sign of life, once a second. `lag_s` is how late the runner's loop was since the last one."""

    lag_s: float


@frozen
class Ended:
    """A program has ended, or never began. `output` is the beginning of its standard output and error, printable."""

    id: int
    outcome: Outcome
    status: int = 0
    reason: str = ""
    output: str = ""
    duration_s: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether it ran and said that all is well."""
        return self.outcome is Outcome.EXITED and self.status == 0

    def __str__(self) -> str:
        match self.outcome:
            case Outcome.EXITED:
                return f"exit status {self.status}"
            case Outcome.SIGNALLED:
                return f"ended by signal {self.status}"
            case Outcome.TIMED_OUT:
                return f"killed after its limit, {self.duration_s:.1f} s"
            case Outcome.LATE:
                return f"killed after its limit, {self.duration_s:.1f} s, in which the runner stood still"
            case Outcome.CANCELLED:
                return "ended by us"
            case Outcome.COULD_NOT_START | Outcome.RUNNER_LOST:
                return f"could not run: {self.reason}"


Order: TypeAlias = Run | Cancel
Report: TypeAlias = Hello | Alive | Ended

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_Value = TypeVar("_Value")


def encode(message: Order | Report) -> bytes:
    """Write one message. Raises ProtocolError when it is none that the other side would take."""
    data = json.dumps(_as_json(message), separators=(",", ":")).encode()
    decode = decode_order if isinstance(message, Run | Cancel) else decode_report
    decode(data)
    return data


def _as_json(message: Order | Report) -> dict[str, Any]:
    match message:
        case Run():
            return {
                "run": message.id,
                "argv": list(message.argv),
                "environment": dict(message.environment),
                "user": message.user,
                "group": message.group,
                "timeout_s": message.timeout_s,
                "kill_after_s": message.kill_after_s,
                "secure": message.secure,
            }
        case Cancel():
            return {"cancel": message.id}
        case Hello():
            return {"hello": message.caged}
        case Alive():
            return {"alive": message.lag_s}
        case Ended():
            return {
                "ended": message.id,
                "outcome": message.outcome.value,
                "status": message.status,
                "reason": message.reason,
                "output": message.output,
                "duration_s": message.duration_s,
            }
        case _:
            assert_never(message)


def decode_order(data: bytes) -> Order:
    """Read what the supervisor says. Raises ProtocolError."""
    fields = _Fields(data)
    if fields.has("cancel"):
        order: Order = Cancel(fields.integer("cancel", 1, ID_MAX))
    else:
        argv = fields.take("argv", _arguments)
        environment = fields.take("environment", _variables)
        order = Run(
            id=fields.integer("run", 1, ID_MAX),
            argv=argv,
            environment=environment,
            user=fields.take("user", _name),
            group=fields.take("group", _name),
            timeout_s=fields.take("timeout_s", _limit),
            kill_after_s=fields.number("kill_after_s", 0.0, TIMEOUT_MAX_S),
            secure=fields.take("secure", _boolean),
        )
    fields.end()
    return order


def decode_report(data: bytes) -> Report:
    """Read what the runner says. Raises ProtocolError."""
    fields = _Fields(data)
    if fields.has("hello"):
        report: Report = Hello(fields.take("hello", _printable))
    elif fields.has("alive"):
        report = Alive(fields.number("alive", 0.0, SECONDS_MAX))
    else:
        report = Ended(
            id=fields.integer("ended", 1, ID_MAX),
            outcome=fields.take("outcome", _outcome),
            status=fields.integer("status", 0, 255),
            reason=fields.take("reason", _printable),
            output=fields.take("output", _printable),
            duration_s=fields.number("duration_s", 0.0, SECONDS_MAX),
        )
    fields.end()
    return report


def excerpt(data: bytes) -> str:
    """Return the beginning of a program's output as one printable text: line ends as " | ", everything odd as "?"."""
    lines = data.decode("utf-8", "replace").splitlines()
    text = " | ".join(line.strip() for line in lines if line.strip())
    return printable(text)[:OUTPUT_MAX_CHARACTERS]


def printable(text: str) -> str:
    """Return the text without characters that could steer a terminal or break a log line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class _Fields:
    """The fields of one message; each must be taken, and none may be left."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MESSAGE_MAX_BYTES:
            raise ProtocolError(f"a message of {len(data)} bytes; at most {MESSAGE_MAX_BYTES}")
        try:
            said = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"not JSON: {error}") from None
        if not isinstance(said, dict):
            raise ProtocolError(f"expected an object, got {type(said).__name__}")
        self._left = said

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, read: Callable[[Any], _Value]) -> _Value:
        if name not in self._left:
            raise ProtocolError(f"field {name} is missing")
        try:
            return read(self._left.pop(name))
        except ValueError as error:
            raise ProtocolError(f"field {name}: {error}") from None

    def integer(self, name: str, low: int, high: int) -> int:
        def read(value: Any) -> int:
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"expected a whole number from {low} to {high}")
            return value

        return self.take(name, read)

    def number(self, name: str, low: float, high: float) -> float:
        return self.take(name, lambda value: _number(value, low, high))

    def end(self) -> None:
        if self._left:
            raise ProtocolError(f"unknown fields: {', '.join(sorted(map(repr, self._left)))[:200]}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands there twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _number(value: Any, low: float, high: float) -> float:
    if type(value) not in {int, float} or not low <= value <= high:
        raise ValueError(f"expected a number from {low:g} to {high:g}")
    return float(value)


def _limit(value: Any) -> float | None:
    return None if value is None else _number(value, 0.001, TIMEOUT_MAX_S)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("expected true or false")
    return value


def _text(value: Any, longest: int = TEXT_MAX_CHARACTERS) -> str:
    if type(value) is not str or len(value) > longest:
        raise ValueError(f"expected a text of at most {longest} characters")
    return value


def _printable(value: Any) -> str:
    text = _text(value, OUTPUT_MAX_CHARACTERS)
    if not all(letter.isprintable() for letter in text):
        raise ValueError("it has characters that are not printable")
    return text


def _name(value: Any) -> str:
    text = _text(value)
    if text and _NAME.fullmatch(text) is None:
        raise ValueError("no name of a user or a group")
    return text


def _for_exec(value: Any) -> str:
    """A text that can be handed to the kernel as an argument."""
    text = _text(value)
    if "\0" in text:
        raise ValueError("it has a NUL in it")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("it is no text that has bytes") from None
    return text


def _arguments(value: Any) -> tuple[str, ...]:
    if type(value) is not list or not 0 < len(value) <= ARGUMENTS_MAX:
        raise ValueError(f"expected 1 to {ARGUMENTS_MAX} arguments")
    argv = tuple(_for_exec(each) for each in value)
    if not argv[0] or sum(map(len, argv)) > SPACE_MAX_CHARACTERS:
        raise ValueError(f"expected a program and at most {SPACE_MAX_CHARACTERS} characters in all")
    return argv


def _variables(value: Any) -> tuple[tuple[str, str], ...]:
    if type(value) is not dict or len(value) > VARIABLES_MAX:
        raise ValueError(f"expected at most {VARIABLES_MAX} variables")
    for name in value:
        if _VARIABLE.fullmatch(name) is None:
            raise ValueError("no name of a variable")
    variables = tuple((name, _for_exec(each)) for name, each in value.items())
    if sum(len(name) + len(each) for name, each in variables) > SPACE_MAX_CHARACTERS:
        raise ValueError(f"expected at most {SPACE_MAX_CHARACTERS} characters in all")
    return variables


def _outcome(value: Any) -> Outcome:
    found = _OUTCOMES.get(value) if type(value) is str else None
    if found is None:
        raise ValueError("no such outcome")
    return found


_OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {outcome.value: outcome for outcome in Outcome if outcome is not Outcome.RUNNER_LOST}
)
