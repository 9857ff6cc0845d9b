"""The table at the start, beside Debian's keepalived: equal for every file of the corpus, or the difference has a name.

A name is a row of docs/differences.md. The files that somebody wrote are named one by one; those of the generator are refused for two
reasons only, by the code of the problem. Environment: `CORPUS_SEEDS=FIRST-LAST` compares other, or more, files of the generator.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kernel.generate import configurations
from tests.kernel.startups import Answer, ask, compared

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "differences.md"
FILES = {path.stem: path for path in sorted((HERE / "corpus").glob("*.conf"))}
FIRST_SEED, LAST_SEED = map(int, os.environ.get("CORPUS_SEEDS", "1-40").split("-"))

ROW_OF_CODE: Mapping[str, str] = {
    "E033": "virtual-server-without-real-servers-is-an-error",
    "E045": "group-that-cannot-be-used-is-an-error",
}
"""Why a file of the generator may be refused: some have nothing but real servers of the other family."""

FORGIVEN: Mapping[str, str] = {
    "check-file-unknown": "unknown-track-file-is-an-error",
    "duplicate-virtual-server": "duplicate-virtual-server-is-an-error",
    "family-all-skipped": "virtual-server-without-real-servers-is-an-error",
    "fault-byte-order-mark": "byte-order-mark-is-an-error",
    "fault-extra-words": "extra-words-are-an-error",
    "fault-http-without-path": "bad-value-is-an-error",
    "fault-ip-family": "bad-value-is-an-error",
    "fault-methods": "bad-value-is-an-error",
    "fault-name-before-a-brace": "bad-value-is-an-error",
    "fault-real-server-addresses": "bad-value-is-an-error",
    "fault-real-server-ranges": "range-in-a-head-is-an-error",
    "fault-scheduler": "bad-value-is-an-error",
    "fault-single-quotes": "bad-value-is-an-error",
    "fault-sorry-server": "bad-value-is-an-error",
    "fault-thresholds": "thresholds-the-wrong-way-round-are-an-error",
    "fault-times": "bad-value-is-an-error",
    "fault-unknown-keywords": "unknown-keyword-is-an-error",
    "fault-unknown-root-block": "unknown-block-skipped-whole",
    "fault-values": "bad-value-is-an-error",
    "fault-virtual-server-addresses": "bad-value-is-an-error",
    "fault-virtual-server-ranges": "range-in-a-head-is-an-error",
    "group-both-families-nat": "group-that-cannot-be-used-is-an-error",
    "group-empty": "group-that-cannot-be-used-is-an-error",
    "group-overlapping-a-virtual-server": "duplicate-virtual-server-is-an-error",
    "group-twice": "group-that-cannot-be-used-is-an-error",
    "group-unknown": "group-that-cannot-be-used-is-an-error",
    "group-v6-with-v4-servers": "group-that-cannot-be-used-is-an-error",
    "language-extra-closing-brace": "brace-that-does-not-fit-is-an-error",
    "no-real-servers": "virtual-server-without-real-servers-is-an-error",
    "threshold-lower-alone": "thresholds-the-wrong-way-round-are-an-error",
    "weight-of-a-virtual-server-zero": "bad-value-is-an-error",
}
"""Files that we refuse, and that give keepalived's table with --lenient."""

DIFFERENT: Mapping[str, str] = {
    "check-bfd-with-instance": "check-that-is-not-handled-counts-as-passed",
    "check-http-path-with-blank": "http-path-with-blanks-is-an-error",
    "check-misc-user-unknown": "check-of-an-unknown-user-fails",
    "check-file-and-weight-zero": "hysteresis-never-underflows",
    "check-file-weight-beyond-all": "weight-above-65535-is-an-error",
    "engine-unknown": "table-has-what-the-kernel-refuses",
    "fault-addresses-of-nobody": "address-that-nobody-can-have-is-an-error",
    "fault-check-in-the-virtual-server": "unknown-block-skipped-whole",
    "fault-fwmark-head": "mark-zero-is-an-error",
    "fault-granularity": "granularity-with-holes-is-an-error",
    "fault-group-lines": "mark-zero-is-an-error",
    "fault-missing-inner-brace": "brace-that-does-not-fit-is-an-error",
    "fault-missing-parameter": "missing-value-is-one-error-among-others",
    "fault-name-before-a-closing-brace": "bad-number-keeps-the-default",
    "fault-numbers": "bad-number-keeps-the-default",
    "fault-numbers-too-large": "weight-above-65535-is-an-error",
    "fault-open-quote": "open-quote-is-an-error",
    "fault-quoted-names": "bad-number-keeps-the-default",
    "fault-unknown-block": "unknown-block-skipped-whole",
    "global-nftables-ipvs": "nftables-ipvs-is-not-handled",
    "scheduler-twos": "table-has-what-the-kernel-refuses",
    "sorry-is-an-alpha-real-server-with-inhibit": "sorry-server-that-is-a-real-server-serves",
    "ssl-block": "certificate-that-is-not-there-stops-nothing",
}
"""Files whose table is another one, with --lenient too."""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of the generator."""
    folder = tmp_path_factory.mktemp("generated")
    paths = []
    for seed, text in configurations(FIRST_SEED, LAST_SEED - FIRST_SEED + 1):
        path = folder / f"seed-{seed}.conf"
        path.write_text(text)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def theirs(generated: list[Path]) -> dict[Path, Answer]:
    """What keepalived makes of every file."""
    return ask([*FILES.values(), *generated])


@pytest.mark.parametrize("name", FILES)
def test_the_table_is_keepaliveds_or_the_difference_has_a_name(name: str, theirs: dict[Path, Answer]) -> None:
    path = FILES[name]
    plain = compared(path, theirs[path])
    lenient = compared(path, theirs[path], lenient=True)
    if name in DIFFERENT:
        assert not plain.equal, f"{name} agrees now: it is no difference any more"
        assert not lenient.equal, f"{name} agrees with --lenient"
    elif name in FORGIVEN:
        assert plain.ours is None, f"{name} is not refused any more"
        assert lenient.equal, lenient.report()
    else:
        assert plain.equal, plain.report()


def test_generated_files_give_keepaliveds_table(generated: list[Path], theirs: dict[Path, Answer]) -> None:
    for path in generated:
        plain = compared(path, theirs[path])
        if plain.ours is None:
            reasons = {problem.code for problem in plain.outcome.problems if problem.code[0] == "E"}
            assert reasons <= ROW_OF_CODE.keys(), plain.report()
            plain = compared(path, theirs[path], lenient=True)
        assert plain.equal, f"{path.read_text()}\n{plain.report()}"


def test_every_name_is_a_row_and_every_named_file_is_there() -> None:
    rows = set(re.findall(r'<a id="([a-z0-9-]+)">', PAGE.read_text()))
    assert {*DIFFERENT.values(), *FORGIVEN.values(), *ROW_OF_CODE.values()} <= rows
    assert not DIFFERENT.keys() & FORGIVEN.keys()
    assert DIFFERENT.keys() | FORGIVEN.keys() <= FILES.keys()
