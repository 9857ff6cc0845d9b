"""Every seed of the fuzzer, and every input that has ever found something, on every target that can read it."""

from __future__ import annotations

import functools
import signal
import types
from pathlib import Path

import pytest

from tests.fuzz.targets import CORPUS, TARGETS

FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
INVALID = sorted(Path(__file__).parents[1].glob("config/invalid/*.conf"))
TEXTS = ("lexer", "expander", "configuration")
"""What one of them can read, all can."""

HANG_S = 20
"""Longest time for one input. None takes a tenth of a second on a quiet machine; a hang is a hang on any."""


def _give_up(target: str, path: Path, *_: int | types.FrameType | None) -> None:
    raise AssertionError(f"{target} hangs on {path}")


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_breaks_its_target(target: str) -> None:
    paths = [path for path in FILES if path.parent.name == target or (target in TEXTS and path.parent.name in TEXTS)]
    assert paths
    for path in [*paths, *(INVALID if target in TEXTS else ())]:
        data = path.read_bytes()
        signal.signal(signal.SIGALRM, functools.partial(_give_up, target, path))
        signal.alarm(HANG_S)
        try:
            TARGETS[target](data)
        except Exception as trouble:
            trouble.add_note(f"{target}: {path}")
            raise
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_the_corpus_stays_small() -> None:
    assert len(FILES) <= 1000
    assert sum(path.stat().st_size for path in FILES) < 1_000_000
    assert {path.parent.name for path in FILES} == set(TARGETS)
