"""The tabs as one gradio page. A WebUI shows it inside its EasyPhoto tab; in the standalone app it is the whole
page."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import gradio as gr

from easyphoto import program
from easyphoto.messages import ENGLISH
from easyphoto.service import EasyPhoto
from easyphoto.ui import compat
from easyphoto.ui.generate_tab import GenerateTab
from easyphoto.ui.history_tab import HistoryTab
from easyphoto.ui.kept import ASK, Kept
from easyphoto.ui.people_tab import PeopleTab
from easyphoto.ui.queue_desk import QueueDesk
from easyphoto.ui.settings import Settings
from easyphoto.ui.settings_tab import SettingsTab
from easyphoto.ui.texts import dictionary
from easyphoto.ui.train_tab import TrainTab
from easyphoto.ui.video_tab import VideoTab
from easyphoto.ui.weights_tab import WeightsTab

TITLE = "EasyPhoto"


def build_tabs(service: EasyPhoto, settings: Settings | None = None) -> Any:
    """Make the tabs (Train, Inference, Weights, Video, Portraits, People) as ``gr.Blocks``, for a WebUI's
    ``on_ui_tabs`` or for a page of their own.

    The page also needs ``style.css`` and ``javascript/easyphoto.js``. A WebUI loads both from the extension's folder by
    itself; any other page gets them through :func:`style` and :func:`head`.
    """
    settings = settings or Settings()
    compat.serve_from(
        (service.paths.portraits, service.paths.videos, service.templates.thumbnails.folder, *settings.servable)
    )

    def language(request: Any) -> str:
        return settings.language() or compat.language(request)

    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks, gr.Column(elem_id="easyphoto"):
        words = compat.html(_words(settings.language() or ENGLISH), elem_classes=["easyphoto-hidden"])
        page = gr.State("")
        kept = gr.Textbox(visible=False, label="kept", elem_classes=["easyphoto-hidden"])
        train, generate = TrainTab(service, language), GenerateTab(service, settings, language)
        weights = WeightsTab(service, settings, language)
        video, queue = VideoTab(service, language), QueueDesk(service, language)
        history, people = HistoryTab(service, language), PeopleTab(service, language)
        own = None if settings.kept is None else SettingsTab(settings.kept, language)
        with gr.Tabs(elem_id="easyphoto_tabs"):
            with compat.tab("Train", "easyphoto_tab_train"):
                train.build(page)
            with compat.tab("Inference", "easyphoto_tab_generate"):
                generate.build()
            weights_opened = compat.tab("Weights", "easyphoto_tab_weights")
            with weights_opened:
                weights.build()
            if own is not None:
                with compat.tab("Settings", "easyphoto_tab_settings"):
                    own.build()
            # These come last, because the page and its readers know the tabs by their numbers; the style puts them
            # where a person looks for them.
            video_opened = _built("Video", "video", video)
            history_opened = _built("Portraits", "history", history)
            people_opened = _built("People", "people", people)
        queue.build()
        queue.bind()
        train.bind(generate.people_lists, generate.trained, generate.users[0])
        generate.bind(page, train.report, train.photos_shown)
        weights.bind(weights_opened)
        video.bind(video_opened)
        history.bind(history_opened)
        people.bind(people_opened, page, [train.report, *generate.people_lists], generate.people_changed)
        if own is not None:
            own.bind()

        def load(remembered: str, request: gr.Request) -> dict[Any, Any]:
            spoken, before = language(request), Kept.read(remembered)
            parts = [tab.loaded(spoken, before) for tab in (train, generate, weights, video)]
            parts.append(queue.loaded(spoken))
            parts += [] if own is None else [own.loaded()]
            shown = {component: change for part in parts for component, change in part.items()}
            return {words: _words(spoken), page: before.page, **shown}

        compat.listen(blocks.load, generate.faces_loaded, None, [generate.faces, *generate.users], quiet=True)
        outputs = [words, page, *train.loads, *generate.loads, *weights.loads, *video.loads, *queue.loads]
        outputs += [] if own is None else own.loads
        train.check_again(compat.listen(blocks.load, load, [kept], outputs, quiet=True, script=ASK))
    return blocks


def _built(label: str, name: str, tab: VideoTab | HistoryTab | PeopleTab) -> Any:
    """Make the components of a tab, and return what they stand in."""
    opened = compat.tab(label, f"easyphoto_tab_{name}")
    with opened:
        tab.build()
    return opened


def style() -> str:
    """Return the style sheet of the tabs."""
    return (program.FILES / "style.css").read_text(encoding="utf-8")


def head() -> str:
    """Return the script of the tabs, which a standalone page needs in its head."""
    script = (program.FILES / "javascript" / "easyphoto.js").read_text(encoding="utf-8")
    return f"<script>{script}</script>"


def _words(language: str) -> str:
    """Return a hidden element with the language of the page and its dictionary, where the script finds them."""
    words = escape(json.dumps(dictionary(language), ensure_ascii=False), quote=True) if language != ENGLISH else "{}"
    return f'<div id="easyphoto-words" data-language="{language}" data-words="{words}"></div>'
