"""A small builder of ONNX graphs whose larger tensors lie in a weight file that several graphs share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

OPSET = 20
"""The first in which GELU is one operator; LayerNormalization is one since 17."""
ALIGNMENT = 64
"""Bytes to which tensors in a weight file are aligned."""
INLINE_BYTES = 256
"""Tensors up to this size stay in the graph file."""
METADATA_KEY = "vjepa_planner"
"""Entry of a graph's metadata that holds, as JSON, the facts it was exported with."""
PROGRESS_BYTES = 1 << 29
"""A weight file's growth is reported every so many bytes."""


class GraphError(ValueError):
    """A tensor that cannot be what the graph needs; the message names it."""


class WeightFile:
    """Tensors written one after the other; each name is written once, however many graphs use it."""

    def __init__(self, path: Path, report: Callable[[str], None] = print) -> None:
        self.path = path
        self._report = report
        self._file = path.open("wb")
        self._places: dict[str, tuple[int, int, str]] = {}

    def place(self, name: str, array: np.ndarray) -> tuple[int, int]:
        """Offset and length in bytes of a tensor, which is written if it is not there yet."""
        data = memoryview(np.ascontiguousarray(array)).cast("B")
        digest = hashlib.sha256(data).hexdigest()
        if name not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._places[name] = (self._file.tell(), len(data), digest)
            self._file.write(data)
            before, now = (place // PROGRESS_BYTES for place in (self._places[name][0], self._file.tell()))
            if now > before:
                self._report(f"{self.path.name}: {self._file.tell() / 1e9:.1f} GB written")
        offset, length, known = self._places[name]
        if known != digest:
            raise GraphError(f"two different tensors are named {name}")
        return offset, length

    def close(self) -> None:
        self._file.close()


class Graph:
    """An ONNX graph under construction. Values are referred to by name.

    `half`: values between `narrow` and `wide` are f16; otherwise the two do nothing.
    """

    def __init__(self, name: str, weights: WeightFile, half: bool = False) -> None:
        self.name = name
        self.half = half
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: list[int | str], element: int = TensorProto.FLOAT) -> str:
        """Declare an input; a text in the shape is a dynamic axis."""
        self._inputs.append(helper.make_tensor_value_info(name, element, shape))
        return name

    def output(self, value: str, name: str, shape: list[int | str]) -> None:
        """Declare a value, which takes this name, as an output, f32. The value's old name is gone."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [name if one == value else one for one in names]
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output and return the output's name."""
        return self.op_many(kind, 1, *inputs, **attributes)[0]

    def op_many(self, kind: str, count: int, *inputs: str, **attributes: object) -> list[str]:
        """Add a node with `count` outputs and return their names."""
        node = f"{kind}_{len(self._nodes)}"
        outputs = [node if count == 1 else f"{node}.{i}" for i in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=node, **attributes))
        return outputs

    def narrow(self, value: str) -> str:
        """The f32 value in f16, in a half-precision graph."""
        return self.op("Cast", value, to=TensorProto.FLOAT16) if self.half else value

    def wide(self, value: str) -> str:
        """The value of the half-precision part in f32."""
        return self.op("Cast", value, to=TensorProto.FLOAT) if self.half else value

    def narrow_tensor(self, name: str, array: np.ndarray) -> str:
        """A constant of the half-precision part, given in f32. GraphError if it exceeds the range of f16."""
        if self.half:
            with np.errstate(over="ignore"):
                narrowed = array.astype(np.float16)
            if (np.isinf(narrowed) != np.isinf(array)).any():
                largest = np.abs(array[np.isfinite(array)]).max()
                raise GraphError(
                    f"{name} does not fit into half precision: its largest value is {largest:.3g}"
                )
            array = narrowed
        return self.tensor(name, array)

    def tensor(self, name: str, array: np.ndarray) -> str:
        """A constant tensor; equal names mean equal tensors, also between graphs that share a weight file."""
        if name in self._tensors:
            return name
        proto = TensorProto()
        if array.nbytes <= INLINE_BYTES:
            proto = onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        else:
            offset, length = self._weights.place(name, array)
            proto.name = name
            proto.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
            proto.dims.extend(array.shape)
            proto.data_location = TensorProto.EXTERNAL
            places = (("location", self._weights.path.name), ("offset", offset), ("length", length))
            for key, value in places:
                proto.external_data.add(key=key, value=str(value))
        self._tensors[name] = proto
        return name

    def ints(self, *values: int) -> str:
        """A constant vector of i64, as shapes and axes are given."""
        return self.tensor("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def reshape(self, value: str, *shape: int) -> str:
        return self.op("Reshape", value, self.ints(*shape))

    def transpose(self, value: str, *permutation: int) -> str:
        return self.op("Transpose", value, perm=permutation)

    def slice(self, value: str, axis: int, start: int, stop: int) -> str:
        return self.op("Slice", value, self.ints(start), self.ints(stop), self.ints(axis))

    def concat(self, values: list[str], axis: int) -> str:
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def save(self, path: Path, facts: dict | None = None) -> None:
        """Check the graph and write it, with `facts` in its metadata; the weight file must be complete."""
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._tensors.values())
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        model.producer_name = "vjepa_ac"
        if facts is not None:
            helper.set_model_props(model, {METADATA_KEY: json.dumps(facts, sort_keys=True)})
        path.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(path))
