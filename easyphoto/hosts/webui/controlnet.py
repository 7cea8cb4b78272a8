"""ControlNet in a WebUI, as an extension or built in.

This module turns roles of controls and kinds of identity into units. It finds the model that serves a role or a kind by
its name among those that are installed, and the preprocessor by its name among those that the host has.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from types import MappingProxyType
from typing import Any

from PIL import Image as PilImage

from easyphoto import families
from easyphoto.config import Family
from easyphoto.errors import AssetMissing, HostFailed, InvalidRequest
from easyphoto.families.spec import ControlModel
from easyphoto.hosts.webui.border import WebUI, loaded
from easyphoto.ports import Control, ControlRole, Identity, IdentityKind, Image, Img2Img, Txt2Img
from easyphoto.vision import annotate

COUNT_OPTION = "control_net_unit_count"
COUNT_LABEL = "Multi-ControlNet: ControlNet unit number"
PROMPT_FIRST = "My prompt is more important"
METHODS = (
    "before_process",
    "process",
    "before_process_batch",
    "process_batch",
    "process_before_every_sampling",
    "postprocess_batch",
    "postprocess_batch_list",
    "postprocess",
)


_PLACING = frozenset({"instant_id_face_keypoints"})
"""The preprocessors that look where a face is to be, and not whose it is."""


@dataclass(frozen=True)
class RoleModel:
    """A model that serves a role or a kind in one unit, and the names that its preprocessor has in the different
    hosts."""

    model: ControlModel
    modules: tuple[str, ...] = ("none",)
    make_map: Callable[[Image], Image] | None = None
    """Makes the map here, so that it is the same in every host; the preprocessor is then none."""

    @property
    def places(self) -> bool:
        """Whether the unit says where the face is to be. It is then made from the picture of the pass."""
        return not _PLACING.isdisjoint(self.modules)


_NOT_HERE = frozenset({IdentityKind.FACE_ID})
"""The kinds that ControlNet serves by half: it wants FaceID's LoRA as a file of its own among the LoRAs."""
_PREPROCESSORS: Mapping[ControlRole | IdentityKind, tuple[str, ...]] = MappingProxyType(
    {ControlRole.OPENPOSE: ("openpose_full", "dw_openpose_full", "openpose")}
)


def role_models(family: Family, role: ControlRole | IdentityKind) -> tuple[RoleModel, ...]:
    """The models that serve ``role`` for ``family``, in the order in which the host has to run their units; empty where
    nothing serves it."""
    if role in _NOT_HERE:
        return ()
    make_map = annotate.MAPS.get(role) if isinstance(role, ControlRole) else None
    return tuple(
        RoleModel(model, model.preprocessors or _PREPROCESSORS.get(role, ("none",)), make_map)
        for model in families.spec(family).control_models.get(role, ())
    )


@dataclass(frozen=True)
class ControlNet:
    """The ControlNet of a host and what it has. ``slots`` is how many units its settings allow for one picture."""

    script: Any
    slots: int
    models: tuple[str, ...]
    modules: tuple[str, ...]
    prompt_first: str = PROMPT_FIRST
    """What the host calls the mode in which the prompt counts more than a control."""

    def roles(self, family: Family) -> frozenset[ControlRole]:
        """The roles for which every model and every preprocessor is there."""
        return frozenset(role for role in ControlRole if self._serves(family, role))

    def identities(self, family: Family) -> dict[IdentityKind, int]:
        """The kinds for which every model and every preprocessor is there, and how many units each of them takes."""
        return {kind: len(role_models(family, kind)) for kind in IdentityKind if self._serves(family, kind)}

    def names_serving(self, family: Family, kind: IdentityKind) -> list[str]:
        """The names of the models that serve ``kind``, as the host lists them; empty where one is missing."""
        found = [_find(serving.model.names, self.models) for serving in role_models(family, kind)]
        return [] if None in found else [name for name in found if name is not None]

    def units(self, job: Txt2Img, family: Family) -> list[dict[str, Any]]:
        """Units for all slots, as plain dictionaries, which every dialect understands. Those that are not needed are
        switched off.

        Raises :class:`AssetMissing` when no model for a role or a kind is here, and :class:`InvalidRequest` when the
        settings of the host allow too few units.
        """
        units = [unit for control in job.controls for unit in self._of_control(control, family)]
        units += [unit for identity in job.identities for unit in self._of_identity(identity, job, family)]
        if len(units) > self.slots:
            raise InvalidRequest(
                'This needs {count} ControlNet units and the WebUI allows {slots}: raise "'
                + COUNT_LABEL
                + '" in Settings > ControlNet, apply, and restart the WebUI.',
                count=len(units),
                slots=self.slots,
            )
        return units + [{"enabled": False}] * (self.slots - len(units))

    def _serves(self, family: Family, role: ControlRole | IdentityKind) -> bool:
        made = role_models(family, role)
        return bool(made) and all(self._fits(serving) for serving in made)

    def _of_control(self, control: Control, family: Family) -> list[dict[str, Any]]:
        units = []
        for serving in _needed(family, control.role):
            image, modules = control.image, serving.modules
            if control.is_map:
                modules = ("none",)
            elif serving.make_map is not None:
                image, modules = serving.make_map(control.image), ("none",)
            units.append(self._unit(control.role, serving.model, modules, image, control.weight))
        return units

    def _of_identity(self, identity: Identity, job: Txt2Img, family: Family) -> list[dict[str, Any]]:
        """A unit for each of its models. Each unit takes one picture. The face is put where the picture of the pass has
        one, and in a picture from text where the picture of the person has it."""
        best = identity.pictures[0]
        place = job.image if isinstance(job, Img2Img) else best
        shown = {True: (place, identity.placing), False: (best, identity.weight)}
        return [
            self._unit(identity.kind, serving.model, serving.modules, *shown[serving.places])
            for serving in _needed(family, identity.kind)
        ]

    def _unit(
        self,
        role: ControlRole | IdentityKind,
        wanted: ControlModel,
        modules: Sequence[str],
        image: Image,
        weight: float,
    ) -> dict[str, Any]:
        model = _find(wanted.names, self.models)
        if model is None:
            raise AssetMissing(
                "The {role} control needs a ControlNet model like {published}: put it into "
                "models/ControlNet and refresh the list of models in the ControlNet panel.",
                role=role.value,
                published=wanted.published,
            )
        module = _find([f"{re.escape(m)}$" for m in modules], self.modules)
        if module is None:
            raise AssetMissing(
                "The {role} control needs the ControlNet preprocessor {modules}.",
                role=role.value,
                modules=modules[0],
            )
        return {
            "enabled": True,
            "module": module,
            "model": model,
            "weight": weight,
            "image": _base64(image),
            "resize_mode": "Just Resize",
            "control_mode": self.prompt_first,
            "pixel_perfect": module.lower() != "none",
            "guidance_start": 0.0,
            "guidance_end": 1.0,
            "save_detected_map": False,
        }

    def _fits(self, serving: RoleModel) -> bool:
        modules = ("none",) if serving.make_map is not None else serving.modules
        known = [f"{re.escape(m)}$" for m in modules]
        return _find(serving.model.names, self.models) is not None and _find(known, self.modules) is not None


def _needed(family: Family, role: ControlRole | IdentityKind) -> tuple[RoleModel, ...]:
    """What :func:`role_models` gives. Raises :class:`AssetMissing` where it gives nothing."""
    made = role_models(family, role)
    if not made:
        raise AssetMissing("There is no {role} control for {family} models.", role=role.value, family=family.value)
    return made


def find(webui: WebUI, img2img: bool) -> ControlNet | None:
    """The ControlNet of the host's img2img tab or of its txt2img tab, or None when there is none."""
    runner = webui.runner(img2img)
    script = next((s for s in runner.alwayson_scripts if str(s.title()).lower() == "controlnet"), None)
    controls = webui.dialect.controls
    lists, words = loaded(*controls.modules), loaded(*controls.words)
    if script is None or lists is None or script.args_from is None:
        return None
    slots = min(int(webui.option(COUNT_OPTION, 3)), script.args_to - script.args_from)
    models, preprocessors = getattr(lists, controls.models)(), getattr(lists, controls.preprocessors)()
    return ControlNet(script, slots, tuple(models), tuple(preprocessors), _prompt_first(words))


def _prompt_first(words: Any) -> str:
    modes = getattr(words, "ControlMode", None)
    return PROMPT_FIRST if modes is None else str(modes.PROMPT.value)


def _find(patterns: Iterable[str], names: Sequence[str]) -> str | None:
    """The first name that matches the best pattern, or None. The names are compared without their hash, in lower case
    and with one kind of dash."""
    plain = [ControlModel.plain(name.split(" [")[0]) for name in names]
    for pattern in patterns:
        for name, known in zip(names, plain, strict=True):
            if re.match(pattern, known):
                return name
    return None


def _base64(image: Image) -> str:
    buffer = BytesIO()
    PilImage.fromarray(image).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


# --- running with units ----------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """A runner that has only ControlNet's script, and what went wrong in that script.

    The host catches whatever a script raises, prints it and goes on without the control. The picture would come back
    without its controls, and its description would still list the units.
    """

    runner: Any
    interrupt: Callable[[], None]
    faults: list[str] = field(default_factory=list)

    def recording(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The same method. What it raises is kept and interrupts the host, because nobody needs to wait for a picture
        without its control."""

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except Exception as error:
                self.faults.append(f"{type(error).__name__}: {error}".strip().splitlines()[0][:300])
                self.interrupt()
                raise

        return call

    def check(self) -> None:
        """Raise :class:`HostFailed` if a control was not applied."""
        if self.faults:
            raise HostFailed("ControlNet failed, so the picture was made without it: {faults}", faults=self.faults[0])


def watched(webui: WebUI, controlnet: ControlNet | None, img2img: bool) -> Watched:
    """A copy of the runner of a tab, which runs no script but ControlNet's. What the user has set up there for other
    extensions must not get into portraits. The tab itself stays as it is."""
    runner = copy.copy(webui.runner(img2img))
    result = Watched(runner, webui.shared.state.interrupt)
    runner.callback_map = {}
    runner.selectable_scripts = []
    runner.alwayson_scripts = []
    if controlnet is not None:
        script = copy.copy(controlnet.script)
        for method in METHODS:
            if hasattr(script, method):
                setattr(script, method, result.recording(getattr(script, method)))
        runner.alwayson_scripts = [script]
    return result


def arguments(
    webui: WebUI, controlnet: ControlNet | None, units: Sequence[Mapping[str, Any]], img2img: bool
) -> list[Any]:
    """The arguments for the scripts of a tab, where our units stand in the place of ControlNet's."""
    values = [getattr(component, "value", None) for component in webui.runner(img2img).inputs]
    values[0] = 0
    if controlnet is not None:
        start = controlnet.script.args_from
        values[start : start + len(units)] = [dict(unit) for unit in units]
    return values
