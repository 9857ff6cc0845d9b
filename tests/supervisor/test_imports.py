"""What each process imports: memory and start are mostly that, and what a process does not have cannot fail in it.

What is imported can be counted on any machine; time and memory cannot (`bench.memory`, `bench.start_reload`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

SUPERVISOR = "supervisor.launch"
"""What `vipervisor run` imports beyond the command line."""

WORKER, EXPORTER, RUNNER = "checkers.__main__", "supervisor.exporter.__main__", "supervisor.runner.__main__"

HEAVY = frozenset(
    {"asyncio", "structlog", "rich", "greenlet", "pickle", "uuid", "multiprocessing", "concurrent.futures", "unittest"}
    | {
        "xml",
        "decimal",
        "statistics",
        "zoneinfo",
        "importlib.metadata",
        "pyroute2",
        "yaml",
        "bcrypt",
        "typing_extensions",
    }
)
"""Half a megabyte and some milliseconds each, of no use in any process that is never told to want them."""

STRUCTLOG = frozenset({"structlog", "asyncio", "concurrent.futures", "pickle", "uuid"})
"""What the log needs, and brings."""

NETWORK = frozenset({"h11", "http", "http.client", "http.server", "wsgiref", "socketserver"})
PAGES = frozenset({"prometheus_client", "jinja2", "markupsafe"})
MAIL = frozenset({"smtplib", "email"})


def imported(module: str) -> set[str]:
    """Return what a fresh interpreter has when it has imported one module of ours."""
    first = "from supervisor.cli import do_without_luxuries as first; first(); " if module == SUPERVISOR else ""
    code = f"{first}import sys, importlib; importlib.import_module({module!r}); print(*filter(sys.modules.get, sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    return set(done.stdout.split()) - _without_us()


def _without_us() -> set[str]:
    """Return what an interpreter has from the beginning: hooks of an editable installation, and of coverage."""
    command = [sys.executable, "-P", "-c", "import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (SUPERVISOR, (HEAVY - STRUCTLOG) | NETWORK | PAGES | MAIL | {"pcre2"}),
        (WORKER, HEAVY | PAGES | MAIL | NETWORK | {"supervisor"}),
        (
            EXPORTER,
            (HEAVY - {"pickle"}) | {"smtplib", "pcre2", "supervisor.log", "supervisor.config", "supervisor.wiring"},
        ),
        (RUNNER, HEAVY | NETWORK | PAGES | MAIL | {"pcre2", "supervisor.log", "supervisor.config", "supervisor.core"}),
    ],
    ids=["supervisor", "worker", "exporter", "runner"],
)
def test_a_process_imports_nothing_heavy_that_it_does_not_need(module: str, unwanted: frozenset[str]) -> None:
    found = imported(module)
    assert "trio" in found
    assert sorted(found & unwanted) == []


def test_the_daemon_has_nothing_of_the_verbs_that_ask_it() -> None:
    code = """
import sys
from supervisor import cli, launch
launch.run = lambda options: print(*(name for name in sys.modules if name.startswith("supervisor.commands."))) or 0
cli.main(["run", "-f", "keepalived.conf"])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.split() == ["supervisor.commands.shape"]


def test_what_brings_mails_is_there_before_the_first_is_due() -> None:
    code = """
import sys
from supervisor.log import Log
from supervisor.model import MailSettings
from supervisor.notify.smtp import Mailer
mailer = Mailer(MailSettings(), "r", wall_clock=None, log=Log(lambda line, level: None))
print("smtplib" in sys.modules)
mailer.reconfigure(MailSettings(("root@example.com",), server="192.0.2.25"), "r")
print("smtplib" in sys.modules, "email.header" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.split() == ["False", "True", "True"]
