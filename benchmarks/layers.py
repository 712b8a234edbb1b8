"""A training step of constrained layers over the same step without the constraint.

Both networks are stepped in turn and timed by this process's own processor time, so that what else
the machine does falls on neither; each ratio is of medians.  What holds the weights is within the
constrained steps: a pull every 8 steps as training does by default, under Adam a whole one every
64.  Rows of Muon hold its turns too, beside Adam's step of the free network; then the share of both
in the Fashion-MNIST example itself.
"""

import statistics
import time
from collections.abc import Callable
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
ROUND = PULL_EVERY * WHOLE_EVERY  # steps that hold one whole pull
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


CASES: list[tuple[str, tuple[int, ...], Callable[[], nn.Module], Callable[[], nn.Module]]] = [
    ("dense, held", ROWS, lambda: hold(dense()), dense),
    ("dense, held, Muon", ROWS, lambda: hold(dense()), dense),
    ("dense, Cayley", ROWS, lambda: constrain(dense(), cayley), dense),
    ("dense, Cholesky", ROWS, lambda: constrain(dense(), cholesky), dense),
    ("  torchlip SpectralLinear", ROWS, lambda: torchlip.SpectralLinear(WIDTH, WIDTH), dense),
    ("  orthogonium OrthoLinear", ROWS, lambda: OrthoLinear(WIDTH, WIDTH), dense),
    ("1×1, held", IMAGES, lambda: hold(pointwise(), manifold=ReshapedKernels()), pointwise),
    ("1×1, held, Muon", IMAGES, lambda: hold(pointwise(), manifold=ReshapedKernels()), pointwise),
    ("shift block, held", IMAGES, shift, FreeShiftBlock),
    ("shift block, held, Muon", IMAGES, shift, FreeShiftBlock),
    (
        "3×3, nearly orthogonal",
        IMAGES,
        lambda: hold(convolution(), manifold=Kernels((SIDE, SIDE))),
        convolution,
    ),
    ("3×3, block", IMAGES, block, convolution),
    (
        "  torchlip SpectralConv2d",
        IMAGES,
        lambda: torchlip.SpectralConv2d(CHANNELS, CHANNELS, 3, padding=1),
        convolution,
    ),
    (
        "  orthogonium AOC",
        IMAGES,
        lambda: AdaptiveOrthoConv2d(CHANNELS, CHANNELS, 3, padding=1),
        convolution,
    ),
]


def run() -> None:
    """Print milliseconds of a step and its ratio to the unconstrained one."""
    print(f"{DEPTH} layers, batch {BATCH}, {WIDTH} features or {CHANNELS} channels of side {SIDE}")
    print(f"{'':<28}{'ms':>8}{'free ms':>9}{'ratio':>8}")
    for name, shape, make, make_free in CASES:
        constrained = stepper(make, shape, turned="Muon" in name)
        free = stepper(make_free, shape)
        times: tuple[list[float], list[float]] = ([], [])
        lasting = 3 * ROUND if "held" in name else 12
        for _ in range((ROUND if "held" in name else 4) + lasting):
            for step, taken in zip((constrained, free), times, strict=True):
                begun = time.process_time()
                step()
                taken.append(time.process_time() - begun)
        held, plain = (middle(taken[-lasting:]) for taken in times)
        print(f"{name:<28}{1e3 * held:8.1f}{1e3 * plain:9.1f}{held / plain:8.2f}")

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


def middle(times: list[float]) -> float:
    """Median over rounds of the mean of a round, which holds one whole pull."""
    size = min(ROUND, len(times))
    rounds = [times[k : k + size] for k in range(0, len(times), size)]
    return statistics.median(statistics.fmean(taken) for taken in rounds)


def stepper(
    make: Callable[[], nn.Module], shape: tuple[int, ...], *, turned: bool = False
) -> Callable[[], None]:
    """A training step of some layers with a fold behind each."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        layers += [make(), AbsHalf(shape[1])]
    network = nn.Sequential(*layers)
    for layer in network:
        if isinstance(layer, Starts):
            layer.start(generator=generator)
    with torch.no_grad():
        for held in held_weights(network):
            held.parameter.copy_(held.manifold.random(held.parameter, generator=generator))
    optimizer = (
        muon(network, rate=1e-4)
        if turned
        else torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    )
    inputs, steps = torch.randn(shape, generator=generator), iter(range(10**6))
    told = {"interval": PULL_EVERY, "longest": PULL_EVERY}
    leash = Leash(network, **told, generator=generator, short=not turned)

    def step() -> None:
        loss = network(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if next(steps) % PULL_EVERY == PULL_EVERY - 1:
            leash.pull(place="benchmark")

    return step
