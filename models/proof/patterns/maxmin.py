"""MaxMin, also called GroupSort2, as exporters break it: the largest and least of disjoint groups.

The largest and the least entry of each group are two entries of the sorted group, so the result is
part of a sort of the source, and sorting brings no two vectors apart.  It takes disjoint groups,
and no entry of the sort twice: the largest and the least of one entry are the same.

Source: C. Anil, J. Lucas and R. Grosse, "Sorting Out Lipschitz Function Approximation", ICML 2019,
arXiv:1811.05381.
"""

import torch
from torch import Tensor

from models.proof.operators.branches import Concatenation, Extreme
from models.proof.operators.operator import Operator, Stretch
from models.proof.operators.reduction import Reduction
from models.proof.patterns.group import Group, Wiring
from models.proof.patterns.places import before_moves, common_source, moved_places

LARGEST = ("Max", "ReduceMax", "GlobalMaxPool")
LEAST = ("Min", "ReduceMin")


def recognise(wiring: Wiring, operator: Operator) -> Group | None:
    """The group that ends in the Concat of a largest and a least."""
    if not isinstance(operator, Concatenation) or len(operator.operands) != 2:
        return None
    ends = [before_moves(wiring, name)[-1] for name in operator.operands]
    makers = [wiring.maker.get(name) for name in ends]
    if not any(
        getattr(one, "kind", "") in LARGEST and getattr(other, "kind", "") in LEAST
        for one, other in (makers, reversed(makers))
    ):
        return None
    extremes = [maker for maker in makers if isinstance(maker, Extreme | Reduction)]
    source = common_source(wiring, [name for extreme in extremes for name in extreme.operands])
    if len(extremes) != 2 or source is None:
        return None
    inside = wiring.between(source, operator.result)
    places = moved_places(wiring, source, inside)
    first, second = (_groups(extreme, places) for extreme in extremes)
    if first.shape[1] < 2 or not torch.equal(first, second):
        return None
    if _repeats(first) or any(
        _repeats(moved_places(wiring, end, inside)[name])
        for end, name in zip(ends, operator.operands, strict=True)
    ):
        return None
    return Group("MaxMin", source, inside, lambda: Stretch(method="part of a sort"))


def _repeats(places: Tensor) -> bool:
    """Whether an entry stands at two places."""
    return len(set(places.reshape(-1).tolist())) < places.numel()


def _groups(extreme: Extreme | Reduction, places: dict[str, Tensor]) -> Tensor:
    """Entries of the source behind each entry of an extreme: a row each, rising."""
    if isinstance(extreme, Extreme):
        rows = torch.stack([places[name].reshape(-1) for name in extreme.operands], dim=1)
    else:
        entries = places[extreme.operands[0]]
        kept = [axis for axis in range(entries.dim()) if axis not in extreme.axes]
        rows = entries.permute(*kept, *extreme.axes).reshape(-1, extreme.entries)
    return rows.sort(dim=1).values
