"""The vision of this process: a table of backends by role, each loaded when it is first used."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.messages import Message, joined
from easyphoto.ports import (
    Enhancer,
    FaceDetector,
    FaceEmbedder,
    FaceFuser,
    FaceLandmarker,
    FaceParser,
    Retoucher,
    Saliency,
    Vision,
)
from easyphoto.reporting import FaceReporter
from easyphoto.vision import landmarks, reporters
from easyphoto.vision.backend import ROLES, Backend, Context
from easyphoto.vision.backends import packaged, weighted
from easyphoto.vision.inventory import Inventory
from easyphoto.vision.recall import RecallingDetector

log = logging.getLogger(__name__)

BACKENDS: tuple[Backend, ...] = (*weighted.BACKENDS, *packaged.BACKENDS, *reporters.REPORTERS)
BY_ROLE: Mapping[str, Sequence[Backend]] = {role: [b for b in BACKENDS if b.role == role] for role in ROLES}
"""The backends that can serve each role, the best first. The reporters serve no role of :class:`Vision`."""


def create(models: Path, *, backends: Mapping[str, str] | None = None, commercial_only: bool = False) -> Vision:
    """Make the vision of this process. A role is loaded when it is first used.

    ``models`` is the folder of weights. ``backends`` says which backend is wanted for a role; the other roles take the
    best that is there. ``commercial_only`` leaves out what may not be used commercially. A backend that is wanted and
    can't be had gives way to the next best, with one notice in the log and in ``notices``. Raises
    :class:`InvalidRequest` for an unknown role or name.
    """
    return LocalVision(models, BACKENDS, backends or {}, commercial_only)


class LocalVision:
    """:class:`easyphoto.ports.Vision` over a table of backends. Safe to use from several threads."""

    def __init__(
        self, models: Path, table: Sequence[Backend], wanted: Mapping[str, str], commercial_only: bool = False
    ) -> None:
        self.notices: list[str] = []
        self._models = models
        self._commercial_only = commercial_only
        self._lock = threading.RLock()
        self._table = tuple(table)
        self._loaded: dict[tuple[str, str], Any] = {}
        self._serving: dict[str, str] = {}
        self._views: dict[tuple[tuple[str, str], ...], LocalVision] = {}
        self._broken: set[tuple[str, str]] = set()
        self._reporters: dict[str, FaceReporter | None] = {}
        self._order = {role: self._ordered(role, table, wanted.get(role)) for role in ROLES}
        if unknown := sorted(set(wanted) - set(ROLES)):
            raise InvalidRequest(
                "There is no vision role named {unknown}; the roles are {roles}.",
                unknown=", ".join(unknown),
                roles=joined(ROLES),
            )

    @property
    def detector(self) -> FaceDetector:
        return self._get("detector")  # type: ignore[no-any-return]

    @property
    def landmarks(self) -> FaceLandmarker:
        return self._get("landmarks")  # type: ignore[no-any-return]

    @property
    def embedder(self) -> FaceEmbedder:
        return self._get("embedder")  # type: ignore[no-any-return]

    @property
    def parser(self) -> FaceParser:
        return self._get("parser")  # type: ignore[no-any-return]

    @property
    def saliency(self) -> Saliency:
        return self._get("saliency")  # type: ignore[no-any-return]

    @property
    def retoucher(self) -> Retoucher:
        return self._get("retoucher")  # type: ignore[no-any-return]

    @property
    def fuser(self) -> FaceFuser:
        return self._get("fuser")  # type: ignore[no-any-return]

    @property
    def enhancer(self) -> Enhancer:
        return self._get("enhancer")  # type: ignore[no-any-return]

    @property
    def reporter(self) -> FaceReporter | None:
        """The best reporter that is not the embedder that serves now, or None where there is none."""
        with self._lock:
            judge = self.embedder.name
            if judge not in self._reporters:
                rows = [b for b in self._table if b.role == reporters.ROLE and b.name != judge]
                allowed = [b for b in rows if b.commercial or not self._commercial_only]
                self._reporters[judge] = reporters.choose(allowed, self._context(), self._unloaded)
            return self._reporters[judge]

    def backends(self) -> Mapping[str, str]:
        """The name of the backend that serves each role. Nothing is loaded, and roles that nothing serves are left
        out."""
        inventory = Inventory(self._models)
        chosen = {role: self._candidates(role, inventory) for role in ROLES}
        return {role: candidates[0].name for role, candidates in chosen.items() if candidates}

    def preferring(self, backends: Mapping[str, str]) -> Vision:
        """The same vision with other first choices. Raises :class:`InvalidRequest` for an unknown role or name."""
        key = tuple(sorted(backends.items()))
        with self._lock:
            if key not in self._views:
                view = copy.copy(self)  # both share what is loaded, what is broken and what was noticed
                view._serving, view._views = {}, {}
                order = {role: self._preferred(role, name) for role, name in key}
                view._order = {**self._order, **order}
                self._views[key] = view
            return self._views[key]

    def describe(self) -> list[dict[str, Any]]:
        """Every backend of the table with its role, its licence and what it lacks here. ``doctor`` shows it."""
        serving, inventory = self.backends(), Inventory(self._models)
        return [
            {
                "role": b.role,
                "name": b.name,
                "serves": serving.get(b.role) == b.name,
                "missing": b.missing(self._models, inventory),
                "licence": b.licence,
                "commercial": b.commercial,
            }
            for role in ROLES
            for b in self._order[role]
        ]

    def release(self) -> None:
        """Free the models. They are loaded again when they are next used."""
        with self._lock:
            self._loaded.clear()
            self._reporters.clear()
            self._broken.clear()  # the file may have been replaced meanwhile
            for vision in (self, *self._views.values()):
                vision._serving.clear()

    def _preferred(self, role: str, name: str) -> list[Backend]:
        known = [b.name for b in self._table if b.role == role]
        if name not in known:
            raise InvalidRequest(
                "There is no {role} named {name}; there are {known}.",
                role=Message(role),
                name=name,
                known=joined(known),
            )
        return sorted(self._order[role], key=lambda b: b.name != name)

    def _ordered(self, role: str, table: Sequence[Backend], wanted: str | None) -> list[Backend]:
        allowed = [b for b in table if b.role == role and (b.commercial or not self._commercial_only)]
        if wanted is None:
            return allowed
        known = [b.name for b in table if b.role == role]
        if wanted not in known:
            raise InvalidRequest(
                "There is no {role} named {wanted}; there are {known}.",
                role=Message(role),
                wanted=wanted,
                known=joined(known),
            )
        first = [b for b in allowed if b.name == wanted]
        if not first:
            self._note(
                Message(
                    "The {role} {wanted} may not be used commercially and is left out.",
                    role=Message(role),
                    wanted=wanted,
                )
            )
        elif lacks := first[0].missing(self._models):
            self._note(
                Message(
                    "The {role} {wanted} can't be used because {lacks} is missing; the next best serves.",
                    role=Message(role),
                    wanted=wanted,
                    lacks=joined(lacks),
                )
            )
        return first + [b for b in allowed if b.name != wanted]

    def _candidates(self, role: str, inventory: Inventory) -> list[Backend]:
        there = [b for b in self._order[role] if (role, b.name) not in self._broken]
        return [b for b in there if not b.missing(self._models, inventory)]

    def _get(self, role: str) -> Any:
        with self._lock:
            if role not in self._serving:
                self._serving[role] = self._load(role)
            return self._loaded[role, self._serving[role]]

    def _load(self, role: str) -> str:
        """Load the best backend that can be loaded, unless one is loaded already, and return its name."""
        context = self._context()
        inventory = Inventory(self._models)
        for backend in self._candidates(role, inventory):
            try:
                if (role, backend.name) not in self._loaded:
                    made = backend.factory(context)
                    self._loaded[role, backend.name] = RecallingDetector(made) if role == "detector" else made
                return backend.name
            # Weights and native libraries may fail in any way at all. The next backend then serves, and the notice says
            # why.
            except Exception as error:
                log.debug("loading %s failed", backend.name, exc_info=True)
                self._broken.add((role, backend.name))
                self._unloaded(backend.name, str(error) or type(error).__name__, role)
        lacks = sorted({item for b in self._order[role] for item in b.missing(self._models, inventory)})
        raise AssetMissing(
            "No {role} can be used here; missing: {lacks}.",
            role=Message(role),
            lacks=joined(lacks) if lacks else Message("none, but loading failed"),
        )

    def _context(self) -> Context:
        return Context(models=self._models, vision=self, landmarks=partial(landmarks.of, self))

    def _unloaded(self, backend: str, reason: str, role: str = reporters.ROLE) -> None:
        self._note(
            Message(
                "The {role} {backend} could not be loaded ({reason}); the next best serves.",
                role=Message(role),
                backend=backend,
                reason=reason,
            )
        )

    def _note(self, sentence: str) -> None:
        if sentence not in self.notices:
            self.notices.append(sentence)
            log.warning(sentence)
