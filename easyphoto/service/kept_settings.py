"""What the user chose on the settings page of the program without a WebUI. It lies in the data folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from easyphoto.config import PRECISIONS, Paths
from easyphoto.errors import InvalidRequest
from easyphoto.messages import LANGUAGES
from easyphoto.service.setting_fields import FIELDS
from easyphoto.storage import files
from easyphoto.vision import registry
from easyphoto.vision.backend import ROLES

NAME = "easyphoto-settings.json"
MAX_FACES = 10


class KeptSettings:
    """The settings of one data folder. They are read anew at each use, because a page may change them. A value that
    can't be is the default."""

    def __init__(self, paths: Paths) -> None:
        self._file = paths.outputs / NAME

    def values(self) -> dict[str, Any]:
        """Return all settings by their keys."""
        try:
            data: Any = files.read_json(self._file)
        except (OSError, ValueError):
            data = {}
        given = data if isinstance(data, dict) else {}
        found = {key: field.default for key, field in FIELDS.items() if field.alone is not None}
        for key in found:
            if key in given:
                try:
                    found[key] = checked(key, given[key])
                except InvalidRequest:
                    continue
        return found

    def change(self, values: Mapping[str, Any]) -> list[str]:
        """Keep new values of some settings. Returns the keys of those that have changed and hold only after a restart.
        Raises :class:`InvalidRequest` for a value that can't be, and then changes nothing."""
        before = self.values()
        after = before | {key: checked(key, value) for key, value in values.items()}
        files.write_json(self._file, after)
        return [key for key, value in after.items() if value != before[key] and FIELDS[key].restart]

    def faces(self) -> int:
        return int(self.values()["faces"])

    def language(self) -> str:
        return str(self.values()["language"])

    def names(self) -> tuple[str, ...]:
        """The host names that the server answers to, beside those that it always does."""
        return tuple(name.strip() for name in str(self.values()["allow_hosts"]).split(",") if name.strip())

    def backends(self) -> dict[str, str]:
        """The chosen backends of vision by their roles."""
        return _pairs(str(self.values()["backends"]))


def checked(key: str, value: Any) -> Any:
    """Return a setting's value as its type. Raises :class:`InvalidRequest` with what it has to be."""
    if key == "faces":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_FACES:
            raise InvalidRequest("The number of user ids must be from 1 to {most}.", most=MAX_FACES)
        return int(value)
    if key == "commercial_only":
        return value is True
    text = value.strip() if isinstance(value, str) else ""
    if key == "language" and text and text not in LANGUAGES:
        raise InvalidRequest("There is no language {name!r}; there are {known}.", name=text, known=", ".join(LANGUAGES))
    if key == "precision" and text not in PRECISIONS:
        raise InvalidRequest("The precision must be one of {known}.", known=", ".join(PRECISIONS))
    if key == "backends":
        _check_backends(text)
    return text


def _check_backends(text: str) -> None:
    wrong = [part.strip() for part in text.split(",") if part.strip() and "=" not in part]
    if wrong := wrong or [role for role in _pairs(text) if role not in ROLES]:
        raise InvalidRequest(
            "Write backends as role=name, ...; {wrong} is no role: there are {known}.",
            wrong=wrong[0],
            known=", ".join(ROLES),
        )
    for role, name in _pairs(text).items():
        names = [backend.name for backend in registry.BY_ROLE[role]]
        if name not in names:
            raise InvalidRequest(
                "There is no {role} named {name}; there are {known}.", role=role, name=name, known=", ".join(names)
            )


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.split("=", 1) for pair in text.split(",") if "=" in pair]
    return {role.strip(): name.strip() for role, name in pairs}
