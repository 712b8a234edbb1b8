"""One of AutoAttack's attacks on a batch: the authors' attacks behind one function.

An attack of the suite seeds itself anew and meets only what the earlier ones did not break, so
the attacks one by one, each on what is left, give what the whole suite gives in one go.  Two
pieces of the authors' are computed in less time to the same numbers: Square's search and FAB's
projection (`square.py`, `projection.py`).

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, arXiv:2003.01690; package pyautoattack.
"""

import functools
import hashlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from models.attacks.aimed import Aiming, aimed_apgd, aimed_fab
from models.attacks.fab import fab_at_rank
from models.attacks.projection import nearest_steps
from models.attacks.square import square_search
from models.attacks.suite import target_classes
from models.proof.program import Program

LARGEST_SEED = 2**31


def attack_examples(
    program: Program,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    attack: str,
    eps: float,
    seed: int,
    aiming: Aiming | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Images that one attack makes of a batch, within about eps of the originals.

    Args:
        program: what is attacked, in float32.
        inputs: float32 images in [0, 1], batch first.
        labels: true classes; an example that is misclassified as it is stays as it is.
        attack: its name in the suite.
        eps: L2 budget, in input units.
        seed: of the attack's random numbers; the batch is part of what decides them.
        aiming: of the targeted attacks; None aims all images at one rank of rivals after another,
            as the authors do.
        device: torch's name of the device to run on.

    Returns:
        float32 images, equal to the originals where the attack claims no break.  The claims need
        a recheck: the attacks overshoot eps by some 1e-8.
    """
    from pyautoattack import AutoAttack

    targets = target_classes(program.classes)
    start = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
    truth = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
    with _surroundings_kept():
        suite = AutoAttack(
            _AsModule(program),
            attacks=[attack],
            device=device,
            eps=eps,
            norm="L2",
            seed=seed,
            version="custom",
        )
        suite.apgd.n_restarts = suite.fab.n_restarts = suite.apgd_targeted.n_restarts = 1
        suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = targets
        if attack == "fab-t":
            suite.fab.attack_single_run = functools.partial(fab_at_rank, suite.fab)
        if aiming:
            suite.apgd_targeted.perturb = functools.partial(aimed_apgd, suite.apgd_targeted, aiming)
            if attack == "fab-t":
                suite.fab.perturb = functools.partial(aimed_fab, suite.fab, aiming)
        suite.square.attack_single_run = functools.partial(square_search, suite.square)
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
    """Give back what an attack changes: generators, trace function, log level, FAB's projection."""
    from pyautoattack import fab_base

    tracer, logger = sys.gettrace(), logging.getLogger("auto-attack")
    level, numpy_state = logger.level, np.random.get_state()  # noqa: NPY002 (the package's own)
    projection = fab_base.projection_l2
    logger.setLevel(logging.CRITICAL)
    fab_base.projection_l2 = nearest_steps
    try:
        with torch.random.fork_rng():
            yield
    finally:
        fab_base.projection_l2 = projection
        logger.setLevel(level)
        np.random.set_state(numpy_state)  # noqa: NPY002
        sys.settrace(tracer)
