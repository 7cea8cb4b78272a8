"""What differs between gradio 3.41 (AUTOMATIC1111), 4.40 (Forge) and 6 (standalone). Nothing else knows the version."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from easyphoto.errors import InvalidRequest

Updates = dict[Any, Any]
"""What an event changes, by component."""
WRAPPERS = (frozenset({"args", "kwargs"}), frozenset({"xargs", "xkwargs"}))
"""Names of the arguments of Forge's wrappers around events."""


@lru_cache(maxsize=256)
def _accepts(function: Any, name: str) -> bool:
    """Whether a component or an event takes an argument. Forge hides events behind wrappers that take anything: what it
    passes on to, any event of gradio's own tells."""
    parameters = inspect.signature(function).parameters
    if frozenset(parameters) - {"_js"} in WRAPPERS:
        parameters = inspect.signature(gr.events.EventListener("click").listener).parameters
    return name in parameters


def _fitting(function: Any, **wanted: Any) -> dict[str, Any]:
    """Those keyword arguments that this version knows."""
    return {k: v for k, v in wanted.items() if _accepts(function, k)}


def picture_input(label: str, **more: Any) -> Any:
    """One picture to upload; its value is the path of the file as it was uploaded: gradio is not to convert it, for it
    would drop transparency, and open kinds of file that start programs."""
    way: dict[str, Any] = {"sources": ["upload", "clipboard"], "image_mode": None}
    if _accepts(gr.Image.__init__, "source"):
        way = {"source": "upload"}
    return gr.Image(label=label, type="filepath", **way, **more)


def html(value: str, **more: Any) -> Any:
    """A piece of HTML of our own, which takes no room while it is empty."""
    return gr.HTML(value, **{"elem_classes": ["easyphoto-slot"], **more})


def tab(label: str, elem_id: str) -> Any:
    """A tab whose parts are there before it is opened: version 6 can lose those that change while they are made."""
    return gr.Tab(label, elem_id=elem_id, **_fitting(gr.Tab.__init__, render_children=True))


def accordion(label: str, *, open: bool = False) -> Any:
    return gr.Accordion(label, open=open)


def listen(
    event: Any,
    function: Callable[..., Any],
    inputs: Any = None,
    outputs: Sequence[Any] | None = None,
    *,
    quiet: bool = False,
    script: str = "",
) -> Any:
    """Bind ``function`` to an event, without a named endpoint of the page's own API.

    ``quiet``: no progress overlay and no place in gradio's queue, for what a page asks once a second. ``script``: a
    function of the browser whose answer takes the place of the one input.
    """
    hidden = _fitting(event, api_name=False, show_api=False, api_visibility="private")
    if "api_visibility" in hidden:
        hidden.pop("api_name", None)
    extra: dict[str, Any] = {"queue": False, "show_progress": "hidden"} if quiet else {}
    if script:
        extra |= {"js": script} if _accepts(event, "js") else {"_js": script}
    return event(function, inputs=inputs, outputs=outputs, **hidden, **_fitting(event, **extra))


def update(**changes: Any) -> Any:
    """A change of a component; without arguments, none."""
    return gr.update(**changes)


def shown(visible: bool) -> Any:
    """The ``visible`` of a component that comes and goes. Version 6 makes one anew each time that it becomes visible,
    and loses changes meanwhile, but it can also hide one that is made."""
    hides = "hidden" in str(inspect.signature(gr.Dropdown.__init__).parameters["visible"].annotation)
    return visible or ("hidden" if hides else False)


def files(value: Any) -> list[Path]:
    """The paths of what was uploaded: 3.x gives open temporary files, later versions give paths."""
    if value is None:
        return []
    found: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    return [Path(getattr(item, "name", item)) for item in found]


def choices(pairs: Iterable[str | tuple[str, str]]) -> list[Any]:
    """What a dropdown offers: values, or what each is called and its value. Version 3 knows no names beside the values:
    there the names are the values, and who reads them must know both."""
    annotation = str(inspect.signature(gr.Dropdown.__init__).parameters["choices"].annotation)
    if "tuple" in annotation.lower():
        return list(pairs)
    return [pair if isinstance(pair, str) else pair[0] for pair in pairs]


def upload_folders(component: Any) -> list[Path]:
    """Where the files that are uploaded to a component lie until somebody takes them: hosts choose the folder too."""
    named = (getattr(component, name, None) for name in ("GRADIO_CACHE", "DEFAULT_TEMP_DIR"))
    return [Path(folder) for folder in (*named, os.environ.get("GRADIO_TEMP_DIR")) if folder]


def selected(event: Any) -> int:
    """The index that a gallery's select event tells of."""
    index = event.index
    return int(index[0] if isinstance(index, list | tuple) else index)


def language(request: Any) -> str:
    """What the browser of a request asks for: ``zh`` or ``en``."""
    headers = getattr(request, "headers", None) or {}
    first = str(dict(headers).get("accept-language", "")).split(",")[0].strip().lower()
    return "zh" if first.startswith("zh") else "en"


def serve_from(folders: Iterable[Path]) -> None:
    """Let the page show pictures that lie in ``folders``. Version 3 copies what it shows and needs no leave."""
    if hasattr(gr, "set_static_paths"):
        gr.set_static_paths([str(folder) for folder in folders])


def number(value: Any, name: str, *, whole: bool) -> int | float:
    """What a number field holds: 3.x gives floats for whole numbers."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest("{name} must be a number.", name=name)
    if not whole:
        return float(value)
    if float(value) != int(value):
        raise InvalidRequest("{name} must be a whole number, not {value}.", name=name, value=value)
    return int(value)
