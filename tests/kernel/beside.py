"""Two directors with the same addresses in one kernel, ours and keepalived's, each with a copy of the same servers, files and scripts.

Everything is checked every two seconds without a retry. When both have settled the tables are read once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.kernel.answer_cases import Case, our_weight
from tests.kernel.answering import Answering, Street
from tests.kernel.daemon import Daemon
from tests.kernel.lab import wait_until
from tests.kernel.value_cases import FileCase, ScriptCase

AnyCase: TypeAlias = Case | FileCase | ScriptCase
Key: TypeAlias = tuple[str, int]

ELSEWHERE = "203.0.113.200"
"""Address of the real servers of files and scripts; nobody probes it."""

FIRST_VALUE_PORT = 5001
DELAY_LOOP_S = 2
SETTLED_AFTER_PROBES = 3
SETTLED_WITHIN_S = 120


class Side:
    """One director with what its `cases` need."""

    def __init__(self, stack: ExitStack, directory: Path, prefix: str, cases: Sequence[AnyCase]) -> None:
        directory.mkdir()
        self.cases = cases
        self.scripted = [case for case in cases if isinstance(case, Case)]
        self.values = [case for case in cases if not isinstance(case, Case)]
        self.street = stack.enter_context(Street(directory, prefix))
        self.answering = stack.enter_context(Answering(self.street, self.scripted))
        self._place = Path("/run") / f"{prefix}values"  # where an unprivileged script may be found
        self._place.mkdir(exist_ok=True)
        for case in self.values:
            self._prepare(case)
        self.config = directory / "answers.conf"
        self.config.write_text("\n".join(self._configuration()) + "\n")

    def path(self, case: FileCase | ScriptCase) -> Path:
        """Return the file that the case's check watches, or the script that it runs."""
        kind = "file" if isinstance(case, FileCase) else "script"
        return self._place / f"{kind}{self.values.index(case)}"

    def key(self, case: AnyCase) -> Key:
        """Return the address and port that the case's real server has in the table."""
        if isinstance(case, Case):
            return case.address, self.answering.ports[case]
        return ELSEWHERE, FIRST_VALUE_PORT + self.values.index(case)

    def weights(self) -> dict[AnyCase, int | None]:
        """Return the weight that each case has now; None: it is not in the table."""
        found = self.street.weights()
        return {case: found.get(self.key(case)) for case in self.cases}

    def has_weight(self, case: AnyCase, weight: int | None) -> bool:
        """Tell whether a case has this weight now."""
        return self.street.weights().get(self.key(case)) == weight

    def _prepare(self, case: FileCase | ScriptCase) -> None:
        match case:
            case FileCase():
                if case.text is not None:
                    self.path(case).write_text(case.text)
            case ScriptCase():
                if case.mode:
                    self.path(case).write_text(f"#!/bin/sh\n{case.text}\n")
                    self.path(case).chmod(case.mode)

    def _configuration(self) -> Iterator[str]:
        yield from ("global_defs {", "script_user nobody nogroup", "}")
        for case in self.values:
            if isinstance(case, FileCase):
                yield from (f"track_file {self.path(case).name} {{", f"file {self.path(case)}", *case.lines, "}")
        fourth = [case for case in self.scripted if ":" not in case.address]
        sixth = [case for case in self.scripted if ":" in case.address]
        yield from self._service(1, fourth, "inhibit_on_failure")
        yield from self._service(2, sixth, "inhibit_on_failure", "ip_family inet6")
        yield from self._service(3, self.values)

    def _service(self, mark: int, cases: Sequence[AnyCase], *lines: str) -> Iterator[str]:
        if not cases:
            return
        yield f"virtual_server fwmark {mark} {{"
        yield from (f"delay_loop {DELAY_LOOP_S}", "connect_timeout 1", "warmup 0", "lb_algo rr", "lb_kind NAT", *lines)
        for case in cases:
            address, port = self.key(case)
            yield from (f"real_server {address} {port} {{", "weight 10", *self._check(case), "}")
        yield "}"

    def _check(self, case: AnyCase) -> Iterator[str]:
        match case:
            case Case():
                yield from (f"{case.check} {{", "retry 0", *case.lines, "}")
            case FileCase():
                yield from ("FILE_CHECK {", f"track_file {self.path(case).name}", *case.check, "}")
            case ScriptCase():
                yield from ("MISC_CHECK {", f'misc_path "{self.path(case)} {case.arguments}"', *case.lines, "}")


@dataclass(frozen=True)
class Pair:
    """Both sides, and what their tables said when they had settled."""

    ours: Side
    theirs: Side
    daemon: Daemon
    our_weights: dict[AnyCase, int | None]
    their_weights: dict[AnyCase, int | None]


def wanted_of_us(case: AnyCase) -> int | None:
    """Return the weight that the case must have with us."""
    match case:
        case Case():
            return our_weight(case)
        case FileCase() | ScriptCase():
            return case.our_weight


@contextmanager
def beside_keepalived(directory: Path, cases: Sequence[AnyCase], slowest: Case) -> Iterator[Pair]:
    """Run both, and yield them when they have settled: when `slowest`, one of the cases, was probed again and again."""
    with ExitStack() as stack:
        ours = Side(stack, directory / "ours", "our-", cases)
        theirs = Side(stack, directory / "theirs", "their-", cases)
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(theirs.config), *pids]
        keepalived = theirs.street.start(theirs.street.director, command, "keepalived.log")
        stack.callback(theirs.street.stop, keepalived)
        daemon = Daemon(ours.street, ours.config)
        stack.callback(daemon.stop)
        try:
            wait_until("settled", functools.partial(_settled, ours, theirs, slowest), SETTLED_WITHIN_S, every=0.5)
        except TimeoutError:  # each case tells for itself
            assert daemon.process.poll() is None, daemon.log_path.read_text()[-4000:]
        yield Pair(ours, theirs, daemon, ours.weights(), theirs.weights())


def _settled(ours: Side, theirs: Side, slowest: Case) -> bool:
    probed = min(len(side.answering.sources[slowest]) for side in (ours, theirs))
    return (
        probed >= SETTLED_AFTER_PROBES
        and ours.weights() == {case: wanted_of_us(case) for case in ours.cases}
        and theirs.weights() == {case: case.weight for case in theirs.cases}
    )


def require_equal(pair: Pair, case: AnyCase) -> None:
    """Fail unless the case has the same weight with both, or the one that its difference has a name for."""
    assert pair.their_weights[case] == case.weight, "keepalived itself"
    assert pair.our_weights[case] == wanted_of_us(case)
