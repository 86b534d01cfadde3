"""The original planner's arithmetic in PyTorch, as published: what this project's graphs are timed against.

Nothing is shared and nothing is kept. The context is repeated for every candidate; each step of a roll-out
runs the predictor over all frames from the first one on; rotary angles are computed anew in every attention;
condition tokens take a way of their own through queries, keys and values. Weights are those of a `vjepa_ac`
predictor, so that both sides can be held to the same energies.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_ac.model import CONDITION_TOKENS, LATENT_EPS, Attention, Block, Predictor
from vjepa_ac.pose import compose


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotate interleaved pairs of x [B, heads, n, width] by positions [n]; frequencies tiled, as trained."""
    pairs = x.shape[-1] // 2
    frequencies = 1.0 / 10000 ** (torch.arange(pairs, dtype=x.dtype) / pairs)
    angles = (positions[:, None] * frequencies).repeat(1, 2)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((-second, first), -1).flatten(-2)
    return x * angles.cos() + turned * angles.sin()


def rotate_axes(x: Tensor, axes: tuple[Tensor, ...]) -> Tensor:
    """Rotate one group of channels for each axis (time, row, column); the rest stays."""
    group = x.shape[-1] // 3 // 2 * 2
    parts = [rotate(x[..., i * group : (i + 1) * group], axis) for i, axis in enumerate(axes)]
    return torch.cat((*parts, x[..., len(axes) * group :]), -1)


def attention(layer: Attention, x: Tensor, steps: int, grid: int, mask: Tensor) -> Tensor:
    """Tokens [B, steps · (condition tokens + grid²), width] → the same shape."""
    batch, _, width = x.shape

    def project(tokens: Tensor) -> Tensor:
        return layer.qkv(tokens).unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)

    x = x.view(batch, steps, CONDITION_TOKENS + grid * grid, width)
    time = torch.arange(steps, dtype=x.dtype)
    parts: list[list[Tensor]] = [[], [], []]
    for i in range(CONDITION_TOKENS):
        q, k, v = project(x[:, :, i])
        for part, values in zip(parts, (rotate_axes(q, (time,)), rotate_axes(k, (time,)), v), strict=True):
            part.append(values.unflatten(2, (steps, 1)))
    ids = torch.arange(steps * grid * grid)
    axes = tuple(axis.to(x.dtype) for axis in (ids // grid**2, ids % grid**2 // grid, ids % grid**2 % grid))
    q, k, v = project(x[:, :, CONDITION_TOKENS:].flatten(1, 2))
    for part, values in zip(parts, (rotate_axes(q, axes), rotate_axes(k, axes), v), strict=True):
        part.append(values.unflatten(2, (steps, grid * grid)))
    q, k, v = (torch.cat(part, 3).flatten(2, 3) for part in parts)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return layer.proj(y.transpose(1, 2).reshape(batch, -1, width))


def predict(net: Predictor, grid: int, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
    """Latents [B,T,N,D], actions and states [B,T,7] → normalised latents [B,N,D] after the last step."""
    steps, n = latents.shape[1:3]
    condition = (net.action_encoder(actions)[:, :, None], net.state_encoder(states)[:, :, None])
    x = torch.cat((*condition, net.predictor_embed(latents)), 2).flatten(1, 2)
    step = torch.arange(steps).repeat_interleave(CONDITION_TOKENS + n)
    mask = step[:, None] >= step[None, :]
    for block in net.predictor_blocks:
        assert isinstance(block, Block)
        x = x + attention(block.attn, block.norm1(x), steps, grid, mask)
        x = x + block.mlp(block.norm2(x))
    x = x.unflatten(1, (steps, CONDITION_TOKENS + n))[:, :, CONDITION_TOKENS:].flatten(1, 2)
    x = net.predictor_proj(net.predictor_norm(x))[:, -n:]
    if net.residual:
        x = x + latents[:, -1]
    return F.layer_norm(x, x.shape[-1:], eps=LATENT_EPS)


@torch.inference_mode()
def energies(net: Predictor, grid: int, problem: dict[str, Tensor]) -> Tensor:
    """Mean L1 energies [B] of candidates; `problem` has the inputs of a rollout graph (`vjepa_ac.emit`)."""
    candidates = problem["actions"]
    batch, horizon = candidates.shape[:2]
    latents = problem["context"].repeat(batch, 1, 1, 1)
    goal = problem["goal"].repeat(batch, 1, 1)
    actions = problem["context_actions"].repeat(batch, 1, 1)
    states = torch.cat((problem["context_states"][:, :-1].repeat(batch, 1, 1), problem["states"][:, :1]), 1)
    for h in range(horizon):
        actions = torch.cat((actions, candidates[:, h : h + 1]), 1)
        following = predict(net, grid, latents, actions, states)
        latents = torch.cat((latents, following[:, None]), 1)
        states = torch.cat((states, compose(states[:, -1], actions[:, -1])[:, None]), 1)
    return (latents[:, -1].flatten(1) - goal.flatten(1)).abs().mean(-1)
