"""Hold the boards against the schema that Grafana publishes: `python -m tests.grafana.published dashboard.jsonschema.json`.

The file is jsonschema/dashboard.jsonschema.json of github.com/grafana/grafana-foundation-sdk. It is in no package registry, so it is
not here and the unit tests go by the types that Grafana generates from the same definitions (`tests.grafana.schema`). Take a branch for
Grafana 12 or newer: older ones refuse what every Grafana writes (a null as the lowest threshold, the query of an annotation).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from grafana.boards import BOARDS, file_of


def errors(document: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return what of a document does not fit a schema, each with its place."""
    found = Draft7Validator(wanted).iter_errors(document)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


def main(arguments: list[str]) -> int:
    """Print what does not fit and return the exit status."""
    (file,) = arguments
    schema = json.loads(Path(file).read_text())
    wrong = [
        f"{board.uid}: {error}" for board in BOARDS for error in errors(json.loads(file_of(board).read_text()), schema)
    ]
    print("\n".join(wrong) or "every board fits")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
