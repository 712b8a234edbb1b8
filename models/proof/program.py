"""A program: the operators of a classifier in order, with the exact weights of its file.

Bounds, radii, attacks and reports all consume this one object, so there is no second copy of the
network that could differ from the certified one.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from models.proof.operators.affine import Dense
from models.proof.operators.operator import Constant, Operator
from models.proof.patterns.group import Wiring


@dataclass(frozen=True)
class Program:
    """Operators in an order in which each one's operands are made before it.

    Attributes:
        input_name: the one input of the file.
        input_shape: of one example.
        operators: all that the logits depend on.
        shapes: result shape of each operator, for one example.
        ending: what the file does to the logits, such as Softmax; the largest stays the largest.
    """

    input_name: str
    input_shape: tuple[int, ...]
    operators: tuple[Operator, ...]
    shapes: tuple[tuple[int, ...], ...]
    ending: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.shapes[-1][0]

    @property
    def input_size(self) -> int:
        """Entries of one example."""
        return int(np.prod(self.input_shape))

    @property
    def head(self) -> Dense | None:
        """The linear layer that makes the logits, where the program ends in one."""
        last = self.operators[-1]
        return last if isinstance(last, Dense) else None

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits of a batch, in the dtype and on the device of `inputs`; differentiable."""
        values = {self.input_name: inputs}
        for operator in self.operators:
            operands = (values[name] for name in operator.operands)
            values[operator.result] = operator.run(*operands)
        return values[self.operators[-1].result]

    @cached_property
    def wiring(self) -> Wiring:
        """Who makes and who reads each tensor."""
        results = [operator.result for operator in self.operators]
        shapes = dict(zip(results, self.shapes, strict=True))
        return Wiring(self.input_name, self.operators, {self.input_name: self.input_shape} | shapes)

    @cached_property
    def sha256(self) -> str:
        """Hash of what the program computes: shapes, operators, wiring and weights.

        Names in the file do not enter, so a file that only gained outputs keeps the hash.
        """
        place = {self.input_name: 0}
        rows = []
        for operator in self.operators:
            operands = [place[name] for name in operator.operands]
            place[operator.result] = len(place)
            rows.append([operator.kind, operands, dict(_content(operator))])
        canonical = json.dumps([list(self.input_shape), rows], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def logits_in_float64(program: Program, inputs: np.ndarray) -> np.ndarray:
    """Logits of float32 images, evaluated in float64 on the processor."""
    with torch.inference_mode():
        logits = program(torch.from_numpy(np.asarray(inputs, dtype=np.float64)))
    return logits.numpy()


def _content(operator: Operator) -> Iterator[tuple[str, object]]:
    """Fields of an operator that decide what it computes, weights as hashes."""
    for column in fields(operator):
        if column.name in ("name", "kind", "operands", "result"):
            continue
        value = getattr(operator, column.name)
        if isinstance(value, Constant):
            stored = np.ascontiguousarray(value.array, dtype="<f4")
            value = [list(stored.shape), hashlib.sha256(stored.tobytes()).hexdigest()]
        yield column.name, value
