from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easyphoto import pictures
from easyphoto.config import ID_METHODS, REF_MODES, Family, PortraitConfig
from easyphoto.errors import InvalidRequest
from easyphoto.inference import recipe
from easyphoto.inference.portrait import portray
from easyphoto.ports import Checkpoint, IdentityKind, Portrait
from tests.fakes import FakeHost, FakeVision
from tests.inference.studio import config, person, task, template


@pytest.fixture
def made(tmp_path: Path) -> Portrait:
    """A saved portrait of somebody with a name in three scripts, on a template that is a file."""
    picture = tmp_path / "templates" / "vorlage.png"
    pictures.save_png(picture, template(10))
    base = tmp_path / "base.safetensors"
    base.write_bytes(b"weights")
    who = person(tmp_path, "Ann-Łucja 安娜")
    chosen = config(batch_size=2, additional_prompt='a "red", hat: <lora:hat:0.3>', color_shift_last=False)
    job = dataclasses.replace(
        task((picture,), who, config=chosen, folder=tmp_path / "out"),
        checkpoint=Checkpoint("base", base, Family.SD1),
    )
    return list(portray(job, FakeHost(), FakeVision()))[1]


def test_a_portrait_made_again_from_its_file_has_the_same_pixels(made: Portrait, tmp_path: Path) -> None:
    assert made.path is not None
    read = recipe.read(made.path)
    assert read.user_ids == ("Ann-Łucja 安娜",)
    assert read.seed == read.config.seed == 8
    found = read.find_template([tmp_path / "templates"])
    assert found is not None
    read.check_template(found)
    job = task((found,), person(tmp_path, read.user_ids[0]), config=read.config)
    job = dataclasses.replace(job, checkpoint=Checkpoint("base", tmp_path / "base.safetensors", Family.SD1))
    (again,) = portray(job, FakeHost(), FakeVision())
    assert (again.image == pictures.load(made.path)).all()
    assert (again.image == made.image).all()
    assert read.differences(json.loads(json.dumps(again.recipe))) == []


def test_a_portrait_made_from_text_is_made_again_without_a_template(tmp_path: Path) -> None:
    chosen = config(text_to_image_input_prompt="in the rain", batch_size=2)
    job = task((), person(tmp_path), config=chosen, folder=tmp_path / "out")
    _, second = portray(job, FakeHost(), FakeVision())
    assert second.path is not None
    read = recipe.read(second.path)
    assert read.from_text
    (again,) = portray(dataclasses.replace(job, config=read.config), FakeHost(), FakeVision())
    assert (again.image == second.image).all()


def test_what_is_not_as_it_was_is_named(made: Portrait, tmp_path: Path) -> None:
    assert made.path is not None
    read = recipe.read(made.path)
    other = person(tmp_path, read.user_ids[0], who=20)
    assert other.lora is not None
    other.lora.write_bytes(b"trained again")
    job = task((template(11),), other, config=read.config)
    (again,) = portray(job, FakeHost(), FakeVision())
    told = " ".join(read.differences(again.recipe))
    for what in ("base model", "LoRAs", "people's pictures", "template"):
        assert what in told
    assert "host" not in told


def test_another_file_is_not_taken_for_the_template(made: Portrait, tmp_path: Path) -> None:
    assert made.path is not None
    read = recipe.read(made.path)
    other = tmp_path / "other.png"
    pictures.save_png(other, template(12))
    assert read.find_template([other, tmp_path / "templates", tmp_path]) == tmp_path / "templates" / "vorlage.png"
    assert read.find_template([other]) is None
    with pytest.raises(InvalidRequest, match=r"vorlage\.png"):
        read.check_template(other)
    with pytest.raises(InvalidRequest, match="does not exist"):
        read.check_template(tmp_path / "gone.png")


def test_the_infotext_follows_the_webui_s_convention(made: Portrait) -> None:
    assert made.path is not None
    *prompt, negative, last = pictures.read_text(made.path)["parameters"].split("\n")
    assert negative.startswith("Negative prompt: ")
    assert "<lora:Ann-Łucja 安娜:0.9>" in "\n".join(prompt)
    # The WebUI's own expression for the last line.
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    values = {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}
    assert len(pairs) >= 3
    assert values["Steps"] == "4"
    assert values["Sampler"] == "DPM++ 2M SDE Karras"
    assert values["Seed"] == "8"
    assert values["Size"] == "480x400"
    assert values["Denoising strength"] == "0.45"
    assert values["Model hash"] == made.recipe["checkpoint"]["sha256"][:10]
    assert values["Lora hashes"].startswith("Ann-Łucja 安娜: ")
    assert values["EasyPhoto people"] == "Ann-Łucja 安娜"
    (likeness,) = made.likeness
    assert likeness is not None
    shown = f"{likeness.score:.2f} (cosine {likeness.cosine:.3f}, {likeness.embedder})"
    assert values["EasyPhoto likeness"] == shown, "the number under the portrait, and where it comes from"


@pytest.mark.parametrize(
    ("untrained", "more"),
    [(True, {}), (False, {"ref_mode_choose": REF_MODES[1]})],
    ids=["without a training", "with the LoRA left out"],
)
def test_the_infotext_of_somebody_whom_instantid_shows_says_what_was_drawn(
    untrained: bool, more: dict[str, str], tmp_path: Path
) -> None:
    who = person(tmp_path)
    who = dataclasses.replace(who, untrained=untrained, lora=None if untrained else who.lora)
    chosen = config(no_user_lora_mode=ID_METHODS[1], additional_prompt="in a hat", **more)
    host = FakeHost(kinds={IdentityKind.INSTANTID: 2})
    (portrait,) = portray(task((template(10),), who, config=chosen, family=Family.SDXL), host, FakeVision())
    first, told = host.jobs[0], recipe.infotext(portrait.recipe)
    assert [one.kind for one in first.identities] == [IdentityKind.INSTANTID]
    assert told.split("\n")[0] == first.prompt == "1person, in a hat"
    assert f"Sampler: {first.sampler}, CFG scale: {first.cfg_scale:g}, " in told
    assert (first.sampler, first.cfg_scale) == ("Euler", 5.0)


def test_hashes_are_of_the_files(made: Portrait, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    was = recipe.hash_path(base)
    assert made.recipe["checkpoint"]["sha256"] == was
    base.write_bytes(b"other weights")
    assert recipe.hash_path(base) != was
    folder = tmp_path / "diffusers"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "a.safetensors").write_bytes(b"weights")
    assert len(recipe.hash_path(folder)) == 64
    assert recipe.hash_path(tmp_path / "nothing") == ""


def test_no_path_of_this_machine_is_in_the_recipe(made: Portrait, tmp_path: Path) -> None:
    assert made.path is not None
    for text in pictures.read_text(made.path).values():
        assert str(tmp_path) not in text


def test_portraits_of_one_second_do_not_overwrite_each_other(made: Portrait, tmp_path: Path) -> None:
    paths = {recipe.save(made, tmp_path / "many") for _ in range(3)}
    assert len(paths) == 3
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize(
    ("chunk", "sentence"),
    [
        (None, "holds no EasyPhoto recipe"),
        ("{not json", "damaged"),
        ('{"format": 1}', "damaged"),
        ("[]", "damaged"),
        ('{"format": 99, "easyphoto": "9.9"}', "newer EasyPhoto"),
        ('{"format": 1, "config": {"nonsense": 1}, "user_ids": [], "seed": 1, "template": null}', "nonsense"),
    ],
)
def test_a_file_without_a_whole_recipe_is_refused(chunk: str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "portrait.png"
    pictures.save_png(path, template(10), {} if chunk is None else {recipe.CHUNK: chunk})
    with pytest.raises(InvalidRequest, match=sentence):
        recipe.read(path)


@pytest.mark.thorough
@given(st.text(max_size=40), st.integers(0, 2**32 - 1), st.floats(0.2, 0.8))
@settings(max_examples=25, deadline=None)
def test_every_parameter_survives_the_trip(text: str, seed: int, ratio: float) -> None:
    chosen = PortraitConfig(seed=seed, additional_prompt=text, before_face_fusion_ratio=ratio)
    data = json.loads(json.dumps({"config": dataclasses.asdict(chosen)}, ensure_ascii=False))
    assert PortraitConfig(**data["config"]) == chosen
