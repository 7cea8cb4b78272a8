from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyphoto import families
from easyphoto.config import Family, PortraitConfig
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.families.spec import Pass
from easyphoto.inference import plan, stages


@pytest.mark.parametrize("family", [spec.family for spec in families.known()])
def test_every_family_has_every_pass(family: Family) -> None:
    for which in Pass:
        row = plan.row(which, family, PortraitConfig())
        assert row.steps > 0
        assert 0 < row.strength <= 1


def test_a_number_of_steps_that_was_chosen_survives_lcm() -> None:
    usual = plan.row(Pass.FIRST, Family.SD1, PortraitConfig(lcm_accelerate=True))
    chosen = plan.row(
        Pass.FIRST,
        Family.SD1,
        PortraitConfig(lcm_accelerate=True, first_diffusion_steps=6, first_denoising_strength=0.4),
    )
    assert (usual.steps, usual.strength, usual.cfg_scale, usual.sampler) == (12, 0.5, 2, "Euler a")
    assert (chosen.steps, chosen.strength) == (6, 0.4)


def test_the_demo_model_repaints_a_second_time_only_if_it_is_told_to() -> None:
    asked = frozenset({"enable_second_diffusion"})
    for spec in families.known():
        usual = plan.row(Pass.SECOND, spec.family, PortraitConfig())
        assert usual.repaint == (spec.family is not Family.BENCH)
        assert usual.fusion == PortraitConfig().after_face_fusion_ratio, "the face is fused in again all the same"
        assert plan.row(Pass.SECOND, spec.family, PortraitConfig(), asked).repaint
        assert not plan.row(Pass.SECOND, spec.family, PortraitConfig(enable_second_diffusion=False), asked).repaint


def test_lcm_without_its_lora_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="lcm_lora_sdxl"):
        plan.style_loras(Family.SDXL, PortraitConfig(lcm_accelerate=True), tmp_path)


def test_the_film_look_is_for_sd1_and_found_in_a_subfolder(tmp_path: Path) -> None:
    (tmp_path / "looks").mkdir()
    (tmp_path / "looks" / "FilmVelvia3.safetensors").write_bytes(b"film")
    assert [(ref.name, ref.weight) for ref in plan.style_loras(Family.SD1, PortraitConfig(), tmp_path)] == [
        ("FilmVelvia3", 0.65)
    ]
    assert plan.style_loras(Family.SD1, PortraitConfig(), tmp_path, film_look=False) == ()
    assert plan.style_loras(Family.SDXL, PortraitConfig(), tmp_path) == ()
    assert plan.style_loras(Family.SD1, PortraitConfig(), tmp_path / "nowhere") == ()


def test_prompts_hold_the_trigger_and_what_was_added_without_stray_commas() -> None:
    config = PortraitConfig(additional_prompt=" , red hat, ", additional_neg_prompt="")
    assert plan.prompt(Family.SDXL, config).startswith("easyphoto_face, easyphoto, 1person, red hat, (best")
    assert plan.negative_prompt(Family.SDXL, config).startswith("(")
    assert ", ," not in plan.prompt(Family.BENCH, config)


@given(st.sampled_from([spec.family for spec in families.known()]), st.integers(32, 4000), st.integers(32, 4000))
def test_working_sizes_are_multiples_of_32_near_the_family_s_size(family: Family, height: int, width: int) -> None:
    size = stages.working_size((height, width), family, min(height, width) / stages.CROP_RATIO)
    assert size[0] % 32 == 0
    assert size[1] % 32 == 0
    if family is not Family.SDXL:
        assert min(size) == families.spec(family).size.short_side
    elif max(height, width) / min(height, width) < 8:
        assert size[0] * size[1] == pytest.approx(1024 * 1024, rel=0.1)


@pytest.mark.parametrize(("face", "side"), [(50, 384), (100, 384), (120, 320), (150, 256), (300, 256)])
def test_the_bench_model_sees_faces_of_about_128_pixels_in_sides_that_it_can_draw(face: float, side: int) -> None:
    assert stages.working_size((300, 300), Family.BENCH, face) == (side, side)


@given(st.sampled_from([Family.SD1, Family.SD2, Family.SDXL]), st.floats(1, 2000))
def test_other_families_work_at_one_size_whatever_the_face(family: Family, face: float) -> None:
    assert stages.working_size((700, 900), family, face) == stages.working_size((700, 900), family, 300.0)


def test_pictures_from_text_get_the_sampler_that_adds_noise() -> None:
    """From text DPM++ 2M with the bench checkpoint draws faces above each other; over pictures it is the better one."""
    config = PortraitConfig()
    assert {plan.row(Pass.TEXT, family, config).sampler for family in (spec.family for spec in families.known())} == {
        "Euler a"
    }
    assert plan.row(Pass.FIRST, Family.BENCH, config).sampler == "DPM++ 2M Karras"
    assert plan.row(Pass.FIRST, Family.SD1, config).sampler == "DPM++ 2M SDE Karras"


def test_the_bench_model_draws_text_at_its_own_size() -> None:
    assert plan.text_size(Family.BENCH, PortraitConfig()) == (256, 352)
    assert plan.text_size(Family.SD1, PortraitConfig(text_to_image_width=632)) == (632, 832)


def test_a_style_lora_that_is_there_twice_is_not_taken_at_random(tmp_path: Path) -> None:
    first = tmp_path / "a" / "FilmVelvia3.safetensors"
    first.parent.mkdir()
    first.write_bytes(b"")
    (tmp_path / "FilmVelvia3.v2.safetensors").write_bytes(b"")
    assert plan.find_lora("FilmVelvia3", tmp_path) == first
    assert plan.find_lora("FilmVelvia", tmp_path) is None
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "FilmVelvia3.safetensors").write_bytes(b"")
    with pytest.raises(InvalidRequest, match=r"a/FilmVelvia3\.safetensors and b/FilmVelvia3\.safetensors"):
        plan.style_loras(Family.SD1, PortraitConfig(), tmp_path)
