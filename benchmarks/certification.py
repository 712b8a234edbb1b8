"""Certifying the test part against one epoch of training, on one thread."""

import time

from benchmarks.trained import fashion_mnist
from workers.certification import _certify_shard, _prove


def run() -> None:
    """Print both times, their ratio, and the operations behind a certificate."""
    trained = fashion_mnist()
    begun = time.perf_counter()
    _prove(trained.model)
    proving = time.perf_counter() - begun
    begun = time.perf_counter()
    size = trained.job.certify.shard_size
    for start in range(0, len(trained.dataset.test), size):
        shard = trained.dataset.test.take(slice(start, start + size))
        _certify_shard(trained.model, trained.bounds, shard)
    certifying = time.perf_counter() - begun
    weights = sum(p.numel() for p in trained.network.parameters())
    work = 2 * weights * len(trained.dataset.test) / 1e9
    print(f"prove               {proving:8.2f} s")
    print(f"certify all         {certifying:8.2f} s  ({work:.1f} GFLOP in float64)")
    print(f"one training epoch  {trained.epoch_seconds:8.2f} s")
    print(f"certify / epoch     {certifying / trained.epoch_seconds:8.3f}")
