"""Random models that are SDXL in every shape but the width, and stand-ins for the networks that InstantID asks for.

    python tests/hosts/make_narrow_sdxl.py WEBUI_ROOT    (after make_narrow.py, with the same Python)

Writes ``models/Stable-diffusion/narrow-sdxl.safetensors`` with the ``.yaml`` that says its shape, two ControlNets (one
of them InstantID's, in the layout of diffusers as it is published), an IP-Adapter and InstantID's adapter under the
names of the real ones, and a copy of the WebUI's network for live previews of SD1.5 in the place of SDXL's, which it
would download. ``narrow_models`` says the shapes to the WebUI.

With the package onnx it also writes the five files of antelopev2 among the annotators of sd-webui-controlnet. They know
no faces: the detector finds one in the middle of every picture, a little further down and to the right in a bright
one, and the embedder tells pictures apart by their colours.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.hosts.make_narrow import HINTS, SEEN, WIDTH

CHECKPOINT = "narrow-sdxl"
CANNY = "diffusers_xl_canny_full"
ADAPTER = "ip-adapter-plus-face_sdxl_vit-h"
INSTANTID = ("ip-adapter_instant_id_sdxl", "control_instant_id_sdxl")
"""The adapter of the face, and the ControlNet that holds it in its place."""
PREVIEWS = "vaeapprox-sdxl.pt"
CONTEXT = 2048
TOKENS = 16
FACE = 512
SECOND_TEXT = "narrow-bigG"
"""The second text encoder: of the published width, two layers deep. ``narrow_models`` tells open_clip about it."""
SECOND: dict[str, Any] = {
    "embed_dim": 1280,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1280, "heads": 20, "layers": 2},
}
ENCODER = (1, 1, 1, 1, 2, 2, 2, 4, 4)
"""How many times as wide as the first each block on the way down is."""
ATTENTIONS = (*[2] * 4, *[4] * 20, *[4] * 30, *[2] * 6, *[4] * 10)
"""The same of the attentions to the text: those on the way down, on the way up, and in the middle."""
UNET = "model.diffusion_model."


def main(root: Path) -> None:
    for repository in ("stable-diffusion-stability-ai", "generative-models"):
        sys.path.insert(0, str(root / "repositories" / repository))
    import torch
    import yaml
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    models = root / "models"
    base = root / "repositories" / "generative-models" / "configs" / "inference" / "sd_xl_base.yaml"
    config = yaml.safe_load(base.read_text(encoding="utf-8"))
    params = config["model"]["params"]
    params["network_config"]["params"]["model_channels"] = WIDTH
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = WIDTH
    params["conditioner_config"]["params"]["emb_models"][1]["params"]["arch"] = SECOND_TEXT
    first = load_file(models / "Stable-diffusion" / "narrow-sd15.safetensors")
    weights = checkpoint(params["network_config"]["params"], first)
    save_file(weights, models / "Stable-diffusion" / f"{CHECKPOINT}.safetensors")
    (models / "Stable-diffusion" / f"{CHECKPOINT}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    previews = models / "VAE-approx"
    if (previews / "model.pt").is_file() and not (previews / PREVIEWS).exists():
        shutil.copyfile(previews / "model.pt", previews / PREVIEWS)

    controls = models / "ControlNet"
    adapter, place = INSTANTID
    save_file({f"control_model.{k}": v for k, v in controlnet(weights).items()}, controls / f"{CANNY}.safetensors")
    save_file(as_diffusers(controlnet(weights)), controls / f"{place}.safetensors")
    shown = {f"image_proj.{k}": v for k, v in resampler(SEEN["hidden_size"]).items()}
    save_file({**shown, **{f"ip_adapter.{k}": v for k, v in keys()}}, controls / f"{ADAPTER}.safetensors")
    torch.save({"image_proj": resampler(FACE), "ip_adapter": dict(keys())}, controls / f"{adapter}.bin")

    extension = root / "extensions" / "sd-webui-controlnet"
    if importlib.util.find_spec("onnx") is None:
        print("without the package onnx there are no stand-ins for antelopev2")
    elif extension.is_dir():
        write_antelope(extension / "annotator" / "downloads" / "insightface" / "models" / "antelopev2")


def checkpoint(unet: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """SDXL with the VAE and the first text encoder of ``first``, a narrow SD1.5."""
    import open_clip
    import torch
    from sgm.modules.diffusionmodules.openaimodel import UNetModel

    weights: dict[str, Any] = {}
    second = open_clip.model.CLIP(SECOND["embed_dim"], SECOND["vision_cfg"], SECOND["text_cfg"])
    for prefix, module in ((UNET, UNetModel(**unet)), ("conditioner.embedders.1.model.", second)):
        for name, value in module.state_dict().items():
            if name.startswith("visual.") or not value.is_floating_point():
                continue
            zero = value.ndim > 1 and not value.any()
            weights[prefix + name] = (torch.randn_like(value) * 0.02 if zero else value).half().clone().contiguous()
    text, seen = "cond_stage_model.transformer.", "conditioner.embedders.0.transformer."
    weights |= {seen + k.removeprefix(text): v for k, v in first.items() if k.startswith(text)}
    return weights | {k: v for k, v in first.items() if k.startswith("first_stage_model.")}


def controlnet(weights: dict[str, Any]) -> dict[str, Any]:
    """The UNet's encoder with layers that add something random, not zero."""
    import torch

    parts = ("time_embed", "label_emb", "input_blocks", "middle_block")
    inner = {k.removeprefix(UNET): v for k, v in weights.items() if k.startswith(UNET)}
    found = {k: v.clone() for k, v in inner.items() if k.startswith(parts)}

    def convolution(name: str, out: int, into: int, side: int) -> None:
        found[f"{name}.weight"] = (torch.randn(out, into, side, side) * 0.1).half()
        found[f"{name}.bias"] = torch.zeros(out).half()

    for i, width in enumerate(ENCODER):
        convolution(f"zero_convs.{i}.0", width * WIDTH, width * WIDTH, 1)
    convolution("middle_block_out.0", ENCODER[-1] * WIDTH, ENCODER[-1] * WIDTH, 1)
    for i, (out, into) in enumerate(HINTS):
        convolution(f"input_hint_block.{2 * i}", out, into, 3)
    return found


def as_diffusers(control: dict[str, Any]) -> dict[str, Any]:
    """The same ControlNet by the names of diffusers."""
    return {_diffusers_name(name): value for name, value in control.items()}


def _diffusers_name(name: str) -> str:
    whole = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb.0.0": "add_embedding.linear_1",
        "label_emb.0.2": "add_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "middle_block_out.0": "controlnet_mid_block",
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
    }
    hints = ["conv_in", *(f"blocks.{i}" for i in range(len(HINTS) - 2)), "conv_out"]
    whole |= {f"input_hint_block.{2 * i}": f"controlnet_cond_embedding.{hint}" for i, hint in enumerate(hints)}
    for i in range(len(ENCODER)):
        whole[f"zero_convs.{i}.0"] = f"controlnet_down_blocks.{i}"
        level, layer = divmod(i - 1, 3)
        if i and layer < 2:
            whole[f"input_blocks.{i}.0"] = f"down_blocks.{level}.resnets.{layer}"
            whole[f"input_blocks.{i}.1"] = f"down_blocks.{level}.attentions.{layer}"
        elif i:
            whole[f"input_blocks.{i}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
    begins = max((w for w in whole if name.startswith(f"{w}.")), key=len)
    ends = name.removeprefix(begins)
    if "resnets" in whole[begins]:
        for ours, theirs in (
            ("in_layers.0", "norm1"),
            ("in_layers.2", "conv1"),
            ("out_layers.0", "norm2"),
            ("out_layers.3", "conv2"),
            ("emb_layers.1", "time_emb_proj"),
            ("skip_connection", "conv_shortcut"),
        ):
            ends = ends.replace(ours, theirs)
    return whole[begins] + ends


# --- adapters --------------------------------------------------------------------------------------------------------


def resampler(seen: int, width: int = 1280, depth: int = 4, heads: int = 20) -> dict[str, Any]:
    """The net that makes 16 tokens of what is ``seen``, in the published shapes."""
    import torch

    inner = heads * 64
    found: dict[str, Any] = {"latents": (torch.randn(1, TOKENS, width) * width**-0.5).half()}

    def linear(name: str, out: int, into: int, bias: bool = False) -> None:
        found[f"{name}.weight"] = (torch.randn(out, into) * into**-0.5).half()
        if bias:
            found[f"{name}.bias"] = torch.zeros(out).half()

    def norm(name: str, size: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = torch.ones(size).half(), torch.zeros(size).half()

    linear("proj_in", width, seen, bias=True)
    linear("proj_out", CONTEXT, width, bias=True)
    norm("norm_out", CONTEXT)
    for layer in range(depth):
        attention, forward = f"layers.{layer}.0", f"layers.{layer}.1"
        norm(f"{attention}.norm1", width)
        norm(f"{attention}.norm2", width)
        linear(f"{attention}.to_q", inner, width)
        linear(f"{attention}.to_kv", 2 * inner, width)
        linear(f"{attention}.to_out", width, inner)
        norm(f"{forward}.0", width)
        linear(f"{forward}.1", 4 * width, width)
        linear(f"{forward}.3", width, 4 * width)
    return found


def keys() -> Iterator[tuple[str, Any]]:
    """The further keys and values of the attentions to the text."""
    import torch

    for number, width in enumerate(ATTENTIONS):
        for part in ("to_k_ip", "to_v_ip"):
            weight = torch.randn(width * WIDTH, CONTEXT) * CONTEXT**-0.5
            yield f"{2 * number + 1}.{part}.weight", weight.half()


# --- stand-ins for antelopev2 ----------------------------------------------------------------------------------------

SIDE, STRIDES, ANCHORS = 640, (8, 16, 32), 2
"""The picture that the detector gets, and its grids of places with two boxes each."""
CENTRE, HALF = (256, 272), (96, 128)
"""Where it finds a face in that picture, and half of the face's sides."""
POINTS = ((-40, -32), (40, -32), (0, 8), (-32, 56), (32, 56))
MOVES = 24.0
"""By how many pixels a white picture moves the points, and a black one the other way."""


def write_antelope(folder: Path) -> None:
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper, save

    draws = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)

    def write(
        name: str, nodes: list[Any], given: dict[str, Any], outputs: dict[str, list[Any]], into: list[Any]
    ) -> None:
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, into)],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, shape) for k, shape in outputs.items()],
            [numpy_helper.from_array(np.asarray(value), k) for k, value in given.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        checker.check_model(model)
        save(model, folder / f"{name}.onnx")

    def of_colours(name: str, side: int, numbers: int) -> None:
        """What ``numbers`` say of a picture: random sums of the colours of 8 x 8 places."""
        step = side // 8
        nodes = [
            helper.make_node("AveragePool", ["input.1"], ["places"], kernel_shape=[step, step], strides=[step, step]),
            helper.make_node("Flatten", ["places"], ["flat"]),
            helper.make_node("MatMul", ["flat", "random"], ["output"]),
        ]
        random = (draws.standard_normal((192, numbers)) / 192**0.5).astype(np.float32)
        write(name, nodes, {"random": random}, {"output": ["n", numbers]}, ["n", 3, side, side])

    of_colours("glintr100", 112, FACE)
    of_colours("genderage", 96, 3)
    of_colours("2d106det", 192, 212)
    of_colours("1k3d68", 192, 3309)

    given: dict[str, Any] = {"moves": np.float32(MOVES), "still": np.zeros(1, np.float32)}
    given["sides"] = np.asarray([[-1, -1, 1, 1]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "moves"], ["points_moved"]),
        helper.make_node("Mul", ["points_moved", "sides"], ["box_moved"]),
        helper.make_node("Mul", ["mean", "still"], ["score_moved"]),
    ]
    at = [c // STRIDES[-1] for c in CENTRE]
    found = {
        "score": np.asarray([0.9], np.float32),
        "box": np.asarray([*HALF, *HALF], np.float32),
        "points": (np.asarray(POINTS, np.float32) + CENTRE - np.multiply(at, STRIDES[-1])).astype(np.float32).ravel(),
    }
    shapes: dict[str, list[Any]] = {}
    for kind, values in found.items():
        for stride in STRIDES:
            across = SIDE // stride
            cells = np.zeros((across * across * ANCHORS, len(values)), np.float32)
            if stride == STRIDES[-1]:
                cells[(at[1] * across + at[0]) * ANCHORS] = values
            given |= {f"{kind}_{stride}": cells, f"unit_{kind}_{stride}": np.float32(1 if kind == "score" else stride)}
            out, sum_of = f"{kind}_out_{stride}", f"{kind}_sum_{stride}"
            nodes.append(helper.make_node("Add", [f"{kind}_{stride}", f"{kind}_moved"], [sum_of]))
            nodes.append(helper.make_node("Div", [sum_of, f"unit_{kind}_{stride}"], [out]))
            shapes[out] = list(cells.shape)
    write("scrfd_10g_bnkps", nodes, given, shapes, [1, 3, "height", "width"])


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
