"""A training step of constrained layers over the same step without the constraint.

Both networks are stepped in turn and timed by this process's own processor time, so that what else
the machine does falls on neither; each ratio is of medians.  What holds the weights is within the
constrained steps: a pull every 8 steps as training does by default, under Adam a whole one every
64.  Rows of Muon hold its turns too, beside Adam's step of the free network where they do not say
otherwise; then the share of both in the Fashion-MNIST example itself.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import torch
from deel import torchlip
from orthogonium.layers import AdaptiveOrthoConv2d, OrthoLinear
from torch import nn

from benchmarks.trained import JOB
from certify.jobs.job import load_job
from models.networks.activations import AbsHalf
from models.networks.blank import blank
from models.networks.classifier import Starts
from models.networks.convolutions.block import BlockConvolution
from models.networks.convolutions.near_orthogonal import Kernels
from models.networks.geometry import Shift
from models.networks.holding import ReshapedKernels, held_weights, hold
from models.networks.leash import WHOLE_EVERY, Leash
from models.networks.muon import Muon, muon
from models.networks.parametrizations.constraint import constrain
from models.networks.parametrizations.orthogonal import cayley, cholesky
from models.networks.shift_block import ShiftBlock
from models.networks.training import start_training, train_epoch
from models.train_spec import TrainSpec
from workers.data import load_data

BATCH, DEPTH, PULL_EVERY = 256, 3, TrainSpec().project_every
WARM_UP, FEWEST, RATE = 8, 24, 1e-4
WIDTH, CHANNELS, SIDE = 512, 64, 8
ROWS, IMAGES = (BATCH, WIDTH), (BATCH, CHANNELS, SIDE, SIDE)


class FreeShiftBlock(nn.Module):
    """Two free 1×1 convolutions with a shift between them: `ShiftBlock` unconstrained."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(CHANNELS, SIDE, SIDE))
        self.first = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        self.shift = Shift(CHANNELS, share=1 / 16)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(self.shift(self.first(images + self.position)))


def dense() -> nn.Module:
    return nn.Linear(WIDTH, WIDTH)


def pointwise() -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, 1)


def convolution() -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)


def block() -> nn.Module:
    return blank(lambda: BlockConvolution(CHANNELS, CHANNELS, side=3, padding=1))


def shift() -> nn.Module:
    return blank(lambda: ShiftBlock(CHANNELS, image=(SIDE, SIDE), shifted=1 / 16))


@dataclass(frozen=True)
class Case:
    """A constrained layer beside a free one, and the optimisers of both.

    torch's own Muon is for matrices alone and does its products in bfloat16.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], nn.Module]
    make_free: Callable[[], nn.Module]
    optimizer: str = "Adam"
    free_optimizer: str = "Adam"
    bfloat16: bool = False

    @property
    def round(self) -> int:
        """Steps that hold one pull of every kind."""
        if self.optimizer == "Adam" and next(held_weights(self.make()), None):
            return PULL_EVERY * WHOLE_EVERY
        return PULL_EVERY


def one_by_one() -> nn.Module:
    return hold(pointwise(), manifold=ReshapedKernels())


def near() -> nn.Module:
    return hold(convolution(), manifold=Kernels((SIDE, SIDE)))


def spectral() -> nn.Module:
    return torchlip.SpectralConv2d(CHANNELS, CHANNELS, 3, padding=1)


def aoc() -> nn.Module:
    return AdaptiveOrthoConv2d(CHANNELS, CHANNELS, 3, padding=1)


def held_dense() -> nn.Module:
    return hold(dense())


CASES = [
    Case("dense, held", ROWS, held_dense, dense),
    Case("dense, held, Muon", ROWS, held_dense, dense, "Muon"),
    Case("  the same beside torch's Muon", ROWS, held_dense, dense, "Muon", "torch's Muon"),
    Case("  both in bfloat16", ROWS, held_dense, dense, "Muon", "torch's Muon", bfloat16=True),
    Case("dense, Cayley", ROWS, lambda: constrain(dense(), cayley), dense),
    Case("dense, Cholesky", ROWS, lambda: constrain(dense(), cholesky), dense),
    Case("  torchlip SpectralLinear", ROWS, lambda: torchlip.SpectralLinear(WIDTH, WIDTH), dense),
    Case("  orthogonium OrthoLinear", ROWS, lambda: OrthoLinear(WIDTH, WIDTH), dense),
    Case("1×1, held", IMAGES, one_by_one, pointwise),
    Case("1×1, held, Muon", IMAGES, one_by_one, pointwise, "Muon"),
    Case("shift block, held", IMAGES, shift, FreeShiftBlock),
    Case("shift block, held, Muon", IMAGES, shift, FreeShiftBlock, "Muon"),
    Case("3×3, nearly orthogonal, held", IMAGES, near, convolution),
    Case("3×3, nearly orthogonal, Muon", IMAGES, near, convolution, "Muon"),
    Case("3×3, block", IMAGES, block, convolution),
    Case("  torchlip SpectralConv2d", IMAGES, spectral, convolution),
    Case("  orthogonium AOC", IMAGES, aoc, convolution),
]


def run() -> None:
    """Print milliseconds of a step and its ratio to the unconstrained one."""
    print(f"{DEPTH} layers, batch {BATCH}, {WIDTH} features or {CHANNELS} channels of side {SIDE}")
    print(f"{'':<32}{'ms':>8}{'free ms':>9}{'ratio':>8}")
    for case in CASES:
        constrained = stepper(case.make, case, case.optimizer)
        free = stepper(case.make_free, case, case.free_optimizer)
        times: tuple[list[float], list[float]] = ([], [])
        size = case.round
        for _ in range(WARM_UP + max(size, FEWEST)):
            for step, taken in zip((constrained, free), times, strict=True):
                begun = time.process_time()
                step()
                taken.append(time.process_time() - begun)
        held, plain = (middle(taken[WARM_UP:], size=size) for taken in times)
        ratio = f"{held / plain:8.2f}"
        print(f"{case.name:<32}{1e3 * held:8.1f}{1e3 * plain:9.1f}{ratio}", flush=True)

    share_in_training()


def share_in_training(epochs: int = 2) -> None:
    """Print what turns and pulls add to the other work of the Fashion-MNIST example's epochs."""
    job = load_job(JOB)
    train = load_data(job.data, seed=job.seed, folder=JOB.parent).train
    spent, pull, turn = [0.0], Leash.pull, Muon.step

    def timed(work: Callable[..., object]) -> Callable[..., None]:
        def measured(*given: object, **told: object) -> None:
            begun = time.process_time()
            work(*given, **told)
            spent[0] += time.process_time() - begun

        return measured

    told = {"classes": 10, "seed": 0}
    state = start_training(job.model, job.train, train, **told)
    with (
        mock.patch.object(Leash, "pull", timed(pull)),
        mock.patch.object(Muon, "step", timed(turn)),
    ):
        for epoch in range(epochs):
            begun, spent[0] = time.process_time(), 0.0
            state, _ = train_epoch(
                state, job.model, job.train, train, **told, epoch=epoch, device="cpu"
            )
            taken = time.process_time() - begun
            print(f"Fashion-MNIST example, epoch {epoch}: {taken / (taken - spent[0]):.3f}")


def middle(times: list[float], *, size: int) -> float:
    """Median over rounds of the mean of a round."""
    rounds = [times[k : k + size] for k in range(0, len(times), size)]
    return statistics.median(statistics.fmean(taken) for taken in rounds)


def stepper(make: Callable[[], nn.Module], case: Case, optimizer: str) -> Callable[[], None]:
    """A training step of some layers with a fold behind each."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        layers += [make(), AbsHalf(case.shape[1])]
    network = nn.Sequential(*layers)
    for layer in network:
        if isinstance(layer, Starts):
            layer.start(generator=generator)
    with torch.no_grad():
        for held in held_weights(network):
            held.parameter.copy_(held.manifold.random(held.parameter, generator=generator))
    optimizers = optimizers_of(network, optimizer, bfloat16=case.bfloat16)
    inputs, steps = torch.randn(case.shape, generator=generator), iter(range(10**6))
    told = {"interval": PULL_EVERY, "longest": PULL_EVERY}
    leash = Leash(network, **told, generator=generator, short=optimizer == "Adam")

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=case.bfloat16):
            outputs = network(inputs)
        loss = outputs.float().square().mean()
        network.zero_grad()
        loss.backward()
        for each in optimizers:
            each.step()
        if next(steps) % PULL_EVERY == PULL_EVERY - 1:
            leash.pull(place="benchmark")

    return step


def optimizers_of(network: nn.Module, name: str, *, bfloat16: bool) -> list[torch.optim.Optimizer]:
    """Those that step a network together."""
    if name == "Muon":
        return [muon(network, rate=RATE, bfloat16=bfloat16)]
    if name == "Adam":
        return [torch.optim.Adam(network.parameters(), lr=RATE, fused=True)]
    matrices = [weight for weight in network.parameters() if weight.ndim == 2]
    others = [weight for weight in network.parameters() if weight.ndim != 2]
    return [torch.optim.Muon(matrices, lr=RATE), torch.optim.Adam(others, lr=RATE, fused=True)]
