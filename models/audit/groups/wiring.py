"""Who makes and who reads each tensor, where entries come from, and groups laid over the steps."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.audit.step import Step
from models.errors import VerificationError


@dataclass(frozen=True)
class Wiring:
    """Steps in order, from a source."""

    source: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]

    @cached_property
    def maker(self) -> dict[str, Step]:
        """The step that makes a tensor; the source has none."""
        return {step.result: step for step in self.steps}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors, for one example."""
        return {self.source: self.shape} | {step.result: step.shape for step in self.steps}

    @cached_property
    def at(self) -> dict[str, int]:
        """Where the step that makes a tensor stands; the source before all of them."""
        return {self.source: -1} | {step.result: at for at, step in enumerate(self.steps)}

    @cached_property
    def read_by(self) -> Counter[str]:
        """How many steps read a tensor."""
        return Counter(name for step in self.steps for name in set(step.operands))

    def before(self, name: str) -> Step | None:
        """The step that makes a tensor, if one does."""
        return self.maker.get(name)

    def between(self, source: str, result: str) -> tuple[Step, ...]:
        """Steps that lead from one tensor to another; none where they read anything else."""
        wanted, pending = set(), [result]
        while pending:
            name = pending.pop()
            if name == source or name in wanted:
                continue
            if name not in self.maker:
                return ()
            wanted.add(name)
            pending += self.maker[name].operands
        return tuple(self.steps[at] for at in sorted(self.at[name] for name in wanted))

    def unmoved(self, name: str) -> list[str]:
        """A tensor and those that it was moved from, the nearest first."""
        chain = [name]
        while (step := self.before(chain[-1])) is not None and only_moves(step):
            chain.append(step.operands[0])
        return chain

    def places(self, source: str, inside: Sequence[Step]) -> dict[str, np.ndarray]:
        """Numbers of the source's entries in every tensor that is made of them by moves alone."""
        shape = self.shapes[source]
        found = {source: np.arange(math.prod(shape)).reshape(1, *shape)}
        for step in inside:
            if all(name in found for name in step.operands):
                values = [found[name] for name in step.operands]
                if step.kind == "Concat":
                    found[step.result] = np.concatenate(values, axis=step.facts["axis"])
                elif only_moves(step) and step.place is not None:
                    found[step.result] = step.place(*values)
        return found


def only_moves(step: Step) -> bool:
    """Whether each entry of the result is one of the operand."""
    if step.place is None:
        return False
    (shape,) = step.shapes
    if step.kind != "Pad":
        return True
    return bool((step.place(np.zeros((1, *shape), dtype=np.int64)) == 0).all())


Recogniser = Callable[[Wiring, Step], Step | None]
"""The group that ends in a step, as one step, if the recogniser knows it."""


def overlaid(wiring: Wiring, result: str, known: Sequence[Recogniser]) -> tuple[Step, ...]:
    """The steps that a tensor needs, groups in place of the steps that they are made of.

    Raises:
        VerificationError: If a step that has no bound of its own is left outside all groups.
    """
    wanted, kept = {result}, []
    for step in reversed(wiring.steps):
        if step.result not in wanted:
            continue
        group = next(_found(wiring, step, known), step)
        if group is step and not group.bounded:
            raise VerificationError(
                f"operators: {step.name} ({step.kind}) has no bound outside a group that is known"
            )
        wanted.update(group.operands)
        kept.append(group)
    return tuple(reversed(kept))


def _found(wiring: Wiring, step: Step, known: Sequence[Recogniser]) -> Iterator[Step]:
    for recognise in known:
        group = recognise(wiring, step)
        if group is not None:
            yield group
