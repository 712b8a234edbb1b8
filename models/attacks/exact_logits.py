"""Logits in exact arithmetic, for images at which float64 cannot tell which class wins.

The weights of a file and the pixels of an image are float32 numbers, so the logits of a piecewise
linear program are rational, and which of them is larger has an answer.
"""

from fractions import Fraction

import numpy as np

from models.attacks.effort import products
from models.attacks.exact_operators import RUN, stays_rational
from models.attacks.rational import Rationals
from models.proof.program import Program

MOST_PRODUCTS = 2**26
"""In all passes for one batch, at some 100 nanoseconds each."""


def exact_logits(program: Program, image: np.ndarray) -> list[Fraction]:
    """Logits of one float32 image of a program for which `affordable_passes` is not 0."""
    values = {program.input_name: Rationals.of(image[None])}
    for operator in program.operators:
        operands = (values[name] for name in operator.operands)
        values[operator.result] = RUN[type(operator)](operator, *operands)
    logits = values[program.operators[-1].result]
    return [logits.entry((0, label)) for label in range(program.classes)]


def affordable_passes(program: Program) -> int:
    """For how many images of a batch there are exact logits; 0 where a value may be irrational."""
    if not all(map(stays_rational, program.operators)):
        return 0
    return MOST_PRODUCTS // products(program)
