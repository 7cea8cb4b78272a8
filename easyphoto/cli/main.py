"""The commands and their flags.

Exit statuses: 0 done; 1 unexpected error; 2 invalid request; 3 no face; 4 weights or package missing; 5 training
failed; 6 the engine failed; 7 a file could not be written; 9 too busy; 130 cancelled.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from easyphoto import __version__
from easyphoto.cli import flags, models, show
from easyphoto.config import PRECISIONS, Paths, PortraitConfig, TrainConfig
from easyphoto.errors import Cancelled, EasyPhotoError, InvalidRequest

if TYPE_CHECKING:
    from easyphoto.service import EasyPhoto


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    args = _parser().parse_args(argv)
    # threads of torch that wait should sleep: spinning beside another busy program costs ten times the step
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        status: int = args.run(args)
    except EasyPhotoError as error:
        return show.fail(error)
    except KeyboardInterrupt:
        return show.fail(Cancelled("Stopped."))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="easyphoto", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _command(commands, "train", "Train a person from photos.", _train)
    train.add_argument("user_id", help="the name of the person")
    train.add_argument("photos", nargs="*", type=Path, help="5-20 photos, or folders of them")
    train.add_argument("--resume", action="store_true", help="go on with a training that was stopped or killed")
    train.add_argument("--template", action="append", default=[], type=Path, help="a picture to validate on (repeat)")
    flags.add(train, TrainConfig, defaults_vary=True)

    generate = _command(commands, "generate", "Make portraits of trained people.", _generate)
    generate.add_argument(
        "templates", nargs="*", type=Path, help="pictures, or folders of them; none with a text prompt"
    )
    generate.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="USER_ID",
        help="one per face from left to right; none skips a face",
    )
    generate.add_argument("--preset", action="append", default=[], metavar="NAME", help="a preset template (repeat)")
    generate.add_argument("--pose", type=Path, help="take the pose of a text portrait from this picture")
    generate.add_argument("--recipe", type=Path, help="replay a portrait from its PNG")
    flags.add(generate, PortraitConfig)

    demo = _command(commands, "demo", "The main job on pictures that come with installed packages.", _demo)
    demo.add_argument("--out", type=Path, help="where everything goes (default: outputs/demo)")

    _command(commands, "doctor", "What is here, what is missing, and what it would give.", _doctor)
    people = _command(commands, "people", "List, delete, export or import people.", _people)
    people.add_argument("action", nargs="?", choices=("list", "delete", "export", "import"), default="list")
    people.add_argument("name", nargs="?", help="a user id, or the file to import")
    people.add_argument("file", nargs="?", type=Path, help="the file to export to")

    serve = _command(commands, "serve", "The tabs and the API in a browser.", _serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    serve.add_argument("--port", type=int, default=7861)
    serve.add_argument("--auth", metavar="USER:PASSWORD", help="ask for a name and password")
    serve.add_argument(
        "--commercial-only",
        action="store_true",
        help="no weights whose licence forbids commercial use (or EASYPHOTO_COMMERCIAL_ONLY=1)",
    )
    serve.add_argument("--precision", choices=PRECISIONS, help="of trainings left at auto (or EASYPHOTO_PRECISION)")
    models.add_parser(commands, _paths)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, run: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--data", type=Path, help="where people, portraits and models lie (default: this folder)")
    parser.add_argument("--json", action="store_true", help="print events or results as JSON lines")
    parser.add_argument("--verbose", action="store_true", help="log what happens inside")
    parser.set_defaults(run=run)
    return parser


def _paths(args: argparse.Namespace) -> Paths:
    return Paths.standalone(args.data)


def _service(args: argparse.Namespace) -> EasyPhoto:
    from easyphoto.cli.standalone import build

    return build(_paths(args))


def _pictures(given: list[Path]) -> tuple[Path, ...]:
    """The files, with folders opened, in the order of their names."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            kinds = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in kinds)
        else:
            found.append(path)
    return tuple(found)


def _train(args: argparse.Namespace) -> int:
    from easyphoto.service import TrainRequest

    service = _service(args)
    config = service.train_config(flags.chosen(args))
    request = TrainRequest(args.user_id, _pictures(args.photos), config, tuple(args.template), args.resume)
    person = show.follow(service.train(request), as_json=args.json)
    if not args.json:
        verdict = "" if person.works else " The training did not work: the likeness did not rise."
        likeness = "not measured" if person.likeness is None else f"{person.likeness:.2f} ({person.embedder})"
        print(f"{person.user_id} is trained: {person.lora}, likeness {likeness}.{verdict}")
    return 0


def _generate(args: argparse.Namespace) -> int:
    from easyphoto.service import PortraitRequest

    service = _service(args)
    templates = [*_pictures(args.templates), *(service.templates.get(name).path for name in args.preset)]
    if args.recipe:
        request = service.replay(args.recipe, tuple(templates), flags.chosen(args))
    else:
        config = flags.config(PortraitConfig, args)
        if not args.user:
            raise InvalidRequest("Say whose portrait it is to be: --user USER_ID.")
        request = PortraitRequest(tuple(args.user), tuple(templates), config, args.pose)
    result = show.follow(service.generate(request), as_json=args.json)
    if not args.json:
        print(f"{len(result.portraits)} portraits, {len(result.failures)} templates failed, seed {result.seed}.")
    return 0 if result.portraits else 3


def _demo(args: argparse.Namespace) -> int:
    from easyphoto.cli.demo import run

    return run(_paths(args), args.out, as_json=args.json)


def _doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from easyphoto.doctor import examine, table

    service = _service(args)
    findings = examine(service.host, service.vision, service.paths)
    print(json.dumps([asdict(f) for f in findings], ensure_ascii=False) if args.json else table(findings))
    return 0


def _people(args: argparse.Namespace) -> int:
    from easyphoto.people import PeopleStore

    store = PeopleStore(_paths(args))
    if args.action != "list" and not args.name:
        raise InvalidRequest(f"Say whom to {args.action}.")
    if args.action == "delete":
        store.delete(args.name)
    elif args.action == "export":
        store.export(args.name, args.file or Path(f"{args.name}.easyphoto.zip"))
    elif args.action == "import":
        store.bring(Path(args.name))
    for person in store.list():
        likeness = "" if person.likeness is None else f"  likeness {person.likeness:.2f} ({person.embedder})"
        print(f"{person.user_id}{likeness}{'' if person.works else '  did not work'}")
    return 0


def _serve(args: argparse.Namespace) -> int:
    from easyphoto.cli.serve import serve
    from easyphoto.cli.standalone import build, preferences

    name, _, password = (args.auth or "").partition(":")
    if args.auth and not (name and password):
        raise InvalidRequest("--auth wants USER:PASSWORD.")
    sys.stderr.write(f"EasyPhoto listens on http://{args.host}:{args.port}/\n")
    service = build(_paths(args), preferences(args.commercial_only, args.precision))
    serve(service, host=args.host, port=args.port, auth=(name, password) if args.auth else None)
    return 0
