"""What is known of a file's nodes before they are read: makers, numbers, multiples of a tensor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

MOST_FACTORS = 4
"""Products with numbers, one after the other, that are looked through."""


@dataclass
class Graph:
    """Nodes by what they make, and numbers that the file fixes.

    Attributes:
        constants: of the file.
        maker: node that makes a tensor, so far.
    """

    constants: Mapping[str, np.ndarray]
    maker: dict[str, onnx.NodeProto] = field(default_factory=dict)

    def made_by(self, kind: str, name: str) -> onnx.NodeProto | None:
        """The node behind a tensor, where it is of a kind."""
        node = self.maker.get(name)
        return node if node is not None and (node.op_type, node.domain) == (kind, "") else None

    def number(self, name: str) -> float | None:
        """The value of a tensor that is a single float32 number of the file."""
        array = self.constants.get(name)
        constant = self.made_by("Constant", name)
        if constant is not None and len(constant.attribute) == 1:
            stored = constant.attribute[0]
            if stored.name == "value_float":
                return float(stored.f)
            if stored.name == "value" and stored.t.data_location != onnx.TensorProto.EXTERNAL:
                array = np.asarray(numpy_helper.to_array(stored.t))
        if array is None or array.dtype != np.float32 or array.size != 1 or array.ndim > 1:
            return None
        value = float(array.reshape(()))
        return value if np.isfinite(value) else None

    def beside_number(self, kind: str, name: str) -> tuple[str, float] | None:
        """Operand and number of a Mul, an Add or a Div by which a tensor is made."""
        node = self.made_by(kind, name)
        if node is None or len(node.input) != 2:
            return None
        first, second = node.input
        value = self.number(second)
        if value is None and kind in ("Add", "Mul"):
            first, value = second, self.number(first)
        return None if value is None else (first, value)

    def multiples(self, name: str) -> Iterator[tuple[str, float]]:
        """Tensors that a tensor is a multiple of, itself first, with the factors."""
        factor = 1.0
        yield name, factor
        for _ in range(MOST_FACTORS):
            times, over = self.beside_number("Mul", name), self.beside_number("Div", name)
            if times is not None:
                name, factor = times[0], factor * times[1]
            elif over is not None and over[1] != 0:
                name, factor = over[0], factor / over[1]
            else:
                return
            yield name, factor

    def multiple_of(self, source: str, name: str) -> float | None:
        """By which factor a tensor is a multiple of another, if it is."""
        return next((factor for found, factor in self.multiples(name) if found == source), None)

    def together(self, one: str, other: str) -> tuple[str, float, float] | None:
        """A tensor that two are multiples of, and the factors."""
        for source, factor in self.multiples(one):
            second = self.multiple_of(source, other)
            if second is not None:
                return source, factor, second
        return None
