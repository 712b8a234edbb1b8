"""Gates: what a job asks of its own result, such as `certified_accuracy@0.5 >= 0.73`."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator

from models.spec import parse_eps

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
NUMBERS = ("clean_accuracy", "mean_certified_radius", "lipschitz_bound", "violations")
CURVES = ("certified_accuracy", "robust_accuracy")
ACCEPTED = (
    f"{', '.join(NUMBERS)}, or {' or '.join(CURVES)} with @ε, "
    f"then {' '.join(COMPARISONS)} and a number"
)
_FORM = re.compile(r"\s*([a-z_]+)(?:@([0-9./eE+-]+))?\s*(>=|<=|==|>|<)\s*(\S+)\s*")


@dataclass(frozen=True)
class Gate:
    """One comparison of a result with a number.

    Attributes:
        text: as the job has it.
        metric: key of the summary.
        eps: the budget, where the metric has one for each.
        comparison: one of `COMPARISONS`.
        threshold: the number on the right.
    """

    text: str
    metric: str
    eps: float | None
    comparison: str
    threshold: float

    def judge(self, summary: Mapping[str, Any]) -> dict[str, object]:
        """What was found, and whether it passes."""
        found = summary[self.metric]
        if self.eps is not None:
            found = found[list(summary["eps"]).index(self.eps)]
        passed = found is not None and COMPARISONS[self.comparison](found, self.threshold)
        return {"gate": self.text, "found": found, "passed": bool(passed)}


def parse_gate(text: str) -> Gate:
    """A gate from its text.

    Raises:
        ValueError: If it has another form, an unknown metric, or a number that no result can have.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"accepted is {ACCEPTED}")
    metric, eps, comparison, number = match.groups()
    wants_eps = metric in CURVES
    if metric not in NUMBERS + CURVES or wants_eps != (eps is not None):
        raise ValueError(f"accepted is {ACCEPTED}")
    try:
        threshold = float(number)
    except ValueError:
        raise ValueError(f"accepted is {ACCEPTED}") from None
    if metric.endswith("accuracy") and not 0 <= threshold <= 1:
        raise ValueError("accepted is a share from 0 to 1, such as 0.95 for 95 %")
    if not math.isfinite(threshold):
        raise ValueError("accepted is a finite number")
    return Gate(text, metric, parse_eps(eps) if wants_eps else None, comparison, threshold)


def _parsed(text: str) -> str:
    parse_gate(text)
    return text


GateText = Annotated[str, AfterValidator(_parsed)]
"""A gate as a job has it."""
