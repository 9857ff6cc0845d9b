"""Look for inputs that break a target, guided by the lines of our code that they reach.

    python -m tests.fuzz.run TARGET [--seconds N] [--merge]

Begins with the target's corpus. What breaks the target is written there, and its path is printed: mend the bug, keep the file. What only
reaches something new stays in .fuzz/TARGET, for the next run; `--merge` adds to the corpus what reaches more than it does.
Needs atheris (the extra `fuzz`), which is libFuzzer for Python: https://github.com/google/atheris.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

INPUT_MAX_BYTES = 8192
INPUT_MAX_S = 20
"""Longest time for one input; everything beyond is a hang. Most take less than a millisecond."""
MEMORY_MAX_MIB = 1024

TEXTS = ("lexer", "expander", "configuration")
"""Targets that read the same kind of input."""

SCRATCH = Path(".fuzz")


def main() -> None:
    """Parse the command line and hand over to libFuzzer, which never returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("files", nargs="*", type=Path, help="only these inputs")
    arguments = parser.parse_args()
    atheris = _atheris()
    with atheris.instrument_imports(include=["supervisor", "checkers", "h11"]):
        targets = importlib.import_module("tests.fuzz.targets")
    target: Callable[[bytes], None] = targets.TARGETS[arguments.target]
    for module, name, value in targets.LOWERED:
        setattr(module, name, value)
    corpus = targets.CORPUS / arguments.target
    scratch = SCRATCH / arguments.target
    for folder in (corpus, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    options = [f"-max_len={INPUT_MAX_BYTES}", f"-timeout={INPUT_MAX_S}", f"-rss_limit_mb={MEMORY_MAX_MIB}"]
    if arguments.files:
        options += map(str, arguments.files)
    elif arguments.merge:
        options += ["-merge=1", str(corpus), str(scratch)]
    else:
        words = SCRATCH / f"{arguments.target}.words"
        words.write_text(_words(arguments.target))
        options += [f"-max_total_time={arguments.seconds}", f"-dict={words}", f"-artifact_prefix={corpus}/"]
        options += ["-print_final_stats=1", str(scratch), str(corpus)]
        if arguments.target in TEXTS:
            options += [str(targets.CORPUS / target) for target in TEXTS if target != arguments.target]
            options.append("tests/config/invalid")
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ModuleNotFoundError:
        sys.exit("atheris is not installed: pip install '.[fuzz]'")


def _words(target: str) -> str:
    """Words that the fuzzer may put in, one a line, as libFuzzer wants them."""
    found: set[str] = set()
    if target in TEXTS:
        keywords = importlib.import_module("supervisor.config.keywords")
        tables = [keywords.ROOT_TABLE, keywords.VIRTUAL_SERVER_TABLE, keywords.REAL_SERVER_TABLE]
        tables += [
            keywords.GLOBAL_DEFS_TABLE,
            *map(keywords.check_table, importlib.import_module("checkers.kit.api").TYPES),
        ]
        while tables:
            table = tables.pop()
            tables += table.inner.values()
            found |= table.keys()
        found |= {
            "${",
            "}",
            " {\n",
            "\n}\n",
            "~SEQ(",
            "~LST({",
            "@main ",
            "@^",
            "include ",
            "\n%% a.conf\n",
            "\\\n",
            "$A=",
        }
        found |= {
            "${A}",
            "10.0.0.1 80",
            "2001:db8::1 80",
            "fwmark 1",
            "65535",
            "4294967296",
            "0.000001",
            "\ufffd",
            "/32",
        }
    else:
        found |= {"HTTP/1.1 200 OK\r\n", "\r\n\r\n", "Content-Length: ", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"}
        found |= {"GET /metrics?name[]=", " HTTP/1.1\r\nHost: x\r\n\r\n", "scope=", "Accept: ", "220 ", "250-", "\r\n"}
        found |= {'{"id":1,"verb":"', '"args":{', '"ok":true', "1e999", "\\ud800", "[[[[", "=", "\x81\x80"}
    lines = ("".join(f"\\x{octet:02x}" for octet in word.encode()) for word in sorted(found))
    return "".join(f'"{line}"\n' for line in lines)


if __name__ == "__main__":
    main()
