"""PROCESS supervisor: `python -m supervisor VERB` is `vipervisor VERB`."""

import sys

from supervisor.cli import main

if __name__ == "__main__":
    sys.exit(main())
