"""The daemon, except that few lines of its log may wait for their reader."""

from __future__ import annotations

import sys

from supervisor import cli
from supervisor.log import writer

if __name__ == "__main__":
    writer.CAPACITY_BYTES = 768 << 10
    sys.exit(cli.main())
