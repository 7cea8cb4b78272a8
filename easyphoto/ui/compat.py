"""The differences between gradio 3.41 (AUTOMATIC1111), 4.40 (Forge) and 6 (standalone). No other module knows which
version it runs on."""

from __future__ import annotations

import base64
import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from easyphoto.errors import InvalidRequest
from easyphoto.messages import spoken

Updates = dict[Any, Any]
"""What an event changes: the new value or the update of each component."""
WRAPPERS = (frozenset({"args", "kwargs"}), frozenset({"xargs", "xkwargs"}))
"""The names of the arguments of the wrappers that Forge puts around events."""


@lru_cache(maxsize=256)
def _accepts(function: Any, name: str) -> bool:
    """Return whether a component or an event takes an argument of this name.

    Forge hides events behind wrappers that take any argument. An event of gradio's own then shows what the wrapper
    passes on.
    """
    parameters = inspect.signature(function).parameters
    if frozenset(parameters) - {"_js"} in WRAPPERS:
        parameters = inspect.signature(gr.events.EventListener("click").listener).parameters
    return name in parameters


def _fitting(function: Any, **wanted: Any) -> dict[str, Any]:
    """Return those of the keyword arguments that this version of gradio knows."""
    return {k: v for k, v in wanted.items() if _accepts(function, k)}


def picture_input(label: str, **more: Any) -> Any:
    """Make a component to which one picture can be uploaded; its value is the path of the uploaded file.

    Gradio must not convert the file: it would drop the transparency, and it would open formats whose readers start
    other programs.
    """
    way: dict[str, Any] = {"sources": ["upload", "clipboard"], "image_mode": None}
    if _accepts(gr.Image.__init__, "source"):
        way = {"source": "upload"}
    return gr.Image(label=label, type="filepath", **way, **more)


def video_player(label: str, **more: Any) -> Any:
    """Make a component that plays a video, whose value is the path of its file."""
    return gr.Video(label=label, interactive=False, **more)


def picture_player(label: str, **more: Any) -> Any:
    """Make a component that shows a picture as it is, so that one that moves goes on moving."""
    return gr.Image(label=label, type="filepath", interactive=False, **more)


def gallery(label: str, **more: Any) -> Any:
    """Make a gallery whose pictures can be enlarged and downloaded. The button that shares a picture is left out: it
    works on Hugging Face's own pages alone."""
    ways = {"buttons": ["download", "fullscreen"], "show_share_button": False}
    return gr.Gallery(label=label, **more, **_fitting(gr.Gallery.__init__, **ways))


def html(value: str, **more: Any) -> Any:
    """Make a piece of HTML, which takes no room on the page while it is empty."""
    return gr.HTML(value, **{"elem_classes": ["easyphoto-slot"], **more})


def tab(label: str, elem_id: str) -> Any:
    """Make a tab whose components exist before it is opened: version 6 can lose changes that arrive while it makes
    them."""
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
    overlay: bool = True,
    script: str = "",
) -> Any:
    """Bind ``function`` to an event, without a named endpoint in the page's own API.

    A ``quiet`` event has no progress overlay and no place in gradio's queue; it suits what a page asks once a second.
    Without ``overlay`` what it changes stays readable meanwhile.
    ``script`` is a function of the browser; its answer takes the place of the one input.
    """
    hidden = _fitting(event, api_name=False, show_api=False, api_visibility="private")
    if "api_visibility" in hidden:
        hidden.pop("api_name", None)
    extra: dict[str, Any] = {"queue": False, "show_progress": "hidden"} if quiet else {}
    if not overlay:
        extra["show_progress"] = "hidden"
    if script:
        extra |= {"js": script} if _accepts(event, "js") else {"_js": script}
    return event(function, inputs=inputs, outputs=outputs, **hidden, **_fitting(event, **extra))


def asking(button: Any, function: Callable[..., Any], more: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Bind ``function`` to a hidden button that our own HTML presses by ``data-ask``. The first argument of the
    function is the ``data-value`` of what was clicked, before those of the ``more`` inputs."""
    asked = gr.Textbox(visible=False, label="asked", elem_classes=["easyphoto-hidden"])
    value = "window.easyphotoAsked ? window.easyphotoAsked() : ''"
    # Versions 3 and 4 give the script the outputs too, which must not come back.
    script = f"(asked, ...rest) => [{value}, ...rest.slice(0, {len(more)})]" if more else f"() => ({value})"
    return listen(button.click, function, [asked, *more], outputs, script=script)


def hidden_button(elem_id: str) -> Any:
    """Make a button that only the page's script presses."""
    return gr.Button(elem_id.rsplit("_", 1)[-1], elem_id=elem_id, elem_classes=["easyphoto-hidden"])


def update(**changes: Any) -> Any:
    """Return a change of a component. Without arguments, nothing changes."""
    return gr.update(**changes)


def shown(visible: bool) -> Any:
    """Return the ``visible`` of a component that comes and goes.

    Version 6 makes a component anew each time that it becomes visible, and loses changes meanwhile. But it can also
    hide a component that it has made, and this value asks for that.
    """
    hides = "hidden" in str(inspect.signature(gr.Dropdown.__init__).parameters["visible"].annotation)
    return visible or ("hidden" if hides else False)


def files(value: Any) -> list[Path]:
    """Return the paths of uploaded files. Version 3 gives open temporary files, later versions give paths."""
    if value is None:
        return []
    found: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    return [Path(getattr(item, "name", item)) for item in found]


def choices(pairs: Iterable[str | tuple[str, str]]) -> list[Any]:
    """Return what a dropdown offers, from values or from pairs of a name and a value.

    Version 3 has no names beside the values. There the names become the values, so whoever reads the dropdown has to
    understand both.
    """
    annotation = str(inspect.signature(gr.Dropdown.__init__).parameters["choices"].annotation)
    if "tuple" in annotation.lower():
        return list(pairs)
    return [pair if isinstance(pair, str) else pair[0] for pair in pairs]


def value_of(choices: Sequence[Any], value: str) -> Any:
    """Return what a dropdown with these :func:`choices` holds if ``value`` is picked, which must be the first."""
    return value if choices and not isinstance(choices[0], str) else choices[0]


def upload_folders(component: Any) -> list[Path]:
    """Return the folders in which uploads to a component lie until somebody takes them; a host may choose such a folder
    too."""
    named = (getattr(component, name, None) for name in ("GRADIO_CACHE", "DEFAULT_TEMP_DIR"))
    return [Path(folder) for folder in (*named, os.environ.get("GRADIO_TEMP_DIR")) if folder]


def selected(event: Any) -> int:
    """Return the index of the picture that was selected in a gallery."""
    index = event.index
    return int(index[0] if isinstance(index, list | tuple) else index)


def language(request: Any) -> str:
    """Return the language of the program that the browser of a request asks for first, or English."""
    headers = getattr(request, "headers", None) or {}
    first = str(dict(headers).get("accept-language", "")).split(",")[0].split(";")[0]
    return spoken(first)


def serve_from(folders: Iterable[Path]) -> None:
    """Let the page show pictures that lie in ``folders``, without a copy where clicks on such pictures are taken.

    Versions 3 and 4 copy what they show, and need no permission. Version 4 could do without the copy, but then its
    check of events refuses every click on the picture.
    """
    check = getattr(gr.processing_utils, "check_all_files_in_cache", None)
    if check is not None and "is_static_file" in inspect.getsource(check):
        gr.set_static_paths([str(folder) for folder in folders])


def file_link(path: Path) -> str:
    """Return the address of a picture in one of the folders of :func:`serve_from`, for a link that downloads it.

    Versions 3 and 4 don't serve such a folder, so there the address is the picture itself.
    """
    if hasattr(gr, "set_static_paths") and _accepts(gr.Gallery.__init__, "buttons"):
        return f"gradio_api/file={quote(path.as_posix())}"
    kind = "png" if path.suffix.lower() == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def number(value: Any, name: str, *, whole: bool) -> int | float:
    """Return what a number field holds, as a whole number where ``whole`` says so: version 3 always gives floats."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest("{name} must be a number.", name=name)
    if not whole:
        return float(value)
    if float(value) != int(value):
        raise InvalidRequest("{name} must be a whole number, not {value}.", name=name, value=value)
    return int(value)
