"""What stays is kept out of the collector's way, and garbage among it is found again before it is much."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import keepsakes
from supervisor.keepsakes import Keepsakes


class Knot:
    """An object that only the collector can find."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Leave the collector as it was found."""
    gc.unfreeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def knot() -> weakref.ref[Knot]:
    """Make garbage."""
    return weakref.ref(Knot())


def test_what_is_there_is_frozen_and_young_garbage_is_not() -> None:
    kept = Keepsakes()
    kept.keep_all()
    frozen = gc.get_freeze_count()
    garbage, stays = knot(), [Knot() for _ in range(100)]
    kept.keep()
    assert garbage() is None
    assert gc.get_freeze_count() >= frozen + len(stays)


def test_garbage_that_was_frozen_is_found_when_what_is_frozen_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepsakes, "OBJECTS_MIN", 0)
    kept = Keepsakes()
    kept.keep_all()
    garbage = knot()
    kept.freeze()  # too early
    kept.keep()
    assert garbage() is not None
    stays = [Knot() for _ in range(gc.get_freeze_count())]
    kept.keep()
    kept.keep()
    assert garbage() is None
    assert stays


def test_what_the_start_has_made_counts_as_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepsakes, "OBJECTS_MIN", 0)
    kept = Keepsakes()
    garbage = knot()
    kept.freeze()
    kept.keep()
    assert garbage() is not None  # nothing of it was looked at again
    stays = [Knot() for _ in range(gc.get_freeze_count())]
    kept.keep()
    kept.keep()
    assert garbage() is None
    assert stays


def test_memory_that_is_not_in_use_can_be_given_back_without_freezing_anything() -> None:
    kept = Keepsakes()
    frozen = gc.get_freeze_count()
    kept.give_back()
    assert gc.get_freeze_count() == frozen


def test_old_tuples_that_the_interpreter_keeps_for_new_ones_are_given_up() -> None:
    kept = Keepsakes()
    kept.freeze()
    some = [tuple(range(index, index + 15)) for index in range(1000)]
    del some
    blocks = sys.getallocatedblocks()
    kept.freeze()
    assert sys.getallocatedblocks() < blocks - 900


CODE = """
import ctypes, sys, threading
from supervisor.keepsakes import Keepsakes

if sys.argv[1] == "one":
    Keepsakes()
here, may_end = threading.Barrier(4), threading.Event()

def hold():
    some = [bytearray(2000) for _ in range(100)]
    here.wait()
    may_end.wait()

for _ in range(3):
    threading.Thread(target=hold, daemon=True).start()
here.wait()
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
library.malloc_info(0, ctypes.c_void_p(library.fdopen(1, b"w")))
library.fflush(None)
"""


@pytest.mark.parametrize(("how", "heaps"), [("one", {1}), ("many", {2, 3, 4})])
def test_threads_share_one_heap(how: str, heaps: set[int]) -> None:
    command = [sys.executable, "-P", "-c", CODE, how]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.count("<heap nr=") in heaps
