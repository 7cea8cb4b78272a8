"""The command ``models``: list the weights, say what a feature needs and how much that is to download, download it, and
check it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from easyphoto.cli.arguments import a_folder, common, ranged
from easyphoto.cli.show import Terminal
from easyphoto.cli.streams import write_json
from easyphoto.config import Paths
from easyphoto.events import Event

if TYPE_CHECKING:
    from easyphoto.catalog import Catalog, DownloadPlan, Folders


def add_parser(subparsers: Any, paths: Callable[[argparse.Namespace], Paths] | None = None) -> None:
    """Add ``models`` and its commands to the program's parser. ``paths`` returns the folders that the flags choose;
    with it, ``args.run(args)`` runs the command."""
    text = "Weights: what there is, what a feature needs and costs; get them, check them."
    parser: argparse.ArgumentParser = subparsers.add_parser("models", help=text, description=text)
    common(parser)
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="COMMAND")
    for name, text in (
        ("list", "every feature and what it needs"),
        ("plan", "what a feature needs, what is there, what the rest costs, under which licences; downloads nothing"),
        ("fetch", "download what a feature lacks; Ctrl-C keeps what came, the next run goes on from there"),
        ("verify", "read the files that are there again and compare their checksums"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        if name in ("plan", "fetch"):
            command.add_argument("names", nargs="+", metavar="BUNDLE", help="a feature of `models list`, or one asset")
            command.add_argument("--commercial-only", action="store_true", help="nothing with a non-commercial licence")
        if name == "verify":
            command.add_argument("names", nargs="*", metavar="BUNDLE", help="only these; all by default")
        if name == "fetch":
            command.add_argument("--offline", action="store_true", help="never touch the network")
            command.add_argument(
                "--parallel", type=ranged(int, 1, 16), default=3, metavar="N", help="files at once (default 3)"
            )
        command.add_argument(
            "--look-in",
            action="append",
            default=[],
            type=a_folder,
            metavar="FOLDER",
            help="a further folder with weights",
        )
        common(command)
        if paths is not None:
            command.set_defaults(run=partial(_run_with, paths))


def run(args: argparse.Namespace, paths: Paths) -> int:
    """Do what the flags say, and return the exit status. Raises the errors of the catalog."""
    from easyphoto.catalog import Catalog, Folders

    catalog, folders = Catalog.load(), Folders.of(paths, also=args.look_in)
    command = {"list": _list, "plan": _plan, "fetch": _fetch, "verify": _verify}[args.models_command]
    return command(catalog, folders, args)


def _run_with(paths: Callable[[argparse.Namespace], Paths], args: argparse.Namespace) -> int:
    return run(args, paths(args))


def _list(catalog: Catalog, folders: Folders, args: argparse.Namespace) -> int:
    from easyphoto.catalog.download_plan import size

    plans = {name: catalog.plan(name, folders, hashing=False) for name in catalog.offered}
    if args.json:
        write_json({name: as_data(plan, folders) for name, plan in plans.items()})
        return 0
    for name, plan in plans.items():
        total = sum(catalog.assets[a].bytes for a in catalog.bundles[name].assets)
        state = "there" if not plan.missing else f"{len(plan.present)} of {len(plan.present) + len(plan.missing)} there"
        free = "" if all(catalog.assets[a].commercial for a in catalog.bundles[name].assets) else ", non-commercial"
        print(f"{name:20} {size(total):>9}  {state}{free}  {catalog.bundles[name].what}")
    return 0


def _plan(catalog: Catalog, folders: Folders, args: argparse.Namespace) -> int:
    catalog.require_offered(args.names)
    plan = catalog.plan(args.names, folders, commercial_only=args.commercial_only)
    if args.json:
        write_json(as_data(plan, folders))
    else:
        print("\n".join(describe(plan, folders)))
    return 0


def _fetch(catalog: Catalog, folders: Folders, args: argparse.Namespace) -> int:
    from easyphoto.catalog.fetching import Options

    terminal = Terminal()

    def show(event: Event) -> None:
        if args.json:
            write_json({"kind": event.kind, **asdict(event)})
        else:
            terminal.show(event)

    catalog.require_offered(args.names)
    if not args.json:
        print("\n".join(describe(catalog.plan(args.names, folders, commercial_only=args.commercial_only), folders)))
    try:
        plan = catalog.fetch(
            args.names,
            folders,
            commercial_only=args.commercial_only,
            offline=True if args.offline else None,
            listener=show,
            options=Options(parallel=args.parallel),
        )
    finally:
        terminal.close()
    if args.json:
        write_json(as_data(plan, folders))
    else:
        print(plan.sentence())
    return 0


def _verify(catalog: Catalog, folders: Folders, args: argparse.Namespace) -> int:
    verdicts = catalog.verify(folders, args.names or None)
    if args.json:
        rows = [{"asset": v.asset.name, "path": str(v.path), "wrong": v.reason} for v in verdicts]
        write_json(rows)
    else:
        print("\n".join(str(v) for v in verdicts) or "None of the weights of the catalog are there.")
    return 1 if any(v.reason for v in verdicts) else 0


def describe(plan: DownloadPlan, folders: Folders) -> list[str]:
    """Return a plan as lines of text."""
    from easyphoto.catalog.download_plan import size
    from easyphoto.catalog.locate import destination

    lines = [f"there    {p.asset.file} ({p.path})" for p in plan.present]
    lines += [f"unusable {v}" for v in plan.unusable]
    lines += [
        f"missing  {a.file} ({'about ' if a.about else ''}{size(a.bytes)}) -> {destination(a, folders).parent}"
        for a in plan.missing
    ]
    lines += [f"left out {a.file}: {a.licence}" for a in plan.left_out]
    lines += [f"licence  {licence}: {', '.join(names)}" for licence, names in plan.licences.items()]
    return [*lines, plan.sentence()]


def as_data(plan: DownloadPlan, folders: Folders) -> dict[str, Any]:
    """Return a plan as JSON data."""
    from easyphoto.catalog.locate import destination

    return {
        "names": list(plan.names),
        "bytes": plan.bytes,
        "exact": plan.exact,
        "present": [{"asset": p.asset.name, "path": str(p.path), "found_by": p.how} for p in plan.present],
        "missing": [
            {"asset": a.name, "file": str(destination(a, folders)), "bytes": a.bytes, "licence": a.licence}
            for a in plan.missing
        ],
        "unusable": [{"asset": v.asset.name, "path": str(v.path), "wrong": v.reason} for v in plan.unusable],
        "left_out": [{"asset": a.name, "licence": a.licence} for a in plan.left_out],
        "licences": {licence: list(names) for licence, names in plan.licences.items()},
    }
