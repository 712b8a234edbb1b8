"""Norms of convolutions: the full grid of frequencies of a torus, and windows.

A convolution of an image with zeros around it takes rows and columns of a circular convolution K
on a torus that is large enough for nothing to meet its own back.  With y(p) = (K x)(s p), a stride
s an axis and N = s M, the transform of y at ω is the mean of K̂ x̂ over the frequencies that alias
to it, ω + k M: so the norm is the largest ‖[K̂(ω + k M)]_k‖ / √(number of k), over ω below M.  The
responses K̂(f) = Σ_a K_a exp(2πi f·a / N) are direct sums; no polyphase kernel is ever formed.

A second bound needs no torus: each window copied into a column and multiplied by the kernel as one
matrix, an entry in r windows being copied r times.  The smaller of both counts.

Source: H. Sedghi, V. Gupta and P. Long, "The Singular Values of Convolutional Layers", ICLR 2019,
arXiv:1805.10408.
"""

import math
from collections.abc import Iterator

import numpy as np

from models.audit.arithmetic import above, gamma
from models.audit.norms import absolute_bound, stack_norm_bound
from models.audit.operators.windows import Windows

AT_ONCE = 2**21
"""Entries of responses that are held at once."""
MOST_ENTRIES = 2**31
MOST_FREQUENCIES = 2**23
"""Of a torus; beyond them windows alone are bounded."""


def convolution_bound(kernel: np.ndarray, windows: Windows) -> float:
    """Upper bound on the norm of a convolution with zero padding, or of its adjoint.

    Args:
        kernel: `(groups, of a window, of the image, *taps)`, float32 values.
        windows: where they lie on the image.
    """
    readers = windows.most_readers()
    if readers == 0 or not kernel.any():
        return 0.0
    columns = stack_norm_bound(kernel.reshape(*kernel.shape[:2], -1).astype(np.float64))
    bound = above(columns * above(math.sqrt(readers), 1), 1)
    if readers == 1:
        return bound
    rows = zip(windows.sides, windows.reaches, windows.spans, windows.strides, strict=True)
    torus = tuple(
        -(-min(side + reach - 1, span) // stride) * stride for side, reach, span, stride in rows
    )
    return min(bound, torus_bound(kernel, windows, torus))


def torus_bound(kernel: np.ndarray, windows: Windows, torus: tuple[int, ...]) -> float:
    """Upper bound on the norm of the circular convolution; infinite where it is too large.

    Args:
        kernel: as above; taps that meet on the torus add up.
        windows: whose strides and dilations count.
        torus: side of each axis, a multiple of its stride.
    """
    aliases = math.prod(windows.strides)
    taps = math.prod(windows.taps)
    entries = math.prod(kernel.shape[:3]) * aliases
    frequencies = math.prod(torus) // aliases
    if frequencies > MOST_FREQUENCIES or frequencies * entries > MOST_ENTRIES:
        return math.inf
    bound = 0.0
    for some in _half_of_the_frequencies(torus, windows.strides, max(1, AT_ONCE // entries)):
        responses = _responses(kernel, windows, torus, some)
        bound = max(bound, stack_norm_bound(responses))
    sums = np.abs(kernel, dtype=np.float64).reshape(*kernel.shape[:3], -1).sum(axis=-1)
    rounded = len(torus) * 2.0**-48 * (1 + 2.0**-40) + 2.0**-49 + math.sqrt(2) * gamma(taps + 2)
    largest = above(max(absolute_bound(group) for group in sums), taps)
    return above(bound / math.sqrt(aliases) + above(rounded * largest, 4), 6)


def absolute_convolution(kernel: np.ndarray, windows: Windows) -> float:
    """Upper bound on the norm with |K|: √(largest row sum · largest column sum) of a group."""
    magnitudes = np.abs(kernel, dtype=np.float64)
    groups, along = kernel.shape[0], [1] * len(windows.sides)
    row = np.zeros((*kernel.shape[:2], *windows.counts))
    column = windows.blank(groups, kernel.shape[2])
    parts = windows.read(np.ones((1, 1, *windows.sides)))
    for (tap, places), part in zip(windows.tapped(), parts, strict=True):
        row += magnitudes[tap].sum(axis=2).reshape(*row.shape[:2], *along) * part
        column[places] += magnitudes[tap].sum(axis=1).reshape(*column.shape[:2], *along)
    return _root_of_sums(row, [windows.cut(column)], kernel)


def absolute_torus(kernel: np.ndarray, windows: Windows) -> float:
    """The same on a torus of any size, where no tap falls beside the image."""
    magnitudes = np.abs(kernel, dtype=np.float64)
    phases: dict[tuple[int, ...], np.ndarray] = {}
    for (_, *tap), _ in windows.tapped():
        rows = zip(tap, windows.dilations, windows.strides, strict=True)
        phase = tuple(at * dilation % stride for at, dilation, stride in rows)
        phases[phase] = phases.get(phase, 0.0) + magnitudes[(..., *tap)].sum(axis=1)
    row = magnitudes.reshape(*kernel.shape[:2], -1).sum(axis=-1)
    return _root_of_sums(row, list(phases.values()), kernel)


def _root_of_sums(row: np.ndarray, columns: list[np.ndarray], kernel: np.ndarray) -> float:
    """The largest √(row sum · column sum) of a group, both at their largest."""
    groups = len(kernel)
    rows = row.reshape(groups, -1).max(axis=1)
    most = np.max([each.reshape(groups, -1).max(axis=1) for each in columns], axis=0)
    product = float((np.sqrt(rows) * np.sqrt(most)).max())
    return above(product, 2 * math.prod(kernel.shape[1:]) + 8) if product else 0.0


def _half_of_the_frequencies(
    torus: tuple[int, ...], strides: tuple[int, ...], at_once: int
) -> Iterator[np.ndarray]:
    """Frequencies below M, some at a time: of ω and -ω, whose norms are equal, one."""
    cells = np.array(torus) // strides
    grid = np.indices(cells.tolist()).reshape(len(cells), -1).T
    numbers = np.arange(len(grid))
    opposite = np.ravel_multi_index(tuple((-grid % cells).T), cells.tolist())
    half = grid[numbers <= opposite]
    for start in range(0, len(half), at_once):
        yield half[start : start + at_once]


def _responses(
    kernel: np.ndarray, windows: Windows, torus: tuple[int, ...], some: np.ndarray
) -> np.ndarray:
    """[K̂(ω + k M)]_k, a matrix to a group and a frequency ω."""
    groups, outputs, inputs = kernel.shape[:3]
    cells = np.array(torus) // windows.strides
    places = np.indices(windows.taps).reshape(len(torus), -1)
    flat = kernel.reshape(groups * outputs * inputs, -1).astype(np.float64)
    side_by_side = []
    for alias in np.ndindex(*windows.strides):
        turns = np.ones((len(some), flat.shape[1]), dtype=np.complex128)
        for axis, side in enumerate(torus):
            frequency = some[:, axis] + alias[axis] * cells[axis]
            turns *= _roots(side)[
                np.outer(frequency, places[axis] * windows.dilations[axis]) % side
            ]
        response = turns.real @ flat.T + 1j * (turns.imag @ flat.T)
        side_by_side.append(response.reshape(len(some), groups, outputs, inputs))
    return np.concatenate(side_by_side, axis=3).reshape(-1, outputs, inputs * len(side_by_side))


def _roots(side: int) -> np.ndarray:
    """exp(2πi m / N) for m below N, within 2⁻⁴⁸: the argument is brought to at most π before."""
    m = np.arange(side)
    angles = 2 * math.pi * np.where(2 * m > side, m - side, m) / side
    return np.cos(angles) + 1j * np.sin(angles)
