"""Attack a split in shards, one task to a shard; what is certified at an ε is mostly left alone.

An example that is certified at ε cannot be broken at ε, so AutoAttack is spent on the others and
on a seeded audit of the certified ones.  Every example is attacked inside its own radius besides:
that is where a certificate is wrong, if it is.  Shard and seed decide the answer, so neither the
number of workers nor a dead one changes a row.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from models.tables import ATTACKS
from workers.attack_tasks import Shard, attack_at_eps, attack_at_radius
from workers.tasks import as_completed, remote, share


def attacked_rows(examples: int, *, wanted: int, seed: int) -> np.ndarray:
    """Rows of a split that are attacked: a seeded choice, in the split's order."""
    if wanted >= examples:
        return np.arange(examples)
    return np.sort(np.random.default_rng([seed, examples]).choice(examples, wanted, replace=False))


def worth_attacking(
    certificates: pa.Table, rows: np.ndarray, *, eps: float, audit: float, seed: int
) -> np.ndarray:
    """Rows that AutoAttack attacks at an ε: those not certified there, and an audit of the others.

    Args:
        certificates: a row an example.
        rows: the examples that robust accuracy is stated for, in order.
        eps: L2 budget, in input units.
        audit: share of the certified ones that is attacked all the same, rounded up.
        seed: of the choice.
    """
    right = (certificates["prediction"].to_numpy() == certificates["label"].to_numpy())[rows]
    certified = rows[right & (certificates["radius"].to_numpy()[rows] > eps)]
    count = int(np.ceil(audit * len(certified)))
    entropy = [seed, *np.frombuffer(np.float64(eps).tobytes(), dtype=np.uint32).tolist()]
    audited = np.random.default_rng(entropy).choice(certified, count, replace=False)
    return np.sort(np.concatenate((np.setdiff1d(rows, certified), audited)))


def shards_of(
    chosen: Mapping[float, np.ndarray], rows: np.ndarray, *, shard_size: int
) -> list[Shard]:
    """All that is to be attacked: each row inside its radius, then each ε's own choice."""
    return [
        Shard(number, attacked[start : start + shard_size], eps)
        for eps, attacked in ((None, rows), *chosen.items())
        for number, start in enumerate(range(0, len(attacked), shard_size))
    ]


def attack_shards(
    model: bytes,
    bounds: dict[str, Any],
    split: Split,
    certificates: pa.Table,
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
        certificates: a row an example of it.
        shards: what is left to do.
        seed: of the job.
        device: where to compute, as torch names it.
    """
    gpus = device != "cpu"
    at_eps, at_radius = remote(attack_at_eps, gpus=gpus), remote(attack_at_radius, gpus=gpus)
    shared = share(model), share(bounds)
    predictions, radii = (certificates[name].to_numpy() for name in ("prediction", "radius"))
    tasks = []
    for shard in shards:
        examples = split.take(shard.rows)
        if shard.eps is None:
            certified = predictions[shard.rows], radii[shard.rows]
            task = at_radius.remote(*shared, examples, certified, shard, seed, device)
        else:
            task = at_eps.remote(*shared, examples, shard, seed, device)
        tasks.append(task)
    for place, table in as_completed(tasks):
        yield shards[place], table


def attacks_at_eps(
    tables: list[pa.Table], certificates: pa.Table, rows: np.ndarray, *, eps: tuple[float, ...]
) -> pa.Table:
    """The table of attacks: ε rising, at each ε every row; where none is named, no attack ran."""
    attacked = pa.concat_tables([ATTACKS.empty_table(), *tables])
    parts = [attacked]
    for budget in eps:
        here = attacked["row"].to_numpy()[attacked["eps"].to_numpy() == budget]
        alone = np.setdiff1d(rows, here)
        parts.append(
            pa.table(
                {
                    "row": alone,
                    "eps": np.full(len(alone), budget),
                    "attacks": [""] * len(alone),
                    "correct": np.ones(len(alone), dtype=bool),
                    "robust": np.ones(len(alone), dtype=bool),
                    "claimed": np.zeros(len(alone), dtype=bool),
                    "prediction": certificates["prediction"].to_numpy()[alone],
                    "distance": np.zeros(len(alone)),
                    "gap": np.zeros(len(alone)),
                    "attacked": pa.nulls(len(alone), pa.binary()),
                },
                schema=ATTACKS,
            )
        )
    whole = pa.concat_tables(parts)
    return whole.sort_by([("eps", "ascending"), ("row", "ascending")]).combine_chunks()
