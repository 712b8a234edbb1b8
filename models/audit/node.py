"""A node of the file with what is known of its operands; whatever is not known is refused."""

import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from models.audit.step import EXACT, Step, shaped, uses_bound
from models.errors import VerificationError

BATCH = -(2**61) - 87
"""Stands for the length of the batch in shape arithmetic: no file may hold it, and none can compute
it, since what is computed stays below 2⁵³."""
MOST_ENTRIES = 2**25
"""Of a tensor, for one example; 256 MiB in float64."""
WHOLE = 2**31 - 1
"""A slice up to here or beyond keeps every example of a batch."""


def stored(array: np.ndarray, owner: str) -> np.ndarray:
    """Numbers of the file.

    Raises:
        VerificationError: If one of them is what stands for the length of the batch.
    """
    if array.dtype.kind in "iu" and (array == BATCH).any():
        raise VerificationError(f"operators: {owner} holds {BATCH}, which no shape needs")
    return array


@dataclass(frozen=True)
class Node:
    """An operator as the file has it.

    Attributes:
        constants: all of the file so far, by name.
        shapes: of all activations so far, for one example.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: MutableMapping[str, np.ndarray]
    shapes: Mapping[str, tuple[int, ...]]

    def refuse(self, found: str) -> VerificationError:
        """An error that names this node."""
        return VerificationError(f"operators: {self.name} ({self.kind}): {found} is not known here")

    def given(self, place: int) -> bool:
        """Whether an operand is there at all."""
        return place < len(self.inputs) and self.inputs[place] != ""

    def fixed(self, place: int) -> bool:
        """Whether an operand is a constant of the file."""
        return self.given(place) and self.inputs[place] in self.constants

    def activation(self, place: int = 0) -> str:
        """Name of an operand that depends on the image."""
        if not self.given(place) or self.inputs[place] not in self.shapes:
            raise self.refuse(f"operand {place}, which is no activation,")
        return self.inputs[place]

    def shape(self, place: int = 0) -> tuple[int, ...]:
        """Shape of an activation for one example."""
        return self.shapes[self.activation(place)]

    def weight(self, place: int) -> np.ndarray:
        """Finite float32 values of a constant, as float64."""
        if not self.fixed(place):
            raise self.refuse(f"operand {place}, which is no constant,")
        values = self.constants[self.inputs[place]]
        if values.dtype != np.float32 or not values.size or not np.isfinite(values).all():
            raise self.refuse("a weight that is not finite float32")
        return values.astype(np.float64)

    def whole(self, place: int) -> list[int]:
        """A row of whole numbers, constant."""
        if not self.fixed(place):
            raise self.refuse(f"operand {place}, which is no constant,")
        values = self.constants[self.inputs[place]]
        if values.dtype != np.int64 or values.ndim > 1:
            raise self.refuse(f"operand {place}, which is no row of whole numbers,")
        return [int(value) for value in values.reshape(-1)]

    def axis(self, told: int, shape: tuple[int, ...] | None = None) -> int:
        """An axis behind the batch, counted from the front."""
        rank = 1 + len(self.shape() if shape is None else shape)
        axis = told + rank if told < 0 else told
        if not 0 < axis < rank:
            raise self.refuse(f"axis {told}, which is the batch or none,")
        return axis

    def row(self, name: str, count: int, *, default: int, least: int) -> list[int]:
        """An attribute of whole numbers, one to an axis or an end of it."""
        found = [int(value) for value in self.attributes.get(name, [default] * count)]
        if len(found) != count or min(found) < least:
            raise self.refuse(f"{name} = {found}")
        return found

    def inner(self, place: int) -> str:
        """A tensor inside the node; no file can hold its name."""
        return f"{self.outputs[0]}\n{place}"

    def knowing(self, made: list[Step]) -> "Node":
        """The node, with steps before its own."""
        return replace(self, shapes=dict(self.shapes) | {step.result: step.shape for step in made})

    def step(self, run: Callable[..., np.ndarray], *operands: str, **columns: Any) -> Step:
        """A step that this node becomes, by default from its first operand to its result."""
        names = operands or (self.activation(),)
        named = {"name": self.name, "kind": self.kind, "result": self.outputs[0]} | columns
        step = Step(run=run, operands=names, **named)
        return replace(step, **shaped(step, [self.shapes[name] for name in names]))

    def move(
        self, run: Callable[..., np.ndarray], *operands: str, fill: float | None = None, **more: Any
    ) -> Step:
        """A step that moves entries; with `fill`, `run` takes what stands in between."""
        values = run if fill is None else partial(run, fill=fill)
        places = run if fill is None else partial(run, fill=-1)
        step = self.step(values, *operands, place=places, rounds=lambda: EXACT, **more)
        return replace(step, prove=lambda: uses_bound(step))

    def fits(self, sides: Iterable[int]) -> None:
        """Refuse a tensor that would not fit into memory, before it is made."""
        entries = math.prod(sides)
        if entries > MOST_ENTRIES:
            raise self.refuse(f"a tensor of {entries} entries an example")

    def enlarged(self, name: str, shapes: list[tuple[int, ...]], at: int) -> list[Step]:
        """A step that repeats an activation to the size that other operands ask for, or none.

        Args:
            name: the activation.
            shapes: of the other operands, batch included.
            at: a number for the tensor made.
        """
        own = (1, *self.shapes[name])
        try:
            full = np.broadcast_shapes(own, *shapes)
        except ValueError:
            full = ()
        if len(full) != len(own) or full[0] != 1:
            raise self.refuse("an operand that does not broadcast, or has a batch,")
        if full == own:
            return []
        self.fits(full)
        return [
            self.move(
                lambda x: np.broadcast_to(x, (len(x), *full[1:])),
                name,
                kind="Expand",
                result=self.inner(at),
            )
        ]


def flat(shape: tuple[int, ...]) -> int:
    """Entries of one example."""
    return math.prod(shape)
