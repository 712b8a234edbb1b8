"""The kinds of groups that are known, in the order in which they are tried."""

from models.audit.groups.centring import centred
from models.audit.groups.circular import circular
from models.audit.groups.gates import gated, log_sigmoid, softplus_with_threshold, softsign
from models.audit.groups.maxmin import max_min
from models.audit.groups.pooling import l2_pooling
from models.audit.groups.residual import residual
from models.audit.groups.slices import slices
from models.audit.groups.wiring import Recogniser, Wiring
from models.audit.step import Step


def _slices(wiring: Wiring, step: Step) -> Step | None:
    """A part of a Concat may hold groups of all kinds."""
    return slices(wiring, step, known=GROUPS)


GROUPS: tuple[Recogniser, ...] = (
    circular,
    max_min,
    l2_pooling,
    residual,
    centred,
    gated,
    softsign,
    log_sigmoid,
    softplus_with_threshold,
    _slices,
)
