"""The command ``people``: list people; add one from photos; rename, delete, export and import them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto.cli.arguments import a_path, pictures_in
from easyphoto.cli.streams import write_json
from easyphoto.config import Paths
from easyphoto.errors import InvalidRequest
from easyphoto.likeness import words

if TYPE_CHECKING:
    from easyphoto.people import PeopleStore, Person

ACTIONS = ("list", "add", "rename", "delete", "export", "import")
SUFFIX = ".easyphoto.zip"
LORA = ".safetensors"


def add_arguments(parser: argparse.ArgumentParser, paths: Callable[[argparse.Namespace], Paths]) -> None:
    """Give the parser of ``people`` its arguments. ``paths`` returns the folders that the flags choose."""
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="list is the default")
    parser.add_argument("name", nargs="?", help="a user id, or the file to import")
    parser.add_argument(
        "files",
        nargs="*",
        type=_as_written,
        metavar="file",
        help="add: photos or folders of photos; rename: the new user id; export: the file to write (default: "
        f"USER_ID{SUFFIX}); one that ends in {LORA} for the LoRA alone, with what the reward taught merged into it",
    )
    parser.add_argument(
        "--reward-weight", type=float, default=1.0, metavar="W", help=f"export to {LORA}: how much of it (0 to 1)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--portraits", action="store_true", default=None, help="delete: the portraits that show this person too"
    )
    shown.add_argument(
        "--keep-portraits", action="store_false", dest="portraits", help="delete: keep the portraits, and don't ask"
    )
    parser.set_defaults(run=partial(run, paths))


def run(paths: Callable[[argparse.Namespace], Paths], args: argparse.Namespace) -> int:
    """Do what the flags say, and return the exit status."""
    from easyphoto.people import PeopleStore

    _check(args)
    store = PeopleStore(paths(args))
    text, data = _DOES[args.action](store, args)
    if args.json:
        write_json(data)
    elif text:
        sys.stdout.write(text + "\n")
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.action == "list" and args.name is not None:
        raise InvalidRequest("people list takes no name: it lists everybody.")
    if args.action == "import" and not (args.name or "").strip():
        raise InvalidRequest("Say which file to import.")
    if args.action in ("add", "rename", "delete", "export") and args.name is None:
        raise InvalidRequest(f"Say whom to {args.action}.")
    if args.action == "add" and not args.files:
        raise InvalidRequest("Say which photos to add the person from.")
    if args.action == "rename" and not args.files:
        raise InvalidRequest(f"Say what {args.name} is to be called.")
    allowed = {"add": len(args.files), "export": 1, "rename": 1}.get(args.action, 0)
    if len(args.files) > allowed:
        over = args.files[allowed]
        if args.action == "export":
            raise InvalidRequest(f"There is no room for {over} here: people export takes one user id and one file.")
        if args.action == "rename":
            raise InvalidRequest(f"There is no room for {over} here: people rename takes the user id and the new one.")
        raise InvalidRequest(f"people {args.action} takes one name: {over} is one too many.")


def _as_written(text: str) -> str:
    """Read an argument that names a file or, for rename, a person: ``./ada`` is a file's name and nobody's."""
    a_path(text)
    return text


def _list(store: PeopleStore, _: argparse.Namespace) -> tuple[str, Any]:
    everybody = store.list()
    return "\n".join(map(_line, everybody)), [as_data(person) for person in everybody]


def _delete(store: PeopleStore, args: argparse.Namespace) -> tuple[str, Any]:
    """Delete people and say what is gone. Asks about their portraits if no flag says what to do with them and a user
    can answer."""
    from easyphoto.cli.standalone import build

    service = build(store.paths)
    portraits = args.portraits
    if portraits is None and not args.json and sys.stdin.isatty():
        portraits = _wanted(len(service.portraits_of(args.name)), args.name)
    removed = service.delete_person(args.name, portraits=bool(portraits))
    data = {
        "deleted": removed.user_id,
        "files": removed.files,
        "bytes": removed.bytes,
        "portraits": [str(path) for path in removed.portraits],
        "portraits_left": [str(path) for path in removed.portraits_left],
    }
    return removed.sentence(), data


def _wanted(count: int, name: str) -> bool:
    """Ask whether the user wants this number of portraits deleted too."""
    if not count:
        return False
    return input(f"Delete the {count} portraits that show {name} too? [y/N] ").strip().lower() in ("y", "yes")


def _add(store: PeopleStore, args: argparse.Namespace) -> tuple[str, Any]:
    from easyphoto.cli.standalone import build

    person = build(store.paths).add_person(args.name, pictures_in([Path(file) for file in args.files]))
    count = len(person.photos())
    photos = "one photo" if count == 1 else f"{count} photos"
    return f"{person.user_id} is added from {photos}, without a training.", {"added": as_data(person)}


def _rename(store: PeopleStore, args: argparse.Namespace) -> tuple[str, Any]:
    from easyphoto.cli.standalone import build

    person = build(store.paths).rename_person(args.name, args.files[0])
    words = f"{args.name} is called {person.user_id} now."
    return words, {"renamed": args.name, "person": as_data(person)}


def _export(store: PeopleStore, args: argparse.Namespace) -> tuple[str, Any]:
    person = store.get(args.name)
    name, file = person.user_id, Path(args.files[0] if args.files else f"{person.user_id}{SUFFIX}")
    if file.suffix == LORA:
        from easyphoto.training import reward_merge

        person.require_whole()
        if not person.trained:
            raise InvalidRequest("{name} has no LoRA to export: train them first.", name=name)
        reward_merge.write_merged(person.lora, person.reward, file, args.reward_weight)
    else:
        store.export(name, file)
    return f"{name} is exported to {file}.", {"exported": name, "file": str(file)}


def _import(store: PeopleStore, args: argparse.Namespace) -> tuple[str, Any]:
    person = store.bring(Path(args.name))
    return f"{person.user_id} is imported.", {"imported": as_data(person)}


_DOES = {"list": _list, "add": _add, "rename": _rename, "delete": _delete, "export": _export, "import": _import}


def as_data(person: Person) -> dict[str, Any]:
    """Return a person as JSON data, with the names that the API uses."""
    return {
        "user_id": person.user_id,
        "family": None if person.family is None else person.family.value,
        "likeness": person.likeness,
        "embedder": person.embedder,
        "works": person.works,
        "scene": person.scene,
        "cancelled": person.cancelled,
        "fault": person.fault,
        "trained": person.trained,
        "lora": str(person.lora),
    }


def _line(person: Person) -> str:
    likeness = "" if person.likeness is None else f"  likeness {words(person.likeness)} ({person.embedder})"
    state = "  stopped half-way" if person.cancelled else "" if person.works else "  did not work"
    kind = "  scene" if person.scene else "" if person.trained else "  not trained"
    return f"{person.user_id}{kind}{likeness}{f'  broken: {person.fault}' if person.fault else state}"
