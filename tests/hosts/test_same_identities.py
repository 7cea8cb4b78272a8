"""With an adapter, too, the chain asks every host for the same pictures, and each host's engine gets what the chain
asked for: real files of tiny models on the embedded host, units in both dialects of a WebUI's ControlNet."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from easyphoto import sd
from easyphoto.config import ID_METHODS, REF_MODES, Family, Paths
from easyphoto.hosts.embedded import EmbeddedHost, library
from easyphoto.hosts.webui.border import WebUI
from easyphoto.hosts.webui.host import WebUIHost
from easyphoto.inference import gallery, recipe
from easyphoto.inference.portrait import portray
from easyphoto.inference.task import LoadedTemplate, PortraitTask
from easyphoto.ports import Checkpoint, Host, IdentityKind, Img2Img, OnStep, Rendered, Txt2Img
from easyphoto.sd import render
from easyphoto.vision.face_on_white import face_on_white
from tests import tiny, tiny_adapters
from tests.fakes import FakeHost, identity
from tests.hosts.conftest import MakeWebUI, write_checkpoint
from tests.hosts.fake_webui import A1111, FORGE
from tests.hosts.test_same_jobs import RecordingWebUI, as_it_came
from tests.inference import test_golden as golden
from tests.inference.studio import config
from tests.inference.test_turned_heads import Heads, album, person, template

FULL_FACE = "ip-adapter-full-face_sd15"
KINDS = {IdentityKind.IP_ADAPTER_FACE: 1}
ASKED: Sequence[dict[str, Any]] = ({"id_control": True, "ipa_weight": 0.35}, {"ref_mode_choose": REF_MODES[1]})


def order(folder: Path, **asked: Any) -> PortraitTask:
    seen = gallery.measure(album(folder, ahead=(20, 0), aside=(64, 40)), Heads())
    anna = dataclasses.replace(person(folder), lora=None, gallery=seen, mean=seen.mean)
    chosen = config(super_resolution=False, **asked)
    checkpoint = Checkpoint("one", folder / "one", Family.SD1)
    return PortraitTask(templates=(template(40),), people=(anna,), config=chosen, checkpoint=checkpoint)


def described(jobs: Sequence[Txt2Img]) -> list[Any]:
    """The jobs, and of each identity all that an adapter can be told."""
    return [
        (
            golden.describe(dataclasses.replace(job, checkpoint=None)),
            [
                (
                    one.kind,
                    one.weight,
                    one.place,
                    one.embedder,
                    one.embedding.tobytes(),
                    [hashlib.sha256(picture.tobytes()).hexdigest() for picture in one.pictures],
                )
                for one in job.identities
            ],
        )
        for job in jobs
    ]


def expected(task: PortraitTask) -> list[Any]:
    host = FakeHost(paint=identity, roles=frozenset(), kinds=KINDS)
    assert len(list(portray(task, host, Heads()))) == 1
    assert [len(job.identities) for job in host.jobs] == [1, 1]
    return described(host.jobs)


def made_on(host: Host, task: PortraitTask) -> None:
    assert host.identities(Family.SD1) == KINDS and host.controls(Family.SD1) == frozenset()
    assert len(list(portray(task, host, Heads()))) == 1


@pytest.mark.parametrize("asked", ASKED, ids=["beside", "alone"])
@pytest.mark.parametrize("dialect", [A1111, FORGE])
def test_in_a_webui(make: MakeWebUI, tmp_path: Path, dialect: str, asked: dict[str, Any]) -> None:
    fake = make(dialect, slots=3, models=(f"{FULL_FACE} [0a1b2c3d]",))
    fake.paint = as_it_came
    write_checkpoint(fake.root / "models" / "one.safetensors")
    host, task = RecordingWebUI(WebUI.load()), order(tmp_path, **asked)
    named = dataclasses.replace(task.checkpoint, name="one.safetensors")
    made_on(host, dataclasses.replace(task, checkpoint=named))
    assert described(host.jobs) == expected(task)
    for job, (unit,) in zip(host.jobs, fake.img2img.controlnet.pictures, strict=True):
        (one,) = job.identities
        assert unit[1:3] == (FULL_FACE, one.weight)
        np.testing.assert_array_equal(unit[3], one.pictures[0])


def test_a_webuis_unit_is_shown_the_face_on_white_as_the_original_shows_it(make: MakeWebUI, tmp_path: Path) -> None:
    fake = make(A1111, slots=3, models=(f"{FULL_FACE} [0a1b2c3d]",))
    fake.paint = as_it_came
    write_checkpoint(fake.root / "models" / "one.safetensors")
    host, task = WebUIHost(WebUI.load(), Heads()), order(tmp_path, **ASKED[0])
    task = dataclasses.replace(task, checkpoint=dataclasses.replace(task.checkpoint, name="one.safetensors"))
    (portrait,) = portray(task, host, Heads())
    file = {"name": f"{FULL_FACE} [0a1b2c3d]", "sha256": ""}
    assert portrait.recipe["adapters"] == [{"kind": "ip-adapter-face", "files": [file]}], "its file isn't known"
    asked = FakeHost(paint=identity, roles=frozenset(), kinds=KINDS)
    list(portray(task, asked, Heads()))
    for job, (unit,) in zip(asked.jobs, fake.img2img.controlnet.pictures, strict=True):
        (one,) = job.identities
        (face,) = Heads().detector.detect(one.pictures[0])
        wanted = face_on_white(one.pictures[0], face, Heads().parser.parse(one.pictures[0], face))
        np.testing.assert_array_equal(unit[3], wanted)
        assert (wanted[0] == 255).all() and not np.array_equal(wanted, one.pictures[0])


def test_a_recipe_names_the_files_of_the_adapter(paths: Paths, tmp_path: Path) -> None:
    host = EmbeddedHost(paths, Heads(), device="cpu", dtype=torch.float32)
    xl = Checkpoint("one", tmp_path / "one", Family.SDXL)
    for asked in (ASKED[0], {"id_control": True, "id_control_method": ID_METHODS[1]}, {}):
        task = dataclasses.replace(order(tmp_path, **asked), checkpoint=xl)
        shown = LoadedTemplate(template(0), "a template", "0" * 64)
        assert "adapters" not in recipe.build(task, shown, 0, 1, [None], host, Heads()), "nothing serves it"
    names = ("ip-adapter_instant_id_sdxl.bin", "control_instant_id_sdxl.safetensors", "ip-adapter-faceid_sdxl.bin")
    for name in names:
        path = paths.models / "ControlNet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    for method, kind, files in ((1, "instantid", names[:2]), (2, "ip-adapter-faceid", names[2:])):
        task = dataclasses.replace(
            order(tmp_path, id_control=True, id_control_method=ID_METHODS[method]), checkpoint=xl
        )
        made = recipe.build(task, shown, 0, 1, [None], host, Heads())
        told = [{"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in files]
        assert made["adapters"] == [{"kind": kind, "files": told}]
        read = recipe.Recipe(task.config, ("anna",), 1, "a template", "0" * 64, made)
        assert read.differences(made) == []
        changed = {**made, "adapters": [{"kind": kind, "files": []}]}
        assert read.differences(changed) == ["The adapters differs from the recipe's."]
        older = dataclasses.replace(read, data={k: v for k, v in made.items() if k != "adapters"})
        assert older.differences(made) == [], "it didn't say"


class Recording(EmbeddedHost):
    """Keeps the jobs that it was given."""

    jobs: list[Txt2Img]

    def img2img(self, job: Img2Img, on_step: OnStep | None = None) -> Rendered:
        self.jobs.append(job)
        return super().img2img(job, on_step)


@pytest.mark.thorough
@pytest.mark.parametrize("asked", ASKED, ids=["beside", "alone"])
def test_in_the_embedded_host(
    paths: Paths, tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.folder(paths.models / "Stable-diffusion" / "one", width=768)
    unet = sd.load(folder, device="cpu", dtype=torch.float32).unet
    tiny_adapters.write(paths.models / "ControlNet" / f"{FULL_FACE}.safetensors", unet, "full")
    tiny_adapters.image_encoder(paths.models / library.IMAGE_ENCODER)
    told: list[list[tuple[float, tuple[int, ...], bool]]] = []

    def paint(
        parts: sd.Parts, job: Img2Img, nets: Any, on_step: OnStep | None, *, cues: Sequence[Any] = ()
    ) -> Rendered:
        worn = (
            "IPAdapter" in type(next(iter(p for n, p in parts.unet.attn_processors.items() if "attn2" in n))).__name__
        )
        told.append([(cue.weight, tuple(cue.shown.shape[:2]), worn) for cue in cues])
        return Rendered(job.image, job.seed, "")

    monkeypatch.setattr(render, "img2img", paint)
    host, task = Recording(paths, Heads(), device="cpu", dtype=torch.float32), order(tmp_path, **asked)
    host.jobs = []
    made_on(host, task)
    assert described(host.jobs) == expected(task)
    weight = asked.get("ipa_weight", task.config.ipa_only_weight)
    count = len(host.jobs[0].identities[0].pictures)
    assert count == 2 and told == [[(weight, (1, count), True)]] * 2
