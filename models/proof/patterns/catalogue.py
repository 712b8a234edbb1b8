"""The kinds of groups that are known, in the order in which they are tried."""

from models.proof.patterns.circular import circular_convolution
from models.proof.patterns.group import Recogniser

RECOGNISERS: tuple[Recogniser, ...] = (circular_convolution,)
