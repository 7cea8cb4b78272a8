"""``video``: trained people take the places of those in a clip, which may be drawn first."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from easyphoto.cli import arguments, flags, show
from easyphoto.clips.bounds import FORMATS, MAX_FRAMES, MAX_RATE
from easyphoto.config import DrawnClipConfig, PortraitConfig
from easyphoto.errors import InvalidRequest
from easyphoto.likeness import cosine_words, words

if TYPE_CHECKING:
    from easyphoto.service import ClipDrawing, EasyPhoto


def add_arguments(parser: argparse.ArgumentParser, service: Callable[[argparse.Namespace], EasyPhoto]) -> None:
    """Give the parser of ``video`` its arguments. ``service``: flags -> the program."""
    parser.add_argument(
        "clip", nargs="?", type=arguments.a_path, help="a video, an animated GIF, WebP or PNG, or a folder of frames"
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="without a clip: draw one that shows this")
    parser.add_argument(
        "--image", type=arguments.a_path, metavar="PICTURE", help="without a clip: draw one from this picture"
    )
    parser.add_argument(
        "--last", type=arguments.a_path, metavar="PICTURE", help="with --image: the picture that the clip ends at"
    )
    parser.add_argument(
        "--control",
        type=arguments.a_path,
        metavar="CLIP",
        help="without a clip: hold each frame of the drawn one to the frame of this one (--upload-control-video-type)",
    )
    parser.add_argument(
        "--motion",
        type=arguments.a_path,
        metavar="PATH",
        help="the file or folder of a motion module that lies elsewhere than in models/AnimateDiff",
    )
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="USER_ID",
        help="one for each person of the clip in the order in which they come, from left to right; none skips one; a "
        "clip that is drawn stays as it is without any",
    )
    parser.add_argument(
        "--by-likeness", action="store_true", help="everybody takes the place of whoever is most like them"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help=f"what is written (default: {FORMATS[0]})"
    )
    parser.add_argument(
        "--max-fps",
        type=arguments.ranged(float, 1, MAX_RATE),
        default=float(MAX_RATE),
        metavar="NUMBER",
        help="at most so many frames a second are made of the clip (default: its own)",
    )
    parser.add_argument(
        "--max-frames",
        type=arguments.ranged(int, 2, MAX_FRAMES),
        default=0,
        metavar="INT",
        help="at most so many frames from the beginning (default: all); of a clip that is drawn so many (default: 16)",
    )
    flags.add(parser, DrawnClipConfig)
    flags.add(parser, PortraitConfig)
    parser.set_defaults(run=partial(run, service), refuse=parser.error)


def run(service: Callable[[argparse.Namespace], EasyPhoto], args: argparse.Namespace) -> int:
    """Make the clip that the flags ask for. Returns the exit status."""
    from easyphoto.service import VideoRequest

    drawing = _drawing(args)
    if not args.user and drawing is None:
        raise InvalidRequest("Say who is to be in the clip: --user USER_ID.")
    request = VideoRequest(
        user_ids=tuple(args.user),
        clip=args.clip or Path("drawn" if args.image is None else args.image.stem),
        config=flags.config(PortraitConfig, args),
        format=args.format,
        max_fps=args.max_fps,
        max_frames=args.max_frames,
        by_likeness=args.by_likeness,
        chosen=frozenset(flags.chosen(args, PortraitConfig)),
        drawing=drawing,
    )
    result = show.follow(service(args).video(request), as_json=args.json)
    if not args.json:
        for one in result.people:
            raw = f"cosine {cosine_words(one.cosine)} ± {one.deviation:.3f}, {one.embedder}"
            print(f"{one.user_id}: likeness {words(one.score)} over {one.frames} frames ({raw})")
        print(f"{result.frames} frames, {result.repainted} of them repainted, seed {result.seed}: {result.path}")
    return 0


def _drawing(args: argparse.Namespace) -> ClipDrawing | None:
    """Return what a clip is to be drawn of, None where one is given."""
    from easyphoto.service import ClipDrawing

    asked = args.prompt or args.image or args.last
    if args.clip is not None:
        if asked or args.motion or args.control:
            raise InvalidRequest("Give a clip, or say what to draw (--prompt, --image), but not both.")
        return None
    if not asked:
        args.refuse("give a clip, or say what to draw: --prompt TEXT or --image PICTURE")
    config = flags.config(DrawnClipConfig, args)
    return ClipDrawing(args.prompt, args.image, args.last, config, args.motion, args.control)
