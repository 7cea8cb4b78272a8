from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from easyphoto import pictures
from easyphoto.config import Family, PortraitConfig
from easyphoto.errors import AssetMissing, Cancelled, HostFailed, InvalidRequest, NoFace, StorageFailed
from easyphoto.events import Event, Notice, Portrayed, Progress, TemplateFailed
from easyphoto.inference import gallery, plan, stages, text
from easyphoto.inference.portrait import STAGES, portray
from easyphoto.inference.task import PortraitTask, subject, with_seed
from easyphoto.people import Person
from easyphoto.ports import ControlRole, Face, Image, Img2Img, Portrait, Txt2Img
from tests.fakes import FakeHost, FakeVision, blank, draw_face, identity, tint
from tests.inference.studio import config, person, task, template


def run(job: PortraitTask, host: FakeHost | None = None, **more: Any) -> tuple[list[Portrait], list[Event]]:
    events: list[Event] = []
    return list(portray(job, host or FakeHost(), FakeVision(), events.append, **more)), events


def notices(events: list[Event]) -> str:
    return " ".join(e.message for e in events if isinstance(e, Notice))


def changed(portrait: Portrait, original: Image) -> Any:
    return (portrait.image != original).any(axis=2)


def box(face: Face) -> tuple[slice, slice]:
    left, top, right, bottom = (round(side) for side in face.box)
    return slice(top, bottom), slice(left, right)


# --- what comes out --------------------------------------------------------------------------------------------------


def test_a_portrait_is_more_like_the_person_than_its_template(tmp_path: Path) -> None:
    vision, anna = FakeVision(), person(tmp_path)
    one = template(10)
    (portrait,), events = run(task((one,), anna, config=config(color_shift_last=False)))
    assert portrait.likeness[0] is not None
    before = vision.embedder.embed(one, vision.detector.detect(one)[0])
    reference = vision.embedder.embed(anna.reference, vision.detector.detect(anna.reference)[0])
    assert portrait.likeness[0].cosine > float(before @ reference) + 0.1
    assert tuple(portrait.stages) == STAGES
    assert all(picture.shape == one.shape for picture in portrait.stages.values())
    assert (portrait.stages["template"] == one).all()
    assert (portrait.stages["first"] != portrait.stages["fusion"]).any()
    assert (portrait.stages["final"] == portrait.image).all()
    assert [e.template for e in events if isinstance(e, Portrayed)] == [0]


def test_no_bit_changes_outside_the_crop(tmp_path: Path) -> None:
    one = draw_face(blank(700, 600), (300, 250), 70, who=10)
    face = FakeVision().detector.detect(one)[0]
    chosen = config(skin_retouching_bool=True, makeup_transfer=True, face_shape_match=True)
    (portrait,), _ = run(task((one,), person(tmp_path), config=chosen))
    crop = stages.frame(one, face, Family.SD1, crop=True).crop
    outside = np.ones(one.shape[:2], bool)
    outside[crop.top : crop.bottom, crop.left : crop.right] = False
    assert changed(portrait, one).any()
    assert not changed(portrait, one)[outside].any()


def test_every_face_has_its_person_and_none_is_left_alone(tmp_path: Path) -> None:
    one = template(10, 20, 30)
    people = person(tmp_path, "anna", 60), None, person(tmp_path, "bert", 0)
    (portrait,), _ = run(task((one,), *people, config=config(color_shift_middle=False, color_shift_last=False)))
    vision = FakeVision()
    left, middle, right = vision.detector.detect(one)
    difference = changed(portrait, one)
    assert difference[box(left)].mean() > 0.5
    assert not difference[box(middle)].any()
    assert difference[box(right)].mean() > 0.5
    assert [one is None for one in portrait.likeness] == [False, True, False]
    whos = [vision.embedder.embed(portrait.image, face)[1] for face in vision.detector.detect(portrait.image)]
    assert whos[0] > whos[1] > whos[2]


def test_faces_that_nobody_was_chosen_for_are_left_alone(tmp_path: Path) -> None:
    one = template(10, 20, 30)
    (portrait,), events = run(task((one,), None, person(tmp_path)))
    faces = FakeVision().detector.detect(one)
    assert [changed(portrait, one)[box(face)].any() for face in faces] == [False, True, False]
    assert notices(events) == ""


def test_people_that_there_is_no_face_for_are_left_out_with_a_notice(tmp_path: Path) -> None:
    (portrait,), events = run(task((template(10),), person(tmp_path, "anna"), person(tmp_path, "bert")))
    assert "2 people were chosen" in notices(events)
    assert portrait.likeness[0] is not None
    assert portrait.likeness[1] is None


def test_a_batch_counts_its_seeds_up(tmp_path: Path) -> None:
    host = FakeHost()
    portraits, _ = run(task((template(10),), person(tmp_path), config=config(seed=2**32 - 1, batch_size=3)), host)
    assert [p.seed for p in portraits] == [2**32 - 1, 0, 1]
    assert [job.seed for job in host.jobs] == [2**32 - 1] * 2 + [0] * 2 + [1] * 2
    assert (portraits[0].image != portraits[1].image).any()


def test_a_seed_that_was_drawn_is_told(tmp_path: Path) -> None:
    portraits, events = run(task((template(10),), person(tmp_path), config=config(seed=-1)))
    assert str(portraits[0].seed) in notices(events)
    assert portraits[0].recipe["config"]["seed"] == portraits[0].seed >= 0
    assert with_seed(config(seed=-1)) != with_seed(config(seed=-1))


def test_the_same_seed_gives_the_same_pixels(tmp_path: Path) -> None:
    job = task((template(10, 20),), person(tmp_path), person(tmp_path, "bert", 30))
    (first,), _ = run(job)
    (second,), _ = run(job)
    assert (first.image == second.image).all()


def test_a_lora_of_weight_0_is_not_asked_for(tmp_path: Path) -> None:
    host = FakeHost()
    run(task((template(10),), person(tmp_path), config=config(lora_weights=0)), host)
    assert all(not job.loras for job in host.jobs)


def test_realesrgan_enlarges_and_gpen_keeps_the_size(tmp_path: Path) -> None:
    one = template(10)
    (larger,), _ = run(task((one,), person(tmp_path), config=config(super_resolution_method="realesrgan")))
    (same,), _ = run(task((one,), person(tmp_path)))
    assert larger.image.shape == (one.shape[0] * 2, one.shape[1] * 2, 3)
    assert larger.likeness[0] is not None
    assert same.image.shape == one.shape


@pytest.mark.thorough
@pytest.mark.parametrize(
    "option",
    [
        {"apply_face_fusion_before": False},
        {"apply_face_fusion_after": False},
        {"before_face_fusion_ratio": 0.3},
        {"after_face_fusion_ratio": 0.3},
        {"color_shift_middle": False},
        {"color_shift_last": False},
        {"enable_second_diffusion": False},
        {"crop_face_preprocess": False},
        {"face_shape_match": True},
        {"makeup_transfer": True},
        {"background_restore": True},
        {"skin_retouching_bool": True},
        {"super_resolution_method": "realesrgan"},
        {"additional_prompt": "red hat"},
        {"second_denoising_strength": 0.8},
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_option_changes_the_picture(option: dict[str, Any], tmp_path: Path) -> None:
    one, anna = template(10), person(tmp_path)
    one[180:200] = np.random.default_rng(0).integers(0, 60, (20, *one.shape[1:]), dtype=np.uint8) + one[180:200] // 2
    usual = {"super_resolution": "super_resolution_method" in option}
    (plain,), _ = run(task((one,), anna, config=config(**usual)))
    (other,), _ = run(task((one,), anna, config=config(**usual, **option)))
    assert plain.image.shape != other.image.shape or (plain.image != other.image).any()


def test_a_text_portrait_needs_no_template(tmp_path: Path) -> None:
    host, anna = FakeHost(), person(tmp_path)
    chosen = config(text_to_image_input_prompt="on a mountain", text_to_image_width=320, text_to_image_height=384)
    job = task((), anna, person(tmp_path, "bert"), config=chosen, family=Family.SD1)
    (portrait,), events = run(job, host)
    assert portrait.image.shape == (384, 320, 3)
    assert not isinstance(host.jobs[0], Img2Img)
    assert host.jobs[0].prompt.startswith("on a mountain, look at viewer, easyphoto_face")
    assert portrait.likeness[0] is not None
    assert portrait.recipe["template"] is None
    assert "one person" in notices(events)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def broken() -> bytes:
    sink = io.BytesIO()
    Pillow.fromarray(template(10)).save(sink, "PNG")
    return sink.getvalue()[:2000]


def test_one_template_without_a_face_fails_alone(tmp_path: Path) -> None:
    templates = template(10), blank(200, 200), broken(), template(20)
    job = task(templates, person(tmp_path), config=config(batch_size=2))
    portraits, events = run(job)
    assert [p.template for p in portraits] == [0, 0, 3, 3]
    failed = [e for e in events if isinstance(e, TemplateFailed)]
    assert [(e.template, e.code) for e in failed] == [(1, "no_face"), (2, "invalid_request")]
    assert "No face" in failed[0].message


def test_a_text_portrait_without_a_face_fails_alone(tmp_path: Path) -> None:
    walls = {(7 + attempt * text.REDRAW) % 2**32 for attempt in range(plan.TEXT_TRIES)}
    host = FakeHost(paint=lambda job: blank(job.width, job.height) if job.seed in walls else tint(job))
    job = task((), person(tmp_path), config=config(text_to_image_input_prompt="a wall", batch_size=2))
    portraits, events = run(job, host)
    assert [p.template for p in portraits] == [1]
    assert [(e.template, e.code) for e in events if isinstance(e, TemplateFailed)] == [(0, "no_face")]


def test_a_template_on_which_a_library_stumbles_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*arguments: object) -> Image:
        monkeypatch.undo()
        raise ValueError("singular matrix")

    monkeypatch.setattr("tests.fakes.FakeFuser.fuse", stumble)
    portraits, events = run(task((template(10), template(20)), person(tmp_path)))
    assert [p.template for p in portraits] == [1]
    assert [(e.code, "singular" in e.message) for e in events if isinstance(e, TemplateFailed)] == [("internal", True)]


def test_a_host_that_fails_on_one_template_loses_only_that(tmp_path: Path) -> None:
    def refuse(job: Txt2Img) -> None:
        if len(host.jobs) == 1:
            raise HostFailed("The device is out of memory.")

    host = FakeHost(before=refuse)
    portraits, events = run(task((template(10), template(20)), person(tmp_path)), host)
    assert [p.template for p in portraits] == [1]
    assert [e.message for e in events if isinstance(e, TemplateFailed)] == ["The device is out of memory."]


def test_a_full_disk_keeps_what_is_saved_and_fails_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, events = task((template(10), template(20)), person(tmp_path), folder=tmp_path / "out"), list[Event]()
    made = portray(job, FakeHost(), FakeVision(), events.append)
    first = next(made)

    def full(*args: object, **more: object) -> None:
        raise StorageFailed("No space left.")

    monkeypatch.setattr(pictures, "save_png", full)
    assert list(made) == []
    assert [e.code for e in events if isinstance(e, TemplateFailed)] == ["storage_failed"]
    assert first.path is not None
    assert first.path.is_file()


def test_a_cancel_within_a_pass_ends_the_job_at_once(tmp_path: Path) -> None:
    steps: list[Event] = []
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.stage == "first" and event.step == 2:
            steps.append(event)

    host = FakeHost()
    job = task((template(10),), person(tmp_path), config=config(first_diffusion_steps=30))
    with pytest.raises(Cancelled):
        list(portray(job, host, FakeVision(), listen, lambda: bool(steps)))
    assert len(host.jobs) == 1
    assert max(e.step for e in events if isinstance(e, Progress)) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"people": (None, None)}, "at least one person"),
        ({"templates": ()}, "Choose a template"),
        (
            {
                "templates": (),
                "config": PortraitConfig(
                    text_to_image_input_prompt="x", t2i_control_way="Control with uploaded template"
                ),
            },
            "needs a picture",
        ),
    ],
)
def test_what_can_not_work_is_said_before_anything_is_rendered(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    host = FakeHost()
    with pytest.raises(InvalidRequest, match=sentence):
        run(dataclasses.replace(task((template(10),), person(tmp_path)), **change), host)
    assert host.jobs == []


def test_a_reference_without_a_face_is_said_by_name(tmp_path: Path) -> None:
    nobody = dataclasses.replace(person(tmp_path, "Łucja"), reference=blank(100, 100))
    with pytest.raises(NoFace, match="Łucja"):
        run(task((template(10),), nobody))


def test_lcm_without_its_lora_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing):
        run(task((template(10),), person(tmp_path), config=config(lcm_accelerate=True), lora_folder=tmp_path))


def test_controls_that_the_host_lacks_are_left_out_with_a_notice(tmp_path: Path) -> None:
    host = FakeHost(roles=frozenset({ControlRole.CANNY, ControlRole.COLOR, ControlRole.TILE}), limit=1)
    _, events = run(task((template(10),), person(tmp_path)), host)
    assert [[c.role for c in job.controls] for job in host.jobs] == [[ControlRole.CANNY], [ControlRole.CANNY]]
    assert "openpose" in notices(events)
    assert "allows 1" in notices(events)


def test_a_host_without_controlnet_is_not_blamed_on_models(tmp_path: Path) -> None:
    host = FakeHost(roles=frozenset(), limit=0)
    _, events = run(task((template(10),), person(tmp_path)), host)
    assert [job.controls for job in host.jobs] == [[], []]
    assert "ControlNet is not there" in notices(events)
    assert "model" not in notices(events)


def test_a_person_marked_as_failed_is_announced(tmp_path: Path) -> None:
    _, events = run(task((template(10),), person(tmp_path, works=False)))
    assert "marked as failed" in notices(events)


def test_time_left_falls_to_0(tmp_path: Path) -> None:
    _, events = run(task((template(10), blank(90, 90), template(20)), person(tmp_path)), FakeHost(paint=identity))
    left = [e.seconds_left for e in events if isinstance(e, Progress) and e.seconds_left is not None]
    assert left[-1] == pytest.approx(0)
    assert max(left) > 0


# --- people ----------------------------------------------------------------------------------------------------------


def test_a_person_s_files_become_a_subject(tmp_path: Path) -> None:
    anna = person(tmp_path)
    train = tmp_path / "processed_images" / "train"
    for i, who in enumerate((40, 60)):
        pictures.save_jpg(train / f"{i}.jpg", draw_face(blank(200, 200), (100, 100), 90, who=who))
    pictures.save_jpg(tmp_path / "ref_image.jpg", anna.reference)
    assert anna.lora is not None
    stored = Person(
        user_id="anna",
        folder=tmp_path,
        lora=anna.lora,
        reference=tmp_path / "ref_image.jpg",
        face_id=None,
        family=None,
        works=False,
    )
    found = subject(stored, FakeVision())
    assert (found.user_id, found.lora, found.works) == ("anna", anna.lora, False)
    assert (found.face_id == found.reference).all()
    assert found.mean is not None
    assert np.linalg.norm(found.mean) == pytest.approx(1)


def test_the_mean_of_the_photos_is_kept_until_a_photo_changes(tmp_path: Path) -> None:
    photos = [tmp_path / "0.jpg", tmp_path / "1.jpg"]
    for path in photos:
        pictures.save_jpg(path, draw_face(blank(200, 200), (100, 100), 90, who=40))
    memory, vision = tmp_path / "embedding.json", FakeVision()
    first = gallery.remembered(photos, memory, vision).mean
    vision.detector = None  # type: ignore[assignment]
    vision.backends = lambda: {"embedder": "fake-embedder"}  # type: ignore[method-assign]
    again = gallery.remembered(photos, memory, vision).mean
    assert first is not None
    assert again is not None
    assert (first == again).all()
    pictures.save_jpg(photos[0], draw_face(blank(210, 200), (100, 100), 90, who=0))
    changed = gallery.remembered(photos, memory, FakeVision()).mean
    assert changed is not None
    assert changed[1] < first[1]
    memory.write_text("[")
    assert (gallery.remembered(photos, memory, FakeVision()).mean == changed).all()


# --- backends that are asked for -------------------------------------------------------------------------------------


class Choosy(FakeVision):
    """Has one enhancer and one fuser, whatever is asked for."""

    def preferring(self, backends: Mapping[str, str]) -> FakeVision:
        self.asked = dict(backends)
        return self


def test_the_method_chooses_the_enhancer_and_a_missing_one_is_said_once(tmp_path: Path) -> None:
    vision, events = Choosy(), list[Event]()
    chosen = config(super_resolution_method="realesrgan", face_fusion_method="inswapper")
    assert list(
        portray(task((template(10), template(20)), person(tmp_path), config=chosen), FakeHost(), vision, events.append)
    )
    assert vision.asked == {"enhancer": "realesrgan", "fuser": "inswapper"}
    said = [e.message for e in events if isinstance(e, Notice)]
    assert len(said) == 2 and "enhancer realesrgan is not here" in said[0] and "fake-enhancer serves" in said[0]
    plain, unheard = Choosy(), list[Event]()
    off = config(super_resolution=False)
    assert list(portray(task((template(10),), person(tmp_path), config=off), FakeHost(), plain, unheard.append))
    assert plain.asked == {} and notices(unheard) == ""


def test_fusion_only_puts_the_face_in_and_asks_nothing_of_the_host(tmp_path: Path) -> None:
    host, one, anna = FakeHost(), template(10), person(tmp_path)
    (portrait,), _ = run(task((one,), anna, config=config(fusion_only=True, color_shift_middle=False)), host)
    assert host.jobs == [] and portrait.likeness[0] is not None and portrait.likeness[0].cosine > 0.6
    (both,), _ = run(
        task((template(10, 20),), anna, person(tmp_path, "bert", 90), config=config(fusion_only=True)), host
    )
    assert host.jobs == [] and (both.image != template(10, 20)).any()
