"""The command ``templates``: list and search the templates, add and delete your own, and make galleries of folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto.cli.arguments import a_path, common, ranged
from easyphoto.cli.streams import write_json
from easyphoto.config import Paths
from easyphoto.errors import EasyPhotoError

if TYPE_CHECKING:
    from easyphoto.templates import Template, TemplateStore


def add_parser(subparsers: Any, paths: Callable[[argparse.Namespace], Paths]) -> None:
    """Add ``templates`` and its commands to the program's parser. ``paths`` returns the folders that the flags
    choose."""
    text = "Templates: list and search them, add your own, make galleries of folders."
    parser: argparse.ArgumentParser = subparsers.add_parser("templates", help=text, description=text)
    common(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, run: Callable[[TemplateStore, argparse.Namespace], tuple[str, Any]]) -> Any:
        made = commands.add_parser(name, help=text, description=text)
        common(made)
        made.set_defaults(run=partial(_run, paths, run))
        return made

    shown = command("list", "the templates there are; `models fetch templates` brings more", _list)
    shown.add_argument("words", nargs="*", help="only those that hold all these words")
    shown.add_argument("--faces", type=ranged(int, 0, 100), metavar="N", help="only those that show N faces")
    shown.add_argument("--gallery", metavar="NAME", help="only those of this gallery")
    shown.add_argument("--count", action="store_true", help="count the faces of those that nobody has counted")
    added = command("add", "keep copies of pictures as templates of your own", _add)
    added.add_argument("files", nargs="+", type=a_path, metavar="FILE")
    command("delete", "delete a template of your own", _delete).add_argument("name")
    command("scenes", "what a picture from text can show, for `generate --scene-preset`", _scenes)
    command("galleries", "the folders that are galleries", _galleries)
    linked = command("link", "make a gallery of a folder of pictures, where it lies", _link)
    linked.add_argument("folder", type=a_path)
    linked.add_argument("--name", default="", help="what to call it (default: the name of the folder)")
    gone = command("unlink", "forget a gallery; a copy that came through the page is deleted", _unlink)
    gone.add_argument("name")


def _run(
    paths: Callable[[argparse.Namespace], Paths],
    command: Callable[[TemplateStore, argparse.Namespace], tuple[str, Any]],
    args: argparse.Namespace,
) -> int:
    """Do what the flags say, and return the exit status."""
    from easyphoto.templates import TemplateStore

    text, data = command(TemplateStore(paths(args)), args)
    if args.json:
        write_json(data)
    elif text:
        sys.stdout.write(text + "\n")
    return 0


def _list(store: TemplateStore, args: argparse.Namespace) -> tuple[str, Any]:
    words = " ".join(args.words)
    if args.count:
        _count(store, store.search(words, gallery=args.gallery), args)
    found = store.search(words, args.faces, args.gallery)
    return "\n".join(map(_line, found)), [as_data(template) for template in found]


def _count(store: TemplateStore, templates: Sequence[Template], args: argparse.Namespace) -> None:
    from easyphoto.service import face_counting
    from easyphoto.vision import registry

    vision = registry.create(Paths.standalone(args.data).models)
    face_counting.count(templates, vision, store.counts)


def _add(store: TemplateStore, args: argparse.Namespace) -> tuple[str, Any]:
    from easyphoto import pictures

    added: list[Template] = []
    try:
        for path in args.files:
            picture = pictures.read(path)
            added.append(store.add(path.stem, picture.image, picture.alpha))
    except EasyPhotoError:
        if added and not args.json:
            sys.stdout.write(_added(added) + "\n")
        raise
    return _added(added), [as_data(template) for template in added]


def _added(templates: Sequence[Template]) -> str:
    return f"{', '.join(template.name for template in templates)} was added."


def _delete(store: TemplateStore, args: argparse.Namespace) -> tuple[str, Any]:
    store.delete(args.name)
    return f"{args.name} is deleted.", {"deleted": args.name}


def _galleries(store: TemplateStore, _: argparse.Namespace) -> tuple[str, Any]:
    rows = [(g.name, len(g.templates()), g.path, g.linked) for g in store.folders.list()]
    text = "\n".join(f"{name:24} {count:5}  {path}" for name, count, path, _ in rows)
    return text, [_gallery_data(*row) for row in rows]


def _scenes(_: TemplateStore, __: argparse.Namespace) -> tuple[str, Any]:
    from easyphoto.templates import scenes

    text = "\n".join(f"{scene.name:14} {scene.prompt}" for scene in scenes.known())
    return text, [{"name": s.name, "title": s.title, "prompt": s.prompt} for s in scenes.known()]


def _link(store: TemplateStore, args: argparse.Namespace) -> tuple[str, Any]:
    found = store.folders.link(args.folder, args.name)
    count = len(found.templates())
    return f"{found.name} is a gallery of {count} pictures.", _gallery_data(found.name, count, found.path, True)


def _unlink(store: TemplateStore, args: argparse.Namespace) -> tuple[str, Any]:
    found = store.remove_gallery(args.name)
    fate = "forgotten; its pictures stay" if found.linked else "deleted"
    return f"The gallery {found.name} is {fate}.", {"removed": found.name, "linked": found.linked}


def _gallery_data(name: str, count: int, path: Path, linked: bool) -> dict[str, Any]:
    return {"name": name, "pictures": count, "folder": str(path), "linked": linked}


def as_data(template: Template) -> dict[str, Any]:
    """Return a template as JSON data, with the names that the API uses."""
    return {
        "name": template.name,
        "title": template.title,
        "source": template.source,
        "licence": template.licence,
        "faces": template.faces,
        "own": template.own,
        "gallery": template.gallery,
        "file": str(template.path),
    }


def _line(template: Template) -> str:
    faces = "?" if template.faces is None else str(template.faces)
    return f"{template.name:28} {faces:>2}  {template.title}  ({template.licence})"
