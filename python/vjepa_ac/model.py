"""The world model in PyTorch: encoder, action-conditioned predictor, and the LayerNorm between them.

One definition serves all sizes. Parameter names are those of the published V-JEPA 2-AC checkpoints. This is
the plain form, which recomputes everything for every candidate: simple enough to be checked by eye, and what
the exported graphs (`export.py`) are compared with.

Shapes: B batch, T time steps, N patch tokens of a frame, D latent width, S side of the picture.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Architecture
from .pose import compose

PIXEL_MEAN = (0.485, 0.456, 0.406)
"""ImageNet mean of R, G, B in 0..1; the encoder was trained on pixels normalised with it."""
PIXEL_STD = (0.229, 0.224, 0.225)
ACTION_DIM = 7
"""Length of an action and of a state: position (3), rotation (3), gripper."""
CONDITION_TOKENS = 2
"""Tokens in front of a time step's patches: action, state."""
LATENT_EPS = 1e-5
"""Epsilon of the parameter-free LayerNorm of latents."""


def normalise_latents(latents: Tensor) -> Tensor:
    """LayerNorm without parameters over the last axis: the form in which latents are kept and compared."""
    return F.layer_norm(latents, latents.shape[-1:], eps=LATENT_EPS)


def normalise_pixels(frames: Tensor) -> Tensor:
    """RGB frames [B,S,S,3] in 0..255, u8 or f32 → normalised pixels f32 [B,3,S,S]."""
    mean = torch.tensor(PIXEL_MEAN, device=frames.device) * 255
    std = torch.tensor(PIXEL_STD, device=frames.device) * 255
    return ((frames.float() - mean) / std).permute(0, 3, 1, 2)


def rope_tables(head_dim: int, steps: int, grid: int, condition_tokens: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [steps, condition_tokens + grid², head_dim] of the rotary position embedding.

    A head's channels are split into three equal groups (time, row, column) of interleaved pairs; what is left
    over is not rotated. Condition tokens rotate in time only. The frequencies f0…fk are tiled (f0…fk, f0…fk)
    over a group although pairs are interleaved, so the two halves of a pair turn by different angles. This is
    not a rotation, but the published weights were trained with it.
    """
    pairs = head_dim // 3 // 2
    frequencies = 10000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    place = torch.zeros(steps, condition_tokens + grid * grid, 3, dtype=torch.float64)
    place[..., 0] = torch.arange(steps)[:, None]
    place[:, condition_tokens:, 1] = torch.arange(grid).repeat_interleave(grid)
    place[:, condition_tokens:, 2] = torch.arange(grid).repeat(grid)
    angles = (place[..., None] * frequencies).repeat(1, 1, 1, 2).flatten(-2)
    angles = F.pad(angles, (0, head_dim - angles.shape[-1]))
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the position embedding to queries or keys [B, heads, tokens, head_dim]."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack((-odd, even), -1).flatten(-2) * sin


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens [B, n, dim] → [B, n, dim]; `mask` [n, n] is true where a row may see a column."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin, mask)
        return x + self.mlp(self.norm2(x))


class PatchStem(nn.Module):
    """Projection of pixel patches. Its kernel covers several frames, so the one frame is repeated."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        kernel = (arch.tubelet_size, arch.patch_size, arch.patch_size)
        self.proj = nn.Conv3d(3, arch.embed_dim, kernel, stride=kernel)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [B,3,S,S] → tokens [B,N,D]."""
        tubelet = pixels.unsqueeze(2).expand(-1, -1, self.proj.kernel_size[0], -1, -1)
        return self.proj(tubelet).flatten(2).transpose(1, 2)


class ConvStem(nn.Module):
    """Strided 3×3 convolutions with GELU between them, halving the picture down to the token grid."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        widths = (3, *arch.stem_widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(inner, outer, 3, stride=2, padding=1) for inner, outer in pairwise(widths)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [B,3,S,S] → tokens [B,N,D]."""
        x = self.convs[0](pixels)
        for conv in self.convs[1:]:
            x = conv(F.gelu(x))
        return x.flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Vision transformer over the patches of one frame."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.patch_embed = ConvStem(arch) if arch.stem == "conv" else PatchStem(arch)
        self.blocks = nn.ModuleList(
            Block(arch.embed_dim, arch.num_heads, arch.mlp_ratio, arch.eps) for _ in range(arch.depth)
        )
        self.norm = nn.LayerNorm(arch.embed_dim, arch.eps)
        self.reset_tables(arch)
        initialise(self)

    def reset_tables(self, arch: Architecture) -> None:
        """(Re)make the rotary tables, which checkpoints do not hold."""
        cos, sin = rope_tables(arch.embed_dim // arch.num_heads, 1, arch.grid, 0)
        self.register_buffer("rope_cos", cos[0], persistent=False)
        self.register_buffer("rope_sin", sin[0], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B,3,S,S] → tokens [B,N,D], before the LayerNorm of latents."""
        x = self.patch_embed(pixels)
        for block in self.blocks:
            x = block(x, self.rope_cos, self.rope_sin)
        return self.norm(x)


class Predictor(nn.Module):
    """Predicts, from each time step and those before it, the latents of the frame that follows."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        dim, heads = arch.predictor_embed_dim, arch.predictor_num_heads
        self.residual = arch.residual_prediction
        self.predictor_embed = nn.Linear(arch.embed_dim, dim)
        self.action_encoder = nn.Linear(ACTION_DIM, dim)
        self.state_encoder = nn.Linear(ACTION_DIM, dim)
        self.predictor_blocks = nn.ModuleList(
            Block(dim, heads, arch.predictor_mlp_ratio, arch.eps) for _ in range(arch.predictor_depth)
        )
        self.predictor_norm = nn.LayerNorm(dim, arch.eps)
        self.predictor_proj = nn.Linear(dim, arch.embed_dim)
        self.reset_tables(arch)
        initialise(self)

    def reset_tables(self, arch: Architecture) -> None:
        """(Re)make the rotary tables, which checkpoints do not hold."""
        head_dim = arch.predictor_embed_dim // arch.predictor_num_heads
        cos, sin = rope_tables(head_dim, arch.max_steps, arch.grid, CONDITION_TOKENS)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)

    def forward(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Latents [B,T,N,D], actions and states [B,T,7] → tokens [B,T,N,D] of the next frames.

        Step t sees the tokens of steps 0..t: an action decides the frame after it. The result is not yet
        normalised.
        """
        steps = latents.shape[1]
        if steps > self.rope_cos.shape[0]:
            raise ValueError(
                f"{steps} time steps, the predictor was built for at most {self.rope_cos.shape[0]}"
            )
        action, state = self.action_encoder(actions), self.state_encoder(states)
        x = torch.cat((action[:, :, None], state[:, :, None], self.predictor_embed(latents)), 2)
        per_step = x.shape[2]
        x = x.flatten(1, 2)
        mask = None
        if steps > 1:
            step = torch.arange(steps, device=x.device).repeat_interleave(per_step)
            mask = step[:, None] >= step[None, :]
        cos, sin = self.rope_cos[:steps].flatten(0, 1), self.rope_sin[:steps].flatten(0, 1)
        for block in self.predictor_blocks:
            x = block(x, cos, sin, mask)
        x = x.unflatten(1, (steps, per_step))[:, :, CONDITION_TOKENS:]
        x = self.predictor_proj(self.predictor_norm(x))
        return latents + x if self.residual else x


def initialise(module: nn.Module) -> None:
    """Weights for training from scratch: small normal ones, residual branches scaled down with depth.

    Convolutions of the convolutional stem keep PyTorch's initialisation: small ones would starve the stack.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv3d)):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    blocks = [layer for layer in module.modules() if isinstance(layer, Block)]
    with torch.no_grad():
        for i, block in enumerate(blocks):
            block.attn.proj.weight.div_(math.sqrt(2.0 * (i + 1)))
            block.mlp.fc2.weight.div_(math.sqrt(2.0 * (i + 1)))


class WorldModel(nn.Module):
    """Encoder and predictor of one architecture."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.encoder = Encoder(arch)
        self.predictor = Predictor(arch)

    def reset_tables(self) -> None:
        """(Re)make the rotary tables of both networks, which checkpoints do not hold."""
        self.encoder.reset_tables(self.arch)
        self.predictor.reset_tables(self.arch)

    def encode(self, frames: Tensor) -> Tensor:
        """RGB frames [B,S,S,3] in 0..255, u8 or f32 → normalised latents [B,N,D]."""
        return normalise_latents(self.encoder(normalise_pixels(frames)))

    def predict(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Latents [B,T,N,D], actions and states [B,T,7] → latents [B,T,N,D] one step on, all normalised."""
        return normalise_latents(self.predictor(latents, actions, states))

    def rollout(
        self,
        context: Tensor,
        context_states: Tensor,
        context_actions: Tensor,
        actions: Tensor,
        states: Tensor,
    ) -> Tensor:
        """Latents after each of H actions, [B,H,N,D], predicted frames being fed back.

        Arguments as of the exported rollout graphs: `context` [1 or B,T,N,D], `context_states` [1 or B,T,7]
        (its last entry is superseded by `states`), `context_actions` [1 or B,T−1,7], `actions` and `states`
        [B,H,7].
        """
        batch, horizon = actions.shape[:2]
        latents = context.expand(batch, -1, -1, -1)
        past_states = context_states[:, :-1].expand(batch, -1, -1)
        past_actions = context_actions.expand(batch, -1, -1)
        all_states = torch.cat((past_states, states), 1)
        all_actions = torch.cat((past_actions, actions), 1)
        steps = latents.shape[1]
        for h in range(horizon):
            known = steps + h
            following = self.predict(latents, all_actions[:, :known], all_states[:, :known])[:, -1:]
            latents = torch.cat((latents, following), 1)
        return latents[:, steps:]


def rollout_states(state: Tensor, actions: Tensor) -> Tensor:
    """States [B,H,7] at each step, from the current state [7] and actions [B,H,7]: poses composed in turn."""
    states = [state.expand(actions.shape[0], -1)]
    for h in range(actions.shape[1] - 1):
        states.append(compose(states[-1], actions[:, h]))
    return torch.stack(states, 1)


def energies(final: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute and mean square difference [B] of latents [B,N,D] from the goal's [1,N,D]."""
    difference = final - goal
    return difference.abs().mean((-2, -1)), difference.square().mean((-2, -1))
