"""Makes or updates EasyPhoto's own Python environment. It changes nothing in the environment of a WebUI.

    python install.py              make it with the Python that runs this file (use the WebUI's: venv/bin/python)
    python install.py --host PATH  make it with another Python

A WebUI runs this file each time it starts. Then the file only says, in one line, whether the environment is there.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run_by_webui() -> bool:
    """Return whether a WebUI runs this file: a WebUI puts its own root, which holds launch.py, first on PYTHONPATH."""
    first = os.environ.get("PYTHONPATH", "").split(os.pathsep)[0]
    return bool(first) and (Path(first) / "launch.py").is_file() and len(sys.argv) == 1


def main() -> int:
    sys.path.insert(0, str(HERE))
    from easyphoto import environment
    from easyphoto.errors import EasyPhotoError
    from easyphoto.events import Event, Progress

    if run_by_webui():
        print(f"EasyPhoto: {environment.status().sentence}")
        return 0
    parser = argparse.ArgumentParser(description="Make or update EasyPhoto's own Python environment.")
    parser.add_argument("--host", default=sys.executable, help="the Python of the WebUI (default: this one)")
    arguments = parser.parse_args()

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            print(f"[{event.step}/{event.total}] {event.message}", flush=True)

    try:
        print(environment.create(show, host=arguments.host).sentence)
    except EasyPhotoError as error:
        print(f"EasyPhoto: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("EasyPhoto: cancelled.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
