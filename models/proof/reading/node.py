"""One ONNX node, what is known of its operands, and constants that need no arithmetic."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from models.errors import ModelError
from models.proof.operators.operator import Constant

Constants = MutableMapping[str, np.ndarray]
Activations = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Node:
    """A node with what is known of its operands."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    constants: Constants
    shapes: Activations

    def refuse(self, found: str, accepted: str) -> ModelError:
        """The error for a form that has no rule."""
        return ModelError(f"{self.name} ({self.kind}): found {found}; accepted is {accepted}")

    def input(self, place: int) -> str:
        """Name of an operand, empty where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def is_constant(self, place: int) -> bool:
        """Whether an operand is a constant of the file."""
        return self.input(place) in self.constants

    def integers(self, place: int, role: str) -> tuple[int, ...]:
        """A constant operand of integers."""
        if not self.is_constant(place):
            raise self.refuse(f"{role} that depends on the input", f"a constant {role}")
        return tuple(int(entry) for entry in self.constants[self.input(place)].reshape(-1))

    def weight(self, place: int, role: str) -> Constant:
        """A constant float32 operand, all of it finite."""
        if not self.is_constant(place):
            raise self.refuse(f"{role} that depends on the input", f"a constant {role}")
        array = self.constants[self.input(place)]
        if array.dtype != np.float32:
            raise self.refuse(f"{role} of type {array.dtype}", "float32")
        if array.size == 0 or not np.isfinite(array).all():
            raise self.refuse(f"{role} that is empty, NaN or infinite", "finite numbers")
        return Constant(array)

    def activation(self, place: int = 0) -> str:
        """Name of an operand that depends on the input."""
        name = self.input(place)
        if name not in self.shapes:
            raise self.refuse(f"operand {place} that is a constant", "an activation")
        return name

    def named(self, *operands: str) -> dict[str, Any]:
        """The fields that every operator has."""
        return {
            "name": self.name,
            "kind": self.kind,
            "operands": operands,
            "result": self.outputs[0],
        }


def constant_value(node: Node) -> np.ndarray:
    """The value of a Constant node."""
    match node.attributes:
        case {"value": onnx.TensorProto() as tensor}:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise node.refuse("a value in another file", "a value inside the model")
            return np.asarray(numpy_helper.to_array(tensor))
        case {"value_float": float(value)}:
            return np.array(value, dtype=np.float32)
        case {"value_int": int(value)}:
            return np.array(value, dtype=np.int64)
        case {"value_ints": value}:
            return np.array(value, dtype=np.int64)
        case {"value_floats": value}:
            return np.array(value, dtype=np.float32)
    raise node.refuse("a constant of another kind", "a dense tensor")


def folded_constant(node: Node) -> np.ndarray:
    """A constant that is only moved; arithmetic between constants is refused."""
    if node.kind not in ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze"):
        raise node.refuse("arithmetic between constants", "weights stored as they are used")
    array = node.constants[node.inputs[0]]
    match node.kind:
        case "Identity":
            return array
        case "Transpose":
            return array.transpose(node.attributes.get("perm"))
        case "Reshape":
            target = list(node.integers(1, "shape"))
            if not node.attributes.get("allowzero", 0):
                target = [array.shape[at] if side == 0 else side for at, side in enumerate(target)]
            return array.reshape(target)
        case "Squeeze":
            return array.squeeze(node.integers(1, "axes"))
        case _:
            return np.expand_dims(array, node.integers(1, "axes"))
