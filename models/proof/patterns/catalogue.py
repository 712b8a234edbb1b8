"""The kinds of groups that are known, in the order in which they are tried."""

from models.proof.operators.operator import Operator
from models.proof.patterns import centering, circular, l2_pooling, maxmin, residual, slices
from models.proof.patterns.group import Group, Recogniser, Wiring


def _slices(wiring: Wiring, operator: Operator) -> Group | None:
    """A part of a Concat may hold groups of all kinds."""
    return slices.recognise(wiring, operator, known=RECOGNISERS)


RECOGNISERS: tuple[Recogniser, ...] = (
    circular.circular_convolution,
    maxmin.recognise,
    l2_pooling.recognise,
    residual.recognise,
    centering.recognise,
    _slices,
)
