"""``--ray``: the jobs of a command on the workers of a Ray cluster."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from easyphoto.cli.arguments import Usage, ranged
from easyphoto.fleet.options import LOCAL, SHARES, FleetOptions

if TYPE_CHECKING:
    from easyphoto.service import EasyPhoto, Preferences

MAX_WORKERS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser of a command the flags of a cluster."""
    group = parser.add_argument_group("cluster (docs/fleet.md)")
    group.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="work on the Ray cluster at this address (host:port, or auto); without an address on one that is started "
        "on this machine and ends with the command",
    )
    group.add_argument(
        "--share",
        choices=SHARES,
        help="folder: every node sees the data folder under the same path; ray: people, templates and results are "
        "sent (default: ray, and folder on this machine)",
    )
    group.add_argument(
        "--workers",
        type=ranged(int, 1, MAX_WORKERS),
        metavar="INT",
        help="how many jobs at the same time (default: one a graphics card, or one a node where there are no cards)",
    )


def options(args: argparse.Namespace) -> FleetOptions | None:
    """What the flags say; None for no cluster, and where nothing is begun. Raises :class:`Usage` for flags that mean
    nothing without one."""
    address = getattr(args, "ray", None)
    if address is not None:
        return None if getattr(args, "dry_run", False) else FleetOptions(address, args.share, args.workers)
    for name in ("share", "workers"):
        if getattr(args, name, None) is not None:
            raise Usage(f"--{name} means something with --ray alone.")
    return None


def work_there(service: EasyPhoto, chosen: FleetOptions, decided: Preferences, held: ExitStack) -> None:
    """Have the jobs of ``service`` done on a cluster, which is left when ``held`` ends. ``decided`` holds for the
    workers too."""
    from easyphoto.cli.standalone import build
    from easyphoto.fleet import ray_runner

    where = "on this machine" if chosen.address == LOCAL else f"at {chosen.address}"
    sys.stderr.write(f"Waiting for the first worker of the Ray cluster {where}.\n")
    sys.stderr.flush()
    runner = ray_runner.started(service, partial(build, chosen=decided), chosen)
    held.callback(runner.close)
    service.jobs.use([runner])
