"""``batch``: the portraits of a table, or the trainings of a folder of folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from easyphoto.cli import flags, on_comfyui, on_ray, show, streams
from easyphoto.cli.arguments import a_folder, a_path
from easyphoto.config import TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.events import Failed

if TYPE_CHECKING:
    from easyphoto.batch.forecast import Forecast
    from easyphoto.batch.outcomes import BatchResult
    from easyphoto.jobs import Job
    from easyphoto.service import EasyPhoto


def add_arguments(parser: argparse.ArgumentParser, service: Callable[[argparse.Namespace], EasyPhoto]) -> None:
    """Give the parser of ``batch`` its arguments. ``service``: flags -> the program."""
    parser.add_argument(
        "table", nargs="?", type=a_path, help="a CSV, JSON Lines or YAML file: one row a portrait (docs/batch.md)"
    )
    parser.add_argument(
        "--train", type=a_path, metavar="FOLDER", help="train everybody: one folder of photos for each person in it"
    )
    parser.add_argument("--out", type=a_folder, help="where portraits and report go (default: beside the portraits)")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, tell what it takes, and begin nothing"
    )
    on_ray.add_arguments(parser)
    on_comfyui.add_arguments(parser)
    flags.add(parser, TrainConfig, defaults_vary=True)
    parser.set_defaults(run=partial(run, service))


def run(service: Callable[[argparse.Namespace], EasyPhoto], args: argparse.Namespace) -> int:
    """Do what the flags say. Returns the exit status."""
    from easyphoto.batch.faults import WrongRows

    if (args.table is None) == (args.train is None):
        raise InvalidRequest("Give a table of portraits, or a folder of people with --train FOLDER.")
    try:
        return _trainings(service(args), args) if args.train is not None else _portraits(service(args), args)
    except WrongRows as wrong:
        for fault in wrong.faults:
            if args.json:
                streams.write_json({"kind": "fault", "line": fault.line, "message": str(fault.message)})
            else:
                sys.stderr.write(f"{fault.sentence()}\n")
        raise


def _portraits(service: EasyPhoto, args: argparse.Namespace) -> int:
    from easyphoto.batch import given, rows, running, table
    from easyphoto.batch.pieces import pieces

    chosen = sorted(flags.chosen(args))
    if chosen:
        raise InvalidRequest(f"--{chosen[0].replace('_', '-')} is for --train: a table has a column {chosen[0]}.")
    read = table.read(args.table)
    places = given.FilePlaces(args.table.parent, service.templates)
    asked = rows.require(read, service, places)
    for notice in places.notices:
        sys.stderr.write(f"{notice}\n")
    folder = args.out or running.folder_of(service, args.table.name)
    batch = running.Batch(read.name, Path(folder).absolute(), tuple(pieces(asked, service)))
    if args.dry_run:
        return _forecast(running.forecast(service, batch), args)
    return _follow(running.start(service, batch), args)


def _trainings(service: EasyPhoto, args: argparse.Namespace) -> int:
    from easyphoto.batch import people_folders, training_run

    chosen = flags.chosen(args)
    people, notices = people_folders.require(args.train, service, service.train_config(chosen), frozenset(chosen))
    for notice in notices:
        sys.stderr.write(f"{notice}\n")
    root = args.train.absolute()
    folder = Path(args.out or training_run.report_folder(service, root.name)).absolute()
    batch = training_run.TrainingBatch(root.name, folder, people)
    if args.dry_run:
        return _forecast(training_run.forecast(service, batch), args)
    return _follow(training_run.start(service, batch), args)


def _forecast(forecast: Forecast, args: argparse.Namespace) -> int:
    if args.json:
        streams.write_json(forecast.data())
    else:
        print("\n".join(forecast.sentences()))
    return 0


def _follow(job: Job[BatchResult], args: argparse.Namespace) -> int:
    """Show the batch until it ends. Failures of single rows are its error, when all others are done."""
    from easyphoto.batch.outcomes import FAILED, LEFT, MADE, THERE

    try:
        result = show.follow(job, as_json=args.json)
    except KeyboardInterrupt:
        last = [event for _, event in job.events(follow=False) if isinstance(event, Failed)]
        sys.stderr.write("".join(f"{event.message}\n" for event in last[-1:]))
        raise
    if not args.json:
        counts = {state: result.count(state) for state in (MADE, THERE, FAILED, LEFT)}
        print(f"{counts[MADE]} made, {counts[THERE]} there already, {counts[FAILED]} failed. See {result.report}")
    error = result.error()
    if error is not None:
        raise error
    return 0
