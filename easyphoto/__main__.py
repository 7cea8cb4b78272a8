"""``python -m easyphoto``: see :mod:`easyphoto.cli.main`."""

import sys

if __name__ == "__main__":
    try:
        from easyphoto.cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:  # before the command began
        sys.exit(130)
