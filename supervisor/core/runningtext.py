"""The text of the configuration that runs, without its secrets, and its wire form: one line of JSON. Pure.

    decode(encode(running)) == running

The text comes packed out of the model (`config.shown` masked it when the file was read) and stays so until somebody reads it.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib

from checkers.kit.frozen import frozen
from supervisor.model import Config

SCHEMA = 1

TEXT_MAX_BYTES = 64 << 20
"""Of the unpacked text; a file of 200,000 lines has 5 MB."""


@frozen
class RunningText:
    """Where the configuration came from, the first digits of its digest, all files that were read, and its packed text."""

    source: str
    digest: str
    files: tuple[str, ...]
    packed: bytes

    def text(self) -> str:
        """Return the text, of at most TEXT_MAX_BYTES. Raises ValueError for what is no packed text."""
        try:
            return zlib.decompressobj().decompress(self.packed, TEXT_MAX_BYTES).decode("utf-8", "replace")
        except zlib.error as error:
            raise ValueError(f"configuration: {error}") from error


def of(config: Config) -> RunningText:
    """Return what may be shown of a configuration."""
    return RunningText(config.source, config.digest, config.files, config.text)


def encode(running: RunningText) -> bytes:
    """Return the line, without its end."""
    plain = {
        "schema": SCHEMA,
        "source": running.source,
        "digest": running.digest,
        "files": running.files,
        "packed": base64.b64encode(running.packed).decode("ascii"),
    }
    return json.dumps(plain, separators=(",", ":")).encode("ascii")


def decode(line: bytes) -> RunningText:
    """Read the line. Raises ValueError."""
    try:
        raw = json.loads(line)
        if raw["schema"] != SCHEMA:
            raise ValueError(f"configuration: expected schema {SCHEMA}, got {raw['schema']}")
        packed = base64.b64decode(raw["packed"], validate=True)
        return RunningText(str(raw["source"]), str(raw["digest"]), tuple(map(str, raw["files"])), packed)
    except (KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ValueError(f"configuration: {error!r}") from error
