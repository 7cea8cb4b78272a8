"""Training as every stage does it: Muon with AdamW, averaged weights, rates that rise and fall, states that resume."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

NEWTON_STEPS = 4
"""Newton-Schulz steps of Muon: one fewer than is usual costs nothing that shows."""
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrices: torch.Tensor, steps: int = NEWTON_STEPS) -> torch.Tensor:
    """The matrices (..., m, n) with all their singular values brought near 1 (0.7 to 1.2), by a quintic Newton-Schulz
    iteration.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). The iteration runs on the
    Gram matrix, X <- p(XX') X being a polynomial in it: for our wide kernels that is half the work. `torch.optim.Muon`
    rounds to bfloat16 first, which a CPU without instructions for it does twenty times slower than float32.
    """
    upright = matrices.shape[-2] > matrices.shape[-1]
    wide: torch.Tensor = matrices.mT if upright else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    first, third, fifth = QUINTIC
    gram = wide @ wide.mT
    total = torch.eye(wide.shape[-2], dtype=wide.dtype, device=wide.device)
    for _ in range(steps):
        factor = third * gram + fifth * (gram @ gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(first)
        total = factor @ total
        gram = factor @ (gram @ factor)
    result: torch.Tensor = total @ wide
    return result.mT if upright else result


class Muon(torch.optim.Optimizer):
    """Muon for matrices: momentum, orthogonalized, as long as AdamW's step at the same rate. Matrices of one shape are
    orthogonalized together.

    Source of that length: Liu et al., "Muon is scalable for LLM training" (2025).
    """

    def __init__(self, weights: Sequence[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            for alike in self._by_shape(group["params"]).values():
                weights: list[torch.Tensor] = list(alike)
                gradients = [weight.grad for weight in alike if weight.grad is not None]
                means = [self.state[w].setdefault("momentum_buffer", torch.zeros_like(w)) for w in alike]
                torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, means, group["momentum"])
                updates = orthogonalized(torch.stack(ahead)).unbind()
                torch._foreach_mul_(weights, 1 - group["lr"] * group["decay"])
                size = 0.2 * max(alike[0].shape) ** 0.5
                torch._foreach_add_(weights, updates, alpha=-group["lr"] * size)

    @staticmethod
    def _by_shape(weights: Sequence[nn.Parameter]) -> dict[torch.Size, list[nn.Parameter]]:
        """The weights that have a gradient, those of one shape together."""
        alike: dict[torch.Size, list[nn.Parameter]] = {}
        for weight in weights:
            if weight.grad is not None:
                alike.setdefault(weight.shape, []).append(weight)
        return alike


class MuonAdam:
    """Muon for every matrix and every convolution kernel (seen as a matrix), AdamW for the rest.

    A kernel is handed to Muon as a two-dimensional view of the same memory. Embeddings, norms, biases
    and whatever `plain` names (first and last layers) stay with AdamW.
    """

    def __init__(self, module: nn.Module, muon_lr: float, adam_lr: float, plain: Sequence[str] = ()) -> None:
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        rest: list[nn.Parameter] = []
        embeddings = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        for name, weight in module.named_parameters():
            if not weight.requires_grad:
                continue
            if weight.ndim < 2 or id(weight) in embeddings or any(part in name for part in plain):
                rest.append(weight)
            else:
                self._pairs.append((weight, nn.Parameter(self._flat(weight.data, weight))))
        self._muon = Muon([flat for _, flat in self._pairs], lr=muon_lr)
        fused = any(weight.is_cuda for weight in rest)
        self._adam = torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=fused)
        self._rates = (muon_lr, adam_lr)

    @staticmethod
    def _flat(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """`values` as a matrix, its columns in the order in which the kernel `like` lies in memory."""
        if like.ndim == 4 and not like.is_contiguous():
            values = values.permute(0, 2, 3, 1)
        return values.reshape(values.shape[0], -1)

    def check_shared(self) -> None:
        """Raise when a flattened view does not share memory with its kernel (it lies plain or channels_last)."""
        for weight, flat in self._pairs:
            if weight.data_ptr() != flat.data_ptr():
                raise RuntimeError("convolution weights must lie plain or channels_last in memory")

    def step(self, factor: float) -> None:
        """One update with learning rates times `factor`; gradients are freed."""
        for weight, flat in self._pairs:
            flat.grad = None if weight.grad is None else self._flat(weight.grad, weight).to(flat.dtype)
        for optimizer, rate in zip((self._muon, self._adam), self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
        for weight, flat in self._pairs:
            weight.grad = None
            flat.grad = None
        self._adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """State of both optimizers."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both optimizers."""
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])


class Average:
    """Exponential moving average of a module's weights, with a warm-up: decay = min(limit, (1 + n) / (10 + n))."""

    def __init__(self, module: nn.Module, limit: float) -> None:
        self._limit = limit
        self._count = 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        self._count += 1
        decay = min(self._limit, (1 + self._count) / (10 + self._count))
        mine: list[torch.Tensor] = []
        theirs: list[torch.Tensor] = []
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                mine.append(self.weights[name])
                theirs.append(value.detach())
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Weights and number of updates."""
        return {"weights": self.weights, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore weights and number of updates."""
        self._count = int(state["count"])
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)


class Learner:
    """A module in training: its weights, their optimizer and their average, and how all three are kept."""

    def __init__(
        self, module: nn.Module, rates: tuple[float, float], average: float, plain: Sequence[str] = ()
    ) -> None:
        """`rates`: of Muon and of AdamW. `plain`: names of the matrices that stay with AdamW."""
        self.module = module
        self.average = Average(module, average)
        self._optimizer = MuonAdam(module, *rates, plain=plain)
        self._optimizer.check_shared()

    def step(self, factor: float) -> None:
        """One update from the gradients that lie there, with learning rates times `factor`."""
        self._optimizer.step(factor)
        self.average.update(self.module)

    @contextmanager
    def averaged(self) -> Iterator[Any]:
        """The module with its averaged weights and in evaluation mode, for as long as the block lasts."""
        present = {name: value.clone() for name, value in self.module.state_dict().items()}
        training = self.module.training
        self.module.load_state_dict(self.average.weights)
        self.module.eval()
        try:
            yield self.module
        finally:
            self.module.load_state_dict(present)
            self.module.train(training)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs."""
        return {
            "model": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.module.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])


class Clock:
    """How far a run is, 0 to 1, by steps or by minutes of training (whichever is nearer its end)."""

    def __init__(self, steps: int, minutes: float) -> None:
        self._steps, self._minutes = steps, minutes
        self._before, self._start = 0.0, time.monotonic()
        if steps <= 0 and minutes <= 0:
            raise ValueError("give --steps or --minutes")

    def resume(self, seconds: float) -> None:
        """Count `seconds` of earlier training."""
        self._before = seconds

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier ones included."""
        return self._before + time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """0 at the start, 1 at the end."""
        by_steps = step / self._steps if self._steps > 0 else 0.0
        by_time = self.seconds / (60 * self._minutes) if self._minutes > 0 else 0.0
        return min(1.0, max(by_steps, by_time))


class Stop:
    """Whether the process was asked to end, by SIGTERM or by Ctrl+C."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def training_parser(
    text: str | None, *, batch: int, rates: tuple[float, float], average: float, every: int
) -> argparse.ArgumentParser:
    """A command line with the options that all trainings have. `rates`: of Muon and of AdamW."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=0, help="training ends after so many steps; 0: by time alone")
    parser.add_argument("--batch", type=int, default=batch, help="samples a step")
    parser.add_argument("--muon-rate", type=float, default=rates[0])
    parser.add_argument("--adam-rate", type=float, default=rates[1])
    parser.add_argument("--average", type=float, default=average, help="decay of the weights' average")
    parser.add_argument("--every", type=int, default=every, help="steps between lines of the log")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def add_emphasis(parser: argparse.ArgumentParser) -> None:
    """The option that the denoiser's trainings have as well (see Noise.emphasis)."""
    parser.add_argument("--emphasis", type=float, default=6.0, help="at most so much more do noisy steps count")


def rate_factor(step: int, progress: float, warmup: int = 50, decay_from: float = 0.6, floor: float = 0.05) -> float:
    """Learning-rate factor: a linear warm-up, then 1, then a line down to `floor` from `decay_from` on."""
    rise = min(1.0, (step + 1) / warmup)
    fall = 1.0 if progress < decay_from else 1 - (1 - floor) * (progress - decay_from) / (1 - decay_from)
    return rise * fall


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state so that a killed process leaves the earlier one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(dict(state), part)
    part.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The training state, or None when there is none yet."""
    if not path.is_file():
        return None
    return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True, mmap=True))
