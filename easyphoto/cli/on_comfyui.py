"""``--comfyui``: the pictures of a command in a running ComfyUI."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from easyphoto.cli.arguments import Usage, a_folder
from easyphoto.config import Paths

if TYPE_CHECKING:
    from easyphoto.hosts.comfyui import ComfyUIHost
    from easyphoto.ports import Vision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser of a command the flags of a ComfyUI."""
    group = parser.add_argument_group("ComfyUI (docs/comfyui.md)")
    group.add_argument(
        "--comfyui",
        metavar="URL",
        help="make the pictures in the ComfyUI that listens there, such as http://127.0.0.1:8188; trainings stay here",
    )
    group.add_argument(
        "--comfyui-root",
        type=a_folder,
        metavar="FOLDER",
        help="ComfyUI's folder as this machine sees it (default: the folders that ComfyUI names)",
    )
    group.add_argument(
        "--comfyui-elsewhere", action="store_true", help="allow a ComfyUI on another machine: photos are sent there"
    )


def host(args: argparse.Namespace, paths: Paths, vision: Vision) -> ComfyUIHost | None:
    """Return the host of the flags, None where they name none. Raises :class:`HostFailed` if no ComfyUI answers, and
    :class:`InvalidRequest` for an address that photos may not be sent to."""
    given = getattr(args, "comfyui", None)
    if given is None:
        for name in ("comfyui_root", "comfyui_elsewhere"):
            if getattr(args, name, None):
                raise Usage(f"--{name.replace('_', '-')} means something with --comfyui alone.")
        return None
    if getattr(args, "devices", ()) or getattr(args, "ray", None) is not None:
        raise Usage("ComfyUI works on one job at a time: leave out --devices and --ray with --comfyui.")
    from easyphoto.hosts.comfyui import ComfyUIHost, address

    where = address.read(given, elsewhere=args.comfyui_elsewhere)
    if not where.here:
        sys.stderr.write(f"Warning: the photos and pictures of every job are sent to {where}.\n")
        if where.url.startswith("http:"):
            sys.stderr.write("Warning: nothing encrypts them on their way there.\n")
        sys.stderr.flush()
    made = ComfyUIHost(where, paths, vision, args.comfyui_root)
    made.require()
    return made
