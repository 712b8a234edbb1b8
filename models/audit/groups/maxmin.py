"""MaxMin as exporters break it: parts of a sort, put side by side.

Each entry of the Concat is an entry of the source, the largest of a set of them, or the least of
one.  If the sets are disjoint, of two entries or more, and no entry is there twice, then the result
is a part of what sorting each set gives, and sorting brings no two vectors apart.

Source: C. Anil, J. Lucas and R. Grosse, "Sorting Out Lipschitz Function Approximation", ICML 2019,
arXiv:1811.05381.
"""

import math

import numpy as np

from models.audit.groups.wiring import Wiring
from models.audit.step import Step, grouped

Chosen = tuple[str, tuple[int, ...]]
"""Max, Min or nothing, and the entries of the source that it is of."""


def max_min(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in a Concat of two extremes."""
    if step.kind != "Concat" or len(step.operands) != 2:
        return None
    ends = [wiring.unmoved(name)[-1] for name in step.operands]
    extremes = [wiring.before(end) for end in ends]
    kinds = {each.facts.get("extreme") for each in extremes if each is not None}
    if kinds != {"Max", "Min"}:
        return None
    source = _common(wiring, [name for each in extremes if each for name in each.operands])
    if source is None:
        return None
    inside = wiring.between(source, step.result)
    places = wiring.places(source, inside)
    chosen: list[Chosen] = []
    for name, end, extreme in zip(step.operands, ends, extremes, strict=True):
        if extreme is None or any(operand not in places for operand in extreme.operands):
            return None
        rows = _sets(extreme, [places[operand] for operand in extreme.operands])
        behind = wiring.places(end, wiring.between(end, name))[name]
        kind = extreme.facts["extreme"]
        chosen += [(kind, tuple(rows[at])) for at in behind.reshape(-1)]
    return grouped("MaxMin", source, inside) if is_part_of_a_sort(chosen) else None


def is_part_of_a_sort(chosen: list[Chosen]) -> bool:
    """Whether entries are extremes of disjoint sets of two or more, none of them twice."""
    sets = {entries for _, entries in chosen}
    members = [entry for entries in sets for entry in entries]
    once = len(chosen) == len(set(chosen)) and len(members) == len(set(members))
    return once and min(map(len, sets)) > 1


def _common(wiring: Wiring, names: list[str]) -> str | None:
    """The nearest tensor that all of some tensors were moved from."""
    first, *others = (wiring.unmoved(name) for name in names)
    return next((name for name in first if all(name in chain for chain in others)), None)


def _sets(extreme: Step, operands: list[np.ndarray]) -> list[list[int]]:
    """The entries of the source behind each entry of an extreme, rising."""
    if "axes" not in extreme.facts:
        rows = np.stack([each.reshape(-1) for each in operands], axis=1)
    else:
        axes = extreme.facts["axes"]
        last = [axis for axis in range(operands[0].ndim) if axis not in axes]
        count = math.prod(operands[0].shape[axis] for axis in axes)
        rows = operands[0].transpose(*last, *axes).reshape(-1, count)
    found: list[list[int]] = np.sort(rows, axis=1).tolist()
    return found
