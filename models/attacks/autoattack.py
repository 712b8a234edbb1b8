"""AutoAttack on a program: the authors' attacks untouched, behind one function.

The suite is `standard` wherever that exists.  With fewer than ten classes it would ask for more
target classes than there are, so the same attacks run with every other class as a target; the
difference-of-logits-ratio loss needs three classes and its targeted form four.

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, arXiv:2003.01690; package pyautoattack.
"""

import hashlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from models.proof.program import Program

LARGEST_SEED = 2**31


SMALLEST_SIDE = 5
"""Square attack places its first tiles on a fifth of the image's side."""


def attack_names(program: Program) -> tuple[str, ...]:
    """The attacks that run on a program, in order."""
    names: tuple[str, ...] = ("apgd-ce", "apgd-t", "fab-t")
    if program.classes < 4:
        names = ("apgd-ce", "apgd-dlr", "fab") if program.classes == 3 else ("apgd-ce", "fab")
    fits_square = min(program.input_shape[-2:]) >= SMALLEST_SIDE
    return (*names, "square") if fits_square else names


def attack_examples(
    program: Program,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    eps: float,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """Images that AutoAttack makes of a batch, within about eps of the originals.

    Args:
        program: what is attacked, in float32.
        inputs: float32 images in [0, 1], batch first.
        labels: true classes; an example that is misclassified as it is stays as it is.
        eps: L2 budget, in input units.
        seed: of all the attacks' random numbers; the batch is part of what decides them.
        device: torch's name of the device to run on.

    Returns:
        float32 images, equal to the originals where no attack claims a break.  The claims need a
        recheck: the attacks overshoot eps by some 1e-8.
    """
    from pyautoattack import AutoAttack

    names = attack_names(program)
    targets = min(9, program.classes - 1)
    start = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
    truth = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
    with _surroundings_kept():
        suite = AutoAttack(
            _AsModule(program),
            attacks=list(names),
            device=device,
            eps=eps,
            norm="L2",
            seed=seed,
            version="custom",
        )
        suite.apgd.n_restarts = suite.fab.n_restarts = suite.apgd_targeted.n_restarts = 1
        suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = targets
        attacked, _ = suite.run_standard_evaluation(start, truth, batch_size=len(start))
    return np.asarray(attacked.cpu().numpy())


def shard_seed(seed: int, *, eps: float, shard: int) -> int:
    """Seed of one shard at one ε, the same whoever attacks it and when."""
    digest = hashlib.sha256(f"{seed} {eps.hex()} {shard}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % LARGEST_SEED


class _AsModule(nn.Module):
    """A program as the module that the package expects."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._program = program

    def forward(self, inputs: Tensor) -> Tensor:
        return self._program(inputs)


@contextmanager
def _surroundings_kept() -> Iterator[None]:
    """Give back the generators, the trace function and the log level that the package changes."""
    tracer, logger = sys.gettrace(), logging.getLogger("auto-attack")
    level, numpy_state = logger.level, np.random.get_state()  # noqa: NPY002 (the package's own)
    logger.setLevel(logging.CRITICAL)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        logger.setLevel(level)
        np.random.set_state(numpy_state)  # noqa: NPY002
        sys.settrace(tracer)
