"""Attack a split in shards, one task to a shard and ε; every claim is rechecked where it is made.

Shard and seed decide the answer, so neither the number of workers nor a dead one changes a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from models.tables import ATTACKS
from workers.certification import program_of
from workers.tasks import as_completed, remote, share, threads


@dataclass(frozen=True)
class Shard:
    """Some attacked examples at one ε.

    Attributes:
        number: place among the shards of one ε.
        rows: rows of the examples in the table of certificates.
        eps: L2 budget, in input units.
    """

    number: int
    rows: np.ndarray
    eps: float

    @property
    def name(self) -> str:
        """A name for its artefact, the same in every run of the job."""
        return f"{self.eps.hex()}-{self.number:05d}"


def attacked_rows(examples: int, *, wanted: int, seed: int) -> np.ndarray:
    """Rows of a split that are attacked: a seeded choice, in the split's order."""
    if wanted >= examples:
        return np.arange(examples)
    return np.sort(np.random.default_rng([seed, examples]).choice(examples, wanted, replace=False))


def shards_of(rows: np.ndarray, *, eps: tuple[float, ...], shard_size: int) -> list[Shard]:
    """All that is to be attacked, ε rising, rows in order."""
    return [
        Shard(number, rows[start : start + shard_size], budget)
        for budget in eps
        for number, start in enumerate(range(0, len(rows), shard_size))
    ]


def attack_shards(
    model: bytes,
    bounds: dict[str, Any],
    split: Split,
    shards: list[Shard],
    *,
    seed: int,
    device: str,
) -> Iterator[tuple[Shard, pa.Table]]:
    """Attack shards, each with its rows of the table of attacks, as they are done.

    Args:
        model: the ONNX file that was certified.
        bounds: what was proved of it.
        split: the certified split.
        shards: what is left to do.
        seed: of the job.
        device: where to compute, as torch names it.
    """
    run, shared = remote(_attack_shard, gpus=device != "cpu"), (share(model), share(bounds))
    tasks = [run.remote(*shared, split.take(shard.rows), shard, seed, device) for shard in shards]
    for place, table in as_completed(tasks):
        yield shards[place], table


def _attack_shard(
    model: bytes, bounds: dict[str, Any], examples: Split, shard: Shard, seed: int, device: str
) -> pa.Table:
    from models.attacks.autoattack import attack_examples, attack_names, shard_seed
    from models.attacks.recheck import recheck
    from models.proof.bounds import Bounds
    from models.proof.program import logits_in_float64

    threads(1)
    program = program_of(model)
    inputs = examples.inputs()
    attacked = attack_examples(
        program,
        inputs,
        examples.labels,
        eps=shard.eps,
        seed=shard_seed(seed, eps=shard.eps, shard=shard.number),
        device=device,
    )
    correct = logits_in_float64(program, inputs).argmax(axis=1) == examples.labels
    claimed = (attacked != inputs).reshape(len(inputs), -1).any(axis=1)
    breaks = recheck(
        program,
        Bounds.from_json(bounds),
        originals=inputs,
        attacked=attacked,
        labels=examples.labels,
        eps=shard.eps,
    )
    broken = claimed & correct & breaks.confirmed
    return pa.table(
        {
            "row": shard.rows,
            "eps": np.full(len(inputs), shard.eps),
            "attacks": [", ".join(attack_names(program))] * len(inputs),
            "correct": correct,
            "robust": correct & ~broken,
            "claimed": claimed,
            "prediction": np.where(broken, breaks.predictions, examples.labels).astype(np.int32),
            "distance": np.where(broken, breaks.distances, 0.0),
            "gap": np.where(broken, breaks.gaps, 0.0),
            "attacked": [
                image.tobytes() if is_broken else None
                for image, is_broken in zip(breaks.images, broken, strict=True)
            ],
        },
        schema=ATTACKS,
    )
