"""The networks of `model.py` as ONNX graphs made for planning.

What differs from the plain form, without changing the function:

- One context serves all candidates. Keys and values of the earlier time steps are computed once, on batch 1,
  and only their values copied.
- Of the current time step, too, the patch tokens are the same for all candidates until the first attention
  has mixed the action in. Their queries, keys and values in the first block are computed once, and so is
  their attention to everything shared; a candidate only adds its action and state token to that softmax.
- Only the last step's tokens are computed for each candidate; a later step reuses keys and values of earlier
  ones.
- In the last block nobody reads the action and state tokens, so only their keys and values are made.
- Even and odd channels of queries and keys come from separate projections: rotating pairs needs no shuffling.

Tensors inside: tokens [B·n, width]; queries and values [B, heads, n, head width]; keys [B, heads, head width,
n].

In a half-precision graph (`Graph.half`), what lies between `narrow` and `wide` is f16: weights, matrix
products, rotation, GELU and the softmax. Everything else is f32: inputs and outputs, the residual stream, all
LayerNorms, the embeddings of actions and states (metres: small numbers), energies. In a single-precision
graph the two do nothing.

The softmax stays in f16 because f32 would gain nothing: its logits come out of a product in f16 and its
weights go into one, and kernels for GPUs compute exponentials and sums in f32 inside. Queries are scaled
beforehand, so logits are far from f16's limits, and without casts between the two products TensorRT can fuse
them to one attention kernel. Where `_first_step` joins two softmaxes, it subtracts and compares logarithms of
sums: those, and their small softmax, are f32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .config import Architecture
from .graph import Graph
from .model import (
    ACTION_DIM,
    CONDITION_TOKENS,
    LATENT_EPS,
    PIXEL_MEAN,
    PIXEL_STD,
    Block,
    Encoder,
    PatchStem,
    Predictor,
    rope_tables,
)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy()


@dataclass(frozen=True)
class Place:
    """Where a group of tokens sits: time steps, and which tokens (condition tokens, patches) of each."""

    steps: tuple[int, ...]
    first: int
    last: int

    @property
    def count(self) -> int:
        return len(self.steps) * (self.last - self.first)


@dataclass(frozen=True)
class Source:
    """Keys and values of a group of `count` tokens."""

    keys: str
    values: str
    count: int


@dataclass
class Cache:
    """What the tokens of one block may attend to."""

    shared: Source | None = None
    """Of the context: batch 1."""
    own: Source | None = None
    """Of each candidate, batch B; the shared ones are among them."""


class Blocks:
    """Emits the parts of the transformer blocks of one network."""

    def __init__(self, graph: Graph, prefix: str, blocks: nn.ModuleList, eps: float, grid: int, extra: int):
        self.g = graph
        self.prefix = prefix
        self.blocks: list[Block] = list(blocks)
        self.eps = eps
        self.grid, self.extra = grid, extra
        self.heads = self.blocks[0].attn.heads
        self.width = self.blocks[0].attn.proj.in_features
        self.head_width = self.width // self.heads

    def linear(self, name: str, weight: Tensor, bias: Tensor, x: str) -> str:
        """x [rows, in] · weightᵀ + bias → [rows, out], narrow."""
        w = self.g.narrow_tensor(f"{self.prefix}.{name}.weight", _array(weight.t()))
        b = self.g.narrow_tensor(f"{self.prefix}.{name}.bias", _array(bias))
        return self.g.op("Gemm", x, w, b)

    def wide_layer(self, name: str, linear: nn.Linear, x: str) -> str:
        """The same for a layer that stays in f32."""
        w = self.g.tensor(f"{self.prefix}.{name}.weight", _array(linear.weight.t()))
        b = self.g.tensor(f"{self.prefix}.{name}.bias", _array(linear.bias))
        return self.g.op("Gemm", x, w, b)

    def layer(self, name: str, linear: nn.Linear, x: str) -> str:
        return self.linear(name, linear.weight, linear.bias, x)

    def norm(self, name: str, norm: nn.LayerNorm, x: str) -> str:
        w = self.g.tensor(f"{self.prefix}.{name}.weight", _array(norm.weight))
        b = self.g.tensor(f"{self.prefix}.{name}.bias", _array(norm.bias))
        return self.g.op("LayerNormalization", x, w, b, axis=-1, epsilon=self.eps)

    def normed(self, i: int, x: str) -> str:
        """Input of block i's attention, narrow."""
        return self.g.narrow(self.norm(f"blocks.{i}.norm1", self.blocks[i].norm1, x))

    def _rope_table(self, place: Place, half: int) -> tuple[str, str]:
        """Cosines and sines [n, width / 2] of even (half 0) or odd channels, repeated for every head."""
        cos, sin = rope_tables(self.head_width, max(place.steps) + 1, self.grid, self.extra)
        steps = "_".join(map(str, place.steps))
        name = f"{self.prefix}.rope.{steps}.{place.first}_{place.last}.{half}"
        cos, sin = (
            table[list(place.steps), place.first : place.last, half::2].flatten(0, 1).repeat(1, self.heads)
            for table in (cos, sin)
        )
        return self.g.narrow_tensor(f"{name}.cos", _array(cos)), self.g.narrow_tensor(
            f"{name}.sin", _array(sin)
        )

    def _rotated(self, i: int, which: str, x: str, place: Place) -> str:
        """Rotated queries (`q`) or keys (`k`) [·, n, heads, head width] of block i for normed tokens x.

        Channels of a head come in another order than in the checkpoint (even ones first), the same for
        queries and keys; their products do not notice. Queries carry the attention's scale.
        """
        g, qkv = self.g, self.blocks[i].attn.qkv
        start, scale = (0, self.head_width**-0.5) if which == "q" else (self.width, 1.0)
        weight = qkv.weight[start : start + self.width].unflatten(0, (self.heads, -1)) * scale
        bias = qkv.bias[start : start + self.width].unflatten(0, (self.heads, -1)) * scale
        parts = []
        for half in range(2):
            name = f"blocks.{i}.attn.{which}{half}"
            part = self.linear(name, weight[:, half::2].flatten(0, 1), bias[:, half::2].flatten(), x)
            parts.append(g.reshape(part, -1, place.count, self.width // 2))
        (even, odd), (cos0, sin0), (cos1, sin1) = parts, *(self._rope_table(place, half) for half in range(2))
        turned = (
            g.op("Sub", g.op("Mul", even, cos0), g.op("Mul", odd, sin0)),
            g.op("Add", g.op("Mul", odd, cos1), g.op("Mul", even, sin1)),
        )
        return g.concat([g.reshape(t, -1, place.count, self.heads, self.head_width // 2) for t in turned], 3)

    def queries(self, i: int, x: str, place: Place) -> str:
        return self.g.transpose(self._rotated(i, "q", x, place), 0, 2, 1, 3)

    def source(self, i: int, x: str, place: Place) -> Source:
        """Keys and values of block i for normed tokens x."""
        g, qkv = self.g, self.blocks[i].attn.qkv
        keys = g.transpose(self._rotated(i, "k", x, place), 0, 2, 3, 1)
        start = 2 * self.width
        values = self.linear(f"blocks.{i}.attn.v", qkv.weight[start:], qkv.bias[start:], x)
        values = g.transpose(g.reshape(values, -1, place.count, self.heads, self.head_width), 0, 2, 1, 3)
        return Source(keys, values, place.count)

    def attend(self, queries: str, source: Source, mask: str | None = None) -> str:
        """Attention [B, heads, n, head width] of queries to a source; `mask` is added to the logits."""
        logits = self.g.op("MatMul", queries, source.keys)
        if mask is not None:
            logits = self.g.op("Add", logits, mask)
        return self.g.op("MatMul", self.g.op("Softmax", logits, axis=-1), source.values)

    def joined(self, *sources: Source | None) -> Source:
        """Several groups of tokens, all of the same batch, as one."""
        parts = [source for source in sources if source is not None]
        keys = self.g.concat([source.keys for source in parts], 3)
        values = self.g.concat([source.values for source in parts], 2)
        return Source(keys, values, sum(source.count for source in parts))

    def repeated(self, source: Source, batch: str) -> Source:
        """Keys and values of batch 1 for each of `batch` candidates.

        Copying them is cheaper than attending to them apart: logits, which would have to be joined and parted
        again, are more numbers by queries over head width.
        """
        shape = self.g.op("Concat", batch, self.g.ints(1, 1, 1), axis=0)
        return Source(
            self.g.op("Expand", source.keys, shape), self.g.op("Expand", source.values, shape), source.count
        )

    def finish(self, i: int, x: str, attended: str) -> str:
        """The rest of block i: x [rows, width], its attention [B, heads, n, head width] → [rows, width]."""
        g, block = self.g, self.blocks[i]
        rows = g.reshape(g.transpose(attended, 0, 2, 1, 3), -1, self.width)
        x = g.op("Add", x, g.wide(self.layer(f"blocks.{i}.attn.proj", block.attn.proj, rows)))
        normed = g.narrow(self.norm(f"blocks.{i}.norm2", block.norm2, x))
        hidden = g.op("Gelu", self.layer(f"blocks.{i}.mlp.fc1", block.mlp.fc1, normed))
        return g.op("Add", x, g.wide(self.layer(f"blocks.{i}.mlp.fc2", block.mlp.fc2, hidden)))


def latent_norm(g: Graph, x: str, width: int) -> str:
    """The parameter-free LayerNorm of latents."""
    ones = g.tensor(f"ones_{width}", np.ones(width, np.float32))
    return g.op("LayerNormalization", x, ones, axis=-1, epsilon=LATENT_EPS)


def emit_encoder(g: Graph, arch: Architecture, encoder: Encoder) -> None:
    """`frames` f32 [B,S,S,3] RGB in 0..255, not rounded → `latents` f32 [B,N,D], normalised."""
    size, n, width = arch.image_size, arch.tokens, arch.embed_dim
    frames = g.input("frames", ["B", size, size, 3])
    pixels = g.transpose(frames, 0, 3, 1, 2)
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) * 255 for v in (PIXEL_MEAN, PIXEL_STD))
    x = g.op("Sub", pixels, g.tensor("pixel_mean", mean))
    x = g.narrow(g.op("Div", x, g.tensor("pixel_std", std)))
    stem = encoder.patch_embed
    if isinstance(stem, PatchStem):
        # The frame is repeated over the tubelet, so the kernel may be summed over it.
        kernel = g.narrow_tensor("encoder.patch_embed.weight", _array(stem.proj.weight.sum(2)))
        bias = g.narrow_tensor("encoder.patch_embed.bias", _array(stem.proj.bias))
        x = g.op("Conv", x, kernel, bias, strides=[arch.patch_size] * 2)
    else:
        for i, conv in enumerate(stem.convs):
            kernel = g.narrow_tensor(f"encoder.patch_embed.{i}.weight", _array(conv.weight))
            bias = g.narrow_tensor(f"encoder.patch_embed.{i}.bias", _array(conv.bias))
            x = g.op("Conv", g.op("Gelu", x) if i else x, kernel, bias, strides=[2, 2], pads=[1] * 4)
    x = g.reshape(g.transpose(g.reshape(g.wide(x), -1, width, n), 0, 2, 1), -1, width)
    blocks = Blocks(g, "encoder", encoder.blocks, arch.eps, arch.grid, 0)
    place = Place((0,), 0, n)
    for i in range(arch.depth):
        normed = blocks.normed(i, x)
        attended = blocks.attend(blocks.queries(i, normed, place), blocks.source(i, normed, place))
        x = blocks.finish(i, x, attended)
    x = latent_norm(g, blocks.norm("norm", encoder.norm, x), width)
    g.output(g.reshape(x, -1, n, width), "latents", ["B", n, width])


class RolloutEmitter:
    """Emits a rollout graph; the interface is described at `emit_rollout`."""

    def __init__(
        self, g: Graph, arch: Architecture, predictor: Predictor, context: int, horizon: int
    ) -> None:
        self.g, self.arch, self.net = g, arch, predictor
        self.past, self.horizon = context - 1, horizon
        self.n = arch.tokens
        self.per_step = CONDITION_TOKENS + self.n
        self.depth = arch.predictor_depth
        self.width = arch.predictor_embed_dim
        self.blocks = Blocks(
            g, "predictor", predictor.predictor_blocks, arch.eps, arch.grid, CONDITION_TOKENS
        )
        self.caches = [Cache() for _ in range(self.depth)]

    def emit(self) -> None:
        g, n, width = self.g, self.n, self.arch.embed_dim
        context = g.input("context", [1, self.past + 1, n, width])
        context_states = g.input("context_states", [1, self.past + 1, ACTION_DIM])
        if self.past:
            context_actions = g.input("context_actions", [1, self.past, ACTION_DIM])
            self._past_steps(context, context_states, context_actions)
        actions = g.input("actions", ["B", self.horizon, ACTION_DIM])
        self.batch = g.op("Shape", actions, start=0, end=1)
        states = g.input("states", ["B", self.horizon, ACTION_DIM])
        goal = g.input("goal", [1, n, width])
        latents = g.slice(context, 1, self.past, self.past + 1)
        for h in range(self.horizon):
            condition = self._condition(g.slice(actions, 1, h, h + 1), g.slice(states, 1, h, h + 1))
            step = self._first_step if h == 0 else self._later_step
            latents = self._next_latents(step(self._embed(latents), condition, self.past + h), latents)
        difference = g.op("Sub", latents, goal)
        for name, distance in (
            ("energy_l1", g.op("Abs", difference)),
            ("energy_l2", g.op("Mul", difference, difference)),
        ):
            g.output(g.op("ReduceMean", distance, g.ints(1, 2), keepdims=0), name, ["B"])
        g.output(latents, "final", ["B", n, width])

    def _embed(self, latents: str) -> str:
        """Latents [·, ·, D] → patch tokens [rows, width]."""
        rows = self.g.narrow(self.g.reshape(latents, -1, self.arch.embed_dim))
        return self.g.wide(self.blocks.layer("embed", self.net.predictor_embed, rows))

    def _condition(self, actions: str, states: str) -> str:
        """Actions and states [·, 1, 7] → action and state tokens [·, 2, width]."""
        tokens = []
        for name, layer, vectors in (
            ("action", self.net.action_encoder, actions),
            ("state", self.net.state_encoder, states),
        ):
            rows = self.blocks.wide_layer(name, layer, self.g.reshape(vectors, -1, ACTION_DIM))
            tokens.append(self.g.reshape(rows, -1, 1, self.width))
        return self.g.concat(tokens, 1)

    def _past_steps(self, context: str, states: str, actions: str) -> None:
        """Keys and values of all steps before the current one, on batch 1, into the caches."""
        g, blocks, past = self.g, self.blocks, self.past
        condition = self._condition(actions, g.slice(states, 1, 0, past))
        patches = g.reshape(self._embed(g.slice(context, 1, 0, past)), past, self.n, self.width)
        x = g.reshape(g.concat([condition, patches], 1), -1, self.width)
        mask = None
        if past > 1:
            step = np.repeat(np.arange(past), self.per_step)
            hidden = np.where(step[:, None] >= step[None, :], 0.0, -np.inf).astype(np.float32)
            mask = g.narrow_tensor(f"predictor.mask.{past}", hidden)
        place = Place(tuple(range(past)), 0, self.per_step)
        for i, cache in enumerate(self.caches):
            normed = blocks.normed(i, x)
            source = blocks.source(i, normed, place)
            cache.shared = source
            if i + 1 < self.depth:
                x = blocks.finish(i, x, blocks.attend(blocks.queries(i, normed, place), source, mask))

    def _first_step(self, patches: str, condition: str, step: int) -> str:
        """Current patches [N, width] and condition tokens [B, 2, width] → patch tokens [B·N, width]."""
        g, blocks, cache = self.g, self.blocks, self.caches[0]
        last = self.depth == 1
        frame = Place((step,), CONDITION_TOKENS, self.per_step)
        pair = Place((step,), 0, CONDITION_TOKENS)
        condition_rows = g.reshape(condition, -1, self.width)
        shared_normed, own_normed = blocks.normed(0, patches), blocks.normed(0, condition_rows)
        cache.shared = blocks.joined(blocks.source(0, shared_normed, frame), cache.shared)
        own = blocks.source(0, own_normed, pair)

        # A softmax over the shared and a candidate's two keys: the shared part counts as one key whose logit
        # is the log of its summed exponentials and whose value is its own attention.
        queries = blocks.queries(0, shared_normed, frame)
        logits = g.op("MatMul", queries, cache.shared.keys)
        shared = g.op("MatMul", g.op("Softmax", logits, axis=-1), cache.shared.values)
        level = g.op("ReduceLogSumExp", g.wide(logits), g.ints(3), keepdims=1)
        own_logits = g.op("Sub", g.wide(g.op("MatMul", queries, own.keys)), level)
        weights = g.op("Softmax", g.op("Pad", own_logits, g.ints(0, 0, 0, 1, 0, 0, 0, 0)), axis=-1)
        weights = g.narrow(weights)
        shared_weight, own_weights = g.op_many("Split", 2, weights, g.ints(1, CONDITION_TOKENS), axis=3)
        mixed = g.op("MatMul", own_weights, own.values)
        attended = g.op("Add", g.op("Mul", shared_weight, shared), mixed)

        x = g.reshape(patches, 1, self.n, self.width)
        batch = g.op("Concat", self.batch, g.ints(self.n, self.width), axis=0)
        x = g.op("Expand", x, batch)
        if self.horizon > 1 or not last:
            self._remember(0, own)
        if not last:
            of_pair = blocks.attend(blocks.queries(0, own_normed, pair), cache.own)
            attended = g.concat([of_pair, attended], 2)
            x = g.concat([condition, x], 1)
        x = blocks.finish(0, g.reshape(x, -1, self.width), attended)
        return self._own_blocks(x, step, 1)

    def _later_step(self, patches: str, condition: str, step: int) -> str:
        """Predicted patches [B·N, width] and condition tokens [B, 2, width] → patch tokens [B·N, width]."""
        g = self.g
        x = g.concat([condition, g.reshape(patches, -1, self.n, self.width)], 1)
        return self._own_blocks(g.reshape(x, -1, self.width), step, 0)

    def _own_blocks(self, x: str, step: int, start: int) -> str:
        """Blocks from `start` on for each candidate's tokens [B·n, width] → patch tokens [B·N, width]."""
        blocks = self.blocks
        everything = Place((step,), 0, self.per_step)
        frame = Place((step,), CONDITION_TOKENS, self.per_step)
        for i in range(start, self.depth):
            normed = blocks.normed(i, x)
            self._remember(i, blocks.source(i, normed, everything))
            place = everything
            if i + 1 == self.depth:
                x, normed, place = self._patch_rows(x), self._patch_rows(normed), frame
            x = blocks.finish(i, x, blocks.attend(blocks.queries(i, normed, place), self.caches[i].own))
        return x

    def _remember(self, i: int, source: Source) -> None:
        """Add keys and values of each candidate's newest tokens to what block i may attend to."""
        cache = self.caches[i]
        known = cache.own
        if known is None and cache.shared is not None:
            known = self.blocks.repeated(cache.shared, self.batch)
        cache.own = self.blocks.joined(source, known)

    def _patch_rows(self, x: str) -> str:
        """Tokens [B·n, width] without the condition tokens."""
        x = self.g.reshape(x, -1, self.per_step, self.width)
        return self.g.reshape(self.g.slice(x, 1, CONDITION_TOKENS, self.per_step), -1, self.width)

    def _next_latents(self, x: str, latents: str) -> str:
        """Patch tokens [B·N, width] and the step's latents → normalised latents [B,N,D] of the next frame."""
        g, width = self.g, self.arch.embed_dim
        x = g.narrow(self.blocks.norm("norm", self.net.predictor_norm, x))
        x = g.wide(self.blocks.layer("proj", self.net.predictor_proj, x))
        x = g.reshape(x, -1, self.n, width)
        if self.arch.residual_prediction:
            x = g.op("Add", x, g.reshape(latents, -1, self.n, width))
        return latent_norm(g, x, width)


def emit_rollout(g: Graph, arch: Architecture, predictor: Predictor, context: int, horizon: int) -> None:
    """One context and B candidates' actions → their energies.

    Inputs, all f32: `context` [1,T,N,D] normalised latents; `context_states` [1,T,7] (the last entry is the
    current state, which `states` gives too and which is read from there); `context_actions` [1,T−1,7], absent
    when T = 1; `actions` [B,H,7]; `states` [B,H,7], the state at each step; `goal` [1,N,D].
    Outputs: `energy_l1` and `energy_l2` [B], mean absolute and mean square difference of the final latents
    from the goal; `final` [B,N,D].
    """
    with torch.no_grad():
        RolloutEmitter(g, arch, predictor, context, horizon).emit()
