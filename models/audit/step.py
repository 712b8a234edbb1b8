"""A step of a graph: something to evaluate, and a row of what it does to distances and rounding.

With operands that move by ℓ₁, ℓ₂ … the result moves by at most factor · joined(ℓ₁, ℓ₂ …), where
joined is the one operand, their sum or the root of their summed squares.  Factors are proved when
they are asked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from models.audit.arithmetic import Format, gamma, length, root_above
from models.errors import VerificationError

FINITE = 2.0**126
"""Float32 numbers below it cannot overflow."""
ACCURATE = 2.0**-40
"""What float64 functions of a library are taken to be accurate to."""
FARTHEST = 2.0**280
"""Norms below it keep the operands of such functions where their slopes were proved."""
UNKNOWN = 2.0**900
"""An error that no claim can confirm: nothing is known."""


@dataclass(frozen=True)
class Loss:
    """How a step rounds, whatever the order of its sums.

    Attributes:
        roundings: behind an entry of the result; 0 where entries are only chosen.
        absolute: factor of the step with every coefficient made positive.
        terms: entries of the operands behind an entry of the result.
        largest: largest coefficient.
        longest: norm that an operand must stay below so that nothing overflows.
        exact: nothing at all is rounded.
        root: the result is a root, so that what is flushed in the sum costs its own root.
        library: a library's float64 function, of which `ACCURATE` is assumed.
        jump: how far, beside it, each entry may be from the function that was bounded.
        uncovered: why no float32 runtime is covered; empty where they are.
    """

    roundings: int = 0
    absolute: float = 1.0
    terms: int = 1
    largest: float = 1.0
    longest: float = math.inf
    exact: bool = False
    root: bool = False
    library: bool = False
    jump: float = 0.0
    uncovered: str = ""


EXACT = Loss(exact=True)
CHOSEN = Loss()


def _one() -> float:
    return 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """One operator or group: the activations that it reads and the one that it makes.

    Attributes:
        name: of the node.
        kind: operator of the file, or kind of the group.
        operands: activations, in order.
        result: the activation made.
        run: the result in float64, batch first.
        prove: upper bound on the stretch per unit of what the operands moved together.
        rounds: how it rounds.
        joined: how several operands count together.
        place: where each entry of the result comes from, for steps that only move entries:
            from numbers of entries to numbers of entries, -1 for a constant.
        facts: what groups are recognised by.
        inner: the steps of a group.
        walked: whether a group rounds as its steps do, one after the other.
        bounded: whether there is a bound; some steps have one inside a group alone.
        shapes: of the operands, for one example.
        shape: of the result, for one example.
        offset: norm of the result at zero operands.
    """

    name: str
    kind: str
    operands: tuple[str, ...]
    result: str
    run: Callable[..., np.ndarray]
    prove: Callable[[], float] = _one
    rounds: Callable[[], Loss] = field(default=lambda: CHOSEN)
    joined: Literal["one", "sum", "squares"] = "one"
    place: Callable[[np.ndarray], np.ndarray] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    inner: tuple["Step", ...] = ()
    walked: bool = False
    bounded: bool = True
    shapes: tuple[tuple[int, ...], ...] = ()
    shape: tuple[int, ...] = ()
    offset: float = 0.0

    @cached_property
    def factor(self) -> float:
        """The bound on the stretch, proved once."""
        return self.prove()

    @cached_property
    def loss(self) -> Loss:
        """How it rounds, found once."""
        return self.rounds()

    def together(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """What the operands' distances, norms or errors are together, within two ulp a term."""
        if self.joined == "squares":
            return np.asarray(np.sqrt(sum(np.square(value) for value in values)))
        return np.asarray(sum(values)) if self.joined == "sum" else np.asarray(values[0])

    def lost(self, reach: np.ndarray, one: np.ndarray, *, computed_in: Format) -> np.ndarray:
        """What the step itself rounds, for operands whose norms are together `reach`.

        γ_r (absolute · ρ + offset), and what gradual or flushed underflow can add.

        Args:
            reach: ρ, for several inputs at once, or as several coefficients.
            one: what the number 1 is, beside `reach`.
            computed_in: a floating-point format.
        """
        loss, entries = self.loss, math.prod(self.shape)
        if loss.exact:
            return np.zeros_like(reach)
        full = loss.absolute * reach + self.offset * one
        rounded = gamma(loss.roundings, computed_in.unit) * full if loss.roundings else 0.0 * full
        if loss.root:
            squares = 4.0 * loss.terms * max(1.0, loss.largest) * computed_in.smallest
            return np.asarray(rounded + math.sqrt(entries * squares) * one)
        flushed = 8.0 * loss.terms * math.sqrt(entries) * computed_in.smallest
        rounded = rounded + flushed * (reach + (1 + loss.largest) * one)
        if loss.library:
            accuracy = ACCURATE * math.sqrt(entries) * loss.largest
            rounded = rounded + accuracy * (reach + one) + loss.jump * math.sqrt(entries) * one
            if not np.max(reach) < FARTHEST:
                return np.full_like(rounded, UNKNOWN)
        return np.asarray(rounded)

    def refuse(self, found: str) -> VerificationError:
        """An error that names this step."""
        return VerificationError(f"operators: {self.name} ({self.kind}): {found} is not known here")


def shaped(step: Step, shapes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Shapes and offset of a step, found by running it on two examples of zeros.

    Raises:
        VerificationError: If it does not fit its operands, or mixes the batch.
    """
    zeros = [np.zeros((2, *shape)) for shape in shapes]
    try:
        result = step.run(*zeros)
    except (ValueError, IndexError) as fault:
        raise step.refuse(f"a form that does not fit its operands ({fault})") from None
    if result.ndim < 2 or len(result) != 2 or result.size == 0:
        raise step.refuse("a step that changes the batch, or leaves nothing,")
    return {
        "shapes": tuple(shapes),
        "shape": result.shape[1:],
        "offset": length(result[0]),
    }


def uses_bound(step: Step) -> float:
    """The root of the largest number of times that an entry is used, counted."""
    if step.place is None:
        raise step.refuse("a move without places")
    (shape,) = step.shapes
    numbers = np.arange(math.prod(shape)).reshape(1, *shape)
    places = step.place(numbers)
    return root_above(int(np.bincount(places[places >= 0], minlength=1).max()))


def composed(source: str, steps: Sequence[Step]) -> Callable[[np.ndarray], np.ndarray]:
    """What steps that read one tensor make of it."""

    def run(x: np.ndarray) -> np.ndarray:
        values = {source: x}
        for step in steps:
            values[step.result] = step.run(*(values[name] for name in step.operands))
        return values[steps[-1].result]

    return run


def grouped(kind: str, source: str, inside: Sequence[Step], **columns: Any) -> Step:
    """Steps from one tensor to the last one's result, as one step of a kind of its own."""
    last = inside[-1]
    step = Step(
        name=last.name,
        kind=kind,
        operands=(source,),
        result=last.result,
        run=composed(source, inside),
        inner=tuple(inside),
        **columns,
    )
    (shape,) = {
        shape
        for each in inside
        for name, shape in zip(each.operands, each.shapes, strict=True)
        if name == source
    }
    return replace(step, **shaped(step, [shape]))
