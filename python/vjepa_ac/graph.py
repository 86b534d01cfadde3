"""A small builder of ONNX graphs whose larger tensors lie in a weight file that several graphs share."""

from __future__ import annotations

import hashlib
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


class WeightFile:
    """Tensors written one after the other; each name is written once, however many graphs use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._places: dict[str, tuple[int, int, str]] = {}

    def place(self, name: str, array: np.ndarray) -> tuple[int, int]:
        """Offset and length in bytes of a tensor, which is written if it is not there yet."""
        data = np.ascontiguousarray(array).tobytes()
        digest = hashlib.sha256(data).hexdigest()
        if name not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._places[name] = (self._file.tell(), len(data), digest)
            self._file.write(data)
        offset, length, known = self._places[name]
        if known != digest:
            raise ValueError(f"two different tensors are named {name}")
        return offset, length

    def close(self) -> None:
        self._file.close()


class Graph:
    """An ONNX graph under construction. Values are referred to by name."""

    def __init__(self, name: str, weights: WeightFile) -> None:
        self.name = name
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

    def save(self, path: Path) -> None:
        """Check the graph and write it; the weight file must be complete."""
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._tensors.values())
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        model.producer_name = "vjepa_ac"
        path.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(path))
