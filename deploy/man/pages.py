"""The manual pages, made from what the program itself goes by: its command line and its keyword tables.

    python deploy/man/pages.py            writes vipervisor.8 and vipervisor.conf.5 beside this file, and two pages of docs
    python deploy/man/pages.py --check    exit 1, and a word, when one of them is not what it would be

So a page cannot say what the program does not do. A test runs the check.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from checkers.kit import api
from checkers.kit.options import Keyword, Kind
from deploy.man import events
from supervisor import __version__, cli
from supervisor.admin.protocol import MEANINGS
from supervisor.config import keywords

HERE = Path(__file__).parent

DATE = "2026-11-28"
"""When this version began; a page without a date is a page that mandoc complains of. Moves with the version."""

LINE_MAX_BYTES = 80
"""Of a line of text; mandoc(1), -T lint."""

SIGNALS = (
    ("SIGTERM, SIGINT", "stop: remove our services and addresses, deliver the last notifications"),
    ("SIGHUP", "load the configuration again, whole or not at all"),
)

FORMS = {
    Kind.FLAG: "[true|on|yes|false|off|no]",
    Kind.INTEGER: "NUMBER",
    Kind.TIMER: "SECONDS",
    Kind.TEXT: "TEXT",
    Kind.TEXTS: "WORD ...",
    Kind.ADDRESS: "ADDRESS",
    Kind.PORT: "PORT",
    Kind.ENDPOINT: "ADDRESS [PORT]",
    Kind.OCTETS: "HEX ...",
    Kind.STATUS_RANGES: "STATUS[-STATUS] ...",
    Kind.HEX: "HEX",
    Kind.CERTIFICATES: "FILE",
    Kind.PRIVATE_KEY: "FILE",
    Kind.CONCEALED: "TEXT",
    Kind.COMMAND: "COMMAND [USER [GROUP]]",
    Kind.REGEX: "REGEX",
    Kind.FORWARDING: "NAT|DR|TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]",
    Kind.BLOCK: "{ ... }",
    Kind.RAW_BLOCK: "{ WORD ... }",
}
"""What stands behind a keyword, by its kind."""


def escaped(text: str) -> str:
    """Return text that troff prints as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def filled(page: str) -> str:
    """Return the page with its long lines of text broken between words; requests stay as they are."""
    lines: list[str] = []
    for line in page.splitlines():
        if line.startswith((".", "'")) or len(line.encode()) <= LINE_MAX_BYTES:
            lines.append(line)
            continue
        parts = textwrap.wrap(line, LINE_MAX_BYTES - 4, break_long_words=False, break_on_hyphens=False)
        lines += [f"\\&{part}" if part.startswith((".", "'")) else part for part in parts]
    return "\n".join(lines) + "\n"


def paragraph(term: str, text: str) -> str:
    """Return a tagged paragraph."""
    return f".TP\n.B {escaped(term)}\n{escaped(text)}\n"


def head(name: str, section: int, purpose: str) -> str:
    """Return the beginning of a page."""
    return (
        f'.TH {name.upper()} {section} {DATE} "vipervisor {__version__}" "Vipervisor"\n'
        f".SH NAME\n{escaped(name)} \\- {escaped(purpose)}\n"
    )


# -- vipervisor(8) -------------------------------------------------------------------------------------------------------


def command_page() -> str:
    """Return vipervisor(8)."""
    parser = cli.parser()
    text = head("vipervisor", 8, "health checking and failover for Linux Virtual Server (IPVS) directors")
    text += ".SH SYNOPSIS\n.B vipervisor\n.I VERB\n[options]\n"
    text += f".SH DESCRIPTION\n{escaped(str(parser.description))}\n"
    for name, verb in verbs(parser):
        text += (
            f".SH {name.upper()}\n.B vipervisor {escaped(usage(name, verb))}\n.PP\n{escaped(str(verb.description))}\n"
        )
        for action in verb._actions:  # noqa: SLF001  argparse has no public way to ask
            if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS:  # noqa: SLF001
                text += paragraph(spelled(action), str(action.help))
    text += ".SH SIGNALS\n" + "".join(paragraph(name, what) for name, what in SIGNALS)
    text += ".SH EXIT STATUS\n" + "".join(paragraph(str(int(number)), what) for number, what in MEANINGS.items())
    return text + ".SH SEE ALSO\n.BR vipervisor.conf (5),\n.BR ipvsadm (8)\n"


def verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each verb with its parser."""
    for action in parser._actions:  # noqa: SLF001  see command_page
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield from (
                (name, verb) for name, verb in action.choices.items() if verb.add_help
            )  # one without is for shells


def usage(name: str, verb: argparse.ArgumentParser) -> str:
    """Return the verb with its positional arguments."""
    positional = [str(action.metavar) for action in verb._actions if not action.option_strings]  # noqa: SLF001
    return " ".join([name, "[options]", *positional])


def spelled(action: argparse.Action) -> str:
    """Return an option as it is written."""
    value = ""
    if action.nargs != 0:
        value = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    return " ".join(part for part in (", ".join(action.option_strings), value) if part)


# -- vipervisor.conf(5) --------------------------------------------------------------------------------------------------


def configuration_page() -> str:
    """Return vipervisor.conf(5)."""
    text = head("vipervisor.conf", 5, "the configuration of vipervisor: keepalived.conf")
    text += (
        ".SH DESCRIPTION\nThe language is that of keepalived.conf: one statement a line, blocks in braces, # and ! for comments,\n"
        "$NAME=VALUE definitions, ~SEQ and ~LST, @ID lines, include. Keywords marked\n.I ours\nare ignored by keepalived with a "
        "warning, so one file can serve both.\n"
    )
    text += "".join(section(*block) for block in blocks())
    return text + ".SH SEE ALSO\n.BR vipervisor (8)\n"


def blocks() -> Iterator[tuple[str, Iterable[Keyword], str]]:
    """Yield each block of the file: its title, what may stand in it, and a sentence about it or none."""
    yield "at the top", keywords.ROOT, ""
    yield "global_defs", keywords.GLOBAL_DEFS, ""
    yield "track_file NAME", keywords.TRACK_FILE, ""
    yield "virtual_server ADDRESS [PORT] | fwmark N | group NAME", keywords.VIRTUAL_SERVER, ""
    yield "real_server ADDRESS [PORT]", keywords.REAL_SERVER, ""
    yield "checks: common keywords", api.COMMON_OPTIONS, ""
    for keyword in api.TYPES:
        options = api.load(keyword).OPTIONS
        yield keyword, options, shared(keyword)
        yield from ((f"{keyword}: {option.name}", option.block, "") for option in options if option.block)


def shared(keyword: str) -> str:
    """Return a sentence about the common keywords that a checker type does not know, if there are any."""
    known = {option.name for option in api.common_options(keyword)}
    if known == {option.name for option in api.COMMON_OPTIONS}:
        return ""
    return f"Of the common keywords it knows: {', '.join(sorted(known))}." if known else "It knows no common keywords."


def section(title: str, table: Iterable[Keyword], note: str = "") -> str:
    """Return what may stand in one block."""
    handled = [keyword for keyword in table if keyword.handled]
    unhandled = sorted({keyword.name for keyword in table if not keyword.handled})
    text = f'.SH "{escaped(title.upper())}"\n'
    if note:
        text += f"{escaped(note)}\n"
    for keyword in handled:
        text += paragraph(f"{keyword.name} {form(keyword)}".rstrip(), " ".join(sentences(keyword)))
    if unhandled:
        names = escaped(", ".join(unhandled))
        text += f".PP\nKnown to keepalived, read and not handled by this version:\n{names}.\n"
    return text


def form(keyword: Keyword) -> str:
    """Return what stands behind a keyword."""
    if keyword.kind is Kind.CHOICE:
        return "|".join(keyword.choices)
    words = FORMS[keyword.kind]
    return f"[{words}]" if keyword.optional_value and not words.startswith("[") else words


def sentences(keyword: Keyword) -> Iterator[str]:
    """Yield what there is to say of a keyword."""
    yield f"{keyword.help[:1].upper()}{keyword.help[1:]}."
    if keyword.low is not None and keyword.high is not None:
        unit = f" {keyword.unit}" if keyword.unit else ""
        digits = " digits" if keyword.kind is Kind.HEX else ""
        yield f"From {keyword.low:.15g} to {keyword.high:.15g}{unit}{digits}."
    elif keyword.unit:
        yield f"In {keyword.unit}."
    if keyword.default is not None and keyword.kind is not Kind.FLAG and keyword.default != "":
        yield f"Default {keyword.default}."
    if keyword.required:
        yield "Must be there."
    if keyword.alias_of:
        yield f"The old spelling of {keyword.alias_of}." if keyword.deprecated else f"The same as {keyword.alias_of}."
    if keyword.own:
        yield "(ours)"


# -- docs/configuration.md ----------------------------------------------------------------------------------------------


def reference() -> str:
    """Return the same as vipervisor.conf(5), to be read in a browser."""
    text = (
        "# Configuration reference\n\n"
        "Every keyword of every block of `keepalived.conf`, made from the tables that the parser goes by (`deploy/man/pages.py`).\n"
        "The same stands in vipervisor.conf(5). The language itself (comments, quotes, definitions, `~SEQ`, `@ID`, `include`) is\n"
        "keepalived's. Keywords marked *ours* are ignored by keepalived with a warning, so one file can serve both.\n"
    )
    return text + "".join(map(chapter, *zip(*blocks(), strict=True)))


def chapter(title: str, table: Iterable[Keyword], note: str) -> str:
    """Return what may stand in one block, as a table."""
    text = f"\n## {title}\n" + (f"\n{note}\n" if note else "")
    rows = [row(keyword) for keyword in table if keyword.handled]
    if rows:
        text += "\n| keyword | |\n| --- | --- |\n" + "".join(rows)
    unhandled = sorted({keyword.name for keyword in table if not keyword.handled})
    if unhandled:
        names = ", ".join(f"`{name}`" for name in unhandled)
        text += f"\nKnown to keepalived, read and not handled by this version: {names}.\n"
    return text


def row(keyword: Keyword) -> str:
    """Return one keyword as a row."""
    usage = f"{keyword.name} {form(keyword)}".rstrip().replace("|", "\\|")
    said = " ".join(sentences(keyword)).replace("(ours)", "*Ours.*").replace("|", "\\|")
    return f"| `{usage}` | {said} |\n"


PAGES = {
    HERE / "vipervisor.8": command_page,
    HERE / "vipervisor.conf.5": configuration_page,
    HERE.parents[1] / "docs" / "configuration.md": reference,
    HERE.parents[1] / "docs" / "events.md": events.page,
}


def main() -> int:
    """Write the pages, or check them; return the exit status."""
    check = sys.argv[1:] == ["--check"]
    stale = []
    for path, make in PAGES.items():
        text = filled(make()) if path.parent == HERE else make()
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        print(f"not what the program says: {', '.join(stale)}; run `python deploy/man/pages.py`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
