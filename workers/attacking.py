"""Attack a split in shards, one task to a shard and attack; what is certified is left alone.

An example that is certified at ε cannot be broken at ε, so AutoAttack is spent on the others and
on a seeded audit of the certified ones.  Every example is attacked inside its own radius besides:
that is where a certificate is wrong, if it is.  Shard and seed decide the answer, so neither the
number of workers nor a dead one changes a row.
"""

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from models.tables import ATTACKS
from workers.attack_tasks import OWN_RADIUS, Shard, attack_at_eps, attack_at_radius
from workers.shards import Call, Chain, run_chains
from workers.tasks import remote, share


def attacked_rows(examples: int, *, wanted: int, seed: int) -> np.ndarray:
    """Rows of a split that are attacked: a seeded choice, in the split's order."""
    if wanted >= examples:
        return np.arange(examples)
    return np.sort(np.random.default_rng([seed, examples]).choice(examples, wanted, replace=False))


def worth_attacking(
    certificates: pa.Table, rows: np.ndarray, *, eps: float, audit: float, seed: int
) -> np.ndarray:
    """Rows that AutoAttack attacks at an ε: those right but not certified, and an audit of others.

    What is misclassified needs no attack to be wrong.

    Args:
        certificates: a row an example.
        rows: the examples that robust accuracy is stated for, in order.
        eps: L2 budget, in input units.
        audit: share of the certified ones that is attacked all the same, rounded up.
        seed: of the choice.
    """
    right = rows[_correct(certificates)[rows]]
    certified = right[certificates["radius"].to_numpy()[right] > eps]
    count = int(np.ceil(audit * len(certified)))
    entropy = [seed, *np.frombuffer(np.float64(eps).tobytes(), dtype=np.uint32).tolist()]
    audited = np.random.default_rng(entropy).choice(certified, count, replace=False)
    return np.sort(np.concatenate((np.setdiff1d(right, certified), audited)))


def shards_of(
    chosen: Mapping[float, np.ndarray],
    rows: np.ndarray,
    names: tuple[str, ...],
    *,
    shard_size: int,
    aimed: bool = False,
) -> list[Shard]:
    """All that is to be done: each row inside its radius, then each ε's own choice by each attack.

    Args:
        chosen: rows that are attacked at each ε.
        rows: rows that are attacked inside their radii.
        names: the attacks at an ε, in order.
        shard_size: most rows in a shard; shards of one kind differ by one row at most.
        aimed: whether targeted attacks leave out rivals that are proven out of reach.

    Returns:
        Shards; the attacks on the same rows at the same ε are neighbours, in order.
    """
    return [
        Shard(number, part, eps, attack, aimed=aimed)
        for eps, attacks, attacked in (
            (None, (OWN_RADIUS,), rows),
            *((eps, names, attacked) for eps, attacked in chosen.items()),
        )
        for number, part in enumerate(_parts(attacked, largest=shard_size))
        for attack in attacks
    ]


def attack_shards(
    model: bytes,
    bounds: dict[str, Any],
    split: Split,
    certificates: pa.Table,
    shards: list[Shard],
    *,
    done: Mapping[str, pa.Table],
    seed: int,
    device: str,
) -> Iterator[tuple[Shard, pa.Table]]:
    """Attack shards, each attack on what the earlier ones did not break.

    Args:
        model: the ONNX file that was certified.
        bounds: what was proved of it.
        split: the certified split.
        certificates: a row an example of it.
        shards: as `shards_of` gives them.
        done: tables of the shards that are finished, by their names; those are not attacked again.
        seed: of the job.
        device: where to compute, as torch names it.

    Yields:
        Shards that were not done with their rows of the table of attacks, as they come.
    """
    gpus = device != "cpu"
    at_eps, at_radius = remote(attack_at_eps, gpus=gpus), remote(attack_at_radius, gpus=gpus)
    shared = share(model), share(bounds)
    predictions, radii = (certificates[name].to_numpy() for name in ("prediction", "radius"))

    def call(shard: Shard, rows: np.ndarray) -> Call:
        if not len(rows):
            return partial(share, ATTACKS.empty_table())
        examples = split.take(rows)
        if shard.eps is None:
            certified = predictions[rows], radii[rows]
            return partial(at_radius.remote, *shared, examples, certified, shard, seed, device)
        return partial(at_eps.remote, *shared, examples, rows, shard, seed, device)

    def chain(attacks: list[Shard]) -> Chain:
        rows = attacks[0].rows
        for shard in attacks:
            table = done.get(shard.name)
            if table is None:
                table = yield shard, call(shard, rows)
            rows = left_by(shard, table)

    kinds = itertools.groupby(shards, key=lambda shard: (shard.eps, shard.number))
    yield from run_chains((chain(list(attacks)) for _, attacks in kinds), gpus=gpus)


def left_by(shard: Shard, table: pa.Table) -> np.ndarray:
    """Rows that the next attack meets: those that this one left.

    The authors stop where an attack claims a break.  An aimed shard goes on where the recheck did
    not confirm it.
    """
    column, wanted = ("robust", True) if shard.aimed else ("claimed", False)
    kept = table[column].to_numpy(zero_copy_only=False) == wanted
    return np.asarray(table["row"].to_numpy()[kept])


def attacks_at_eps(
    tables: list[pa.Table], certificates: pa.Table, rows: np.ndarray, *, eps: tuple[float, ...]
) -> pa.Table:
    """The table of attacks: ε rising, at each ε every row.

    Args:
        tables: of the shards, an attack's behind those of the attacks before it.
        certificates: a row an example.
        rows: the examples that robust accuracy is stated for.
        eps: L2 budgets, in input units.

    Returns:
        What the last attack on each example gave, with the names of all that it met; where none
        is named, no attack ran.
    """
    met = pa.concat_tables([ATTACKS.empty_table(), *tables])
    names: dict[tuple[float, int], list[str]] = {}
    last: dict[tuple[float, int], int] = {}
    left_out: dict[tuple[float, int], int] = {}
    claimed: dict[tuple[float, int], bool] = {}
    columns = ("eps", "row", "attacks", "left_out", "claimed")
    keys = zip(*(met[name].to_pylist() for name in columns), strict=True)
    for place, (budget, row, attack, count, claim) in enumerate(keys):
        names.setdefault((budget, row), []).append(attack)
        last[budget, row] = place
        left_out[budget, row] = max(count, left_out.get((budget, row), 0))
        claimed[budget, row] = claim or claimed.get((budget, row), False)
    attacked = met.take(pa.array(last.values(), pa.int64()))
    for name, values in (
        ("attacks", [", ".join(attacks) for attacks in names.values()]),
        ("left_out", list(left_out.values())),
        ("claimed", list(claimed.values())),
    ):
        place, field = ATTACKS.get_field_index(name), ATTACKS.field(name)
        attacked = attacked.set_column(place, field, pa.array(values, field.type))
    right, predictions = _correct(certificates), certificates["prediction"].to_numpy()
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
                    "left_out": np.zeros(len(alone), dtype=np.int32),
                    "correct": right[alone],
                    "robust": right[alone],
                    "claimed": np.zeros(len(alone), dtype=bool),
                    "broken_by": [""] * len(alone),
                    "prediction": predictions[alone],
                    "distance": np.zeros(len(alone)),
                    "gap": np.zeros(len(alone)),
                    "attacked": pa.nulls(len(alone), pa.binary()),
                },
                schema=ATTACKS,
            )
        )
    whole = pa.concat_tables(parts)
    return whole.sort_by([("eps", "ascending"), ("row", "ascending")]).combine_chunks()


def _correct(certificates: pa.Table) -> np.ndarray:
    return np.asarray(certificates["prediction"].to_numpy() == certificates["label"].to_numpy())


def _parts(rows: np.ndarray, *, largest: int) -> list[np.ndarray]:
    """Rows in order, in as few parts as may be, of sizes as equal as may be."""
    return np.array_split(rows, -(-len(rows) // largest)) if len(rows) else []
