"""What the Inference tab asks for, without a browser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from easyphoto import pictures
from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.ui import compat
from easyphoto.ui.generate_tab import GenerateTab
from easyphoto.ui.settings import Settings
from easyphoto.ui.template_picker import SINGLE
from tests.acting import lora_file, trained
from tests.fakes import FakeHost, blank, draw_face

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_what_is_changed_in_the_tab_is_chosen(service: EasyPhoto) -> None:
    import gradio as gr

    trained(service, "ada")
    pictures.write_bytes(service.paths.loras / "lcm_lora_sd15.safetensors", lora_file())
    tab = GenerateTab(service, Settings(faces=lambda: 1), compat.language)
    with gr.Blocks() as blocks:
        tab.build()
    asked: list[PortraitRequest] = []
    generate = service.generate
    service.generate = lambda request: (asked.append(request), generate(request))[1]  # type: ignore[method-assign, func-returns-value]
    components = tab._form.components
    data = {part: getattr(part, "value", None) for part in blocks.blocks.values()}
    data |= {tab.users[0]: "ada", tab.faces: 1.0, tab.picker.chosen: list(tab.picker.titles())[-1:], tab.pose: None}
    data[components["lcm_accelerate"]] = True
    data[components["second_diffusion_steps"]] = 6.0
    tab._start(data, SimpleNamespace(headers={"accept-language": "en"}))  # type: ignore[arg-type]
    assert asked[0].chosen == {"lcm_accelerate", "second_diffusion_steps"}
    next(job for job in service.jobs.list() if job.what == "generate").wait(60)
    assert isinstance(service.host, FakeHost)
    assert [made.steps for made in service.host.jobs] == [12, 6]


def test_a_click_on_a_face_gives_it_to_the_next_person(service: EasyPhoto, tmp_path: Path) -> None:
    import gradio as gr

    trained(service, "ann", who=20)
    trained(service, "bob", who=60)
    picture = draw_face(draw_face(blank(480, 400), (120, 190), 80, who=57), (360, 200), 80, who=23)
    pictures.save_png(tmp_path / "group.png", picture)
    tab = GenerateTab(service, Settings(faces=lambda: 1), compat.language)
    with gr.Blocks() as blocks:
        tab.build()
    request: Any = SimpleNamespace(headers={"accept-language": "en"})
    data = {part: getattr(part, "value", None) for part in blocks.blocks.values()}
    data |= {tab.picker.mode: SINGLE, tab.picker.single: str(tmp_path / "group.png")}
    shown = tab._faces_shown(data, request)
    crops = [pictures.load(Path(path)) for path, _ in shown[tab.crops]["value"]]
    assert [caption for _, caption in shown[tab.crops]["value"]] == ["1", "2"] and shown[tab.faces] == 2
    assert [round(float(crop[crop.shape[0] // 2, crop.shape[1] // 2, 1]), -1) for crop in crops] == [60, 20]
    users: list[str | None] = ["ann", "bob", *["none"] * 8]
    for face, expected in ((0, "bob"), (1, "none"), (1, "ann")):
        changes = tab._crop_selected(SimpleNamespace(index=face), *users)  # type: ignore[arg-type]
        assert [i for i, change in enumerate(changes) if "value" in change] == [face]
        users[face] = changes[face]["value"]
        assert users[face] == expected
    data |= {**dict(zip(tab.users, users, strict=True)), tab.faces: 2.0, tab.pose: None}
    tab._start(data, request)
    job = next(job for job in service.jobs.list() if job.what == "generate")
    (portrait,) = job.wait(120).portraits
    assert portrait.recipe["user_ids"] == ["bob", "ann"]
    data[tab.picker.single] = None
    assert "no template" in tab._faces_shown(data, request)[tab.faces_note]
