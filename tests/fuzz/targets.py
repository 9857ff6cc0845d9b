"""Every fuzz target by its name: a pure function of bytes that raises for a bug of ours and for nothing else.

`corpus/NAME/` holds the inputs of a target: seeds, and every one that has found something. `test_corpus` plays them all;
`python -m tests.fuzz.run NAME` looks for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fuzz import answers, configuration, kernel, talks

LOWERED = configuration.LOWERED

CORPUS = Path(__file__).parent / "corpus"

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "lexer": configuration.lexer,
    "expander": configuration.expander,
    "configuration": configuration.configuration,
    "http": answers.http,
    "tls": answers.tls,
    "smtp": answers.smtp,
    "dns": answers.dns,
    "udp": answers.udp,
    "ping": answers.ping,
    "script": answers.script,
    "file": answers.file,
    "to-runner": talks.to_runner,
    "from-runner": talks.from_runner,
    "from-worker": talks.from_worker,
    "from-supervisor": talks.from_supervisor,
    "admin-request": talks.admin_request,
    "admin-answer": talks.admin_answer,
    "exporter": talks.exporter,
    "running-text": talks.running_text_line,
    "snapshot": talks.snapshot_line,
    "state": talks.state,
    "journal": talks.journal_file,
    "extract": talks.extract_line,
    "question": talks.question_line,
    "netlink": kernel.netlink,
    "neighbours": kernel.neighbours,
    "routes": kernel.routes,
}
