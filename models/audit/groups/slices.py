"""Concat of parts that read disjoint slices of one tensor, as reversible and split blocks do.

Part i depends on the source u through the entries S_i alone, and the S_i are disjoint.  With g_i
the factor of part i, ‖y - y′‖² ≤ Σ g_i² ‖u_Si - u′_Si‖² ≤ max g_i² ‖u - u′‖².  Parts that share an
entry are one part, of which a Concat is made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.audit.groups.wiring import Recogniser, Wiring, only_moves, overlaid
from models.audit.lipschitz import walked
from models.audit.step import Step, grouped, shaped


@dataclass(frozen=True)
class Part:
    """Operands of the Concat that read the same entries of the source."""

    entries: np.ndarray
    operands: tuple[str, ...]


def slices(wiring: Wiring, step: Step, *, known: Sequence[Recogniser]) -> Step | None:
    """The group that ends in such a Concat.

    Args:
        wiring: of the whole.
        step: its last one.
        known: the groups that a part may hold.
    """
    if step.kind != "Concat":
        return None
    for source in _sources(wiring, step):
        inside = wiring.between(source, step.result)
        parts = _parts(wiring, source, inside)
        if len(parts) < 2:
            return None
        return _group(wiring, source, inside, parts, known=known)
    return None


def _group(
    wiring: Wiring,
    source: str,
    inside: Sequence[Step],
    parts: Sequence[Part],
    *,
    known: Sequence[Recogniser],
) -> Step:
    """The Concat of what each part gives, whose factor is the largest of a part."""
    last = inside[-1]
    walks = [
        _walk(
            wiring,
            source,
            replace(last, operands=part.operands, result=f"{last.result}\n{at}"),
            known,
        )
        for at, part in enumerate(parts)
    ]
    ends = [walk[-1] for walk in walks]
    joined = replace(
        last,
        operands=tuple(end.result for end in ends),
        shapes=tuple(end.shape for end in ends),
        facts={},
    )
    inner = {each.result: each for walk in walks for each in walk}
    group = grouped("Concat of slices", source, inside, walked=True)
    return replace(
        group,
        inner=(*inner.values(), joined),
        prove=lambda: max(walked(source, walk)[walk[-1].result] for walk in walks),
    )


def _sources(wiring: Wiring, step: Step) -> Iterator[str]:
    """The tensors of which parts are read, and on which alone the Concat rests; nearest first."""
    tried = set()
    for other in reversed(wiring.steps[: wiring.at[step.result]]):
        name = other.operands[0]
        if only_moves(other) and name not in tried and wiring.read_by[name] > 1:
            tried.add(name)
            if other in wiring.between(name, step.result):
                yield name


def _parts(wiring: Wiring, source: str, inside: Sequence[Step]) -> list[Part]:
    places = wiring.places(source, inside)
    reads: dict[str, np.ndarray] = {}
    for name, numbers in places.items():
        reads[name] = np.zeros(places[source].size, dtype=bool)
        reads[name][numbers.reshape(-1)] = True
    for step in inside[:-1]:
        if step.result not in reads:
            reads[step.result] = np.any([reads[name] for name in step.operands], axis=0)
    parts: list[Part] = []
    for name in inside[-1].operands:
        joined, apart = Part(reads[name], (name,)), []
        for part in parts:
            if (part.entries & joined.entries).any():
                joined = Part(part.entries | joined.entries, (*part.operands, *joined.operands))
            else:
                apart.append(part)
        parts = [*apart, joined]
    return parts


def _walk(
    wiring: Wiring, source: str, joined: Step, known: Sequence[Recogniser]
) -> tuple[Step, ...]:
    """The steps of one part from the source on; operands that belong together are joined."""
    own = {each.result for name in joined.operands for each in wiring.between(source, name)}
    steps = tuple(each for each in wiring.steps if each.result in own)
    end = joined.operands[0]
    if len(joined.operands) > 1:
        end = joined.result
        shapes = [wiring.shapes[name] for name in joined.operands]
        steps = (*steps, replace(joined, **shaped(joined, shapes)))
    if end == source:
        raise joined.refuse("a part that is the whole tensor")
    return overlaid(Wiring(source, wiring.shapes[source], steps), end, known)
