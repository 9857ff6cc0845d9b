"""Giving up privileges, tried in real child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkers.kit.cage import CAP_NET_ADMIN, CAP_NET_RAW, capability_numbers

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have something to give up")

STATUS = """
import json, os
from pathlib import Path
lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_bytes().decode().splitlines())
print(json.dumps({"result": result, **{name: lines[name].split() for name in lines if name[:3] in {"Cap", "NoN", "Uid", "Gid", "Gro"}}}))
"""


def child(code: str, **options: object) -> dict[str, object]:
    """Run `code`, which sets `result`, in a fresh process; return it with what the kernel says of the process."""
    source = f"import json\nfrom checkers.kit.cage import *\nfrom checkers.kit import cage\n{code}\n{STATUS}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        **options,  # type: ignore[call-overload]  # user and group of subprocess
    )
    told: dict[str, object] = json.loads(done.stdout)
    return told


def sets(told: dict[str, object]) -> dict[str, int]:
    return {
        name: int(value[0], 16) for name, value in told.items() if name.startswith("Cap") and isinstance(value, list)
    }


@as_root
def test_a_child_of_root_ends_as_the_other_user_without_anything() -> None:
    told = child(f"result = cage.confine({NOBODY}, {NOBODY}, 0)")
    assert told["result"] == f"uid={NOBODY} gid={NOBODY} caps=0 nnp=1"
    assert told["Uid"] == told["Gid"] == [str(NOBODY)] * 4
    assert told["Groups"] == []
    assert told["NoNewPrivs"] == ["1"]
    assert set(sets(told).values()) == {0}


@as_root
def test_there_is_no_way_back() -> None:
    told = child(
        f"cage.confine({NOBODY}, {NOBODY}, 0)\n"
        "result = []\n"
        "for attempt in (lambda: os.setuid(0), lambda: os.chroot('/'), lambda: cage._set_capabilities([12])):\n"
        "    try:\n        attempt()\n        result.append('worked')\n"
        "    except (OSError, cage.CageError):\n        result.append('refused')"
    )
    assert told["result"] == ["refused"] * 3


@as_root
def test_root_that_stays_root_loses_its_capabilities_all_the_same() -> None:
    told = child("result = cage.confine(None, None, 0)")
    assert told["result"] == "uid=0 gid=0 caps=0 nnp=1"
    assert set(sets(told).values()) == {0}


@as_root
def test_an_ordinary_user_has_nothing_to_lose_and_loses_it() -> None:
    told = child(
        f"os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\n"
        "first = cage.keep_only({12})\nresult = [first, cage.confine(1234, 1234, 0)]"
    )
    assert told["result"] == ["caps=0", f"uid={NOBODY} gid={NOBODY} caps=0 nnp=1"]


@as_root
def test_the_supervisor_keeps_only_what_it_names() -> None:
    kept = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW
    told = child("result = cage.keep_only({cage.CAP_NET_ADMIN, cage.CAP_NET_RAW})")
    left = sets(told)
    assert (left["CapEff"], left["CapPrm"]) == (kept, kept)
    assert left["CapBnd"] & ~kept == left["CapInh"] == left["CapAmb"] == 0
    assert told["result"] == f"caps={kept:x}"
    assert told["Uid"] == ["0"] * 4


@as_root
def test_capabilities_are_given_up_before_the_first_thread_or_not_at_all() -> None:
    told = child(
        "import threading\nstop = threading.Event()\nthreading.Thread(target=stop.wait).start()\n"
        "try:\n    result = cage.keep_only({cage.CAP_NET_ADMIN})\n"
        "except cage.CageError as error:\n    result = str(error)\n"
        "stop.set()"
    )
    assert str(told["result"]).startswith("other threads run already")


@as_root
def test_the_supervisor_can_still_start_a_child_that_becomes_another_user() -> None:
    kept = "cage.CAP_NET_ADMIN, cage.CAP_SETUID, cage.CAP_SETGID, cage.CAP_KILL, cage.CAP_SETPCAP"
    told = child(
        f"import subprocess, sys\ncage.keep_only({{{kept}}})\n"
        f"code = 'from checkers.kit import cage; print(cage.confine({NOBODY}, {NOBODY}, 0))'\n"
        "result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()"
    )
    assert told["result"] == f"uid={NOBODY} gid={NOBODY} caps=0 nnp=1"


def test_the_limit_of_descriptors_is_raised_as_far_as_allowed_and_never_lowered() -> None:
    told = child(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))\n"
        "result = []\n"
        "for wanted in (32, 1000, 500):\n"
        "    cage.raise_file_limit(wanted)\n    result.append(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert told["result"] == [[64, 4096], [1000, 4096], [1000, 4096]]


def test_the_numbers_are_those_of_the_kernel() -> None:
    assert dict(capability_numbers) == {
        "CAP_KILL": 5,
        "CAP_SETGID": 6,
        "CAP_SETUID": 7,
        "CAP_SETPCAP": 8,
        "CAP_NET_BIND_SERVICE": 10,
        "CAP_NET_ADMIN": 12,
        "CAP_NET_RAW": 13,
    }
