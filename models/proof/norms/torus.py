"""Upper bounds on the norm of a convolution, whatever its padding, stride, dilation and groups.

A convolution of an image with zeros around it takes some rows and some columns of a circular
convolution on a torus that is large enough for nothing to meet its own back.  The circular one is
block-diagonal in frequency, so its norm is the largest ‖K̂(ω)‖.  With stride s, pixels that differ
by less than s count as further channels (polyphase), and the torus has 1/s of the frequencies.

Frequency responses are direct sums K̂(ω) = Σ_a K_a exp(2πi ω·a): an FFT would leave its rounding
to trust, and would crop a kernel that is larger than the torus, where it has to be folded.

A second bound needs no torus.  The convolution copies each window into a column and multiplies it
by the kernel as one matrix; a pixel that is in r windows is copied r times, which stretches by √r.
Where no two windows meet it is the exact norm.

Source: H. Sedghi, V. Gupta and P. Long, "The Singular Values of Convolutional Layers", ICLR 2019,
arXiv:1805.10408.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int

from models.proof.norms.matrix import absolute_norm_bound, stack_norm_bound
from models.proof.upward import FLOAT64, up, up_product

Kernel = Float[np.ndarray, "groups out in *sides"]
Frequencies = Int[np.ndarray, "frequencies axes"]

MOST_ENTRIES = 2**30
"""Of all frequency responses together; beyond it, windows alone are bounded."""
MOST_FREQUENCIES = 2**22
"""Of a torus, for the same reason; a wide dilation makes it large where the image is small."""
AT_ONCE = 2**17
"""Entries of frequency responses that are looked at together; 2 MiB, which stay in a cache."""
ENOUGH = 32
"""Frequencies that are looked at together even so, so that few are decomposed; up to 128 MiB."""


@dataclass(frozen=True)
class Axis:
    """Where the windows of a convolution lie along one axis.

    Tap a of window o reads pixel stride · o + dilation · a - begin, and nothing where the image,
    pixels 0 to side - 1, has no such pixel.
    """

    side: int
    windows: int
    taps: int
    stride: int = 1
    dilation: int = 1
    begin: int = 0

    @property
    def reach(self) -> int:
        """Pixels from a window's first tap to its last one."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def torus(self) -> int:
        """Side of a torus on which nothing wraps: a multiple of the stride.

        Either the image and all that a window can reach beyond it fit, or all windows do.
        """
        enough = min(self.side + self.reach - 1, self.stride * (self.windows - 1) + self.reach)
        return -(-enough // self.stride) * self.stride

    @property
    def most_readers(self) -> int:
        """Largest number of windows that one pixel is in, counted."""
        starts = np.arange(self.windows)[:, None] * self.stride - self.begin
        pixels = starts + np.arange(self.taps) * self.dilation
        inside = pixels[(pixels >= 0) & (pixels < self.side)]
        return int(np.unique(inside, return_counts=True)[1].max(initial=0))


def convolution_norm_bound(kernel: Kernel, axes: tuple[Axis, ...]) -> float:
    """Upper bound on the norm of a convolution with zero padding, or of its adjoint.

    Args:
        kernel: finite float32 values, by group.
        axes: where its windows lie along each axis of the image.

    Returns:
        The bound, in float64; 0 only where every window reads nothing or the kernel is zero.
    """
    readers = math.prod(axis.most_readers for axis in axes)
    if readers == 0:
        return 0.0
    groups, outputs = kernel.shape[:2]
    windows = stack_norm_bound(kernel.reshape(groups, outputs, -1))
    bound = up_product(windows, up(math.sqrt(readers), 1))
    if readers == 1:
        return bound
    return min(bound, torus_norm_bound(kernel, axes, tuple(axis.torus for axis in axes)))


def torus_norm_bound(kernel: Kernel, axes: tuple[Axis, ...], torus: tuple[int, ...]) -> float:
    """Upper bound on the norm of the circular convolution on a torus.

    Args:
        kernel: finite float32 values, by group.
        axes: taps, strides and dilations; the rest does not matter here.
        torus: side of each axis, a multiple of its stride.

    Returns:
        The bound, in float64; infinite where there are too many frequencies to look at.
    """
    if not kernel.any():
        return 0.0
    cells = np.array([side // axis.stride for side, axis in zip(torus, axes, strict=True)])
    phases = _polyphase(kernel, axes)
    entries = math.prod(kernel.shape[:3]) * len(phases)
    frequencies_in_all = math.prod(cells.tolist())
    if frequencies_in_all > min(MOST_FREQUENCIES, MOST_ENTRIES // entries):
        return math.inf
    bound = 0.0
    at_once = max(1, AT_ONCE // entries, min(ENOUGH, 64 * AT_ONCE // entries))
    for frequencies in _half_of_the_frequencies(cells, at_once):
        responses = _responses(phases, frequencies, cells)
        bound = stack_norm_bound(responses, at_least=bound)
    taps = math.prod(axis.taps for axis in axes)
    cost = 2.0**-48 + math.sqrt(2) * FLOAT64.gamma(taps + 2)
    return up(bound + up_product(cost, absolute_kernel_bound(kernel, axes)), 8)


def absolute_kernel_bound(kernel: Kernel, axes: tuple[Axis, ...]) -> float:
    """Upper bound on the norm of the convolution with |K|, on the plane or on any torus.

    √(‖S‖₁ ‖S‖∞) with S the sums of |K| over the taps of each phase; the largest of the groups.
    """
    sums = [np.abs(part).sum(axis=-1) for _, part in _polyphase(kernel, axes)]
    taps = math.prod(axis.taps for axis in axes)
    largest = max(absolute_norm_bound(group) for group in np.concatenate(sums, axis=2))
    return up(largest, taps)


Phase = tuple[Int[np.ndarray, "_ axes"], Float[np.ndarray, "groups out in _"]]


def _polyphase(kernel: Kernel, axes: tuple[Axis, ...]) -> list[Phase]:
    """Cells and weights of the taps that read the same pixel of a cell, phase by phase."""
    sides = kernel.shape[3:]
    places = np.indices(sides).reshape(len(sides), -1).T * [axis.dilation for axis in axes]
    strides = [axis.stride for axis in axes]
    phases, phase_of = np.unique(places % strides, axis=0, return_inverse=True)
    weights = kernel.reshape(*kernel.shape[:3], -1).astype(np.float64)
    together = [np.flatnonzero(phase_of.reshape(-1) == phase) for phase in range(len(phases))]
    return [(places[taps] // strides, weights[..., taps]) for taps in together]


def _half_of_the_frequencies(
    cells: Int[np.ndarray, " axes"], at_once: int
) -> Iterator[Frequencies]:
    """One of each two conjugate frequencies, some at a time: K̂(-ω) is the conjugate of K̂(ω)."""
    strides = np.append(np.cumprod(cells[:0:-1])[::-1], 1)
    places = np.indices(cells.tolist()).reshape(len(cells), -1).T
    half = places[places @ strides <= (-places % cells) @ strides]
    for start in range(0, len(half), at_once):
        yield half[start : start + at_once]


def _responses(
    phases: list[Phase], frequencies: Frequencies, cells: Int[np.ndarray, " axes"]
) -> Complex[np.ndarray, "matrices out columns"]:
    """K̂ of each group at each frequency, within `torus_norm_bound`'s cost of the exact ones."""
    blocks = []
    for places, weights in phases:
        real, imaginary = _turns(frequencies, places, cells)
        flat = weights.reshape(-1, len(places)).T
        response = real @ flat + 1j * (imaginary @ flat)
        blocks.append(response.reshape(len(frequencies), *weights.shape[:3]))
    joined = np.concatenate(blocks, axis=3)
    return joined.reshape(-1, *joined.shape[2:])


def _turns(
    frequencies: Frequencies, places: Int[np.ndarray, "taps axes"], cells: Int[np.ndarray, " axes"]
) -> tuple[Float[np.ndarray, "frequencies taps"], Float[np.ndarray, "frequencies taps"]]:
    """Cosine and sine of 2π Σ ω a / N, within 2⁻⁴⁸.

    The turn is a whole number of N₁N₂…-ths, exact and brought to at most a half before it is
    rounded, so that the argument is at most π, with four roundings.
    """
    whole = math.prod(cells.tolist())
    part = frequencies * (whole // cells)
    turns = (
        sum(np.outer(part[:, at], places[:, at] % cells[at]) for at in range(len(cells))) % whole
    )
    turns = np.where(turns > whole // 2, turns - whole, turns)
    angles = 2 * math.pi * turns / whole
    return np.cos(angles), np.sin(angles)
