"""The models that ComfyUI lists, and their files on this machine."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from pathlib import Path, PureWindowsPath

from easyphoto import checkpoint, families, naming
from easyphoto.config import Family
from easyphoto.errors import AssetMissing, EasyPhotoError, InvalidRequest, NotFound, StorageFailed, reason
from easyphoto.hosts.comfyui.client import ComfyUIClient, Gone
from easyphoto.hosts.embedded import library
from easyphoto.messages import Message
from easyphoto.ports import BrokenModel, Checkpoint, ControlRole
from easyphoto.storage import elsewhere, files

log = logging.getLogger(__name__)

CHECKPOINTS, LORAS, CONTROLNETS, VAES = "checkpoints", "loras", "controlnet", "vae"
"""ComfyUI's names for the kinds of models, which are those of the folders below its ``models`` too."""
OURS = "easyphoto"
"""The folder among ComfyUI's LoRAs in which this program puts the LoRAs of its people."""
_DIGEST = 16
"""How many digits of a file's digest its name holds, behind a dot."""
_BLOCK = 1 << 20

_Stamp = tuple[float, int]


class ModelShelf:
    """What a ComfyUI has to make pictures with.

    Its answers are asked for at each call, because files come and go; while ComfyUI doesn't answer, the last ones hold,
    so that a page can still be shown. A checkpoint's family is read from its file, so ComfyUI's folders have to be on
    this machine: under the paths that ComfyUI gives, or below ``root``, ComfyUI's folder as this machine sees it.
    """

    def __init__(self, client: ComfyUIClient, root: Path | None = None) -> None:
        self._client = client
        self._root = root
        self._looked: dict[Path, tuple[_Stamp, Checkpoint | BrokenModel]] = {}
        self._digests: dict[Path, tuple[_Stamp, str]] = {}
        self._known: dict[str, list[str]] = {}
        self._places: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    # --- base models -------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        return [found for found in self._judged() if isinstance(found, Checkpoint)]

    def broken(self) -> list[BrokenModel]:
        return [found for found in self._judged() if isinstance(found, BrokenModel)]

    def find(self, name: str | None) -> Checkpoint:
        """The checkpoint that ``name`` means, or the first for None and ""."""
        judged = self._judged()
        usable = [found for found in judged if isinstance(found, Checkpoint)]
        if not name:
            if not usable:
                raise AssetMissing(_NO_CHECKPOINT)
            return usable[0]
        known = [
            naming.Named[Checkpoint | BrokenModel](
                found.name, found, (str(found.path),) if isinstance(found, Checkpoint) else ()
            )
            for found in judged
        ]
        found = naming.find(name, known, "checkpoint")
        if found is None:
            raise NotFound(
                "There is no checkpoint {name!r}.{did_you_mean}",
                name=name,
                did_you_mean=naming.did_you_mean(name, [entry.name for entry in known]),
            )
        if isinstance(found, BrokenModel):
            raise InvalidRequest(found.reason)
        return found

    def checkpoint_name(self, chosen: Checkpoint) -> str:
        """ComfyUI's own name of one of its checkpoints."""
        return self.listed(CHECKPOINTS, chosen.name)

    def listed(self, kind: str, name: str) -> str:
        """ComfyUI's own name for the model of a kind that is called ``name`` here: the separators of its system may be
        others."""
        wanted = _plain(name)
        for known in self._names(kind):
            if _plain(known) == wanted:
                return known
        raise AssetMissing("ComfyUI does not list {name} among its {kind}: reload its page.", name=name, kind=kind)

    def _judged(self) -> list[Checkpoint | BrokenModel]:
        folders = self._folders(CHECKPOINTS)
        return [self._look(_plain(name), folders) for name in sorted(self._names(CHECKPOINTS))]

    def _look(self, name: str, folders: list[Path]) -> Checkpoint | BrokenModel:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            return BrokenModel(
                name,
                Message(
                    "The file of {name} is not on this machine: say where ComfyUI's folder lies with --comfyui-root.",
                    name=name,
                ),
            )
        stamp = _stamp(path)
        with self._lock:
            known = self._looked.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, _judge(name, path))
            with self._lock:
                self._looked[path] = known
        return known[1]

    # --- controls and VAEs -------------------------------------------------------------------------------------------

    def controlnet(self, family: Family, role: ControlRole) -> str | None:
        """ComfyUI's name of the ControlNet that serves ``role`` for ``family``, or None where there is none."""
        if role not in library.DRAWN:
            return None
        names = self._names(CONTROLNETS)
        for published in (n for model in families.spec(family).control_models.get(role, ()) for n in model.names):
            fitting = [name for name in sorted(names) if library.called(Path(_plain(name)), published)]
            if fitting:
                return fitting[0]
        return None

    def vae(self, name: str | None) -> str | None:
        """ComfyUI's name of the VAE called ``name``; None, which means the checkpoint's own, for None, "" and the names
        "Automatic" and "None" of WebUIs."""
        if name in (None, "", "Automatic", "None"):
            return None
        return self._named(VAES, str(name), "VAE")

    def _named(self, kind: str, name: str, what: str) -> str:
        names = self._names(kind)
        found = naming.find(name, [naming.Named(_plain(known), known) for known in names], what)
        if found is None:
            raise AssetMissing(
                "ComfyUI has no {what} named {name}: put its file into models/{folder}.{did_you_mean}",
                what=what,
                name=name,
                folder=kind,
                did_you_mean=naming.did_you_mean(name, map(_plain, names)),
            )
        return found

    # --- LoRAs -------------------------------------------------------------------------------------------------------

    def tagged_lora(self, name: str) -> str:
        """ComfyUI's name of the LoRA that a tag in a prompt means."""
        return self._named(LORAS, name, "LoRA")

    def place_lora(self, path: Path, loras: Path) -> str:
        """ComfyUI's name of a LoRA of this program, which is put among ComfyUI's if it isn't there yet. The folder
        ``loras`` of this program's own LoRAs remembers it, so that it goes with the person.

        The name holds a digest of the file, because ComfyUI goes on with what it has loaded under a name although the
        file has changed. Raises :class:`AssetMissing` where ComfyUI's folder isn't on this machine, and
        :class:`StorageFailed` where it can't be written.
        """
        folder = next((folder for folder in self._folders(LORAS) if folder.is_dir()), None)
        if folder is None:
            raise AssetMissing(
                "The LoRA {name} can't be given to ComfyUI, because its folder is not on this machine: say where it "
                "lies with --comfyui-root.",
                name=path.stem,
            )
        name = self._own_name(path)
        target = folder / OURS / name
        elsewhere.note(path, target, loras)
        if not target.is_file():
            try:
                target.parent.mkdir(exist_ok=True)
                _link_or_copy(path, target)
            except OSError as error:
                raise StorageFailed(
                    "The LoRA {name} can't be put into ComfyUI's folder: {reason}.",
                    name=path.stem,
                    reason=reason(error),
                ) from error
        return self.listed(LORAS, f"{OURS}/{name}")

    def sweep_loras(self, loras: Path) -> None:
        """Remove the LoRAs that this program put among ComfyUI's and that aren't in the folder ``loras`` any more, or
        not in this state. Whoever needs one of them places it again."""
        for folder in self._folders(LORAS):
            for placed in sorted((folder / OURS).glob("*.safetensors")):
                source = loras / f"{placed.stem[: -_DIGEST - 1]}.safetensors"
                if source.is_file() and self._own_name(source) == placed.name:
                    continue
                try:
                    placed.unlink()
                except OSError as error:  # Windows keeps a file that is in use
                    log.warning("%s stays: %s", placed, error)

    def _own_name(self, path: Path) -> str:
        stamp = _stamp(path)
        with self._lock:
            known = self._digests.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, _digest(path))
            with self._lock:
                self._digests[path] = known
        return f"{path.stem}.{known[1]}.safetensors"

    def _folders(self, kind: str) -> list[Path]:
        """Where the models of a kind lie on this machine."""
        if self._root is not None:
            return [self._root / "models" / kind]
        if not self._client.address.here:
            return []
        try:
            self._places = self._client.folders()
        except Gone:
            if not self._places:
                raise
        return [Path(folder) for folder in self._places.get(kind, ())]

    def _names(self, kind: str) -> list[str]:
        try:
            self._known[kind] = self._client.models(kind)
        except Gone:
            if kind not in self._known:
                raise
        return self._known[kind]


def _judge(name: str, path: Path) -> Checkpoint | BrokenModel:
    try:
        info = checkpoint.require_checkpoint(path, vae=True)
    except EasyPhotoError as error:
        return BrokenModel(name, error.message)
    return Checkpoint(name, path, info.family)


def _plain(name: str) -> str:
    """A model's name with ``/``, whatever system ComfyUI runs on."""
    return PureWindowsPath(name).as_posix()


def _stamp(path: Path) -> _Stamp:
    facts = path.stat()
    return facts.st_mtime, facts.st_size


def _link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, or a copy where it lies on another drive."""
    try:
        os.link(source, target)
    except OSError:
        files.copy(source, target)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()[:_DIGEST]


_NO_CHECKPOINT = Message("ComfyUI has no checkpoint that can be used: put one into its folder models/checkpoints.")
