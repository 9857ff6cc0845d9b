"""What is in the Debian package: nothing too much, nothing missing, and the same bytes from the same tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest

from tests.package.conftest import build, own_architecture
from tests.package.machine import BASE, MACHINE, Done, Machine

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "package.txt"
LIBRARIES = ROOT / "deploy" / "deb" / "libraries.txt"
COPYRIGHT = ROOT / "deploy" / "deb" / "copyright"
SITE = "usr/lib/vipervisor/lib/python3.11/site-packages/"
SIZE_MAX_BYTES = 3_000_000
"""1.4 MB when this was written; more than twice that is something that does not belong there."""


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
    """Judge the package by this machine's lintian, else by one in a clean Debian 12: its many parts cannot be unpacked just anywhere."""
    if shutil.which("lintian"):
        return subprocess.run(["lintian", *options, package], capture_output=True, text=True, check=False)
    if os.geteuid() != 0:
        pytest.skip("lintian is not installed, and a clean Debian 12 to install it into can be made by root alone")
    subprocess.run([MACHINE, "base", BASE], check=True)
    with Machine("judge") as judge:
        (judge.root / "srv" / package.name).write_bytes(package.read_bytes())
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "lintian"]):
            done = judge.chroot("apt-get", "-qq", *command)
            assert done.returncode == 0, done.stderr
        return judge.chroot("lintian", *options, f"/srv/{package.name}")


def test_lintian_has_nothing_to_say_about_the_package(package: Path) -> None:
    done = lintian(package, "--display-info", "--pedantic", "--allow-root", "--fail-on", "info,pedantic")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


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
        and not re.match(r"usr/share/doc/vipervisor/[\w-]+\.md$", path)
    ]
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text("\n".join(shipped) + "\n")
    assert shipped == GOLDEN.read_text().splitlines()


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
    for requirement in project["dependencies"]:
        name, bounds = re.match(r"([\w-]+)(.*)", requirement).groups()  # type: ignore[union-attr]  # they all have a name
        for relation, bound in re.findall(r"(>=|<)([\d.]+)", bounds):
            assert (numbers(found[name]) >= numbers(bound)) is (relation == ">="), requirement


def test_the_licence_of_every_library_is_told() -> None:
    told = COPYRIGHT.read_text()
    modules = {"attrs": "attr", "prometheus-client": "prometheus_client"}
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
