"""1-Lipschitz weights that are not orthogonal: rescaled ones, and the scales of residual layers.

Kernels of a convolution and matrices are one thing here: a matrix is a kernel of one tap, of shape
(out, in, 1, 1).  The bounds hold on images of any size, padded with zeros or around the edges, with
any dilation, and with any stride: a strided convolution is some rows of one without stride.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from models.networks.parametrizations.bounds import gram_bound

Kernel = Float[Tensor, "out in kh kw"]


def aol(kernel: Kernel, *, groups: int = 1) -> Kernel:
    """A kernel whose channels are shrunk until the convolution is 1-Lipschitz.

    With C the absolute correlations, channel i is divided by √(Σ_j C_ij): input channels, or the
    output channels where they are fewer.  Then D Kᵀ K D ≤ I, D the divisors: by Gershgorin's
    circles D² Σ_j C_ij bounds its eigenvalues.

    Source: Prach and Lampert, "Almost-Orthogonal Layers for Efficient General-Purpose Lipschitz
    Networks", ECCV 2022, arXiv:2208.03160.
    """
    if kernel.shape[0] // groups < kernel.shape[1]:
        return adjoint_kernel(
            aol(adjoint_kernel(kernel, groups=groups), groups=groups), groups=groups
        )
    by_group = kernel.reshape(groups, -1, *kernel.shape[1:])
    scales = divisor(absolute_correlations(kernel, groups=groups).sum(dim=2)).rsqrt()
    return (by_group * scales[:, None, :, None, None]).flatten(0, 1)


def sll_scales(kernel: Kernel, logarithms: Float[Tensor, " out"]) -> Float[Tensor, " out"]:
    """2 / T_i with T_i = Σ_j |K Kᵀ|_ij q_j / q_i: x - Kᵀ diag(2 / T) φ(K x + b) is 1-Lipschitz.

    Args:
        kernel: K, from the channels to the hidden ones.
        logarithms: log q of each hidden channel, free.

    Source: Araujo et al., "A Unified Algebraic Perspective on Lipschitz Neural Networks",
    ICLR 2023, arXiv:2303.03169.
    """
    (correlations,) = absolute_correlations(adjoint_kernel(kernel))
    q = logarithms.exp()
    return 2 / divisor((correlations * q).sum(dim=1) / q)


def cpl_scale(kernel: Kernel, *, grid: tuple[int, int]) -> Float[Tensor, ""]:
    """2 / ‖K‖², by which x - (2 / ‖K‖²) Kᵀ φ(K x + b) is 1-Lipschitz.

    Args:
        kernel: K, from the channels to the hidden ones.
        grid: sides of a torus on which no window wraps: those of the image, plus k - 1.

    Source: Meunier et al., "A Dynamical System Perspective for Lipschitz Neural Networks",
    ICML 2022, arXiv:2110.12690.
    """
    return 2 / divisor(gram_bound(responses(kernel, grid=grid)).amax().square())


def absolute_correlations(
    kernel: Kernel, *, groups: int = 1
) -> Float[Tensor, "groups channels channels"]:
    """Σ |KᵀK| over the shifts, for every two input channels of a group.

    The Gram operator KᵀK is itself a convolution; entry (i, j) sums the magnitudes of its kernel
    between channels i and j.
    """
    kh, kw = kernel.shape[2:]
    by_group = kernel.reshape(groups, -1, *kernel.shape[1:]).transpose(1, 2)
    found = [functional.conv2d(rows, rows, padding=(kh - 1, kw - 1)) for rows in by_group]
    return torch.stack(found).abs().sum(dim=(3, 4))


def adjoint_kernel(kernel: Kernel, *, groups: int = 1) -> Float[Tensor, "_ _ kh kw"]:
    """Kernel of the adjoint convolution: channels change places, taps are turned round."""
    by_group = kernel.reshape(groups, -1, *kernel.shape[1:]).transpose(1, 2)
    return by_group.flatten(0, 1).flip(2, 3)


def responses(kernel: Kernel, *, grid: tuple[int, int]) -> Tensor:
    """K̂ at half of a torus's frequencies, (frequencies, out, in), complex; the rest conjugates."""
    spectrum: Tensor = torch.fft.rfft2(kernel, s=grid)
    return spectrum.flatten(2).permute(2, 0, 1)


def divisor(sums: Tensor) -> Tensor:
    """Sums of magnitudes, made safe to divide by: 0 stays without effect."""
    return sums.clamp_min(torch.finfo(sums.dtype).tiny ** 0.5)
