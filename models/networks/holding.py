"""Weights that are held near a manifold while they train: declared once, pulled back together.

Any parameter of any layer may be held.  Between two projections the optimiser moves it freely;
`pull_back` takes a step back to the manifold, watches how far the weights had drifted, and refuses
where one is lost.  What ships is the manifold's own exact end.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from models.errors import CertifyError
from models.networks.orthogonal import newton_schulz_step, polar_factor, random_orthogonal
from models.networks.steepest import steepest_turn

EAGER_DRIFT = 1.0  # from here on one step is not enough; below, every σ < √2
LONGEST_WAY = 30  # steps; each multiplies a small singular value by 1.5
LARGEST_NORM = math.sqrt(3)
ADVICE = "lower train.learning_rate, or lower train.project_every"

Layer = TypeVar("Layer", bound=nn.Module)


@runtime_checkable
class Manifold(Protocol):
    """What a held weight should be: in all, a linear map that keeps lengths, or nearly."""

    def step(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight one Newton-Schulz step nearer, and a bound on max σ² - 1 before it."""

    def steepest(self, weight: Tensor, slope: Tensor) -> Tensor:
        """A step along it, of norm 1 about as a matrix, that goes up a slope."""

    def one_matrix(self, weight: Tensor) -> bool:
        """Whether its rows, each flattened, should be one semi-orthogonal matrix."""

    def norm(self, weight: Tensor) -> float:
        """Largest singular value of a weight in float64."""

    def end(self, weight: Tensor) -> Tensor:
        """What ships, in float64 and on the processor: its norm is 1 at most."""

    def random(self, weight: Tensor, *, generator: torch.Generator) -> Tensor:
        """A start of the weight's shape, in float32."""


@dataclass(frozen=True)
class Matrices:
    """The semi-orthogonal matrices, or stacks of them."""

    def step(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """As `newton_schulz_step`."""
        pulled, drifted = newton_schulz_step(self._matrices(weight))
        return pulled.reshape(weight.shape), drifted

    def steepest(self, weight: Tensor, slope: Tensor) -> Tensor:
        """As `steepest_turn`."""
        turn = steepest_turn(self._matrices(weight), self._matrices(slope))
        return turn.reshape(weight.shape)

    def one_matrix(self, weight: Tensor) -> bool:
        """Whether it is no stack."""
        return self._matrices(weight).shape[:-2].numel() == 1

    def norm(self, weight: Tensor) -> float:
        """Largest norm of a matrix."""
        return float(torch.linalg.matrix_norm(self._matrices(weight), ord=2).amax())

    def end(self, weight: Tensor) -> Tensor:
        """The polar factor."""
        return polar_factor(self._matrices(weight)).reshape(weight.shape)

    def random(self, weight: Tensor, *, generator: torch.Generator) -> Tensor:
        """Uniformly drawn matrices."""
        *stack, rows, columns = self._matrices(weight).shape
        drawn = [
            random_orthogonal(rows, columns, generator=generator) for _ in range(math.prod(stack))
        ]
        return torch.stack(drawn).reshape(weight.shape)

    def _matrices(self, weight: Tensor) -> Tensor:
        return weight


@dataclass(frozen=True)
class ReshapedKernels(Matrices):
    """Kernels that are semi-orthogonal as matrices: all that belongs to an output is its row.

    A convolution whose stride is its kernel's side reads each pixel once, so that it is as
    orthogonal as this matrix is.

    Attributes:
        groups: of the convolution; each has a matrix of its own.
    """

    groups: int = 1

    def _matrices(self, weight: Tensor) -> Tensor:
        return weight.view(self.groups, len(weight) // self.groups, -1)


@dataclass(frozen=True)
class Held:
    """A parameter and the manifold near which it is held."""

    parameter: nn.Parameter
    manifold: Manifold


def hold(layer: Layer, name: str = "weight", *, manifold: Manifold | None = None) -> Layer:
    """Declare that a layer's parameter is held; the layer itself is changed.

    Args:
        layer: any torch layer.
        name: of the parameter.
        manifold: the semi-orthogonal matrices if left out.
    """
    layer.held = {**manifolds(layer), name: Matrices() if manifold is None else manifold}  # type: ignore[assignment]
    return layer


def manifolds(layer: nn.Module) -> dict[str, Manifold]:
    """Manifolds of a layer's own held parameters, by name."""
    found: dict[str, Manifold] = getattr(layer, "held", {})
    return found


def held_weights(network: nn.Module) -> Iterator[Held]:
    """Every held parameter of a network, in the order of its layers."""
    for layer in network.modules():
        for name, manifold in manifolds(layer).items():
            yield Held(layer.get_parameter(name), manifold)


def free_weights(network: nn.Module) -> list[nn.Parameter]:
    """Every parameter of a network that is not held."""
    held = {id(weight.parameter) for weight in held_weights(network)}
    return [parameter for parameter in network.parameters() if id(parameter) not in held]


@torch.no_grad()
def pull_back(network: nn.Module, *, place: str) -> float:
    """Pull every held weight back; the largest drift before.

    Args:
        network: as some optimiser steps left it; it is changed.
        place: where training stands, for the error.

    Raises:
        CertifyError: As `pulled_back` does.
    """
    worst = 0.0
    for held in held_weights(network):
        pulled, before = pulled_back(held.parameter, held.manifold, place=place)
        held.parameter.copy_(pulled)
        worst = max(worst, before)
    return worst


def pulled_back(weight: Tensor, manifold: Manifold, *, place: str) -> tuple[Tensor, float]:
    """Newton-Schulz steps until the drift is small; one, where training goes well.

    Args:
        weight: as some optimiser steps left it.
        manifold: near which it is held.
        place: where training stands, for the error.

    Returns:
        The weight after the steps, and the drift that it had before them.

    Raises:
        CertifyError: If an entry is not finite, or a singular value has left the reach of the
            steps, √3.
    """
    pulled, drifted = manifold.step(weight)
    before = float(drifted)
    if before < EAGER_DRIFT:
        return pulled, before
    _refuse_lost(weight, manifold, place=place)
    for _ in range(LONGEST_WAY):
        pulled, drifted = manifold.step(pulled)
        if drifted < EAGER_DRIFT / 2:
            return pulled, before
    raise CertifyError(f"{place}: a matrix lost rank between two projections; {ADVICE}")


def next_interval(interval: int, *, drift: float, longest: int) -> int:
    """Steps to the next projection, from the drift that `interval` steps made.

    A run starts at 1, as Adam's first steps all point the same way.  Drift grows about as the
    interval does, so one step more is safe while the drift is small.
    """
    if drift >= EAGER_DRIFT:
        return max(1, interval // 2)
    return min(longest, interval + 1) if drift < EAGER_DRIFT / 2 else min(longest, interval)


def refuse_infinite(loss: float, *, place: str) -> None:
    """Stop a run whose loss is NaN or infinite.

    Raises:
        CertifyError: If the loss is not finite.
    """
    if not math.isfinite(loss):
        raise CertifyError(f"{place}: the loss is {loss}, which is not finite; {ADVICE}")


def _refuse_lost(weight: Tensor, manifold: Manifold, *, place: str) -> None:
    exact = weight.detach().to(device="cpu", dtype=torch.float64)
    if not bool(exact.isfinite().all()):
        raise CertifyError(f"{place}: a matrix has entries that are not finite; {ADVICE}")
    norm = manifold.norm(exact)
    if not norm < LARGEST_NORM:
        raise CertifyError(
            f"{place}: between two projections a matrix drifted to norm {norm:.3g}, from where "
            f"it does not come back to 1; accepted is below √3; {ADVICE}"
        )
