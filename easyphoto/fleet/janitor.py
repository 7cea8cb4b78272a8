"""Removes a worker's folder when the worker is gone: ``python -m easyphoto.fleet.janitor FOLDER``.

Its standard input is a pipe that the worker alone holds open, so that it ends with the worker, also at ``kill -9``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from easyphoto.fleet import lodging


def main(folder: Path) -> None:
    """Leave the process that was started, which its parent waits for, and wait for the worker's end."""
    if os.fork():
        os._exit(0)
    os.setsid()
    while os.read(0, 1024):
        pass
    if folder.exists():
        lodging.remove(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
