"""Judge trainings by the portraits that are set aside for that: choices are made here, never on the held-out ones.

    python tools/bench/judge.py --model build/bench --model models/bench --out build/bench/judged

Each judging portrait is repainted at strength 0.45 as the chain does it (DPM++ 2M Karras, guidance 2) with two seeds.
Its face is then compared with the one in the portrait by the face network of face_loss.py at the landmarks that are
known, and by sharpness (the mean size of the Laplacian, as a ratio). Pictures from text are drawn for looking at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from benchkit import WORK, Image, autocast, say, scaled, sheet, to_pictures
from contexts import Contexts
from evaluate import GUIDANCE, PROMPT, STEPS, STRENGTH, TEXT_GUIDANCE
from face_loss import FaceLoss, chips, similarity
from latents import Bucket, Cache
from noise import Noise
from parts import BETAS, load_frozen, need_part

TEXTS = ("portrait photo of a smiling woman", "portrait photo of a man wearing glasses",
         "portrait photo of a woman with red hair", "portrait photo of a man wearing a hat",
         "easyphoto_face, easyphoto, 1person", "portrait photo of an old man, beard",
         "portrait photo of a young woman, long blond hair, blurred green background",
         "portrait photo of a woman wearing sunglasses")  # fmt: skip


class Painter:
    """The denoiser of a folder, as far as judging needs it."""

    def __init__(self, folder: Path, rest: Path, device: torch.device) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel

        self.device = device
        self.unet = load_frozen(UNet2DConditionModel, need_part("unet", folder), device)
        self.vae = load_frozen(AutoencoderKL, need_part("vae", folder, rest), device)
        self.contexts = Contexts(need_part("tokenizer", folder, rest), need_part("text_encoder", folder), device)

    @torch.no_grad()
    def paint(self, latents: torch.Tensor, texts: list[str], strength: float, guidance: float, seed: int) -> Any:
        """Latents repainted at a strength; 1 paints from noise alone."""
        from diffusers import DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler

        if strength < 1:
            solver: Any = DPMSolverMultistepScheduler(use_karras_sigmas=True, **BETAS)
        else:
            solver = EulerAncestralDiscreteScheduler(**BETAS)
        solver.set_timesteps(STEPS, device=self.device)
        first = STEPS - max(1, round(STEPS * strength))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(latents.shape, generator=generator).to(self.device)
        times = solver.timesteps[first:]
        if strength < 1:
            solver.set_begin_index(first)
            now = solver.add_noise(latents, noise, times[:1].repeat(len(latents)))
        else:
            now = noise * solver.init_noise_sigma
        context = self.contexts([""] * len(texts) + texts)
        on_device = torch.Generator(self.device).manual_seed(seed)
        more = {} if strength < 1 else {"generator": on_device}
        for time in times:
            both = solver.scale_model_input(torch.cat([now, now]), time)
            with autocast(self.device):
                without, wanted = self.unet(both, time, encoder_hidden_states=context).sample.float().chunk(2)
            now = solver.step(without + guidance * (wanted - without), time, now, **more).prev_sample
        return now

    @torch.no_grad()
    def pictures(self, latents: torch.Tensor) -> torch.Tensor:
        """Decoded, in [-1, 1]."""
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample  # type: ignore[no-any-return]


def sharpness(faces: torch.Tensor) -> torch.Tensor:
    """Mean size of the Laplacian of chips (n, 3, h, w), (n,)."""
    grey = faces.mean(1, keepdim=True)
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=faces.device)[None, None]
    return torch.nn.functional.conv2d(grey, kernel).abs().mean((1, 2, 3))


@torch.no_grad()
def judge(painter: Painter, look: FaceLoss, judged: Bucket, seeds: int) -> tuple[dict[str, float], list[list[Image]]]:
    """Medians over portraits and seeds, and rows of portrait, decoded latents and repainted ones."""
    known = judged.points.isfinite().all(-1).all(-1)
    latents, points = judged.latents[known].float(), judged.points[known]
    photos = scaled(judged.kept("pictures")[known])
    maps = similarity(points, look.target)
    real = chips(photos, maps)
    own, _ = look.look(real)
    distances, ratios, rows = [], [], []
    for seed in range(seeds):
        made = painter.pictures(painter.paint(latents, [PROMPT] * len(latents), STRENGTH, GUIDANCE, 100 + seed))
        faces = chips(made, maps)
        distances.append((look.look(faces)[0] - own).norm(dim=1))
        ratios.append(sharpness(faces) / sharpness(real))
        rows = [to_pictures(photos[:24]), to_pictures(painter.pictures(latents[:24])), to_pictures(made[:24])]
    far = torch.cat(distances)
    return {
        "median_distance": round(float(far.median()), 4),
        "p90_distance": round(float(far.quantile(0.9)), 4),
        "sharpness": round(float(torch.cat(ratios).median()), 4),
    }, rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", required=True, help="a folder; may be given again")
    parser.add_argument("--rest", type=Path, help="where VAE and tokenizer lie, if not in the model's folder")
    parser.add_argument("--latents", type=Path, default=WORK / "latents.pt", help="made with --pictures")
    parser.add_argument("--face-net", type=Path, default=WORK / "dlib_net.safetensors")
    parser.add_argument("--out", type=Path, default=WORK / "judged")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    device = torch.device(options.device)
    judged = Cache.load(options.latents).judged.to(device)
    for folder in options.model:
        painter = Painter(folder, options.rest or folder, device)
        look = FaceLoss.over(painter.vae, options.face_net, Noise(device), device)
        found, rows = judge(painter, look, judged, options.seeds)
        say(f"{folder}: {json.dumps(found)}")
        sheet([*(r[:12] for r in rows), *(r[12:] for r in rows)], options.out / f"{folder.name}-img2img.jpg")
        drawn = []
        for size in ((32, 32), (44, 32)):
            blank = torch.zeros(len(TEXTS), 4, *size, device=device)
            for seed in (1, 2):
                drawn.append(to_pictures(painter.pictures(painter.paint(blank, list(TEXTS), 1.0, TEXT_GUIDANCE, seed))))
        sheet(drawn[:2], options.out / f"{folder.name}-text.jpg", side=192)
        sheet(drawn[2:], options.out / f"{folder.name}-tall.jpg", side=192)


if __name__ == "__main__":
    main()
