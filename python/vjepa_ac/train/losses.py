"""What the demo model is trained with: prediction, spread, and supervision that is dropped afterwards."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Architecture
from ..model import WorldModel
from .data import Batch

WEIGHTS = {
    "step1": 1.0,
    "step2": 0.5,
    "std": 1.0,
    "cov": 0.04,
    "inverse": 1.0,
    "pixels": 30.0,
    "labels": 2.0,
}
"""Weight of each loss in the sum."""
STD_FLOOR = 0.6
"""Standard deviation below which a latent element counts as collapsing."""
POSITION_SCALE = 0.1
"""Metres that count as one in the regression of positions."""
GRIPPER_SCALE = 1 / 3
"""Closedness that counts as one there."""
LABEL_NOISE = 0.3
"""Noise on the latents before that regression. To tell a position or the gripper from one noisy token, the
latents must differ by more than the noise, and so the energy becomes sensitive to them."""
LABEL_WEIGHTS = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0)
"""Weights of the labels: end effector (3), cube (3), gripper."""
POSITION_CENTRE = (0.48, 0.0, 0.12)
CUBE_CENTRE = (0.48, 0.0, 0.04)
ACTION_SCALE = (0.03, 0.03, 0.03, 1.0, 1.0, 1.0, 0.4)
"""What counts as one in the regression of actions; rotations hardly occur."""


class Heads(nn.Module):
    """Networks that only training uses: inverse dynamics, pixels, labels."""

    def __init__(self, arch: Architecture, hidden: int = 192) -> None:
        super().__init__()
        width = arch.tokens * arch.embed_dim
        self.grid, self.patch = arch.grid, arch.patch_size
        self.inverse = nn.Sequential(nn.Linear(2 * width, hidden), nn.GELU(), nn.Linear(hidden, 7))
        self.labels = nn.Sequential(nn.Linear(arch.embed_dim, hidden), nn.GELU(), nn.Linear(hidden, 7))
        self.pixels = nn.Sequential(
            nn.Linear(arch.embed_dim, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, 3 * arch.patch_size**2)
        )

    def picture(self, latents: Tensor) -> Tensor:
        """Latents [B,N,D] → RGB [B,S,S,3] in 0…1 (not clipped)."""
        g, p = self.grid, self.patch
        patches = self.pixels(latents).view(-1, g, g, p, p, 3)
        return patches.permute(0, 1, 3, 2, 4, 5).reshape(-1, g * p, g * p, 3)


def spread_losses(latents: Tensor) -> tuple[Tensor, Tensor]:
    """VICReg's variance hinge and covariance penalty of latents [B,N,D], for every token by itself."""
    centred = latents - latents.mean(0)
    std = (centred.square().mean(0) + 1e-4).sqrt()
    covariance = torch.einsum("bnd,bne->nde", centred, centred) / (latents.shape[0] - 1)
    off_diagonal = covariance.square().sum((1, 2)) - covariance.diagonal(dim1=1, dim2=2).square().sum(1)
    return F.relu(STD_FLOOR - std).mean(), (off_diagonal / latents.shape[2]).mean()


def pixel_loss(pictures: Tensor, images: Tensor) -> Tensor:
    """Mean square error [.] of pictures against u8 images.

    Coloured pixels count more, the few blue ones of the fingers and green ones of the cube most: they say
    what the hand and the cube do, but hardly show in a plain mean.
    """
    wanted = images.float() / 255
    red, green, blue = wanted.unbind(-1)
    weight = 1 + 5 * (wanted.amax(-1) - wanted.amin(-1))
    weight = (
        weight + 60 * F.relu(blue - torch.maximum(red, green)) + 40 * F.relu(green - torch.maximum(red, blue))
    )
    return ((pictures - wanted).square() * weight[..., None]).mean()


def labels_of(batch: Batch) -> Tensor:
    """Regression targets [B·T,7]: end effector (3), cube (3), gripper."""
    effector = (batch.states[..., :3] - torch.tensor(POSITION_CENTRE)) / POSITION_SCALE
    cube = (batch.cubes - torch.tensor(CUBE_CENTRE)) / POSITION_SCALE
    return torch.cat((effector, cube, (batch.states[..., 6:] - 0.3) / GRIPPER_SCALE), -1).flatten(0, 1)


def label_loss(heads: Heads, latents: Tensor, labels: Tensor) -> Tensor:
    """Error of the labels [B,7] as every token of the latents [B,N,D] by itself tells them."""
    noisy = latents + LABEL_NOISE * torch.randn_like(latents)
    wanted = labels[:, None].expand(-1, latents.shape[1], -1)
    error = F.smooth_l1_loss(heads.labels(noisy), wanted, beta=0.1, reduction="none")
    return (error * torch.tensor(LABEL_WEIGHTS)).mean()


def picture_losses(model: WorldModel, heads: Heads, batch: Batch) -> dict[str, Tensor]:
    """The losses that need single frames only, of a batch of windows of any length, unweighted."""
    images = batch.images.flatten(0, 1)
    latents = model.encode(images)
    std, cov = spread_losses(latents)
    return {
        "std": std,
        "cov": cov,
        "pixels": pixel_loss(heads.picture(latents), images),
        "labels": label_loss(heads, latents, labels_of(batch)),
    }


def losses(model: WorldModel, heads: Heads, batch: Batch) -> dict[str, Tensor]:
    """Every loss of a batch of three-frame windows, unweighted."""
    count, frames = batch.images.shape[:2]
    images = batch.images.flatten(0, 1)
    latents = model.encode(images)
    z = latents.unflatten(0, (count, frames))
    predicted = model.predict(
        z[:, :-1].flatten(0, 1)[:, None],
        batch.actions.flatten(0, 1)[:, None],
        batch.states[:, :-1].flatten(0, 1)[:, None],
    )[:, 0].unflatten(0, (count, frames - 1))
    second = model.predict(predicted[:, :1], batch.actions[:, 1:2], batch.states[:, 1:2])[:, 0]
    std, cov = spread_losses(latents)
    pairs = torch.cat((z[:, :-1].flatten(2), z[:, 1:].flatten(2)), -1)
    scaled = batch.actions / torch.tensor(ACTION_SCALE)
    return {
        "step1": (predicted - z[:, 1:]).abs().mean(),
        "step2": (second - z[:, 2]).abs().mean(),
        "std": std,
        "cov": cov,
        "inverse": F.smooth_l1_loss(heads.inverse(pairs), scaled),
        # The last frame of each window is enough and saves a tenth of the time.
        "pixels": pixel_loss(heads.picture(z[:, -1]), batch.images[:, -1]),
        "labels": label_loss(heads, latents, labels_of(batch)),
    }
