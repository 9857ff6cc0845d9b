"""The form of what --json prints is what the program says of itself, and each file is a schema."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs" / "schemas").glob("*.json"))


def test_the_schemas_are_what_the_program_says_of_itself() -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "man" / "schemas.py"), "--check"],
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_is_a_schema_with_its_version(file: Path) -> None:
    schema = json.loads(file.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "schema" in schema["required"]


def test_the_completion_of_bash_is_a_script_that_bash_reads() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "deploy" / "completion" / "vipervisor.bash")], check=True)
