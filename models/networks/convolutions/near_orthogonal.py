"""Kernels pulled towards the orthogonal ones at every frequency, and cut back to their taps.

A convolution acts on each frequency by a matrix K̂(ω).  A Newton-Schulz step on all of them,
K ← 1.5 K - 0.5 K * Kᵀ * K, is a convolution again, with more taps; those beyond the kernel's own
are cut off.  So the fixed points are not exactly orthogonal: their singular values lie a few
per cent below 1, and what ships is divided by the norm where that exceeds 1.

Source: the step is Björck and Bowie's, SIAM Journal on Numerical Analysis 8(2), 1971; singular
values by frequency are Sedghi, Gupta and Long's, "The Singular Values of Convolutional Layers",
ICLR 2019, arXiv:1805.10408.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from models.networks.convolutions.block import random_block_kernel
from models.networks.parametrizations.lipschitz import responses
from models.networks.steepest import orthogonalised

LAST_STEPS = 10
LOOKS = 8  # power iterations, which only watch training

Kernel = Float[Tensor, "out in kh kw"]


@dataclass(frozen=True)
class Kernels:
    """Nearly orthogonal kernels of convolutions with stride 1 and zero padding.

    Attributes:
        image: height and width of the images that they convolve.
    """

    image: tuple[int, int]

    def step(self, weight: Kernel) -> tuple[Kernel, Float[Tensor, ""]]:
        """The kernel after a step, and how far max σ² was above 1 before it, about.

        Products of three responses have taps from 1 - k to 2 k - 2; on a torus of side 2 k - 1
        none of those beyond the kernel falls on one of the kernel's.
        """
        sides = (2 * weight.shape[-2] - 1, 2 * weight.shape[-1] - 1)
        K = responses(weight, grid=sides)
        tall = K.shape[-2] >= K.shape[-1]
        gram = K.mH @ K if tall else K @ K.mH
        stepped = 1.5 * K - 0.5 * (K @ gram if tall else gram @ K)
        height, width = weight.shape[2:]
        spectrum = stepped.permute(1, 2, 0).reshape(*weight.shape[:2], sides[0], -1)
        taps: Tensor = torch.fft.irfft2(spectrum, s=sides)
        pulled = taps[..., :height, :width].contiguous()
        return pulled, (_largest_eigenvalue(gram) - 1).clamp_min(0)

    def steepest(self, weight: Kernel, slope: Kernel) -> Kernel:
        """The slope as one matrix, a row to an output, orthogonalised.

        As a convolution it has √(kh · kw) times the matrix's norm at most; kernels drawn at random
        have about twice it.

        Source: of the bound, Singla and Feizi, "Fantastic Four", ICLR 2021, arXiv:1911.10258.
        """
        return orthogonalised(slope.flatten(1)).reshape(weight.shape)

    def one_matrix(self, weight: Kernel) -> bool:
        """No: it is one to a frequency."""
        del weight
        return False

    def norm(self, weight: Kernel) -> float:
        """Largest singular value, on a torus on which no window wraps."""
        height, width = self.image
        grid = (height + weight.shape[-2] - 1, width + weight.shape[-1] - 1)
        return float(torch.linalg.matrix_norm(responses(weight, grid=grid), ord=2).amax())

    def end(self, weight: Kernel) -> Kernel:
        """Some last steps, then no norm above 1."""
        kernel = weight.detach().to(device="cpu", dtype=torch.float64)
        for _ in range(LAST_STEPS):
            kernel, _ = self.step(kernel)
        return kernel / max(1.0, self.norm(kernel))

    def random(self, weight: Kernel, *, generator: torch.Generator) -> Kernel:
        """An orthogonal kernel, every tap of which is used."""
        return random_block_kernel(
            weight.shape[1], weight.shape[0], side=weight.shape[-1], generator=generator
        ).float()


@dataclass(frozen=True)
class ResidualKernels(Kernels):
    """Kernels that begin as the identity: x + K * x with a small K is a linear residual layer.

    Source: Hu, Zou, Wang and Fredrikson, "Unlocking Deterministic Robustness Certification on
    ImageNet", NeurIPS 2023, arXiv:2301.12549.
    """

    def random(self, weight: Kernel, *, generator: torch.Generator) -> Kernel:
        """The identity of the channels that are there on both sides."""
        del generator
        start = torch.zeros(weight.shape)
        for channel in range(min(weight.shape[:2])):
            start[channel, channel, weight.shape[2] // 2, weight.shape[3] // 2] = 1
        return start


def _largest_eigenvalue(gram: Complex[Tensor, "matrices n n"]) -> Float[Tensor, ""]:
    """Largest of the eigenvalues, from below; NaN where an entry is one."""
    v = torch.ones_like(gram[:, :, :1])
    for _ in range(LOOKS):
        v = gram @ v
        v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp_min(1e-30)
    lengths: Tensor = torch.linalg.vector_norm(gram @ v, dim=1)
    return lengths.amax()
