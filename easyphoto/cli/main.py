"""The commands and their flags. How they end is in :mod:`easyphoto.cli.endings`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from easyphoto import __version__, errors
from easyphoto.cli import (
    arguments,
    batch,
    devices,
    endings,
    flags,
    models,
    on_comfyui,
    on_ray,
    people,
    queue_command,
    show,
    streams,
    template_command,
    video,
)
from easyphoto.cli.arguments import Parser, a_folder, a_path, ranged
from easyphoto.cli.arguments import pictures_in as _pictures
from easyphoto.config import PRECISIONS, REF_MODES, Paths, PortraitConfig, TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.likeness import words

if TYPE_CHECKING:
    from easyphoto.service import EasyPhoto, Preferences


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Raises SystemExit for a wrong command line and for ``--help``."""
    given = arguments.hyphens(sys.argv[1:] if argv is None else argv)
    streams.prepare()
    # waiting threads of torch should sleep: if they spin beside another busy program, a step takes ten times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with endings.terminable():
        return endings.status_of(lambda: _run(given), as_json="--json" in given)


def _run(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    with ExitStack() as held:
        args.held = held
        status: int = args.run(args)
    return status


def _parser() -> Parser:
    parser = Parser(prog="easyphoto", description=_description(), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    arguments.common(parser, first=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _command(commands, "train", "Train a person from photos.", _train)
    train.add_argument("user_id", help="the name of the person")
    train.add_argument("photos", nargs="*", type=a_path, help="5-20 photos, or folders of them")
    train.add_argument("--resume", action="store_true", help="go on with a training that was stopped or killed")
    train.add_argument("--template", action="append", default=[], type=a_path, help="a picture to validate on (repeat)")
    on_comfyui.add_arguments(train)
    flags.add(train, TrainConfig, defaults_vary=True)

    generate = _command(commands, "generate", "Make portraits of trained people.", _generate)
    generate.add_argument(
        "templates", nargs="*", type=a_path, help="pictures, or folders of them; none with a text prompt"
    )
    generate.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="USER_ID",
        help="one per face from left to right; none skips a face; ann@2 means the second face",
    )
    generate.add_argument(
        "--by-likeness", action="store_true", help="everybody takes the place of the face that is most like them"
    )
    generate.add_argument("--preset", action="append", default=[], metavar="NAME", help="a preset template (repeat)")
    generate.add_argument("--pose", type=a_path, help="take the pose of a text portrait from this picture")
    generate.add_argument(
        "--identity-image", type=a_path, help="show the adapter this picture instead of the person's own photos"
    )
    generate.add_argument(
        "--scene-preset", metavar="NAME", help="what a picture from text shows: one of `templates scenes`"
    )
    generate.add_argument("--recipe", type=a_path, help="replay a portrait from its PNG")
    on_comfyui.add_arguments(generate)
    flags.add(generate, PortraitConfig)

    video.add_arguments(_command(commands, "video", "Put trained people into a clip."), _service)

    batch.add_arguments(_command(commands, "batch", "Portraits of a table, trainings of a folder of people."), _service)

    demo = _command(commands, "demo", "The main job on pictures that come with installed packages.", _demo)
    demo.add_argument("--out", type=a_folder, help="where everything goes (default: outputs/demo)")

    doctor = _command(commands, "doctor", "What is here, what is missing, and what it would give.", _doctor)
    on_comfyui.add_arguments(doctor)
    people.add_arguments(_command(commands, "people", "List, add, rename, delete, export or import people."), _paths)

    serve = _command(commands, "serve", "The tabs and the API in a browser.", _serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    serve.add_argument(
        "--port", type=ranged(int, 0, 65535), default=7861, help="0 takes a free one and says which (default: 7861)"
    )
    serve.add_argument("--auth", metavar="USER:PASSWORD", help="ask for a name and password")
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this host name too, as behind a proxy (repeat); localhost, this machine's name and addresses "
        "need no mention",
    )
    serve.add_argument(
        "--commercial-only",
        action="store_true",
        help="no weights whose licence forbids commercial use (or EASYPHOTO_COMMERCIAL_ONLY=1)",
    )
    on_ray.add_arguments(serve)
    on_comfyui.add_arguments(serve)
    serve.add_argument("--precision", choices=PRECISIONS, help="of trainings left at auto (or EASYPHOTO_PRECISION)")
    serve.add_argument(
        "--devices",
        type=devices.listed,
        default=(),
        metavar="DEVICE,...",
        help="work on so many jobs at the same time, each on one of these: cuda:0,cuda:1 (default: the best device)",
    )
    queue_command.add_parser(commands, arguments.common, _paths)
    models.add_parser(commands, _paths)
    template_command.add_parser(commands, _paths)
    return parser


def _description() -> str:
    rows = "\n".join(f"  {status:3}  {words}" for status, words in endings.statuses().items())
    return f"Portraits of people from a few photos of them.\n\nExit statuses:\n{rows}"


def _command(
    commands: argparse._SubParsersAction[Any],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int] | None = None,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    arguments.common(parser)
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def _paths(args: argparse.Namespace) -> Paths:
    return Paths.standalone(args.data)


def _service(args: argparse.Namespace) -> EasyPhoto:
    from easyphoto.cli.standalone import preferences
    from easyphoto.service.kept_settings import KeptSettings

    return _built(args, preferences(kept=KeptSettings(_paths(args))))


def _built(args: argparse.Namespace, decided: Preferences) -> EasyPhoto:
    """The program, whose jobs run where the flags say."""
    from easyphoto.cli.standalone import build

    cluster, cards = on_ray.options(args), getattr(args, "devices", ())
    if cluster is not None and cards:
        raise arguments.Usage("--devices is for this machine alone: leave it out with --ray.")
    devices.require(cards)
    paths = _paths(args)
    service = build(paths, decided, cards, lambda vision: on_comfyui.host(args, paths, vision))
    if cluster is not None:
        on_ray.work_there(service, cluster, decided, args.held)
    return service


def _train(args: argparse.Namespace) -> int:
    from easyphoto.service import TrainRequest

    service = _service(args)
    chosen = flags.chosen(args)
    request = TrainRequest(
        args.user_id,
        _pictures(args.photos),
        service.train_config(chosen),
        tuple(args.template),
        args.resume,
        frozenset(chosen),
    )
    person = show.follow(service.train(request), as_json=args.json)
    if not args.json:
        verdict = "" if person.works else " The training did not work: the likeness did not rise."
        likeness = "not measured" if person.likeness is None else f"{words(person.likeness)} ({person.embedder})"
        print(f"{person.user_id} is trained: {person.lora}, likeness {likeness}.{verdict}")
        if isinstance(panel := (person.marks or {}).get("panel"), dict):
            print("\n".join(show.panel_lines(panel, "without the LoRA")))
        if isinstance(reward := (person.marks or {}).get("reward"), dict):
            print("\n".join(show.reward_lines(reward)))
    return 0


def _generate(args: argparse.Namespace) -> int:
    from easyphoto.service import PortraitRequest
    from easyphoto.templates import scenes

    service = _service(args)
    if args.scene_preset:
        args.config_text_to_image_input_prompt = scenes.prompt(
            args.scene_preset, args.config_text_to_image_input_prompt or ""
        )
    templates = [*_pictures(args.templates), *(service.templates.get(name).path for name in args.preset)]
    if args.recipe:
        request = service.replay(args.recipe, tuple(templates), flags.chosen(args), args.identity_image)
    else:
        config = flags.config(PortraitConfig, args)
        if not args.user and not (args.identity_image and config.ref_mode_choose == REF_MODES[1]):
            raise InvalidRequest("Say whose portrait it is to be: --user USER_ID.")
        chosen = frozenset(flags.chosen(args))
        request = PortraitRequest(
            tuple(args.user),
            tuple(templates),
            config,
            args.pose,
            chosen=chosen,
            identity_image=args.identity_image,
            by_likeness=args.by_likeness,
        )
    result = show.follow(service.generate(request), as_json=args.json)
    if not args.json:
        print(f"{len(result.portraits)} portraits, {len(result.failures)} templates failed, seed {result.seed}.")
        for name, panel in result.panels.items():
            print("\n".join([f"{name}:", *show.panel_lines(panel, show.floor_words(panel))]))
    return 0 if result.portraits else errors.of(result.failures[0].code if result.failures else "").exit_status


def _demo(args: argparse.Namespace) -> int:
    from easyphoto.cli.demo import run

    return run(_paths(args), args.out, as_json=args.json)


def _doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from easyphoto.doctor import examine, table

    service = _service(args)
    findings = examine(service.host, service.vision, service.paths)
    if args.json:
        streams.write_json([asdict(f) for f in findings])
    else:
        print(table(findings))
    return 0


def _serve(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from easyphoto.cli.serve import serve
    from easyphoto.cli.standalone import preferences
    from easyphoto.service.kept_settings import KeptSettings

    name, _, password = (args.auth or "").partition(":")
    if args.auth is not None and not (name and password):
        raise InvalidRequest("--auth wants USER:PASSWORD.")
    kept = KeptSettings(_paths(args))
    decided = preferences(args.commercial_only, args.precision, kept)
    service = _built(args, decided)
    # the page may change the precision while the program runs; the licence switch decided which eyes it has
    service.preferences = lambda: replace(
        decided, precision=preferences(args.commercial_only, args.precision, kept).precision
    )

    def listening(url: str) -> None:
        if args.json:
            streams.write_json({"listening": url})
        else:
            sys.stderr.write(f"EasyPhoto listens on {url}\n")
            sys.stderr.flush()

    auth = (name, password) if args.auth else None
    serve(service, host=args.host, port=args.port, auth=auth, listening=listening, names=args.allow_host)
    return 0
