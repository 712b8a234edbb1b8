"""AutoAttack at ε = 0.5 on 500 examples: plain pyautoattack against ours, shard by shard.

Time is processor time of one thread, which a busy machine changes little.  Plain runs in our
shards, for flags that must be the same, and in one batch besides, which is its quickest way.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from benchmarks.trained import Trained, fashion_mnist
from models.attacks.autoattack import shard_seed
from models.attacks.suite import attack_names
from models.proof.operators.affine import Dense
from models.proof.program import Program
from workers.attack_tasks import Shard, attack_at_eps
from workers.attacking import attacked_rows, shards_of, worth_attacking
from workers.certification import program_of

EPS = 0.5
EXAMPLES = 500
PRODUCTS = 1024
"""Side of the matrices whose product gives the machine's peak."""


@dataclass
class Passes:
    """Forward passes of the network: how many, on how many images, in how many seconds."""

    calls: int = 0
    images: int = 0
    seconds: float = 0.0


def run() -> None:
    """Print seconds, ratios, flags that differ, passes, and the least time the passes take."""
    trained = fashion_mnist()
    torch.set_num_threads(1)
    table, seed = trained.certificates, trained.job.seed
    rows = attacked_rows(len(table), wanted=EXAMPLES, seed=seed)
    everything = worth_attacking(table, rows, eps=EPS, audit=1.0, seed=seed)
    chosen = worth_attacking(table, rows, eps=EPS, audit=trained.job.attack.audit, seed=seed)
    size = trained.job.attack.shard_size
    with counted() as passes:
        begun = time.process_time()
        skipped = our_flags(trained, chosen, size=size, seed=seed)
        skipped_seconds = time.process_time() - begun
    begun = time.process_time()
    ours = our_flags(trained, everything, size=size, seed=seed)
    all_seconds = time.process_time() - begun
    begun = time.process_time()
    plain = plain_flags(trained, everything, size=size, seed=seed)
    plain_seconds = time.process_time() - begun
    begun = time.process_time()
    batch = plain_flags(trained, everything, size=EXAMPLES, seed=seed)
    batch_seconds = time.process_time() - begun
    differ = sum(plain[row] != ours[row] for row in plain)
    left = np.setdiff1d(everything, chosen)
    robust = [sum(flags.values()) for flags in (batch, plain, ours, skipped)]
    robust[-1] += len(left)
    for name, seconds, held in zip(
        (
            "plain, one batch",
            "plain, shards",
            "ours, nothing left out",
            f"ours, {len(chosen)} rows",
        ),
        (batch_seconds, plain_seconds, all_seconds, skipped_seconds),
        robust,
        strict=True,
    ):
        print(f"{name:24}{seconds:8.1f} s  robust {held / len(rows):.3f}")
    print(f"flags that differ       {differ:8d}")
    print(f"nothing left out        {plain_seconds / all_seconds:8.2f} × plain in the same shards")
    print(f"certified left out      {plain_seconds / skipped_seconds:8.2f} × plain in shards")
    print(f"                        {batch_seconds / skipped_seconds:8.2f} × plain in one batch")
    floor = passes.images * multiplications(program_of(trained.model)) * 2 / peak()
    print(f"examples attacked       {len(chosen) / skipped_seconds:8.2f} a second")
    print(f"forward passes          {passes.calls / skipped_seconds:8.0f} a second")
    print(f"time in forward passes  {100 * passes.seconds / skipped_seconds:8.0f} %")
    print(f"their floor at peak     {floor:8.1f} s")


def plain_flags(trained: Trained, rows: np.ndarray, *, size: int, seed: int) -> dict[int, bool]:
    """Robust flags of the authors' own call on the torch network, in shards."""
    from pyautoattack import AutoAttack

    flags: dict[int, bool] = {}
    for shard in shards_of({EPS: rows}, rows[:0], ("standard",), shard_size=size):
        examples = trained.dataset.test.take(shard.rows)
        inputs, labels = torch.tensor(examples.inputs()), torch.tensor(examples.labels)
        suite = AutoAttack(
            trained.network,
            norm="L2",
            eps=EPS,
            version="standard",
            device="cpu",
            seed=shard_seed(seed, eps=EPS, shard=shard.number),
        )
        attacked, _ = suite.run_standard_evaluation(inputs, labels, batch_size=len(inputs))
        with torch.inference_mode():
            kept = trained.network(attacked).argmax(1) == labels
        flags |= zip(shard.rows.tolist(), kept.tolist(), strict=True)
    return flags


def our_flags(trained: Trained, rows: np.ndarray, *, size: int, seed: int) -> dict[int, bool]:
    """Robust flags of our tasks, recheck included, one after the other."""
    flags: dict[int, bool] = {}
    names = attack_names(len(trained.dataset.classes), trained.dataset.input_shape)
    left = rows[:0]
    for shard in shards_of({EPS: rows}, rows[:0], names, shard_size=size):
        left = shard.rows if shard.attack == names[0] else left
        if len(left):
            table = attack_one(trained, shard, left, seed=seed)
            robust = table["robust"].to_numpy(zero_copy_only=False)
            flags |= zip(left.tolist(), robust.tolist(), strict=True)
            left = left[~table["claimed"].to_numpy(zero_copy_only=False)]
    return flags


def attack_one(trained: Trained, shard: Shard, left: np.ndarray, *, seed: int) -> pa.Table:
    """One task: an attack on what is left of a shard."""
    examples = trained.dataset.test.take(left)
    return attack_at_eps(trained.model, trained.bounds, examples, left, shard, seed, "cpu")


@contextmanager
def counted() -> Iterator[Passes]:
    """Count the passes of every program for as long as the block lasts."""
    passes, run_program = Passes(), Program.__call__

    def timed(program: Program, inputs: torch.Tensor) -> torch.Tensor:
        begun = time.process_time()
        logits = run_program(program, inputs)
        passes.seconds += time.process_time() - begun
        passes.calls += 1
        passes.images += len(inputs)
        return logits

    Program.__call__ = timed  # type: ignore[method-assign]
    try:
        yield passes
    finally:
        Program.__call__ = run_program  # type: ignore[method-assign]


def multiplications(program: Program) -> int:
    """Multiplications behind one image's logits, those of the matrices alone."""
    dense = [operator for operator in program.operators if isinstance(operator, Dense)]
    return sum(operator.weight.array.size for operator in dense)


def peak() -> float:
    """Operations a second of one large matrix product, the best of ten."""
    square = torch.rand(PRODUCTS, PRODUCTS)
    seconds = []
    for _ in range(10):
        begun = time.process_time()
        square @ square
        seconds.append(time.process_time() - begun)
    return 2 * PRODUCTS**3 / min(seconds)
