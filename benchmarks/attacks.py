"""AutoAttack at ε = 0.5 on 500 examples: plain pyautoattack against ours, shard by shard."""

import time

import numpy as np
import torch

from benchmarks.trained import Trained, fashion_mnist
from models.attacks.autoattack import shard_seed
from workers.attack_tasks import Shard, attack_at_eps, attack_at_radius
from workers.attacking import attacked_rows, shards_of, worth_attacking

EPS = 0.5
EXAMPLES = 500


def run() -> None:
    """Print seconds, flags that differ with nothing left out, and the ratios."""
    trained = fashion_mnist()
    job, table = trained.job, trained.certificates
    rows = attacked_rows(len(table), wanted=EXAMPLES, seed=job.seed)
    size = job.attack.shard_size
    plain_seconds = all_seconds = 0.0
    plain, ours = [], []
    for number, start in enumerate(range(0, len(rows), size)):
        shard = Shard(number, rows[start : start + size], EPS)
        found, seconds = plain_flags(trained, shard)
        plain_seconds += seconds
        plain.append(found)
        found, seconds = our_flags(trained, shard)
        all_seconds += seconds
        ours.append(found)
    chosen = worth_attacking(table, rows, eps=EPS, audit=job.attack.audit, seed=job.seed)
    begun = time.perf_counter()
    robust = dict.fromkeys(rows.tolist(), True)
    for shard in shards_of({EPS: chosen}, rows, shard_size=size):
        if shard.eps is None:
            continue
        robust |= zip(shard.rows.tolist(), our_flags(trained, shard)[0].tolist(), strict=True)
    skipped_seconds = time.perf_counter() - begun
    radii = time.perf_counter()
    predictions, claimed = (table[name].to_numpy()[rows] for name in ("prediction", "radius"))
    attack_at_radius(
        trained.model,
        trained.bounds,
        trained.dataset.test.take(rows),
        (predictions, claimed),
        Shard(0, rows, None),
        job.seed,
        "cpu",
    )
    radius_seconds = time.perf_counter() - radii
    flags_plain, flags_ours = np.concatenate(plain), np.concatenate(ours)
    print(f"plain pyautoattack             {plain_seconds:8.1f} s  robust {flags_plain.mean():.3f}")
    print(f"ours, nothing left out         {all_seconds:8.1f} s  robust {flags_ours.mean():.3f}")
    print(f"  flags that differ            {int((flags_plain != flags_ours).sum()):8d}")
    print(f"  plain / ours                 {plain_seconds / all_seconds:8.2f}")
    mean = np.mean(list(robust.values()))
    print(
        f"ours, {len(chosen):3d} attacked             {skipped_seconds:8.1f} s  robust {mean:.3f}"
    )
    print(f"  plain / ours                 {plain_seconds / skipped_seconds:8.2f}")
    print(f"every radius, 500 examples     {radius_seconds:8.1f} s")


def plain_flags(trained: Trained, shard: Shard) -> tuple[np.ndarray, float]:
    """Robust flags of the authors' own call on the torch network, and its seconds."""
    from pyautoattack import AutoAttack

    examples = trained.dataset.test.take(shard.rows)
    inputs, labels = torch.tensor(examples.inputs()), torch.tensor(examples.labels)
    begun = time.perf_counter()
    suite = AutoAttack(
        trained.network,
        norm="L2",
        eps=EPS,
        version="standard",
        device="cpu",
        seed=shard_seed(trained.job.seed, eps=EPS, shard=shard.number),
    )
    attacked, _ = suite.run_standard_evaluation(inputs, labels, batch_size=len(inputs))
    seconds = time.perf_counter() - begun
    with torch.inference_mode():
        kept = (trained.network(attacked).argmax(1) == labels).numpy()
    return kept, seconds


def our_flags(trained: Trained, shard: Shard) -> tuple[np.ndarray, float]:
    """Robust flags of one of our tasks, recheck included, and its seconds."""
    examples = trained.dataset.test.take(shard.rows)
    begun = time.perf_counter()
    table = attack_at_eps(trained.model, trained.bounds, examples, shard, trained.job.seed, "cpu")
    return table["robust"].to_numpy(zero_copy_only=False), time.perf_counter() - begun
