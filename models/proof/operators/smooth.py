"""Functions of each entry that no float32 rule covers, each with its steepest slope.

A function moves no further than its operand times sup |φ′|.  With u the argument of the inner
function, the factors in and before it drop out of the supremum:

- c x (1 + erf(b x)): the slope is c (1 + erf u + 2/√π u exp(-u²)), whose own slope has the sign of
  1 - u²; so its extremes are at u = ±1, and 1 + erf 1 + 2 / (e √π) = 2.25780829... is the larger.
- c x σ(b x): the slope is c (σ + u σ (1 - σ)), at most 1.0998394 c.
- c x tanh(log(1 + exp x)): at most 1.0885 c, where it is steepest.
- c x (1 + tanh(s x + q x³)): depends on q/s³ alone, which is 0.070238 for the usual constants; at
  most 2.2581 c near them.
- c x min(max(a x + b, 0), 1): inside, the slope is c (2 g - b) with the gate g from 0 to 1;
  outside it is 0 or c.
- exponentials below 0 (Elu, Selu, Celu): the slope falls from its value at 0.

The three constants that have no closed form are checked over the whole axis in ball arithmetic.

Sources: D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415; P.
Ramachandran, B. Zoph and Q. Le, "Searching for Activation Functions", arXiv:1710.05941; D. Misra,
"Mish", BMVC 2020, arXiv:1908.08681; A. Howard et al., "Searching for MobileNetV3", ICCV 2019,
arXiv:1905.02244.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from models.proof.operators.assumed import AssumedStretch, assumed_stretch
from models.proof.operators.operator import Operator
from models.proof.upward import up

ROUNDINGS = 12
"""Behind an entry at most, beside the library's function."""
STEEP_SOFTPLUS = 45.0
"""Above it log(1 + exp(x)) is x, to 2⁻⁶⁴."""
STEEPEST_ERF = 1.1283792
STEEPEST_GELU = 2.2578083
STEEPEST_GELU_TANH = 2.2581
CUBIC = (0.070237, 0.070239)
"""q/s³ between these has `STEEPEST_GELU_TANH`."""
STEEPEST_SILU = 1.09984
STEEPEST_MISH = 1.0885


@dataclass(frozen=True)
class Function:
    """A function of one entry.

    Attributes:
        run: in torch, from the operand and the parameters.
        slope: steepest, of the parameters, before it is rounded up.
        at_zero: magnitude of the function at 0.
    """

    run: Callable[..., Tensor]
    slope: Callable[..., float]
    at_zero: Callable[..., float] = lambda *_: 0.0


@dataclass(frozen=True, kw_only=True)
class Smooth(Operator):
    """A function of each entry, of a kind in `FUNCTIONS`.

    Attributes:
        parameters: of the function, in its order.
    """

    parameters: tuple[float, ...] = ()

    def run(self, *values: Tensor) -> Tensor:
        """The function, entry by entry."""
        return FUNCTIONS[self.kind].run(values[0], *self.parameters)

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> AssumedStretch:
        """The steepest slope, and the function at 0 in every entry."""
        function = FUNCTIONS[self.kind]
        slope = up(function.slope(*self.parameters), 4) if self.parameters else function.slope()
        at_zero, entries = function.at_zero(*self.parameters), math.prod(shape)
        return replace(
            assumed_stretch(
                self.kind,
                method="steepest slope",
                factor=slope,
                offset=up(at_zero * math.sqrt(entries), 4) if at_zero else 0.0,
                terms=ROUNDINGS if self.parameters else 1,
            ),
            largest=max(1.0, slope, at_zero),
        )


@dataclass(frozen=True, kw_only=True)
class ThresholdSoftplus(Operator):
    """log(1 + exp(b x)) / b, and x itself where b x is above a threshold t.

    It jumps at the threshold, so it is no Lipschitz function, but close to one that is: for u ≥ t
    log(1 + exp u) - u = log(1 + exp(-u)) is at most exp(-t), and 1 - t where t is below 0.  That,
    over b, is charged twice like a rounding error, for the example and for its changed copy.

    Attributes:
        steepness: b, above 0.
        threshold: t.
    """

    steepness: float
    threshold: float

    def run(self, *values: Tensor) -> Tensor:
        """Softplus with the threshold."""
        return functional.softplus(values[0], self.steepness, self.threshold)

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> AssumedStretch:
        """Slopes are in [0, 1], beside the jump."""
        roots = math.sqrt(math.prod(shape))
        at_zero = math.log(2) / self.steepness
        row = assumed_stretch(
            self.kind,
            method="steepest slope; the jump at the threshold counts as rounding",
            factor=1.0,
            offset=up(at_zero * roots, 4),
            terms=ROUNDINGS,
        )
        fall = math.exp(-self.threshold) if self.threshold >= 0 else 1 - self.threshold
        jump = up(2 * fall / self.steepness * roots, 8)
        return replace(row, largest=max(1.0, at_zero), jump=jump)


def _elu(x: Tensor, alpha: float, gamma: float = 1.0) -> Tensor:
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x.clamp_max(0)))


FUNCTIONS: dict[str, Function] = {
    "Tanh": Function(torch.tanh, lambda: 1.0),
    "Sigmoid": Function(torch.sigmoid, lambda: 0.25, lambda: 0.5),
    "Softplus": Function(
        lambda x: functional.softplus(x, threshold=STEEP_SOFTPLUS), lambda: 1.0, lambda: math.log(2)
    ),
    "LogSigmoid": Function(functional.logsigmoid, lambda: 1.0, lambda: math.log(2)),
    "Softsign": Function(lambda x: x / (1 + x.abs()), lambda: 1.0),
    "Erf": Function(torch.erf, lambda: STEEPEST_ERF),
    "Atan": Function(torch.atan, lambda: 1.0),
    "Sin": Function(torch.sin, lambda: 1.0),
    "Cos": Function(torch.cos, lambda: 1.0, lambda: 1.0),
    "Gelu": Function(
        lambda x, c, b: c * x * torch.special.erfc(-b * x), lambda c, _: abs(c) * STEEPEST_GELU
    ),
    "GeluTanh": Function(
        lambda x, c, s, q: c * x * (1 + torch.tanh(s * x + q * x**3)),
        lambda c, *_: abs(c) * STEEPEST_GELU_TANH,
    ),
    "Silu": Function(
        lambda x, c, b: c * x * torch.sigmoid(b * x), lambda c, _: abs(c) * STEEPEST_SILU
    ),
    "Mish": Function(lambda x, c: c * functional.mish(x), lambda c: abs(c) * STEEPEST_MISH),
    "HardSwish": Function(
        lambda x, c, a, b: c * x * (a * x + b).clamp(0, 1),
        lambda c, _, b: abs(c) * max(1.0, abs(b), abs(2 - b)),
    ),
    "Elu": Function(_elu, lambda alpha: max(1.0, abs(alpha))),
    "Selu": Function(_elu, lambda alpha, gamma: abs(gamma) * max(1.0, abs(alpha))),
    "Celu": Function(
        lambda x, alpha: x.clamp_min(0) + alpha * torch.expm1(x.clamp_max(0) / alpha),
        lambda _: 1.0,
    ),
}
