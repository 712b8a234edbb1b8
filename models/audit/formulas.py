"""Functions of one number as rows of operations, so that equal ones are proved once.

A row is an operation, the numbers of the file that it is told, and what it reads: 0 stands for the
number that the function is of, k for what row k made.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from models.audit.arithmetic import above
from models.audit.slopes import accurate, between, erf, sigmoid, softplus, steepest, tanh
from models.audit.step import ACCURATE, Loss

STEEPEST = 2.0**64
"""A function that is as steep somewhere, as x² is, counts as one that has no bound."""
Entry = tuple[str, tuple[float, ...]]
"""An operation and its numbers."""
Formula = tuple[tuple[str, tuple[float, ...], tuple[int, ...]], ...]

OPERATIONS: dict[str, Callable[..., Any]] = {
    "plus": lambda x, number: x + number,
    "times": lambda x, number: x * number,
    "over": lambda x, number: x * (1 / number),
    "from": lambda x, number: x * -1.0 + number,
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x + y * -1.0,
    "product": lambda x, y: x * y,
    "square": lambda x: x * x,
    "cube": lambda x: x * x * x,
    "between": between,
    "Erf": erf,
    "Sigmoid": sigmoid,
    "Softplus": softplus,
    "Tanh": tanh,
}


def chain(*rows: Entry | tuple[str, tuple[float, ...], tuple[int, ...]]) -> Formula:
    """Rows that each read the one before, unless they say what they read."""
    return tuple(
        (row[0], row[1], row[2] if len(row) == 3 else (at,)) for at, row in enumerate(rows)
    )


def evaluated(formula: Formula, x: Any) -> Any:
    """What a formula makes of an array, or of cells."""
    made = [x]
    for operation, numbers, reads in formula:
        made.append(OPERATIONS[operation](*(made[at] for at in reads), *numbers))
    return made[-1]


@cache
def slope_bound(formula: Formula) -> float:
    """Upper bound on the steepest slope; infinite where it is `STEEPEST` or more somewhere."""
    return above(steepest(lambda x: evaluated(formula, x), enough=STEEPEST), 1)


@cache
def loss_of(formula: Formula, kind: str) -> Loss:
    """How it rounds: as the audit assumes of a library's function, which is checked here.

    Where it loses more, a bound of the loss is infinite.
    """
    largest = max(1.0, slope_bound(formula))
    holds = np.isfinite(largest) and accurate(lambda x: evaluated(formula, x), ACCURATE * largest)
    return Loss(
        roundings=1,
        absolute=largest if holds else np.inf,
        largest=largest,
        library=True,
        uncovered=f"float32 runtimes differ in how they round {kind}",
    )
