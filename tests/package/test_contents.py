"""What is in the Debian package: nothing too much, nothing missing, and the same bytes from the same tree."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from hashlib import sha256
from pathlib import Path

from tests.deploy import programs
from tests.package.conftest import build, own_architecture
from tests.package.machine import Done

ROOT = Path(__file__).resolve().parents[2]
UMLRUN = ROOT / "tests" / "kernel" / "umlrun"
GOLDEN = ROOT / "tests" / "golden" / "package.txt"
LIBRARIES = ROOT / "deploy" / "deb" / "libraries.txt"
COPYRIGHT = ROOT / "deploy" / "deb" / "copyright"
DOCUMENTS = "usr/share/doc/vipervisor/"
SITE = "usr/lib/vipervisor/lib/python3.11/site-packages/"
SIZE_MAX_BYTES = 4_000_000
"""2.6 MB when this was written, a third of it pictures; half as much again is something that does not belong there."""


def contents(package: Path) -> list[tuple[str, str, str]]:
    """Return mode, owner and path of everything in the package."""
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout
    rows = (line.split(maxsplit=5) for line in listed.splitlines())
    return [(mode, owner, path.removeprefix("./").partition(" -> ")[0]) for mode, owner, _, _, _, path in rows]


def pinned() -> dict[str, str]:
    """Return the version of each library that the package brings."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", LIBRARIES.read_text(), re.MULTILINE))


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def lintian(package: Path, *options: str) -> Done:
    """Judge the package. An unpacked lintian runs in a guest that has .lab/root over its root: its parts want to be in their places."""
    command = ["lintian", "--allow-root", *options, str(package)]
    if Path(programs.path_of("lintian", "lintian")).is_relative_to(programs.UNPACKED):
        command = [str(UMLRUN), *f"-t 600 -m 1G -l {programs.UNPACKED} -- env LC_ALL=C.UTF-8".split(), *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_lintian_has_nothing_to_say_about_the_package(package: Path) -> None:
    done = lintian(package, "--display-info", "--pedantic", "--fail-on", "info,pedantic")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_lintian_is_awake(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--raw-extract", package, tmp_path / "tree"], check=True)
    (tmp_path / "tree" / "usr" / "bin" / "vipervisor").chmod(0o4755)
    (tmp_path / "tree" / "usr" / "share" / "lintian" / "overrides" / "vipervisor").unlink()
    spoilt = tmp_path / package.name
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tmp_path / "tree", spoilt], check=True)
    done = lintian(spoilt, "--fail-on", "error")
    assert done.returncode != 0
    assert "elevated-privileges" in done.stdout, done.stdout + done.stderr


def test_every_override_of_lintian_has_its_reason() -> None:
    lines = (ROOT / "deploy" / "deb" / "lintian-overrides").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert all(line.startswith(("# ", "vipervisor: ")) for line in lines)


def test_the_same_tree_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    assert sha256(build(tmp_path).read_bytes()).hexdigest() == sha256(package.read_bytes()).hexdigest()


def test_it_is_as_large_as_it_has_to_be(package: Path) -> None:
    assert package.stat().st_size <= SIZE_MAX_BYTES


def test_what_an_operator_finds_is_what_we_mean_to_ship(package: Path) -> None:
    """All but the modules of Python, and documents whose names are the manual's own business."""
    shipped = [
        path
        for _, _, path in contents(package)
        if path
        and not path.endswith("/")
        and not path.startswith(SITE)
        and not re.match(
            r"usr/share/doc/vipervisor/(runbooks/|schemas/|data/(performance/)?|performance/)?[\w-]+\.(md|json|conf|svg)$",
            path,
        )
    ]
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text("\n".join(shipped) + "\n")
    assert shipped == GOLDEN.read_text().splitlines()


def test_the_whole_manual_is_in_it(package: Path) -> None:
    shipped = {path.removeprefix(DOCUMENTS) for _, _, path in contents(package) if path.startswith(DOCUMENTS)}
    manual = ROOT / "docs"
    pages = [
        *manual.glob("*.md"),
        *manual.glob("runbooks/*.md"),
        *manual.glob("*/*.png"),
        *manual.glob("*/*.svg"),
        *manual.glob("schemas/*"),
        *(path for path in manual.glob("data/**/*") if path.is_file()),
    ]
    assert len(pages) > 50
    assert {str(page.relative_to(manual)) for page in pages} - shipped == set()


def test_the_links_of_the_manual_lead_to_what_is_shipped(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    manual = tmp_path / DOCUMENTS
    for page in manual.rglob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            to_the_sources = re.match(r"(\.\./)+(CONTRIBUTING|supervisor/|tests/|bench/|deploy/man/)", target)
            assert to_the_sources or (page.parent / target).exists(), f"{page.relative_to(manual)}: {target}"


def test_an_alert_leads_to_its_runbook(package: Path) -> None:
    shipped = {path for _, _, path in contents(package)}
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    runbooks = re.findall(r"runbook_url: file:///(\S+)", alerts)
    assert len(runbooks) >= 20
    assert set(runbooks) - shipped == set()


def test_every_module_of_ours_is_in_it_and_no_test_or_bytecode(package: Path) -> None:
    modules = {path.removeprefix(SITE) for _, _, path in contents(package) if path.startswith(SITE)}
    ours = {
        str(path.relative_to(ROOT))
        for folder in ("supervisor", "checkers")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {
        module for module in modules if module.startswith(("supervisor/", "checkers/")) and module[-1] != "/"
    } == ours
    assert [module for module in modules if re.search(r"__pycache__|\.pyc$|/_?tests/|\.(c|h|pyx)$", module)] == []


def test_everything_belongs_to_root_and_nobody_else_may_write(package: Path) -> None:
    for mode, owner, path in contents(package):
        assert owner == "root/root", path
        assert mode in {"drwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx"} or (mode, path) == (
            "-rwxr-xr-x",
            "usr/bin/vipervisor",
        )


def test_the_libraries_are_those_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = pinned()
    for requirement in [*project["dependencies"], *project["optional-dependencies"]["web"]]:
        name, bounds = re.match(r"([\w-]+)(.*)", requirement).groups()  # type: ignore[union-attr]  # they all have a name
        for relation, bound in re.findall(r"(>=|<)([\d.]+)", bounds):
            assert (numbers(found[name.lower()]) >= numbers(bound)) is (relation == ">="), requirement


def test_the_licence_of_every_library_is_told() -> None:
    told = COPYRIGHT.read_text()
    modules = {"attrs": "attr", "prometheus-client": "prometheus_client", "pyyaml": "yaml"}
    for name in pinned():
        assert f"{SITE}{modules.get(name, name)}/*" in told, name


def test_it_can_be_built_for_the_other_architecture_too(tmp_path: Path) -> None:
    other = {"amd64": "arm64", "arm64": "amd64"}[own_architecture()]
    done = subprocess.run(
        [ROOT / "deploy" / "deb" / "build", other, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob(f"*_{other}.deb")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[other]
    assert [path for _, _, path in contents(made) if f"{machine}-linux-gnu.so" in path]
