"""The part of the Inference tab where a person is deleted: whom, with what else, and a second question before it is
done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gradio as gr

from easyphoto.errors import EasyPhotoError
from easyphoto.messages import LANGUAGES, translated
from easyphoto.people import Person, Removed
from easyphoto.service import NOBODY, EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates
from easyphoto.ui.texts import say

PREFIX = "easyphoto_people"


def called(person: Person, language: str) -> str:
    """Return the user id, together with what the user should know of that person before picking them."""
    if person.fault:
        return say("damaged", language, name=person.user_id)
    if person.cancelled:
        return say("stopped half-way", language, name=person.user_id)
    if not person.works:
        return say("likeness did not rise", language, name=person.user_id)
    if not person.trained:
        return say("not trained", language, name=person.user_id)
    return person.user_id


def nobody(language: str) -> tuple[str, str]:
    """Return what a dropdown calls the choice of nobody, and its value."""
    return say("none", language), NOBODY


def user_id_of(value: str | None, people: Iterable[Person]) -> str:
    """Return the user id that a dropdown's ``value`` means. The value is the id itself, or the person's name on the
    page."""
    everybody = list(people)
    if not value or any(person.user_id == value for person in everybody):
        return value or ""
    found = (p.user_id for p in everybody if value in (called(p, language) for language in LANGUAGES))
    nobodies = [nobody(language)[0] for language in LANGUAGES]
    return next(found, NOBODY if value in nobodies else value)


def asked_words(name: str, shown: int, language: str, *, portraits: bool = False) -> str:
    """Return the question before a person is deleted, whom ``shown`` portraits show, which go too or stay."""
    fate = say("delete portraits" if portraits else "keep portraits", language, n=shown)
    return " ".join([say("delete sure", language, name=name), *([fate] if shown else [])])


def deleted_words(removed: Removed, language: str) -> str:
    """Return what a deletion removed, and what is left."""
    size = f"{removed.bytes / 2**20:.1f} MB"
    words = [say("person deleted", language, name=removed.user_id, n=removed.files + removed.uploads, size=size)]
    if removed.portraits_left:
        words.append(say("portraits left", language, n=len(removed.portraits_left)))
    return " ".join(words)


class PeopleDesk:
    """The components of this part and their events. ``language`` returns the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language

    def build(self) -> None:
        """Make the components here."""
        with compat.accordion("Delete a person"):
            with gr.Row():
                self.who = gr.Dropdown(
                    choices=compat.choices(self._everybody("en")),
                    value=None,
                    label="Person or scene",
                    elem_id=f"{PREFIX}_who",
                )
                self.portraits = gr.Checkbox(
                    value=False,
                    label="Their portraits too",
                    info="Every portrait that shows them, alone or with others",
                    elem_id=f"{PREFIX}_portraits",
                )
            with gr.Row():
                self.ask = gr.Button("Delete", size="sm", elem_id=f"{PREFIX}_delete")
                self.sure = gr.Button(
                    "Yes, delete", size="sm", variant="stop", visible=compat.shown(False), elem_id=f"{PREFIX}_sure"
                )
            self.note = compat.html("", elem_id=f"{PREFIX}_note")

    def bind(self, page: Any, others: Sequence[Any], gone: Callable[[str, str, str], Updates]) -> None:
        """Connect the events. After a deletion, ``gone(user id, page, language)`` returns updates for ``others``."""
        self._page, self._gone = page, gone
        asked = {self.who, self.portraits}
        for event in (self.who.input, self.portraits.input):
            compat.listen(event, self._put_away, None, [self.sure, self.note], quiet=True)
        compat.listen(self.ask.click, self._asked, asked, [self.sure, self.note])
        compat.listen(self.sure.click, self._deleted, {*asked, page}, [self.who, self.sure, self.note, *others])

    @property
    def lists(self) -> list[Any]:
        """The components that :meth:`fresh` may change."""
        return [self.who]

    def fresh(self, language: str) -> Updates:
        """Return updates that list everybody who can be deleted now."""
        return {self.who: compat.update(choices=compat.choices(self._everybody(language)))}

    def _everybody(self, language: str) -> list[tuple[str, str]]:
        return [(called(person, language), person.user_id) for person in self._service.people.list()]

    def _put_away(self) -> Updates:
        """Take the second question back when the user chooses somebody else."""
        return {self.sure: compat.update(visible=compat.shown(False)), self.note: ""}

    def _asked(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language, name = self._language(request), user_id_of(data[self.who], self._service.people.list())
        if not name:
            return {self.note: panel.error(say("delete nobody", language))}
        words = asked_words(name, len(self._service.portraits_of(name)), language, portraits=bool(data[self.portraits]))
        return {self.note: panel.doubtful(words), self.sure: compat.update(visible=True)}

    def _deleted(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language, name = self._language(request), user_id_of(data[self.who], self._service.people.list())
        away = self._put_away()
        if not name:
            return away
        try:
            removed = self._service.delete_person(name, portraits=bool(data[self.portraits]))
        except EasyPhotoError as error:
            return {**away, self.note: panel.error(translated(error.message, language))}
        nobody = compat.update(choices=compat.choices(self._everybody(language)), value=None)
        others = self._gone(name, data[self._page], language)
        return {**others, **away, self.note: panel.good(deleted_words(removed, language)), self.who: nobody}
