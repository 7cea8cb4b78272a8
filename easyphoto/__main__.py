"""``python -m easyphoto``: see :mod:`easyphoto.cli.main`."""

import sys


def run() -> int:
    """Run the command that the arguments of this process name. An installed ``easyphoto`` command starts here."""
    try:
        from easyphoto.cli.main import main

        return main()
    except KeyboardInterrupt:  # before the command began
        return 130


if __name__ == "__main__":
    sys.exit(run())
