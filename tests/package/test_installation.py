"""The package on a clean Debian 12 before its first boot: apt installs it with all that it needs, and it is whole.

`tests/package/run` runs this where a chroot may be made, and leaves what came of it to the tests that boot it.
"""

from __future__ import annotations

from pathlib import Path

from tests.package.machine import INSTALLED, Machine

IMPORT_ALL = """
import importlib, pkgutil
for package in ("supervisor", "checkers"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
import bcrypt
from supervisor.exporter import webconfig
print("all there")
"""


def test_apt_installs_it_with_all_that_it_needs(clean: Machine, package: Path) -> None:
    (clean.root / "srv" / package.name).write_bytes(package.read_bytes())
    clean.install(f"/srv/{package.name}")
    status = clean.chroot("dpkg-query", "--show", "--showformat=${Status}", "vipervisor")
    assert status.stdout == "install ok installed"
    assert clean.chroot("dpkg", "--audit").stdout == ""
    assert clean.chroot("vipervisor", "--version").stdout.startswith("vipervisor ")
    clean.save(INSTALLED)


def test_every_module_of_it_finds_what_it_imports(clean: Machine) -> None:
    done = clean.chroot("/usr/lib/vipervisor/bin/python3", "-I", "-c", IMPORT_ALL)
    assert (done.returncode, done.stdout) == (0, "all there\n"), done.stderr


def test_everything_in_it_is_as_it_was_packed(clean: Machine) -> None:
    done = clean.chroot("dpkg", "--verify", "vipervisor")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
