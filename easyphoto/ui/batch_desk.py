"""The part of the Inference tab where a whole table is checked and made: the table, its pictures, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto.batch import running, table, table_desk
from easyphoto.batch.faults import Fault, WrongRows
from easyphoto.batch.outcomes import BatchResult
from easyphoto.batch.table_order import TableOrder
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.filenames import shown
from easyphoto.jobs import Job
from easyphoto.messages import translated
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat, panel
from easyphoto.ui.compat import Updates

PREFIX = "easyphoto_batch"


class BatchDesk:
    """The components of this part and their events. ``language`` returns the language of a request."""

    def __init__(self, service: EasyPhoto, language: Callable[[Any], str]) -> None:
        self._service = service
        self._language = language

    def build(self) -> None:
        """Make the components here."""
        with compat.accordion("Batch from a table"):
            gr.Markdown(
                "A CSV, JSON Lines or YAML file, one row a portrait: user, template, output and any parameter by its "
                "name. Upload its templates with it, or name presets."
            )
            self.files = gr.File(label="Table and its templates", file_count="multiple", elem_id=f"{PREFIX}_files")
            with gr.Row():
                self.check = gr.Button("Check the table", size="sm", elem_id=f"{PREFIX}_check")
                self.start = gr.Button("Make all rows", size="sm", variant="primary", elem_id=f"{PREFIX}_start")
            self.note = compat.html("", elem_id=f"{PREFIX}_note")

    def bind(self, started: Callable[[Job[BatchResult], str], Updates], following: Sequence[Any]) -> None:
        """Connect the events. ``started`` makes the page follow a job in the components ``following``."""
        self._started = started
        compat.listen(self.check.click, self._check, [self.files], [self.note])
        compat.listen(self.start.click, self._start, {self.files}, [self.note, *following])

    def _check(self, uploaded: Any, request: gr.Request) -> str:
        language = self._language(request)
        try:
            found = running.forecast(self._service, self._order(uploaded, language).batch(self._service))
        except EasyPhotoError as error:
            return _refusal(error, language)
        return panel.good(" ".join(translated(said, language) for said in found.sentences()))

    def _start(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        language = self._language(request)
        try:
            job = table_desk.queue(self._service, self._order(data[self.files], language))
        except EasyPhotoError as error:
            return {self.note: _refusal(error, language)}
        return {self.note: "", **self._started(job, language)}

    def _order(self, uploaded: Any, language: str) -> TableOrder:
        paths = compat.files(uploaded)
        tables = [path for path in paths if path.suffix.lower() in table.FORMATS]
        if len(tables) != 1:
            raise InvalidRequest("Upload one table: a file that ends in {endings}.", endings=", ".join(table.FORMATS))
        read = table.read(tables[0])
        sent: dict[str, Path | bytes] = {path.name: path for path in paths if path not in tables}
        return TableOrder(read, read.name, read.name, sent, language)


def _refusal(error: EasyPhotoError, language: str) -> str:
    """Return why nothing was begun, with every fault of every row."""
    said = panel.error(translated(error.message, language))
    if not isinstance(error, WrongRows):
        return said
    return f'{said}<ul class="easyphoto-faults">{"".join(_item(fault, language) for fault in error.faults)}</ul>'


def _item(fault: Fault, language: str) -> str:
    return f"<li>{escape(shown(translated(fault.sentence(), language)))}</li>"
