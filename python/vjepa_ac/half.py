"""Runs a graph with every value in the precision that the graph declares.

ONNX Runtime's CPU provider has no kernels for f16: it computes in f32 and drops the roundings between. That
shows what rounded weights do, not what a GPU will compute. Here each operator rounds its result to the type
of its inputs; products are summed in f32 and then rounded, as tensor cores do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

_TYPES = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.FLOAT16: torch.float16}


def _slice(x: Tensor, start: Tensor, stop: Tensor, axis: Tensor) -> Tensor:
    return x.narrow(int(axis), int(start), int(stop) - int(start))


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])


def _pad(x: Tensor, pads: Tensor) -> Tensor:
    begin, end = pads.reshape(2, -1).tolist()
    return F.pad(x, [n for pair in zip(reversed(begin), reversed(end), strict=True) for n in pair])


def _conv(x: Tensor, w: Tensor, b: Tensor, strides: list[int], pads: list[int] | None = None) -> Tensor:
    return F.conv2d(x, w, b, stride=strides, padding=(pads or [0] * 4)[:2])


def _layer_norm(x: Tensor, w: Tensor, b: Tensor | None = None, *, axis: int, epsilon: float) -> Tensor:
    return F.layer_norm(x, x.shape[axis:], w, b, epsilon)


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "Conv": _conv,
    "Div": torch.div,
    "Expand": lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist()))),
    "Gelu": F.gelu,
    "Gemm": lambda x, w, b: torch.addmm(b, x, w),
    "LayerNormalization": _layer_norm,
    "MatMul": torch.matmul,
    "Mul": torch.mul,
    "Pad": _pad,
    "ReduceLogSumExp": lambda x, axes, keepdims: x.logsumexp(axes.tolist(), bool(keepdims)),
    "ReduceMean": lambda x, axes, keepdims: x.mean(axes.tolist(), bool(keepdims)),
    "Reshape": _reshape,
    "Shape": lambda x, start, end: torch.tensor(x.shape[start:end]),
    "Slice": _slice,
    "Softmax": lambda x, axis: x.softmax(axis),
    "Split": lambda x, sizes, axis: x.split(sizes.tolist(), axis),
    "Sub": torch.sub,
    "Transpose": lambda x, perm: x.permute(perm),
}
_MOVES = {"Concat", "Expand", "Reshape", "Shape", "Slice", "Split", "Transpose"}
"""Operators that compute nothing, so nothing is to be rounded."""


class HalfPrecisionRun:
    """A graph file, executed operator by operator. Weights stay in their file until they are read."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.load(path, load_external_data=False).graph
        self._folder = path.parent
        self._tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self._last_use = {name: i for i, node in enumerate(self.graph.node) for name in node.input}

    def _constant(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return torch.from_numpy(numpy_helper.to_array(tensor).copy())
        place = {entry.key: entry.value for entry in tensor.external_data}
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        array = np.fromfile(
            self._folder / place["location"],
            dtype,
            int(place["length"]) // dtype.itemsize,
            offset=int(place["offset"]),
        )
        return torch.from_numpy(array.reshape(tensor.dims))

    @torch.no_grad()
    def run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Values of `outputs` for these inputs."""
        values = {name: torch.from_numpy(array) for name, array in feed.items()}
        for i, node in enumerate(self.graph.node):
            inputs = [values[n] if n in values else self._constant(n) for n in node.input]
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Cast":
                results = inputs[0].to(_TYPES[attributes["to"]])
            else:
                half = node.op_type not in _MOVES and any(v.dtype == torch.float16 for v in inputs)
                if half:
                    inputs = [v.float() if v.dtype == torch.float16 else v for v in inputs]
                results = _OPERATORS[node.op_type](*inputs, **attributes)
                if half:
                    results = results.half()
            if len(node.output) == 1:
                results = (results,)
            values.update(zip(node.output, results, strict=True))
            for name in node.input:
                if self._last_use[name] == i and name not in outputs:
                    values.pop(name, None)
        return [values[name].numpy() for name in outputs]
