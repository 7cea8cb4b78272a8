"""A loss that looks at the face itself: the picture that one step promises, decoded and seen by a face network.

The denoiser's own loss counts every latent alike; whether the face is still that of the same person is a small part of
it. Where little noise is left, one step already says what the picture will be. That picture is decoded, its face is
brought to the network's chip by the landmarks that are known, and compared with the face in the photo: the network's
descriptor (the person) and what its earlier layers see (edges, texture, parts; Zhang et al., "The unreasonable
effectiveness of deep features as a perceptual metric", 2018). It counts as (1 - t/T)^2, as in ID-Booth (Tomasevic et
al., 2025) and others, since a promise made from more noise is only a mean of many faces.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchkit import autocast, find_project, scaled
from latents import Bucket
from noise import Noise
from parts import load_frozen, need_part
from torch.nn import functional

CHIP = 150
SEEN = (2, 6, 9)
"""The blocks of the network (see easyphoto.vision.backends.dlib_net) whose output is compared as well."""
LATEST = 600
"""The noisiest t whose promise is looked at."""


def similarity(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The maps (n, 2, 3) of the chip's pixels to the picture's: the least-squares similarity that takes `target`
    (p, 2) to `points` (n, p, 2).

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), in the
    plane, where it has a closed form in complex numbers.
    """
    mean, centre = points.mean(1, keepdim=True), target.mean(0, keepdim=True)
    moved, still = points - mean, target - centre
    length = still.pow(2).sum()
    real = (moved * still).sum((1, 2)) / length
    imaginary = (moved[..., 1] * still[:, 0] - moved[..., 0] * still[:, 1]).sum(1) / length
    turn = torch.stack([torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)], 1)
    shift = mean[:, 0] - (turn @ centre[0][:, None])[..., 0]
    return torch.cat([turn, shift[..., None]], -1)


def chips(pictures: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """The faces (n, 3, 150, 150) of pictures (n, 3, h, w), by maps of the chip's pixels to the pictures'."""
    place = torch.arange(CHIP, device=pictures.device, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).reshape(-1, 2)
    there = grid @ maps[:, :, :2].mT + maps[:, None, :, 2]
    size = torch.tensor(pictures.shape[:1:-1], device=pictures.device, dtype=torch.float32)
    there = (2 * there + 1) / size - 1
    there = there.reshape(len(pictures), CHIP, CHIP, 2)
    return functional.grid_sample(pictures, there, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Promises:
    """What one step makes of noisy latents: the noise that it predicts and these latents (both (n, 4, h, w)), their t
    (n), the frames of a bucket that they are of (n), and whom the faces are to show: a vector (n, 128) and the frame of
    a photo (n) of each."""

    output: torch.Tensor
    noisy: torch.Tensor
    times: torch.Tensor
    places: torch.Tensor
    vectors: torch.Tensor
    shown: torch.Tensor


class FaceLoss:
    """The loss, with the frozen decoder and face network that it looks through."""

    def __init__(self, vae: Any, net: Any, marks: tuple[torch.Tensor, torch.Tensor], noise: Noise, count: int) -> None:
        """`marks`: the 68 landmarks in a chip, and the mean of descriptors, which vectors are without. `count`: how
        many samples of a batch are looked at."""
        target, centre = marks
        self._vae, self._net, self.target = vae, net, target
        self._noise, self._count, self._centre = noise, count, centre

    @staticmethod
    def load(options: argparse.Namespace, noise: Noise, device: torch.device) -> FaceLoss:
        """With the VAE that lies in the work folder or where the training began."""
        from diffusers import AutoencoderKL

        vae = load_frozen(AutoencoderKL, need_part("vae", options.work, options.init), device)
        return FaceLoss.over(
            vae.to(memory_format=torch.channels_last), options.face_net, noise, device, options.face_batch
        )

    @staticmethod
    def over(vae: Any, face_net: Path, noise: Noise, device: torch.device, count: int = 32) -> FaceLoss:
        """With a VAE and the network's weights in a file (see `write_net`)."""
        from safetensors.torch import load_file

        find_project()
        dlib_net = importlib.import_module("easyphoto.vision.backends.dlib_net")
        dlib_faces = importlib.import_module("easyphoto.vision.backends.dlib_faces")
        state = load_file(face_net)
        target = state.pop("target").float().to(device)
        net = dlib_net.DlibNet().eval().requires_grad_(False)
        net.load_state_dict({name: value.float() for name, value in state.items()})
        centre = torch.tensor(dlib_faces.measurements()["mean"], dtype=torch.float32, device=device)
        return FaceLoss(vae, net.to(device), (target, centre), noise, count)

    def look(self, faces: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Descriptors (n, 128) of chips in [-1, 1], and what the earlier layers see."""
        net = self._net
        centred = ((faces + 1) * 127.5 - net.get_buffer("mean")) / 256.0
        seen = functional.max_pool2d(functional.relu(net.stem(centred)), 3, stride=2)
        layers = []
        for number, block in enumerate(net.blocks):
            seen = block(seen)
            if number in SEEN:
                layers.append(functional.normalize(seen, dim=1, eps=1e-4))
        return net.head(seen.mean((2, 3))), layers

    def distance(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """How unlike the chips (n, 3, 150, 150) are, (n,): of the descriptors and of what the layers see."""
        mine, my_layers = self.look(made)
        with torch.no_grad():
            theirs, their_layers = self.look(real)
        person = (mine - theirs).pow(2).sum(1)
        sight = sum((a - b).pow(2).sum(1).mean((1, 2)) for a, b in zip(my_layers, their_layers, strict=True))
        return person + 0.5 * sight

    def __call__(
        self, output: torch.Tensor, noisy: torch.Tensor, times: torch.Tensor, bucket: Bucket, places: torch.Tensor
    ) -> torch.Tensor:
        """The mean over the first samples of a batch, the frames at `places` of the bucket; those without a face and
        with too much noise count nothing."""
        part = slice(0, min(self._count, len(output)))
        points = bucket.points[places[part]]
        known = points.isfinite().all(-1).all(-1) & (times[part] < LATEST)
        counts = (1 - times[part] / 1000).pow(2) * known
        points = torch.where(known[:, None, None], points, self.target)
        promised = self._noise.clean(noisy[part], output[part], times[part])
        maps = similarity(points, self.target)
        with autocast(output.device):
            decoded = self._vae.decode(promised / self._vae.config.scaling_factor).sample
        made, real = chips(decoded.float(), maps), chips(scaled(bucket.kept("pictures")[places[part]]), maps)
        with autocast(output.device):
            distance = self.distance(made, real)
        return (distance.float() * counts).sum() / counts.sum().clamp_min(1.0)

    def fits(self, points: torch.Tensor, side: int, cut: int) -> torch.Tensor:
        """Whether the chip of each face, of points (n, 68, 2), lies nearly in a frame of `side` pixels, and in a cut of
        `cut` latents."""
        maps = similarity(points, self.target)
        corners = torch.tensor([[0.0, 0.0], [CHIP, 0.0], [CHIP, CHIP], [0.0, CHIP]], device=points.device)
        there = corners @ maps[:, :, :2].mT + maps[:, None, :, 2]
        spread = (there.amax(1) - there.amin(1)).amax(1)
        inside = (there > -0.06 * side).all(-1).all(-1) & (there < 1.06 * side).all(-1).all(-1)
        return inside & (spread <= 8 * cut)

    def away(self, of: Promises, bucket: Bucket, cut: int) -> tuple[torch.Tensor, torch.Tensor]:
        """How far the promised faces are from the vectors (n,), one less the cosine, and how unlike the photos are that
        the earlier layers see (n,).

        Only a square of `cut` latents around each face is decoded, since decoding is most of the cost. The photo of
        somebody else has other edges, so the first of the layers looks only at one's own. By the vector alone a face
        becomes a caricature that no other network takes for the person.
        """
        maps = similarity(bucket.points[of.places], self.target)
        promised = self._noise.clean(of.noisy, of.output, of.times)
        middle = maps @ torch.tensor([CHIP / 2, CHIP / 2, 1.0], device=maps.device)
        room = promised.shape[-1] - cut
        corners = (middle / 8 - cut / 2).round().clamp(0, room).long()
        cuts = torch.stack(
            [one[:, y : y + cut, x : x + cut] for one, (x, y) in zip(promised, corners.tolist(), strict=True)]
        )
        maps = torch.cat([maps[:, :, :2], maps[:, :, 2:] - 8 * corners[:, :, None]], -1)
        photos = chips(scaled(bucket.kept("pictures")[of.shown]), similarity(bucket.points[of.shown], self.target))
        own = of.shown == of.places
        with autocast(of.output.device):
            decoded = self._vae.decode(cuts / self._vae.config.scaling_factor).sample
            seen, mine = self.look(chips(decoded.float(), maps))
            with torch.no_grad():
                _, theirs = self.look(photos)
            layers = [(a - b).pow(2).sum(1).mean((1, 2)).float() for a, b in zip(mine, theirs, strict=True)]
        person = 1 - functional.cosine_similarity(seen.float() - self._centre, of.vectors, dim=1)
        return person, layers[0] * own + sum(layers[1:])


def write_net(out: Path, portraits: Path) -> None:
    """Write the face network in half precision, with the mean landmarks of its chips (measured on portraits)."""
    import cv2
    import dlib
    from benchkit import Faces
    from safetensors.torch import save_file

    find_project()
    dlib_net = importlib.import_module("easyphoto.vision.backends.dlib_net")
    dlib_faces = importlib.import_module("easyphoto.vision.backends.dlib_faces")
    net = dlib_net.load(dlib_faces.model_file("dlib_face_recognition_resnet_model_v1.dat"))
    faces, found = Faces(), []
    for path in sorted(portraits.rglob("*.jpg"))[::20]:
        picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        box = faces.find(picture)
        if box is None:
            continue
        shape = faces.shape(picture, box[0].tolist())
        details = dlib.get_face_chip_details(shape, CHIP, 0.25)
        middle, angle = details.rect.dcenter(), details.angle
        scale = CHIP / details.rect.width()
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = np.array([[p.x, p.y] for p in shape.parts()])
        found.append((points - (middle.x, middle.y)) @ turn.T * scale + CHIP / 2)
    target = torch.tensor(np.median(found, axis=0), dtype=torch.float16)
    state = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file({**state, "target": target}, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the face network for --face-net.")
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    write_net(chosen.out, chosen.portraits)
