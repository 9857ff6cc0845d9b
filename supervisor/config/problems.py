"""What is wrong with a configuration, and how to say it to the person who wrote it.

A `Problem` is a value: a stable code, a place, a sentence, a suggestion. `Problems` collects them while a file is read, in any
order, and hands them out in the order of the text. `render` writes them for a terminal: place and message, the line,
a caret under the words that are meant. Nothing here repairs anything and nothing here knows the language.
Source: observability.md, section 5.2.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, NoReturn

from checkers.kit.frozen import frozen
from supervisor.wording import counted

MAX_SHOWN = 50
"""Problems that `render_problems` prints; the rest is counted (observability.md, section 5.2)."""

MAX_STEPS_SHOWN = 8
"""Steps of an expansion that a message shows; four are many."""

MAX_SUGGESTED = 100
"""Errors of one load that get a "did you mean": somebody may have given us a log file, or one mistake may be repeated for ever."""

MAX_KEPT_ERRORS = 10_000
"""Errors after which a file is read no further: it is something else than a configuration, and nobody reads the rest."""

MAX_MET_ERRORS = 50_000
"""The same for errors that are told of only once, because they come again with every round of a repetition or address of a group."""

MAX_KEPT_REMARKS = 100_000
"""Warnings and notes that are kept; more are left out, so that no file can fill the memory with them."""

MAX_CANDIDATES = 1_000
"""Words that a "did you mean" is chosen from; among more of them (names of definitions, say) nobody looks for it."""

MAX_LINE_COLUMNS = 160
"""Longest excerpt of a source line in a message; a longer line is cut around the place."""


class Severity(enum.Enum):
    """How bad it is: an error refuses the file, a warning does not, a note is only worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    def __str__(self) -> str:
        return self.value


class Code(enum.StrEnum):
    """The stable name of each kind of problem. The first letter is the severity; numbers are never used again."""

    UNREADABLE = "E001"
    BYTE_ORDER_MARK = "E002"
    NUL = "E003"
    NOT_UTF8 = "E004"
    UNTERMINATED_QUOTE = "E005"
    MISSING_BRACE = "E006"
    EXTRA_BRACE = "E007"
    BLOCK_WITHOUT_KEYWORD = "E008"
    UNKNOWN_KEYWORD = "E010"
    MISSING_VALUE = "E011"
    EXTRA_WORDS = "E012"
    UNEXPECTED_BLOCK = "E013"
    MISSING_BLOCK = "E014"
    MISSING_KEYWORD = "E015"
    NOT_A_NUMBER = "E020"
    OUT_OF_RANGE = "E021"
    NOT_A_TIME = "E022"
    NOT_A_BOOLEAN = "E023"
    NOT_AN_ADDRESS = "E024"
    NOT_A_PORT = "E025"
    NOT_A_CHOICE = "E026"
    NOT_A_STATUS = "E027"
    NOT_HEX = "E028"
    BAD_METHOD = "E029"
    BAD_TEXT = "E030"
    DUPLICATE_VIRTUAL_SERVER = "E031"
    NO_REAL_SERVER = "E033"
    WRONG_FAMILY = "E034"
    UNUSABLE_ADDRESS = "E035"
    BAD_THRESHOLDS = "E036"
    NO_PORT = "E037"
    REFUSED_BY_CHECKER = "E038"
    INCLUDE = "E040"
    DEFINITION = "E041"
    REPETITION = "E042"
    CONDITION = "E043"
    TOO_MUCH_TEXT = "E044"
    GROUP = "E045"
    TRACK_FILE = "E046"
    NOT_HANDLED = "W101"
    REPEATED = "W102"
    CORRECTED = "W103"
    DEFAULT_TAKEN = "W104"
    NO_EFFECT = "W105"
    UNDEFINED = "W106"
    NOTHING_INCLUDED = "W107"
    RISKY = "W108"
    IGNORED = "W109"
    UNUSABLE_FILE = "W115"
    SCRIPT_MISSING = "W120"
    SCRIPT_NOT_EXECUTABLE = "W121"
    SCRIPT_BY_NAME = "W122"
    NO_SUCH_ACCOUNT = "W123"
    SCRIPT_CHANGEABLE = "W124"
    NOT_A_FIFO = "W125"
    OLD_SPELLING = "N201"
    IMPLIED = "N202"
    UNSEEN = "N210"
    AS_ROOT = "N211"

    @property
    def severity(self) -> Severity:
        """What the first letter says."""
        return {"E": Severity.ERROR, "W": Severity.WARNING, "N": Severity.NOTE}[self.value[0]]


FORGIVEN = frozenset(
    {
        Code.BYTE_ORDER_MARK,
        Code.NOT_UTF8,
        Code.EXTRA_BRACE,
        Code.EXTRA_WORDS,
        Code.NOT_A_NUMBER,
        Code.OUT_OF_RANGE,
        Code.NOT_A_TIME,
        Code.NOT_A_BOOLEAN,
        Code.NOT_AN_ADDRESS,
        Code.NOT_A_PORT,
        Code.NOT_A_CHOICE,
        Code.NOT_A_STATUS,
        Code.NOT_HEX,
        Code.BAD_METHOD,
        Code.NO_REAL_SERVER,
        Code.UNUSABLE_ADDRESS,
        Code.BAD_THRESHOLDS,
        Code.DEFINITION,
        Code.GROUP,
        Code.TRACK_FILE,
    }
)
"""What a lenient reader only reports, because keepalived reports it and goes on without the line, the value or the block.

Whoever finds such a fault must have left it out already. What is not here makes keepalived stop, or leaves a structure that nobody can
trust, or could never work (keepalived.md, section 1.10).
"""


class Position(NamedTuple):
    """One line of one file; lines count from 1."""

    file: str
    line: int


class Use(NamedTuple):
    """Where text from somewhere else was put in: the line with the name, or of the repetition and the values of the round."""

    file: str
    line: int
    values: str = ""


class Place(NamedTuple):
    """Some columns of one line. `column` counts from 1; `order` sorts places in the order of the text, includes expanded.

    `included_from` and `expanded_from` tell how the text got from there to where it counts, innermost first.
    """

    file: str
    line: int
    column: int
    length: int
    source_line: str
    included_from: tuple[Position, ...] = ()
    order: tuple[int, ...] = ()
    expanded_from: tuple[Use, ...] = ()


@frozen
class Problem:
    """One thing that is wrong, or worth knowing. Line and column count from 1; line 0 means the file as a whole."""

    code: str
    severity: Severity
    file: str
    line: int
    column: int
    length: int
    source_line: str
    message: str
    suggestion: str = ""
    included_from: tuple[Position, ...] = ()
    expanded_from: tuple[Use, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.severity}: {self.message}"


class GivenUp(Exception):
    """A limit was reached that makes going on pointless. The error that says which one is among the problems already."""


class Problems:
    """Collects problems while a configuration is read. One owner: the load that is going on.

    `lenient`: unknown keywords and what is `FORGIVEN` are warnings, not errors.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self.lenient = lenient
        self._found: list[tuple[tuple[int, ...], Problem]] = []
        self._told: set[tuple[Code, str]] = set()
        self._wrong: set[tuple[int, ...]] = set()
        self._said: set[tuple[tuple[int, ...], str]] = set()
        self._met: list[Severity] = []
        self._errors = 0
        self._remarks = 0
        self._suggestions = 0

    def __len__(self) -> int:
        """How many problems were met, those left out included."""
        return len(self._met)

    def add(self, code: Code, place: Place, message: str, suggestion: str = "") -> None:
        """Note a problem at `place`; the severity is the code's.

        A second error at the very same place is left out: it follows from the first. So is what was said word for word about that
        place already: the same text may be read more than once, as the value of a name or for each address of a group.
        Raises GivenUp after MAX_KEPT_ERRORS errors, or MAX_MET_ERRORS with those left out.
        """
        if self.lenient and code in FORGIVEN:
            code, message = Code.IGNORED, f"{message}; ignored"
        key = (*place.order, place.line, place.column)
        self._met.append(code.severity)
        if code.severity is Severity.ERROR:
            self._errors += 1
            if self._errors > MAX_MET_ERRORS or len(self._wrong) > MAX_KEPT_ERRORS:
                message = f"more than {MAX_KEPT_ERRORS} errors; the rest is not looked at"
                self._found.append((key, _problem(Code.TOO_MUCH_TEXT, place, message, "is this the right file?")))
                raise GivenUp
        if (key, message) in self._said:
            return
        if code.severity is not Severity.ERROR:
            if self._remarks >= MAX_KEPT_REMARKS:
                return
            self._remarks += 1
        elif place.line:
            if key in self._wrong:
                return
            self._wrong.add(key)
        self._said.add((key, message))
        self._found.append((key, _problem(code, place, message, suggestion)))

    def add_once(self, code: Code, subject: str, place: Place, message: str) -> None:
        """Note a problem only where `subject` is met for the first time."""
        if (code, subject) not in self._told:
            self._told.add((code, subject))
            self.add(code, place, message)

    def give_up(self, code: Code, place: Place, message: str, suggestion: str = "") -> NoReturn:
        """Note the error that ends the reading. Raises GivenUp."""
        self.add(code, place, message, suggestion)
        raise GivenUp

    def suggest(self, word: str, candidates: Collection[str]) -> str:
        """As `suggest`, while there are so few errors that somebody will read it: it is slow beside everything else."""
        self._suggestions += 1
        wanted = self._suggestions <= MAX_SUGGESTED and len(candidates) <= MAX_CANDIDATES
        return suggest(word, candidates) if wanted else ""

    def errors_since(self, before: int) -> int:
        """How many errors were met since there were `before` problems."""
        return self._met[before:].count(Severity.ERROR)

    def in_order(self) -> tuple[Problem, ...]:
        """All problems, in the order of the text."""
        return tuple(problem for _, problem in sorted(self._found, key=lambda found: found[0]))


def _problem(code: Code, place: Place, message: str, suggestion: str) -> Problem:
    return Problem(
        code=code.value,
        severity=code.severity,
        file=place.file,
        line=place.line,
        column=place.column,
        length=place.length,
        source_line=without_secrets(place.source_line),
        message=message,
        suggestion=suggestion,
        included_from=place.included_from,
        expanded_from=place.expanded_from,
    )


def suggest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that was probably meant, or "" when none is near.

    `difflib` at its usual cut-off finds long words; short ones need edit distance 1, a swapped pair or another case.
    """
    known = sorted(set(candidates))
    if not 2 <= len(word) <= 64:  # nobody mistypes that much, and difflib would take its time
        return ""
    for candidate in known:
        if candidate.lower() == word.lower():
            return candidate
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    for candidate in known:
        if _one_edit_apart(word, candidate):
            return near[0] if near and _one_edit_apart(word, near[0]) else candidate
    return near[0] if near else ""


def _one_edit_apart(left: str, right: str) -> bool:
    """Whether one insertion, deletion, replacement or swap of neighbours turns `left` into `right`."""
    if left == right or abs(len(left) - len(right)) > 1:
        return False
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    rest_left, rest_right = left[start:], right[start:]
    if rest_left[1:] == rest_right[1:] or rest_left[1:] == rest_right or rest_left == rest_right[1:]:
        return True
    return rest_left[:2] == rest_right[:2][::-1] and rest_left[2:] == rest_right[2:]


_SECRET = re.compile(r"(?<![^\s{])((?:password|auth_pass|header)\s+)(\S.*)")


def without_secrets(line: str) -> str:
    """A line of a file with asterisks for all that follows a keyword whose value nobody else should read; columns stay true."""
    if "pass" not in line and "header" not in line:
        return line
    return _SECRET.sub(lambda match: match[1] + "*" * len(match[2]), line)


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLORS = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.NOTE: "\x1b[1;36m"}
_RESET = "\x1b[0m"


def _printable(text: str) -> str:
    """The text without characters that could steer a terminal; one for one, so that columns stay true."""
    return _UNPRINTABLE.sub("\ufffd", text)


def render_problem(problem: Problem, *, color: bool = False) -> str:
    """One problem: its place and message, the source line, a caret line with the suggestion, the include chain."""
    paint, reset = (_COLORS[problem.severity], _RESET) if color else ("", "")
    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    lines = [f"{_printable(place)}: {paint}{problem.severity}{reset}: {_printable(problem.message)} [{problem.code}]"]
    suggestion = _printable(problem.suggestion)
    if problem.line:
        shown, before, length = _excerpt(problem)
        pad = "".join("\t" if character == "\t" else " " for character in shown[:before])
        lines.append(f"  {_printable(shown)}")
        lines.append(f"  {pad}{paint}{'^' * length}{reset}{' ' + suggestion if suggestion else ''}")
    elif suggestion:
        lines.append(f"  {suggestion}")
    for use in problem.expanded_from[:MAX_STEPS_SHOWN]:
        with_values = f" with {_printable(use.values)}" if use.values else ""
        lines.append(f"  expanded from {_printable(use.file)}:{use.line}{with_values}")
    if len(problem.expanded_from) > MAX_STEPS_SHOWN:
        lines.append(f"  and {counted(len(problem.expanded_from) - MAX_STEPS_SHOWN, 'step')} more")
    lines.extend(f"  included from {_printable(file)}:{line}" for file, line in problem.included_from)
    return "\n".join(lines)


def _excerpt(problem: Problem) -> tuple[str, int, int]:
    """The part of the source line to show, how many characters stand before the carets, how many carets."""
    text, before = problem.source_line, problem.column - 1
    if len(text) > MAX_LINE_COLUMNS:
        start = max(0, before - MAX_LINE_COLUMNS // 2)
        text, before = text[start : start + MAX_LINE_COLUMNS], before - start
    length = max(1, min(problem.length, len(text) - before))
    return text, before, length


def render_problems(problems: Sequence[Problem], *, color: bool = False) -> list[str]:
    """At most `MAX_SHOWN` problems as text, errors before warnings before notes when there are more, then the count of the rest."""
    shown = list(problems)
    if len(shown) > MAX_SHOWN:
        rank = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
        worst = sorted(range(len(shown)), key=lambda index: (rank[shown[index].severity], index))[:MAX_SHOWN]
        shown = [shown[index] for index in sorted(worst)]
    texts = [render_problem(problem, color=color) for problem in shown]
    if len(problems) > len(shown):
        texts.append(f"and {len(problems) - len(shown)} more")
    return texts
