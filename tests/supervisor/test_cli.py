"""The command line as an operator sees it: what it prints, and the exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import __version__, cli
from supervisor.cli import main
from supervisor.commands.completion import _verbs

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
ARTICLE = EXAMPLES / "article.conf"
TABLE = """\
-A -t 203.0.113.100:80 -s rr
-a -t 203.0.113.100:80 -r 192.168.100.21:80 -m -w 1
-a -t 203.0.113.100:80 -r 192.168.100.22:80 -m -w 1
"""
EIGHT_MISTAKES = """\
virtual_server 203.0.113.100 80 {
  delay_lop 5
  lb_algo wllc
  lb_kind NATT
  protocol TCP
  quorum none
  real_server 192.168.100.21 80800 {
  }
  real_server 192.168.100.22 80 {
    weight 12x
    TCP_CHECK {
      connect_timeout
      retry 1 delay_before_retry 2
    }
  }
}
"""


def test_check_of_the_articles_file_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(ARTICLE)]) == 0
    assert capsys.readouterr().out.endswith("\nfine: 1 virtual server, 2 real servers\n")


def test_check_names_eight_mistakes_with_their_places_and_exits_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.conf"
    path.write_text(EIGHT_MISTAKES)
    assert main(["check", "-f", str(path)]) == 3
    lines = capsys.readouterr().out.splitlines()
    for place in ("2:3", "3:11", "4:11", "6:10", "7:30", "10:12", "12:7", "13:15"):
        assert any(line.startswith(f"{path}:{place}: error: ") for line in lines), place
    assert lines[-1] == "8 errors"
    assert any("^^^^" in line for line in lines)
    assert any('did you mean "delay_loop"?' in line for line in lines)


def test_check_of_a_file_with_warnings_exits_4_only_when_strict(tmp_path: Path) -> None:
    path = tmp_path / "warned.conf"
    path.write_text(ARTICLE.read_text() + "vrrp_instance V {\n  priority 100\n}\n")
    assert main(["check", str(path)]) == 0
    assert main(["check", "--strict", str(path)]) == 4


def test_check_of_a_missing_file_exits_3_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "/nonexistent/keepalived.conf"]) == 3
    assert "/nonexistent/keepalived.conf" in capsys.readouterr().out


def test_table_prints_what_ipvsadm_would_save(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "-f", str(ARTICLE)]) == 0
    assert capsys.readouterr().out == TABLE


def test_table_of_an_invalid_file_prints_no_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.conf"
    path.write_text(EIGHT_MISTAKES)
    assert main(["table", str(path)]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "8 errors" in shown.err


@pytest.mark.parametrize(
    "verb",
    [["status"], ["why", "192.0.2.1"], ["drain", "192.0.2.1"], ["enable", "192.0.2.1"], ["weight", "192.0.2.1", "3"]],
)
def test_a_question_without_a_daemon_exits_5(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, "--admin-socket", str(tmp_path / "admin.sock")]) == 5
    assert "is vipervisor running?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["check"],
        ["check", "a", "-f", "b"],
        ["run", "-f", "x", "--backend", "nftables"],
        ["run", "-f", "x", "--exporter", "localhost:9720"],
        ["run", "-f", "x", "--exporter", "127.0.0.1"],
        ["run", "-f", "x", "--exporter", "::1:9720"],
        ["run", "-f", "x", "--exporter", "127.0.0.1:70000"],
        ["run", "-f", "x", "--workers", "0"],
        ["status", "--jso"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "verb",
    [[], *([name] for name, parser in _verbs(cli.parser()).items() if parser.add_help)],
    ids=" ".join,
)
def test_help_is_everywhere(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*verb, "--help"])
    assert caught.value.code == 0
    assert "exit status:" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["-t", "--config-test"])
def test_a_file_is_checked_as_keepalived_is_asked_to(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([option, "-f", str(ARTICLE)]) == 0
    assert main([option, str(ARTICLE), "-i", "one"]) == 0
    missing = tmp_path / "missing.conf"
    assert main([option, "-f", str(missing)]) == 3
    assert str(missing) in capsys.readouterr().out


@pytest.mark.parametrize("option", ["-i", "--config-id"])
def test_the_configuration_id_chooses_lines(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "main.conf"
    path.write_text("@one nonsense\n@^one global_defs { }\n")
    assert main(["check", option, "one", str(path)]) == 3
    assert main(["check", option, "two", str(path)]) == 0
    assert main(["table", "-f", str(path), option, "two"]) == 0
    assert 'unknown keyword "nonsense"' in capsys.readouterr().out


def test_lenient_makes_warnings_of_what_keepalived_ignores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "main.conf"
    path.write_text("global_defs {\n router_id a b\n}\n")
    assert main(["check", str(path)]) == 3
    assert main(["check", "--lenient", str(path)]) == 0
    assert main(["check", "--lenient", "--strict", str(path)]) == 4
    assert main(["table", "--lenient", "-f", str(path)]) == 0
    assert 'extra word "b" after "router_id"; ignored' in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"vipervisor {__version__}\n"
    assert f'version = "{__version__}"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--down", "*"],
        ["why", "192.0.2.1"],
        ["check-now", "192.0.2.1", "--trace"],
        ["drain", "192.0.2.1", "--yes"],
        ["host", "drain", "192.0.2.1"],
        ["plan"],
        ["reload"],
        ["confirm"],
        ["sync"],
        ["pause", "writes", "--reason", "x"],
        ["resume"],
        ["ready"],
        ["alerts"],
        ["log-level", "debug"],
        ["version"],
        ["explain", "E010"],
        ["complete", "--", "drain", "1"],
    ],
    ids=" ".join,
)
def test_a_verb_imports_nothing_heavy_so_that_it_answers_within_a_tenth_of_a_second(words: list[str]) -> None:
    """What is imported can be counted on any machine, and time cannot: trio alone takes longer than all the rest of the command."""
    code = (
        "import sys; from supervisor.cli import main\n"
        f"main({words!r})\n"
        "first = {name.split('.')[0] for name in sys.modules}\n"
        "ours = {name for name in sys.modules if name.startswith('supervisor.')}\n"
        "print(sorted(first & set(HEAVY)), sorted(name for name in ours if name.startswith(ROOMS)), file=sys.stderr)"
    )
    heavy = (
        "trio",
        "structlog",
        "pyroute2",
        "h11",
        "prometheus_client",
        "pcre2",
        "ssl",
        "asyncio",
        "logging",
        "checkers",
    )
    rooms = tuple(
        f"supervisor.{room}" for room in ("config", "core", "ipvs", "children", "log", "notify", "exporter", "wiring")
    )
    code = f"HEAVY = {heavy!r}; ROOMS = {rooms!r}\n{code}"
    environ = {"XDG_RUNTIME_DIR": "/nonexistent", "RUNTIME_DIRECTORY": "/nonexistent", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ, cwd=EXAMPLES.parents[1]
    )
    assert done.stderr.splitlines()[-1] == "[] []"


@pytest.mark.parametrize(
    "words", [["status"], ["why", "1"], ["events"], ["version"], ["complete", "--", "why", "1"]], ids=" ".join
)
def test_a_question_needs_none_of_the_slow_modules_of_the_standard_library(words: list[str]) -> None:
    """Together they would be a fifth of its start."""
    slow = ("dataclasses", "inspect", "tempfile", "random", "subprocess", "urllib.request", "http")
    code = (
        "import sys; from supervisor.cli import main\n"
        f"main({words!r})\n"
        f"print(sorted(set(sys.modules) & set({slow!r})), file=sys.stderr)"
    )
    environ = {"XDG_RUNTIME_DIR": "/nonexistent", "RUNTIME_DIRECTORY": "/nonexistent", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-S", "-c", code]  # without site, whose hooks for an editable installation import more
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=EXAMPLES.parents[1])
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m supervisor table {ARTICLE} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
