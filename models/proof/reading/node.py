"""One ONNX node, what is known of its operands, and constants that need no arithmetic."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from models.errors import ModelError, first_line
from models.proof.operators.operator import Constant, Operator

BATCH = 2**61 - 1
"""Stands for the length of the batch in shape arithmetic; no number in a file may be it."""

Constants = MutableMapping[str, np.ndarray]
Activations = Mapping[str, tuple[int, ...]]
Step = tuple[type[Operator], dict[str, Any]]
"""A class of operators, and its fields beside those that every operator has."""


@dataclass(frozen=True)
class Node:
    """A node with what is known of its operands.

    Attributes:
        name: of the node, or of what it makes.
        kind: of the operator.
        inputs: names of operands, empty where one is left out.
        outputs: names of results.
        attributes: by name.
        constants: of the file, by name.
        shapes: of activations, batch left out.
        batch: the length that the file fixes for it, if it does.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    constants: Constants
    shapes: Activations
    batch: int | None = None

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
        stored = self.constants[self.input(place)]
        if stored.dtype != np.int64 or stored.ndim > 1:
            raise self.refuse(f"{role} of type {stored.dtype}", "a row of int64")
        return tuple(int(entry) for entry in stored.reshape(-1))

    def axes(self) -> tuple[int, ...]:
        """The axes that a Squeeze or an Unsqueeze is told."""
        axes = self.integers(1, "axes")
        if not axes:
            raise self.refuse("no axes, which runtimes read as all of length 1", "one or more")
        return axes

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

    def number(self, place: int, role: str) -> float:
        """A constant float32 operand with one entry, finite."""
        stored = self.weight(place, role).array
        if stored.size != 1:
            raise self.refuse(f"{role} of shape {list(stored.shape)}", "a single number")
        return float(stored.reshape(()))

    def parameters(self, *usual: float) -> tuple[float, ...]:
        """Numbers of a node that stands for a group; the usual ones of one that a file holds."""
        stored = self.attributes.get("parameters")
        return usual if stored is None else tuple(map(float, numpy_helper.to_array(stored)))

    def activation(self, place: int = 0) -> str:
        """Name of an operand that depends on the input."""
        name = self.input(place)
        if name and name in self.shapes:
            return name
        what = "that is left out"
        if name:
            what = "that is a constant" if name in self.constants else "of places or a mask"
        raise self.refuse(f"operand {place} {what}", "an activation")

    def axis(self, stored: int, rank: int) -> int:
        """An axis behind the batch, counted from the front."""
        axis = stored + rank if stored < 0 else stored
        if not 0 < axis < rank:
            raise self.refuse(f"axis {stored}, which is the batch or no axis", "an axis behind it")
        return axis

    def inner(self, place: int) -> str:
        """A name for a value inside the node; with its line break no file can hold it."""
        return f"{self.outputs[0]}\n{place}"

    def chain(self, x: str, *steps: Step) -> list[Operator]:
        """Operators that together compute the node, each reading the one before."""
        operators: list[Operator] = []
        for place, (make, fields) in enumerate(steps, start=1):
            result = self.outputs[0] if place == len(steps) else self.inner(place)
            operators.append(make(**self.named(x) | {"result": result} | fields))
            x = result
        return operators

    def named(self, *operands: str) -> dict[str, Any]:
        """The fields that every operator has."""
        return {
            "name": self.name,
            "kind": self.kind,
            "operands": operands,
            "result": self.outputs[0],
        }


def stored_array(tensor: onnx.TensorProto, *, owner: str) -> np.ndarray:
    """The values of a stored tensor.

    Raises:
        ModelError: If its data do not fit its shape and type.
    """
    if any(side < 0 for side in tensor.dims):
        raise ModelError(f"{owner} cannot be read: its shape {list(tensor.dims)} is negative")
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as fault:
        raise ModelError(f"{owner} cannot be read: {first_line(fault)}") from None
    if array.dtype.kind == "i" and (array == BATCH).any():
        raise ModelError(f"{owner} holds {BATCH}; accepted are smaller whole numbers")
    return array
