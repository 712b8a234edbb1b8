"""How far distances grow along steps: ℓ of every tensor, relative to the source.

‖t(x) - t(x′)‖ ≤ ℓ(t) ‖x - x′‖ for all real x, x′.  ℓ is relative to the source, so that a tensor
may be read any number of times; induction over the steps proves the walk.
"""

from collections.abc import Sequence

import numpy as np

from models.audit.arithmetic import above
from models.audit.step import Step


def walked(source: str, steps: Sequence[Step]) -> dict[str, float]:
    """The Lipschitz bound of every tensor."""
    bounds = {source: 1.0}
    for step in steps:
        moved = [np.array(bounds[name]) for name in step.operands]
        together = bounds[step.operands[0]]
        if len(moved) > 1:  # 0 exactly where no operand moves
            together = above(float(step.together(moved)), 2 * len(moved) + 4) if any(moved) else 0.0
        bounds[step.result] = above(step.factor * together, 1) if step.factor and together else 0.0
    return bounds
