"""What the Inference tab asks for, without a browser."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from easyphoto import pictures
from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.ui import compat
from easyphoto.ui.generate_tab import GenerateTab
from easyphoto.ui.settings import Settings
from tests.acting import lora_file, trained
from tests.fakes import FakeHost

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
