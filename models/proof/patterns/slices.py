"""Concat of parts that read disjoint slices of one tensor, as reversible and split blocks do.

Part i depends on the source u through the entries S_i alone, and the S_i are disjoint.  With g_i
the factor of part i, ‖y - y′‖² = Σ ‖p_i - p_i′‖² ≤ Σ g_i² ‖u_Si - u′_Si‖² ≤ max g_i² ‖u - u′‖².
Parts that share an entry of u count as one part; that one keeps the plain rule, or is a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.proof.operators.branches import Concatenation
from models.proof.operators.operator import Operator
from models.proof.patterns.group import Group, Recogniser, Wiring, find_groups
from models.proof.patterns.places import is_move, moved_places
from models.proof.steps import Step, WalkedStretch, take_steps, walked


@dataclass(frozen=True)
class Part:
    """Operands of the Concat that depend on the same entries of the source."""

    entries: Tensor
    operands: tuple[str, ...]


def recognise(wiring: Wiring, operator: Operator, *, known: Sequence[Recogniser]) -> Group | None:
    """The group that ends in such a Concat.

    Args:
        wiring: of the program.
        operator: its last one.
        known: recognisers of the groups that a part may hold.
    """
    if not isinstance(operator, Concatenation):
        return None
    source = _source(wiring, operator)
    if source is None:
        return None
    inside = wiring.between(source, operator.result)
    parts = _parts(wiring, source, inside)
    if len(parts) < 2:
        return None
    return Group(
        "Concat of slices", source, inside, lambda: _stretch(wiring, source, inside, parts, known)
    )


def _source(wiring: Wiring, operator: Concatenation) -> str | None:
    """The nearest tensor of which parts are read, and through which alone the input acts."""
    tried = set()
    before = wiring.operators[: wiring.place[operator.result]]
    for other in reversed(before):
        name = other.operands[0]
        if is_move(other) and name not in tried and len(wiring.readers[name]) > 1:
            tried.add(name)
            if other in wiring.between(name, operator.result):
                return name
    return None


def _parts(wiring: Wiring, source: str, inside: Sequence[Operator]) -> list[Part]:
    """Operands of the last operator, together where they share an entry of the source."""
    places = moved_places(wiring, source, inside)
    size = places[source].numel()
    reads: dict[str, Tensor] = {}
    for name, numbers in places.items():
        reads[name] = torch.zeros(size, dtype=torch.bool)
        reads[name][numbers.reshape(-1)] = True
    parts: list[Part] = []
    for step in inside[:-1]:
        if step.result not in reads:
            reads[step.result] = torch.stack([reads[name] for name in step.operands]).any(dim=0)
    for name in inside[-1].operands:
        joined, apart = Part(reads[name], (name,)), []
        for part in parts:
            if (part.entries & joined.entries).any():
                joined = Part(part.entries | joined.entries, (*part.operands, *joined.operands))
            else:
                apart.append(part)
        parts = [*apart, joined]
    return parts


def _stretch(
    wiring: Wiring,
    source: str,
    inside: Sequence[Operator],
    parts: Sequence[Part],
    known: Sequence[Recogniser],
) -> WalkedStretch:
    """The largest factor of a part."""
    *_, last = inside
    steps: dict[str, Step] = {}
    ends = []
    for place, part in enumerate(parts):
        within = _within(wiring, source, replace(last, operands=part.operands), place)
        walk = take_steps(within, find_groups(within, known))
        steps |= {step.result: step for step in walk}
        ends.append(walk[-1])
    factor = max(end.lipschitz_bound for end in ends)
    shape = wiring.shapes[last.result]
    joined = Step(
        last.name,
        last.kind,
        tuple(end.result for end in ends),
        last.result,
        shape,
        last.stretch(shape),
        factor,
        (last,),
    )
    return walked(
        (*steps.values(), joined),
        source=source,
        factor=factor,
        method="largest factor of disjoint slices",
    )


def _within(wiring: Wiring, source: str, joined: Operator, place: int) -> Wiring:
    """The wiring of one part, from the source on; operands that belong together are joined."""
    own = {name for name in joined.operands for name in _results(wiring, source, name)}
    operators = tuple(operator for operator in wiring.operators if operator.result in own)
    shapes = dict(wiring.shapes)
    if len(joined.operands) > 1:
        virtual = replace(joined, result=f"{joined.result}\n{place}")  # no file has such a name
        sides = [torch.empty(1, *shapes[name], device="meta") for name in joined.operands]
        shapes[virtual.result] = tuple(virtual.run(*sides).shape[1:])
        operators = (*operators, virtual)
    return Wiring(source, operators, shapes)


def _results(wiring: Wiring, source: str, name: str) -> list[str]:
    return [operator.result for operator in wiring.between(source, name)]
