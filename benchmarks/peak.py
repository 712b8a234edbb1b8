"""Share of the machine's matrix peak that whole training steps reach, in the example recipes.

Operations are those that torch counts in the products and convolutions of an epoch, pulls included;
seconds are the processor's, of one thread, of the same epoch without the counting: data,
activations, loss, optimiser and checkpoints count as time and not as work.
"""

import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from certify.jobs.job import load_job
from models.model_spec import OnnxSpec
from models.networks.training import start_training, train_epoch
from workers.data import load_data

EXAMPLES = Path(__file__).parent.parent / "examples"
RECIPES = ("fashion-mnist-fast", "fashion-mnist", "fashion-mnist-best")
SIDE, PRODUCTS, STEPS = 2048, 8, 100


def run() -> None:
    """Print the peak, then a line a recipe."""
    peak = matrix_peak()
    print(f"float32 products of side {SIDE}: {peak / 1e9:.1f} GFLOP/s")
    print(f"{'':<20}{'GFLOP a step':>14}{'ms':>8}{'floor ms':>10}{'share':>8}")
    for name in RECIPES:
        work, seconds = step_of(name)
        share = work / peak / seconds
        print(
            f"{name:<20}{work / 1e9:14.2f}{1e3 * seconds:8.1f}{1e3 * work / peak:10.1f}{share:8.2f}"
        )


def matrix_peak() -> float:
    """Operations a second of large products, at best of some."""
    one = torch.randn(SIDE, SIDE)
    taken = []
    for _ in range(PRODUCTS):
        begun = time.process_time()
        one @ one
        taken.append(time.process_time() - begun)
    return 2 * SIDE**3 / min(taken)


def step_of(name: str) -> tuple[float, float]:
    """Operations and seconds of a step in the second epoch, its pulls seldom by then."""
    job = load_job(EXAMPLES / f"{name}.toml")
    if isinstance(job.model, OnnxSpec):
        raise TypeError("an example that trains nothing")
    train = load_data(job.data, seed=job.seed, folder=EXAMPLES).train
    few = train.take(slice(0, STEPS * job.train.batch_size))
    told = {"classes": 10, "seed": job.seed, "device": "cpu"}
    state = start_training(job.model, job.train, train, classes=10, seed=job.seed)
    state, _ = train_epoch(state, job.model, job.train, few, **told, epoch=0)
    with FlopCounterMode(display=False) as counted:
        train_epoch(state, job.model, job.train, few, **told, epoch=1)
    begun = time.process_time()
    _, found = train_epoch(state, job.model, job.train, few, **told, epoch=1)
    seconds = time.process_time() - begun
    return counted.get_total_flops() / found["steps"], seconds / found["steps"]
