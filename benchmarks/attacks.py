"""AutoAttack at ε = 0.5 on 500 examples: plain pyautoattack against ours, paired in one run.

Time is processor time of one thread.  Plain runs in one batch, which is its quickest way, with
three seeds, each beside ours with the certified examples left out; and once in our shards, beside
ours with nothing left out, for flags that must be the same.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.trained import Trained, fashion_mnist
from models.attacks.autoattack import shard_seed
from models.attacks.suite import attack_names
from models.proof.operators.affine import Dense
from models.proof.program import Program
from workers.attack_tasks import Shard, attack_at_eps
from workers.attacking import attacked_rows, left_by, shards_of, worth_attacking
from workers.certification import program_of

EPS = 0.5
EXAMPLES = 500
SEEDS = (0, 1, 2)
PRODUCTS = 1024
"""Side of the matrices whose product gives the machine's peak."""


@dataclass
class Passes:
    """Forward passes of the network: how many, on how many images, in how many seconds."""

    calls: int = 0
    images: int = 0
    seconds: float = 0.0


@dataclass
class Measured:
    """Robust flags of the rows that were attacked, and the processor time that they took."""

    flags: dict[int, bool]
    seconds: float

    def accuracy(self, everything: np.ndarray, *, examples: int) -> float:
        """Share of all examples that are right and held; what was left alone holds."""
        return (sum(self.flags.values()) + len(everything) - len(self.flags)) / examples


def run() -> None:
    """Print seconds, ratios, flags that differ, robust accuracy by seed, and passes."""
    trained = fashion_mnist()
    torch.set_num_threads(1)
    table, job = trained.certificates, trained.job
    rows = attacked_rows(len(table), wanted=EXAMPLES, seed=job.seed)
    everything = worth_attacking(table, rows, eps=EPS, audit=1.0, seed=job.seed)
    ours, plain = [], []
    for seed in SEEDS:
        chosen = worth_attacking(table, rows, eps=EPS, audit=job.attack.audit, seed=seed)
        with counted() as passes:
            ours.append(measured(our_flags, trained, chosen, seed=seed, aimed=True))
        plain.append(measured(plain_flags, trained, everything, size=EXAMPLES, seed=seed))
        told = {"examples": len(rows)}
        print(f"seed {seed}: robust    plain  {plain[-1].accuracy(everything, **told):.3f}", end="")
        print(f"  ours {ours[-1].accuracy(everything, **told):.3f}", end="")
        differ = sum(held != plain[-1].flags[row] for row, held in ours[-1].flags.items())
        print(f"  flags that differ {differ}", end="")
        print(f"  {plain[-1].seconds:.1f} s / {ours[-1].seconds:.1f} s", end="")
        print(f" = {plain[-1].seconds / ours[-1].seconds:.2f} ×")
    accuracies = [[each.accuracy(everything, **told) for each in every] for every in (plain, ours)]
    spread = max(accuracies[0]) - min(accuracies[0])
    apart = max(abs(one - other) for one in accuracies[0] for other in accuracies[1])
    print(f"robust accuracy of plain runs with different seeds: {spread:.3f} apart at most")
    print(f"of ours and plain's, any seeds:                     {apart:.3f} apart at most")
    whole = measured(our_flags, trained, everything, seed=SEEDS[0], aimed=False)
    shards = measured(plain_flags, trained, everything, size=job.attack.shard_size, seed=SEEDS[0])
    differ = sum(shards.flags[row] != held for row, held in whole.flags.items())
    print(f"nothing left out: {shards.seconds:.1f} s / {whole.seconds:.1f} s", end="")
    print(
        f" = {shards.seconds / whole.seconds:.2f} × in the same shards, flags that differ {differ}"
    )
    seconds = ours[-1].seconds
    floor = passes.images * multiplications(program_of(trained.model)) * 2 / peak()
    print(f"examples attacked       {len(ours[-1].flags) / seconds:8.2f} a second")
    print(f"forward passes          {passes.calls / seconds:8.0f} a second")
    print(f"images through them     {passes.images / seconds:8.0f} a second")
    print(f"time in forward passes  {100 * passes.seconds / seconds:8.0f} %")
    print(f"their floor at peak     {floor:8.1f} s")


def measured(attack: Callable[..., dict[int, bool]], *told: Any, **named: Any) -> Measured:
    """What an attack gives, and its processor time."""
    begun = time.process_time()
    flags = attack(*told, **named)
    return Measured(flags, time.process_time() - begun)


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


def our_flags(trained: Trained, rows: np.ndarray, *, seed: int, aimed: bool) -> dict[int, bool]:
    """Robust flags of our tasks, recheck included, one after the other."""
    flags: dict[int, bool] = {}
    names = attack_names(len(trained.dataset.classes), trained.dataset.input_shape)
    left = rows[:0]
    size = trained.job.attack.shard_size
    for shard in shards_of({EPS: rows}, rows[:0], names, shard_size=size, aimed=aimed):
        left = shard.rows if shard.attack == names[0] else left
        if len(left):
            table = attack_one(trained, shard, left, seed=seed)
            robust = table["robust"].to_numpy(zero_copy_only=False)
            flags |= zip(left.tolist(), robust.tolist(), strict=True)
            left = left_by(shard, table)
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
