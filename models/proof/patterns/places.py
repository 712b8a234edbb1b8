"""Where entries come from: which entry of a source stands at each place of a moved tensor."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from models.proof.operators.branches import Concatenation
from models.proof.operators.lines import PAD
from models.proof.operators.operator import Operator
from models.proof.operators.routing import Move
from models.proof.operators.selection import Selection
from models.proof.patterns.group import Wiring


def is_move(operator: Operator) -> bool:
    """Whether each entry of the result is an entry of the one operand."""
    if isinstance(operator, Selection):
        return all(PAD not in places for places in operator.indices if places is not None)
    return isinstance(operator, Move)


def moved_places(wiring: Wiring, source: str, operators: Iterable[Operator]) -> dict[str, Tensor]:
    """Number of the source's entry at each place, for tensors that are made by moves alone.

    Args:
        wiring: of the program.
        source: its entries are numbered from 0.
        operators: in order.

    Returns:
        Whole numbers of shape (1, *shape) by tensor; a tensor of other numbers is left out.
    """
    shape = wiring.shapes[source]
    found = {source: torch.arange(math.prod(shape)).reshape(1, *shape)}
    for operator in operators:
        joins = isinstance(operator, Concatenation) or is_move(operator)
        if joins and all(name in found for name in operator.operands):
            found[operator.result] = operator.run(*(found[name] for name in operator.operands))
    return found


def before_moves(wiring: Wiring, name: str) -> tuple[str, ...]:
    """A tensor, and what it was before each of the moves that made it, the nearest first."""
    chain = [name]
    while chain[-1] in wiring.maker and is_move(wiring.maker[chain[-1]]):
        chain.append(wiring.maker[chain[-1]].operands[0])
    return tuple(chain)


def common_source(wiring: Wiring, names: Iterable[str]) -> str | None:
    """The nearest tensor that all of some tensors are moved from."""
    first, *others = (before_moves(wiring, name) for name in names)
    return next((name for name in first if all(name in chain for chain in others)), None)


def moved_sources(wiring: Wiring, name: str) -> Iterator[str]:
    """Tensors that a tensor is made of by moves and joins alone, the first of the program first."""
    pending = [name]
    before: set[str] = set()
    while pending:
        maker = wiring.maker.get(pending.pop())
        if maker is not None and (isinstance(maker, Concatenation) or is_move(maker)):
            pending += [operand for operand in maker.operands if operand not in before]
            before.update(maker.operands)
    for source in (wiring.input_name, *wiring.maker):
        if source in before:
            inside = wiring.between(source, name)
            if inside and name in moved_places(wiring, source, inside):
                yield source


def places_along_axes(places: Tensor, shape: tuple[int, ...]) -> list[tuple[int, ...]] | None:
    """Places along each axis, where an entry's place on one axis decides its source's on that.

    Args:
        places: of one example, as `moved_places` gives them.
        shape: of the source.
    """
    if places.dim() != 1 + len(shape):
        return None
    found = []
    for axis, index in enumerate(torch.unravel_index(places[0], shape)):
        line = index.movedim(axis, 0).reshape(len(index.movedim(axis, 0)), -1)
        if not torch.equal(line, line[:, :1].expand_as(line)):
            return None
        found.append(tuple(line[:, 0].tolist()))
    return found
