"""A small patch critic, so that the VAE's decoder learns texture: L1 alone paints skin smooth.

Hinge losses and spectral norms (Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018), and
patches as in Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


class PatchCritic(nn.Module):
    """Scores of how real the patches (about 30 px wide) of pictures (N, 3, H, W) in [-1, 1] look."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [spectral_norm(nn.Conv2d(channels, out, 4, stride, 1)), nn.LeakyReLU(0.2)]
            channels = out
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 3, 1, 1)))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, 1, about H / 4, about W / 4)."""
        return self.layers(pictures)  # type: ignore[no-any-return]


class Adversary:
    """The critic with its optimizer."""

    def __init__(self, device: torch.device, rate: float = 4e-4) -> None:
        self.critic = PatchCritic().to(device)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=rate, betas=(0.5, 0.9))

    def learn(self, real: torch.Tensor, made: torch.Tensor) -> float:
        """One step of the critic; its hinge loss (2 is blind, 0 is sure)."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.relu(1 - self.critic(real)).mean() + functional.relu(1 + self.critic(made.detach())).mean()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    def gradient(self, made: torch.Tensor) -> torch.Tensor:
        """Gradient of the generator's loss by its pictures."""
        leaf = made.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(-self.critic(leaf).mean(), leaf)
        return gradient

    def state_dict(self) -> dict[str, Any]:
        """Critic and optimizer."""
        return {"critic": self.critic.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])


def mixed(error: torch.Tensor, adversarial: torch.Tensor, share: float) -> torch.Tensor:
    """The gradient to send back: the error's, and the critic's scaled to `share` of its length."""
    scale = share * error.norm() / adversarial.norm().clamp_min(1e-12)
    return torch.add(error, scale * adversarial)
