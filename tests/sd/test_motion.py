"""Motion modules: tiny ones of the published layouts go through the loading code, and our clips are diffusers' own."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from easyphoto import families, sd
from easyphoto.config import Family
from easyphoto.errors import InvalidRequest
from easyphoto.ports import ClipJob, Control, ControlRole, Image
from easyphoto.sd import clip_render, lora, motion, samplers
from easyphoto.sd.windows import windows
from tests import tiny

FRAMES = 4
JOB = ClipJob(
    prompt="easyphoto face",
    negative_prompt="dark",
    width=64,
    height=64,
    steps=4,
    sampler="Euler a",
    seed=7,
    frames=FRAMES,
)


def adapter(*, middle: bool = True, seed: int = 5, channels: tuple[int, ...] = tiny.CHANNELS, heads: int = 8) -> Any:
    """A random motion module that does something, with the blocks of the tiny models."""
    from diffusers import MotionAdapter

    torch.manual_seed(seed)
    made = MotionAdapter(
        block_out_channels=channels,
        motion_layers_per_block=1,
        motion_num_attention_heads=heads,
        motion_norm_num_groups=tiny.unet_config()["norm_num_groups"],
        use_motion_mid_block=middle,
    )
    return made.eval()


def original(made: Any) -> dict[str, torch.Tensor]:
    """The weights of a module as AnimateDiff publishes them: its names, and positions for either attention."""
    state = {}
    for name, tensor in made.state_dict().items():
        head, layer, tail = name.partition(".motion_modules.")
        number, _, inside = tail.partition(".")
        for ours, theirs in (("attn1", "attention_blocks.0"), ("attn2", "attention_blocks.1"), ("norm1", "norms.0"),
                             ("norm2", "norms.1"), ("norm3", "ff_norm")):  # fmt: skip
            inside = inside.replace(f".{ours}.", f".{theirs}.")
        begin = f"{head}{layer}{number}.temporal_transformer."
        if "pos_embed" in inside:
            for attention in (0, 1):
                inside_of = inside.replace("pos_embed", f"attention_blocks.{attention}.pos_encoder")
                state[begin + inside_of] = tensor.clone()
        else:
            state[begin + inside] = tensor.clone()
    return state


def moving(parts: sd.Parts, made: Any) -> sd.Parts:
    return replace(parts, unet=motion.compose(parts.unet, made, "module"))


def pipeline_frames(folder: Path, made: Any, job: ClipJob, scheduler: Any, weights: Path | None = None) -> Image:
    """What diffusers' own pipeline draws: (frames, height, width, 3)."""
    from diffusers import AnimateDiffPipeline

    pipeline = AnimateDiffPipeline.from_pretrained(folder, motion_adapter=made)
    pipeline.set_progress_bar_config(disable=True)
    if weights is not None:
        pipeline.load_lora_weights(weights.parent, weight_name=weights.name)
    pipeline.scheduler = scheduler
    with samplers.quiet():
        drawn = pipeline(
            job.prompt,
            negative_prompt=job.negative_prompt,
            num_frames=job.frames,
            num_inference_steps=job.steps,
            guidance_scale=job.cfg_scale,
            width=job.width,
            height=job.height,
            generator=torch.Generator("cpu").manual_seed(job.seed),
            output_type="np",
        ).frames[0]
    return np.rint(np.asarray(drawn) * 255).astype(np.uint8)


def far(ours: Any, theirs: Any) -> int:
    return int(np.abs(np.stack(ours).astype(int) - np.stack(theirs)).max())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("moving") / "model", width=768)


@pytest.fixture
def still(folder: Path) -> sd.Parts:
    return sd.load(folder, device="cpu", dtype=torch.float32)


# --- the published layouts -------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize(("layout", "middle"), [("v2", True), ("v3", False)])
@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_a_published_module_draws_diffusers_own_clip(
    tmp_path: Path, folder: Path, still: sd.Parts, layout: str, middle: bool, ending: str
) -> None:
    made = adapter(middle=middle)
    file = tmp_path / f"{layout}{ending}"
    if ending == ".ckpt":
        torch.save({"state_dict": {f"module.{name}": value for name, value in original(made).items()}}, file)
    else:
        save_file(original(made), file)
    read = motion.load(file, dtype=torch.float32, groups=8)
    assert (read.mid_block is not None) == middle
    noise = {**still.scheduler_config, **families.spec(Family.SD1).animation.noise}  # type: ignore[union-attr]
    ours = clip_render.animate(replace(moving(still, read), scheduler_config=noise), JOB)
    theirs = pipeline_frames(folder, made, JOB, samplers.create(JOB.sampler, noise))
    assert far(ours, theirs) <= 1
    alone = clip_render.animate(replace(moving(still, adapter(seed=6, middle=middle)), scheduler_config=noise), JOB)
    assert far(ours, alone) > 2, "the module's weights count"


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", ["DPM++ 2M SDE Karras", "DDIM"])
def test_the_persons_lora_is_worn_by_the_moving_model_too(
    tmp_path: Path, folder: Path, still: sd.Parts, sampler: str
) -> None:
    job, made = replace(JOB, sampler=sampler), adapter()
    layers = tiny.lora_layers(still, scale=0.3)
    file = tmp_path / "person.safetensors"
    lora.write(file, layers, lora.metadata(still.family, layers))
    parts = moving(still, made)
    with lora.applied(still, [(lora.read(file).layers, 1.0)]):
        ours = clip_render.animate(parts, job)
    theirs = pipeline_frames(folder, made, job, samplers.create(sampler, still.scheduler_config), file)
    assert far(ours, theirs) <= 1
    assert far(ours, clip_render.animate(parts, job)) > 2, "and taken off with it"


def test_a_folder_of_diffusers_keeps_the_heads_that_no_shape_tells(tmp_path: Path) -> None:
    made = adapter(heads=4)
    made.save_pretrained(tmp_path / "motion")
    read = motion.load(tmp_path / "motion", dtype=torch.float32)
    assert read.config["motion_num_attention_heads"] == 4
    assert all((a == b).all() for a, b in zip(read.state_dict().values(), made.state_dict().values(), strict=True))


def test_the_module_of_sdxl_has_three_blocks_and_no_middle() -> None:
    """The beta's own widths, without memory for its weights."""
    from diffusers import MotionAdapter

    with torch.device("meta"):
        made = MotionAdapter(block_out_channels=(320, 640, 1280), use_motion_mid_block=False)
    shapes = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    read = motion.config(shapes)
    assert read["block_out_channels"] == (320, 640, 1280) and not read["use_motion_mid_block"]
    assert read["motion_layers_per_block"] == (2, 2, 2) and read["motion_max_seq_length"] == 32
    with torch.device("meta"):
        again = MotionAdapter(**read)
    assert {name: tuple(value.shape) for name, value in again.state_dict().items()} == shapes


def test_every_layer_of_sdxls_unet_is_taken_over() -> None:
    """Diffusers' own way leaves the embedding of SDXL's sizes as it was drawn at random."""
    from diffusers import MotionAdapter, UNet2DConditionModel

    small = tiny.unet_config(64) | {
        "block_out_channels": (32, 32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 2),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 64 + 6 * 8,
        "use_linear_projection": True,
    }
    unet = UNet2DConditionModel(**small)
    made = MotionAdapter(block_out_channels=(32, 32, 64), motion_layers_per_block=1, use_motion_mid_block=False)
    model = motion.compose(unet, made, "beta")
    for name, weight in unet.named_parameters():
        assert model.get_parameter(name) is weight
    added = {"text_embeds": torch.zeros(2, 64), "time_ids": torch.zeros(2, 6)}
    text = torch.zeros(6, 77, 64)
    found = model(
        torch.zeros(2, 4, 3, 8, 8), torch.tensor(5), encoder_hidden_states=text, added_cond_kwargs=added
    ).sample
    assert found.shape == (2, 4, 3, 8, 8)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_module_of_another_family_is_refused_in_one_sentence(still: sd.Parts) -> None:
    with pytest.raises(InvalidRequest, match=r"xl\.ckpt was made for another kind of model .* 32, 64, 64, .* 32, 64\."):
        motion.compose(still.unet, adapter(channels=(32, 64, 64)), "xl.ckpt")


def test_what_is_no_module_is_refused_in_one_sentence(tmp_path: Path, folder: Path) -> None:
    state = original(adapter())
    whole = {name: value for name, value in state.items() if "down_blocks.0" in name}
    for name, content, words in [
        ("other", {"layer.weight": torch.zeros(2, 2)}, "holds no motion module"),
        ("part", dict(list(state.items())[4:]), "incomplete"),
        ("half", whole, "incomplete"),
        ("pia", {**state, "conv_in.weight": torch.zeros(2, 9, 3, 3)}, "PIA"),
    ]:
        save_file(content, tmp_path / f"{name}.safetensors")
        with pytest.raises(InvalidRequest, match=words):
            motion.load(tmp_path / f"{name}.safetensors", dtype=torch.float32)
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InvalidRequest, match=r"cut\.ckpt can't be read"):
        motion.load(tmp_path / "cut.ckpt", dtype=torch.float32)
    with pytest.raises(InvalidRequest, match="holds no motion module in diffusers' layout"):
        motion.load(folder / "unet", dtype=torch.float32)


# --- longer clips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [2, 16, 17, 20, 28, 29, 100])
@pytest.mark.parametrize(("length", "overlap"), [(16, 4), (16, 0), (8, 7)])
def test_the_weights_of_a_frame_sum_to_one(frames: int, length: int, overlap: int) -> None:
    made = windows(frames, length, overlap)
    total = np.zeros(frames)
    for window in made:
        assert len(window.weights) == min(frames, length) and min(window.weights) > 0
        total[window.frames] += window.weights
    assert np.allclose(total, 1, atol=1e-9)
    shared = [before.start + len(before.weights) - after.start for before, after in pairwise(made)]
    assert all(count >= overlap for count in shared) and shared[:-1] == [overlap] * len(shared[:-1])


def test_a_window_fades_out_as_the_next_fades_in() -> None:
    first, second = windows(28)
    assert first.weights[:12] == (1,) * 12 and second.weights[4:] == (1,) * 12
    assert list(first.weights[12:]) == pytest.approx([0.8, 0.6, 0.4, 0.2])


@pytest.mark.thorough
def test_a_clip_longer_than_a_window_is_drawn_in_windows_that_agree(still: sd.Parts) -> None:
    parts = moving(still, adapter())
    job = replace(JOB, frames=7, context=4, overlap=2)
    drawn = np.stack(clip_render.animate(parts, job)).astype(int)
    assert drawn.shape == (7, 64, 64, 3)
    whole = np.stack(clip_render.animate(parts, replace(job, context=7))).astype(int)
    assert np.abs(drawn - whole).max() > 2, "a window doesn't see the frames beyond it"


def test_no_window_is_longer_than_the_module_knows_places(still: sd.Parts) -> None:
    from diffusers import MotionAdapter

    made = MotionAdapter(
        block_out_channels=tiny.CHANNELS, motion_layers_per_block=1, motion_max_seq_length=3, use_motion_mid_block=False
    )
    assert len(clip_render.animate(moving(still, made.eval()), replace(JOB, frames=5))) == 5


# --- from pictures, and with controls --------------------------------------------------------------------------------


def test_a_clip_from_a_picture_begins_like_it_and_leaves_it(still: sd.Parts) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    parts = moving(still, adapter())
    job = replace(JOB, image=picture, denoising_strength=0.05, steps=20, cfg_scale=1.0)
    one = np.stack(clip_render.animate(parts, job)).astype(float)
    again = np.stack(clip_render.animate(parts, job)).astype(float)
    assert (one == again).all()
    kept = np.stack(clip_render.animate(parts, replace(job, last_image=picture))).astype(float)
    apart = np.abs(one - kept).mean((1, 2, 3))
    assert apart[0] < apart[-1], "the last frame has the most noise of its own"
    other = np.stack(clip_render.animate(parts, replace(job, last_image=255 - picture))).astype(float)
    toward = np.abs(other - kept).mean((1, 2, 3))
    assert toward[0] < toward[-1], "the last frame is nearer to the last picture"


def test_the_frames_of_a_clip_are_repainted_together_under_a_mask(still: sd.Parts) -> None:
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(FRAMES)]
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    parts = moving(still, adapter())
    job = replace(JOB, pictures=pictures, mask=mask, mask_blur=0, denoising_strength=0.5)
    made = clip_render.animate(parts, job)
    inside = mask > 0
    for picture, frame in zip(pictures, made, strict=True):
        assert (frame[~inside] == picture[~inside]).all() and (frame[inside] != picture[inside]).any()
    others = [*pictures[:-1], 255 - pictures[-1]]
    changed = clip_render.animate(parts, replace(job, pictures=others))
    assert (changed[0] != made[0]).any(), "every frame is seen by the others"
    with pytest.raises(InvalidRequest, match="There are pictures for 1 frames of a clip that has"):
        clip_render.animate(parts, replace(job, pictures=pictures[:1]))
    with pytest.raises(InvalidRequest, match="denoising strength must be above 0"):
        clip_render.animate(parts, replace(job, denoising_strength=0))


@pytest.mark.thorough
def test_each_frame_follows_its_own_control(tmp_path: Path, still: sd.Parts) -> None:
    net = sd.load_controlnet(tiny.controlnet(tmp_path / "net", width=768, scale=1.0), device="cpu", dtype=torch.float32)
    nets = {ControlRole.CANNY: net}
    parts = moving(still, adapter())
    white, black = (np.full((64, 64, 3), tone, np.uint8) for tone in (255, 0))

    def control(picture: Image, weight: float = 1.0) -> Control:
        return Control(ControlRole.CANNY, picture, weight, is_map=True)

    alike = clip_render.animate(parts, replace(JOB, controls=[control(white)]), nets)
    each = clip_render.animate(parts, replace(JOB, frame_controls=[[control(white)]] * FRAMES), nets)
    assert far(alike, each) <= 1
    last = [[control(white, 10)]] * (FRAMES - 1) + [[control(black, 10)]]
    changed = clip_render.animate(parts, replace(JOB, frame_controls=last, context=2, overlap=0), nets)
    held = clip_render.animate(parts, replace(JOB, controls=[control(white, 10)], context=2, overlap=0), nets)
    assert far(changed[:2], held[:2]) < far(changed[-1:], held[-1:]), "the first window doesn't see the last frame"
    with pytest.raises(InvalidRequest, match="controls for 2 frames of a clip that has 4"):
        clip_render.animate(parts, replace(JOB, frame_controls=last[:2]), nets)
